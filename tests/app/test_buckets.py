"""From executions to what is kept: buckets, fast and slow ones, the leading ones, and what graphs ran."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warpsmith.app.buckets import Choice, Execution, executions, kernels, quantile, split
from warpsmith.app.log import Log
from warpsmith.model.launch import Buffer, Function, GraphLaunch, How, KernelTime, Launch

SCALE = Function(1, "_Z5scalePfif", ((0, 8), (8, 4), (12, 4)), 0, 16, 0, 1024, 90)
ONE = (1, 1, 1)


def launch(correlation: int, count: int = 100, by: float = 0.5, **more: object) -> Launch:
    base = Launch(
        sequence=correlation, at_ns=10 * correlation, function=SCALE, correlation=correlation, how=How.kernel,
        grid=(4, 1, 1), block=(256, 1, 1), cluster=ONE, dynamic_bytes=0,
        parameters=struct.pack("<Qif", 0x7F0000000100, count, by),
        buffers=(Buffer(0, 0x7F0000000000, 4096),), stream=0, context=1, device=0, thread=1, node=0, exec=0, result=0,
        rule=None, captured=False, packed=False, unknown=False, cooperative=False,
    )  # fmt: skip
    return replace(base, **more)  # type: ignore[arg-type]


def timed(correlation: int, ns: int = 1000, **more: object) -> KernelTime:
    base = KernelTime(
        SCALE.symbol, 10 * correlation + 5, 10 * correlation + 5 + ns, correlation, 0, 0, 0, 1, 7, (4, 1, 1),
        (256, 1, 1), (0, 0, 0), 0, 0, 16,
    )  # fmt: skip
    return replace(base, **more)  # type: ignore[arg-type]


def log(launches: list[Launch], times: list[KernelTime], **more: object) -> Log:
    made = Log(Path("x"), 1, 0, 0, True, len(launches), 0, 0, 0, 0, (), True)
    made.launches, made.times = launches, times
    for name, value in more.items():
        setattr(made, name, value)
    return made


def ran(seconds: float, grid: tuple[int, int, int] = (4, 1, 1), symbol: str = SCALE.symbol) -> Execution:
    return Execution(symbol, grid, (256, 1, 1), ONE, 0, 0, 16, seconds)


def test_scalars_and_buffers_of_a_configuration() -> None:
    launches = [launch(i, count=100 if i < 4 else 7) for i in range(5)]
    (kernel,) = kernels(executions(log(launches, [timed(i) for i in range(5)])))
    assert (kernel.name, kernel.launches, kernel.share) == ("scale(float*, int, float)", 5, 1.0)
    assert [p.type for p in kernel.parameters] == ["float*", "int", "float"]
    (one,) = kernel.configurations
    count, by = one.scalars
    assert (count.index, count.type, count.value, count.share, count.low, count.high) == (1, "int", 100, 0.8, 7, 100)
    assert (by.index, by.value, by.distinct) == (2, 0.5, 1)
    (buffer,) = one.buffers
    assert (buffer.index, buffer.least_bytes, buffer.most_bytes) == (0, 4096 - 256, 4096 - 256)
    assert one.first == 0


def test_types_that_are_not_known_are_read_both_ways() -> None:
    bare = replace(SCALE, symbol="scale_kernel")
    launches = [launch(1, function=bare)]
    (kernel,) = kernels(executions(log(launches, [timed(1, symbol="scale_kernel")])))
    pointer = kernel.parameters[0]
    assert (pointer.type, [s.index for s in kernel.configurations[0].scalars]) == ("", [1, 2])
    count, by = kernel.configurations[0].scalars
    assert (count.value, count.as_float) == (100, None)
    assert (by.value, by.as_float) == (0x3F000000, 0.5)


def test_an_unknown_layout_is_said() -> None:
    unknown = replace(SCALE, parameters=())
    launches = [launch(1, function=unknown, unknown=True, parameters=b"", buffers=())]
    (kernel,) = kernels(executions(log(launches, [timed(1)])))
    assert not kernel.parameters_known
    assert kernel.configurations[0].scalars == ()


def test_fast_and_slow_launches_stand_apart() -> None:
    times = [timed(i, 1000 if i % 2 else 4000) for i in range(20)]
    (kernel,) = kernels(executions(log([launch(i) for i in range(20)], times)))
    slow, fast = kernel.configurations
    assert (slow.speed, slow.launches, slow.p50_s, slow.first) == ("slow", 10, 4e-6, 0)
    assert (fast.speed, fast.launches, fast.p95_s, fast.first) == ("fast", 10, 1e-6, 1)


def test_a_swapped_kernel_counts_as_what_was_asked_for() -> None:
    launches = [launch(1, rule=0)]
    times = [timed(1, symbol="mine", grid=(2, 1, 1), block=(512, 1, 1))]
    (found,) = executions(log(launches, times))
    assert (found.symbol, found.grid, found.block) == (SCALE.symbol, (4, 1, 1), (256, 1, 1))


def test_what_a_graph_ran_has_the_arguments_of_its_node() -> None:
    """A node that was set counts for launches of its graph that were asked for afterwards, and for no other graph."""
    node = launch(1, by=2.0, how=How.node_added, node=50)
    other = launch(3, by=9.0, how=How.exec_node_set, node=50, exec=77)
    changed = launch(4, by=0.25, how=How.exec_node_set, node=50, exec=66)
    graphs = [GraphLaunch(20, 2, 66, 0, 1, 1, 0), GraphLaunch(60, 6, 66, 0, 1, 1, 0)]
    times = [timed(2, node=52, start_ns=900, end_ns=990), timed(6, node=52, start_ns=1000, end_ns=1090)]
    clones = {52: 51, 51: 50}
    found = executions(log([node, other, changed], times, graph_launches=graphs, clones=clones))
    assert [struct.unpack_from("<f", e.launch.parameters, 12)[0] for e in found if e.launch] == [2.0, 0.25]
    assert all(e.by_graph and e.index is None for e in found)


def test_clones_that_go_in_a_circle_end() -> None:
    assert log([], [], clones={1: 2, 2: 1}).origin(1) in (1, 2)


def test_launches_are_numbered_as_a_capture_counts_them() -> None:
    launches = [launch(1), launch(2, grid=(8, 1, 1)), launch(3, captured=True, node=9), launch(4)]
    found = executions(log(launches, [timed(1), timed(2, grid=(8, 1, 1)), timed(4)]))
    assert [e.index for e in found] == [0, 0, 2]


@pytest.mark.parametrize("count", [0, 7])
def test_few_launches_are_not_split(count: int) -> None:
    members = [ran(1e-6), *[ran(1e-3)] * (count - 1)] if count else [ran(1e-6)]
    assert [speed for speed, _ in split(members, 2.5)] == ["all"]


seconds = st.floats(1e-7, 1.0)
extents = st.sampled_from([(1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 1, 1), (5, 1, 1), (6, 1, 1), (7, 1, 1)])


@given(
    st.lists(st.tuples(seconds, extents, st.sampled_from(["_Z5scalePfif", "other"])), min_size=1, max_size=120),
    st.integers(1, 7), st.floats(0.1, 1.0), st.floats(1.1, 10.0),
)  # fmt: skip
@settings(max_examples=120, deadline=None)
def test_what_is_kept_holds_together(
    rows: list[tuple[float, tuple[int, int, int], str]], top: int, cover: float, ratio: float
) -> None:
    members = [ran(s, grid, symbol) for s, grid, symbol in rows]
    found = kernels(members, Choice(top, cover, ratio))
    assert sum(k.launches for k in found) == len(rows)
    assert sum(k.share for k in found) == pytest.approx(1.0)
    assert sum(k.seconds for k in found) == pytest.approx(sum(s for s, _, _ in rows))
    assert [k.seconds for k in found] == sorted((k.seconds for k in found), reverse=True)
    for kernel in found:
        kept = kernel.configurations
        assert 1 <= len(kept) <= top
        assert kernel.covered >= cover * 0.999999 or len(kept) == top
        assert sum(c.seconds for c in kept[:-1]) < cover * kernel.seconds * 1.000001
        assert all(c.p25_s <= c.p50_s <= c.p95_s for c in kept)
        assert sum(c.launches for c in kept) <= kernel.launches


@given(st.lists(seconds, min_size=8, max_size=60), st.floats(1.1, 10.0))
@settings(max_examples=120, deadline=None)
def test_a_split_parts_all_launches(times: list[float], ratio: float) -> None:
    parted = split([ran(t) for t in times], ratio)
    assert sorted(e.seconds for _, part in parted for e in part) == sorted(times)
    if len(parted) == 2:
        (_, fast), (_, slow) = parted
        assert fast and slow
        assert max(e.seconds for e in fast) < min(e.seconds for e in slow)


def test_quantiles_are_interpolated() -> None:
    assert quantile([1.0], 0.95) == 1.0
    assert quantile([1.0, 2.0, 3.0, 5.0], 0.5) == 2.5
    assert quantile([0.0, 10.0], 0.25) == 2.5
