"""A real export of a C release, installed over a framework's function that computes with numpy, on any machine."""

from __future__ import annotations

import importlib
import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ship.export_things import exported, project_with_release, shelf_of
from tests.ship.install_things import forget, framework, installer
from tests.ship.things import snapshot
from warpsmith.ship import callside
from warpsmith.ship.export.arrival import looker
from warpsmith.ship.export.family import Family
from warpsmith.ship.installed import Through, against, keep, kept, measure
from warpsmith.surface.patching import Installation, take_out

pytestmark = pytest.mark.skipif(importlib.util.find_spec("tvm_ffi") is None, reason="an export needs apache-tvm-ffi")
FRAMEWORK = '''\
def axpy(x, y0, alpha=1.5, out=None, *, plain=False):
    """Slowly, on purpose: three passes and two temporaries."""
    made = (x.astype("float64") * alpha + y0.astype("float64")).astype("float32")
    if out is None:
        return made
    out[...] = made
    return out
'''
SLOW_HOOK = """\
import time


def hook(original, dispatch):
    bound = dispatch.bind(original)

    def axpy(x, y0, alpha=1.5, out=None, *, plain=False):
        time.sleep(0.002)  # a wrapper that costs more than the kernel wins
        return bound(x, y0, alpha, out)

    return axpy
"""


def aligned(size: int) -> Any:
    """Numbers whose address is a multiple of 64 bytes, as the guard asks; numpy promises 16."""
    raw = np.empty(size + 16, dtype=np.float32)
    start = -raw.ctypes.data % 64 // 4
    raw[start : start + size] = np.random.default_rng(1).standard_normal(size)
    return raw[start : start + size]


class Road:
    """The exported package on the path, with the framework beside it."""

    def __init__(self, root: Path) -> None:
        space = project_with_release(root)
        answer = exported(space, "my/axpy")
        assert not answer.against, answer.against
        self.package = root / "site" / "axpy_export"
        shutil.copytree(answer.path, self.package)
        (root / "site" / "numpyfw.py").write_text(FRAMEWORK)
        (root / "site" / "numpyfw_hooks.py").write_text(SLOW_HOOK)
        self.rows = json.loads((self.package / "export.json").read_text())["rows"]
        sys.path.insert(0, str(root / "site"))
        self.it = installer("axpy_export")
        self.dispatch = next(iter(importlib.import_module("axpy_export").DISPATCH.values()))
        self.framework = importlib.import_module("numpyfw")
        size = self.rows[0]["boxes"][0]["N"]["high"]
        self.x, self.y0 = aligned(size), aligned(size)

    def install(self, **adapter: Any) -> Any:
        target = {"target": "numpyfw:axpy", "dispatch": self.dispatch.name,
                  "signature": "(x, y0, alpha=1.5, out=None, *, plain=False)", "adapter": adapter}  # fmt: skip
        (state,) = self.it.install("axpy_export", [target])
        return state

    def clock(self, function: Callable[..., Any], calls: int) -> Callable[[], float]:
        """The quickest call of ``calls``: what others on this machine do is in the rest."""

        def timed() -> float:
            found = []
            for _ in range(calls):
                began = time.perf_counter()
                function(self.x, self.y0)
                found.append(time.perf_counter() - began)
            return min(found)

        return timed


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    made = Road(tmp_path_factory.mktemp("road"))
    yield made
    made.it.uninstall("axpy_export")
    forget("axpy_export", "numpyfw", "numpyfw_hooks")
    sys.path.remove(str(made.package.parent))


@pytest.mark.slow
def test_calls_reach_the_kernel_and_the_rest_the_original(road: Road) -> None:
    original = road.framework.axpy
    state = road.install()
    assert (state.state, state.release) == ("installed", "my/axpy@1.0.0")
    road.dispatch.reset()
    wanted, out = original(road.x, road.y0), aligned(road.x.size)
    np.testing.assert_allclose(road.framework.axpy(road.x, road.y0), wanted, rtol=1e-5, atol=1e-6)
    assert road.framework.axpy(road.x, road.y0, alpha=1.5, out=out) is out
    np.testing.assert_allclose(out, wanted, rtol=1e-5, atol=1e-6)
    hits = road.dispatch.hits
    every_other = road.framework.axpy(road.x[::2], road.y0[::2])  # not contiguous
    np.testing.assert_array_equal(every_other, wanted[::2])
    np.testing.assert_array_equal(road.framework.axpy(road.x, road.y0, 3.0), original(road.x, road.y0, 3.0))
    road.framework.axpy(road.x, road.y0, plain=True)
    (now,) = road.it.status("axpy_export")
    assert (hits, now.hits, now.fallbacks) == (2, 2, 3)
    (gone,) = road.it.uninstall("axpy_export")
    assert gone.state == "removed" and road.framework.axpy is original


