"""The gate on the installed path: the win of the bench has to arrive where the function is called."""

from __future__ import annotations

import math
import random
import time
from pathlib import Path
from typing import Any

import pytest

from warpsmith.errors import BadInput
from warpsmith.ship.installed import (
    InstalledPath,
    Through,
    against,
    gate,
    identity,
    keep,
    kept,
    measure,
    place,
    stamped,
)


def through(speedup: float, noise: float = 0.001, seed: int = 1, **change: Any) -> Through:
    draw = random.Random(seed)
    pairs = tuple(
        (2e-5 * math.exp(draw.gauss(0, noise)), 2e-5 / speedup * math.exp(draw.gauss(0, noise))) for _ in range(20)
    )
    said = {"release": "my/add@1.0.0", "target": "fw.norms:add", "workload": "4096x4096", "how": "cold", "wanted": 1.5,
            "wanted_of": "bench", "pairs": pairs, "calls": 200, "hits": 200}  # fmt: skip
    return Through(**{**said, **change})


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        ([], "nothing was measured"),
        ([through(1.44)], "lost on the way: 1.44"),
        ([through(1.452, noise=0.03)], "not shown to be within 3%"),
        ([through(1.5, hits=3)], "3 of 200 calls reached the kernel"),
        ([through(1.5), through(1.2, how="stream", wanted=1.4, wanted_of="direct")], "1.400x by its own binding"),
    ],
)
def test_refused(measured: list[Through], said: str) -> None:
    (refusal,) = against(measured)
    assert refusal.reason == "installed_path" and said in refusal.message and refusal.remedy


@pytest.mark.parametrize("speedup", [1.5, 1.47, 1.9])
def test_a_win_that_arrives_passes(speedup: float) -> None:
    assert against([through(speedup)]) == []


def test_seven_microseconds_of_python_are_found() -> None:
    """What made an overlay that won on paper run at 0.93x: a dispatch that costs as much as the kernel saves."""
    bench, call = 31.4e-6 / 20.9e-6, 7e-6
    pairs = tuple((31.4e-6, 20.9e-6 + call) for _ in range(3))
    (refusal,) = against([through(1.0, pairs=pairs, wanted=bench, how="stream")])
    assert "lost on the way" in refusal.message


def test_both_sides_are_timed_in_pairs_in_both_orders() -> None:
    order: list[str] = []

    def side(name: str, seconds: float) -> Any:
        def clock() -> float:
            order.append(name)
            return seconds

        return clock

    pairs = measure(side("original", 2.0), side("installed", 1.0), pairs=30, seed=1)
    assert pairs == ((2.0, 1.0),) * 30
    firsts = order[::2]
    assert len(order) == 60 and 5 < firsts.count("original") < 25


def test_the_gate_takes_what_was_measured_or_what_is_kept_of_the_same_export(tmp_path: Path) -> None:
    stamp, refused = gate([through(1.5)], tmp_path, "other")
    assert isinstance(stamp, list) and stamp[0]["shown"] and stamp[0]["wanted"] == 1.5 and refused == []
    assert "fw.norms:add, 4096x4096 (cold): lost" in gate([through(1.2)], tmp_path, "other")[1][0].message
    assert gate("not measured: no GPU", tmp_path, "other") == ("not measured: no GPU", [])
    (tmp_path / "export.json").write_text('{"rows": 1, "added_cost": 3}')
    keep(tmp_path, "NVIDIA H200", "2026-11-21T00:00:00Z", [through(1.2)])
    again = identity({"rows": 1, "added_cost": 4, "installed_path": "not measured"})
    stamp, (refusal,) = gate("not measured: no GPU", tmp_path, again)
    assert not stamp[0]["shown"] and "lost on the way" in refusal.message  # type: ignore[index]


def test_what_is_unclear_on_a_processor_is_said_and_refuses_nothing() -> None:
    unclear = through(1.452, noise=0.03, how="wall")
    assert against([unclear]) == [] and not stamped([unclear])[0]["shown"]
    assert "lost on the way" in against([through(1.2, how="wall")])[0].message


def test_what_was_found_is_kept_with_the_export(tmp_path: Path) -> None:
    export = tmp_path / "export.json"
    export.write_text("{}")
    assert kept(tmp_path) == (None, [])
    assert keep(tmp_path, "NVIDIA H200", "2026-11-21T00:00:00Z", [through(1.5)]) == []
    found, refused = kept(tmp_path)
    assert isinstance(found, InstalledPath) and refused == [] and found.measured == (through(1.5),)
    assert len(keep(tmp_path, "NVIDIA H200", "2026-11-21T00:00:00Z", [through(1.1)])) == len(kept(tmp_path)[1]) == 1
    export.write_text('{"rows": 2}')  # exported again: nothing is known of it
    assert kept(tmp_path) == (None, [])
    place(tmp_path).write_text("{")
    with pytest.raises(BadInput, match="installed_path"):
        kept(tmp_path)


def test_a_real_function_through_its_own_name() -> None:
    """Nothing swapped: the same function on both sides is the same, by the clock on the wall."""

    def work() -> None:
        sum(range(2000))

    def clock() -> float:
        began = time.perf_counter()
        for _ in range(100):
            work()
        return (time.perf_counter() - began) / 100

    pairs = measure(clock, clock, seed=2)
    found = through(1.0, pairs=pairs, how="wall").found
    assert len(pairs) == 20 and found.low < 0.2 and found.high > -0.2