def through(road: Road, original: Callable[..., Any], calls: int = 100) -> Through:
    """Called through the framework's name, in turns with the original; the direct binding's win has to arrive."""
    values = {"x": road.x, "y0": road.y0, "alpha": 1.5}

    def direct(x: Any, y0: Any) -> Any:
        values["y"] = np.empty_like(x)
        road.dispatch.direct(*(values[name] for name in road.dispatch.positional if name in values))
        return values["y"]

    before = road.dispatch.hits
    pairs = measure(road.clock(original, calls), road.clock(road.framework.axpy, calls), pairs=10, seed=1)
    hits = road.dispatch.hits - before
    alone = measure(road.clock(original, calls), road.clock(direct, calls), pairs=10, seed=2)
    wanted = statistics.geometric_mean(a / b for a, b in alone)
    return Through(release=road.dispatch.release, target="numpyfw:axpy", workload="large", how="wall", wanted=wanted,
                   wanted_of="direct", pairs=pairs, calls=10 * calls, hits=hits)  # fmt: skip


@pytest.mark.slow
def test_the_win_arrives_and_a_slow_wrapper_is_refused(road: Road) -> None:
    """A quarter may be lost here: other processes share this machine. What the wrapper costs is far beyond it."""
    original = road.framework.axpy
    road.install()
    found = through(road, original)
    assert found.hits == found.calls and found.wanted > 1.2
    assert against([found], most_lost=0.25) == []
    assert keep(road.package, "this processor", "2026-11-21T00:00:00Z", [found]) == kept(road.package)[1]
    road.it.uninstall("axpy_export")
    assert road.install(hook="numpyfw_hooks:hook").state == "installed"
    (refusal,) = against([through(road, original)], most_lost=0.25)
    assert refusal.reason == "installed_path" and "lost on the way" in refusal.message
    assert road.it.uninstall("axpy_export")[0].state == "removed"


@pytest.mark.slow
def test_an_export_whose_win_does_not_arrive_is_not_put_in_its_place(tmp_path: Path) -> None:
    """Called for real, through an installed function; then what was found is lost, here and as it is kept."""
    space = project_with_release(tmp_path)
    look, found = looker(shelf_of(space), space.home / "cache" / "build"), []

    def arrives(family: Family, package: Path) -> tuple[Through, ...]:
        measured = look(family, package)
        assert not isinstance(measured, str), measured
        assert [(one.how, one.target, one.hits) for one in measured] == [
            ("wall", "axpy_framework:axpy", measured[0].calls)
        ]
        found.extend(one.model_copy(update={"wanted": 1e-3}) for one in measured)  # this machine is shared with others
        return tuple(found)

    def lost(*_: object) -> tuple[Through, ...]:
        return tuple(one.model_copy(update={"wanted": 1e3, "workload": name}) for one in found for name in ("a", "b"))

    answer = exported(space, "my/axpy", look=arrives)
    assert not answer.against and answer.installed_path[0]["shown"]
    package = Path(answer.path)
    assert kept(package)[0].measured == tuple(found)  # type: ignore[union-attr]
    assert json.loads((package / "export.json").read_text())["installed_path"] == answer.installed_path
    before = snapshot(space.root / "exports")
    refused = exported(space, "my/axpy", look=lost)
    assert [a.reason for a in refused.against] == ["installed_path"] * 2 and refused.exit_status == 1
    assert "a (wall): lost on the way" in refused.against[0].message and snapshot(space.root / "exports") == before
    again = exported(
        space, "my/axpy", look=lambda *_: "not measured: no device"
    )  # the same export: what is kept counts
    assert not again.against and again.installed_path == answer.installed_path
    keep(package, "elsewhere", "2026-11-21T00:00:00Z", lost())
    (one, other) = exported(space, "my/axpy", look=lambda *_: "not measured: no device").against
    assert (one.reason, other.reason) == ("installed_path", "installed_path")


def test_both_sides_that_do_not_compute_the_same_are_found() -> None:
    x = np.ones(8)
    assert callside.apart(x, x) == 0 and callside.apart((x, x), (x, 2 * x)) == 1
    assert not callside.apart((x, x), (x, np.full(8, np.nan))) <= callside.MOST_APART


@pytest.mark.slow
def test_an_export_makes_the_lines_of_frameworks_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed in an environment, upgraded there, exported again."""
    space = project_with_release(tmp_path)
    init = framework(tmp_path / "site", "fw") / "__init__.py"
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    bare = init.read_bytes()
    package = Path(exported(space, "my/axpy").path)
    asked = Installation.asked(space, package, "", sys.executable)
    assert asked.install(asked.choose(("fw.norms:add",), None, "axpy"), dry_run=False).changed
    lines = init.read_bytes()
    assert exported(space, "my/axpy").notes == () and init.read_bytes() == lines != bare
    init.write_bytes(bare)
    metadata = tmp_path / "site" / "fw-1.2.3.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("1.2.3", "1.3.0"))
    (note,) = exported(space, "my/axpy").notes
    assert "fw.norms:add is changed" in note and "1.3.0" in note and init.read_bytes() == bare
    targets = package.parent / "axpy.targets.json"
    targets.write_text(targets.read_text().replace("==1.2.3", ">=1.2"))
    assert exported(space, "my/axpy").notes == ("its lines in fw were gone; made anew for 1.3.0",)
    assert b": fw 1.3.0, file" in init.read_bytes()
    assert take_out(space, "axpy", "").removed[0].exact and init.read_bytes() == bare
