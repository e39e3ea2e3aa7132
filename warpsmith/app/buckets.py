"""From a log to what was observed: executions by (kernel, grid, block), their quantiles, and what was passed.

Pure. Reads logs that were decoded, or the rows of a profiler's trace; touches no files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal, TypeVar

from warpsmith.app.log import Log
from warpsmith.app.symbols import as_float, decode, demangled, is_pointer, parts, scalar_type
from warpsmith.model.launch import How, KernelTime, Launch, Three
from warpsmith.model.observed import BufferSeen, Configuration, ObservedKernel, ParameterSeen, ScalarSeen

Value = TypeVar("Value")
TOP = 5
"""Configurations of a kernel that are kept, at most."""
COVER = 0.90
"""Share of a kernel's device time that the kept ones shall make up; no more are kept than that takes."""
RATIO = 2.5
"""Launches of one configuration are split into fast and slow where their p95 is so many times their p25."""
LEAST_TO_SPLIT = 8
"""Launches; fewer say nothing of two kinds."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a kernel is kept."""

    top: int = TOP
    cover: float = COVER
    ratio: float = RATIO


USUAL = Choice()


@dataclass(frozen=True, slots=True)
class Execution:
    """A kernel that ran, with what it was given, where that is known."""

    symbol: str
    grid: Three
    block: Three
    cluster: Three
    static_bytes: int
    dynamic_bytes: int
    registers: int
    seconds: float
    by_graph: bool = False
    launch: Launch | None = None
    index: int | None = None
    """Of the launch, among those of its symbol, grid and block in its process; None for what a graph ran."""


def executions(log: Log) -> list[Execution]:
    """Every execution of one process, joined with its launch or its graph's node."""
    direct: dict[int, tuple[Launch, int]] = {}
    counted: Counter[tuple[str, Three, Three]] = Counter()
    nodes: dict[int, list[Launch]] = {}
    for launch in log.launches:
        if launch.how <= How.cooperative:
            key = (launch.function.symbol, launch.grid, launch.block)
            direct[launch.correlation] = launch, counted[key]
            counted[key] += 1
        if launch.node and launch.result == 0:
            nodes.setdefault(launch.node, []).append(launch)
    graphs = {g.correlation: g for g in log.graph_launches}
    found = []
    for time in log.times:
        made: Launch | None = None
        index: int | None = None
        if time.node:
            graph = graphs.get(time.correlation)
            # a node that was set later was still the old one when an earlier launch of its graph was asked for
            before = graph.at_ns if graph is not None else time.start_ns
            own = graph.exec if graph is not None else None
            for candidate in nodes.get(log.origin(time.node), ()):
                if candidate.at_ns <= before and (candidate.how is not How.exec_node_set or candidate.exec == own):
                    made = candidate
        elif time.correlation in direct:
            made, index = direct[time.correlation]
        found.append(_execution(time, made, index))
    return found


def _execution(time: KernelTime, launch: Launch | None, index: int | None) -> Execution:
    """Under a swap the launch says what was asked for, and the time what ran."""
    asked = launch if launch is not None and launch.rule is not None else None
    return Execution(
        symbol=asked.function.symbol if asked else time.symbol,
        grid=asked.grid if asked else time.grid,
        block=asked.block if asked else time.block,
        cluster=launch.cluster if launch else _cluster(time.cluster),
        static_bytes=time.static_bytes,
        dynamic_bytes=time.dynamic_bytes,
        registers=launch.function.registers if launch and not asked else time.registers,
        seconds=time.seconds,
        by_graph=bool(time.node),
        launch=launch,
        index=index,
    )


def _cluster(cluster: Three) -> Three:
    x, y, z = (max(1, n) for n in cluster)
    return x, y, z


def kernels(ran: Sequence[Execution], choice: Choice = USUAL) -> tuple[ObservedKernel, ...]:
    """The kernels of a run, the most device time first."""
    groups: dict[str, list[Execution]] = {}
    for execution in ran:
        groups.setdefault(execution.symbol, []).append(execution)
    whole = sum(e.seconds for e in ran)
    found = [_kernel(symbol, members, whole, choice) for symbol, members in groups.items()]
    return tuple(sorted(found, key=lambda k: (-k.seconds, k.symbol)))


def _kernel(symbol: str, members: list[Execution], whole: float, choice: Choice) -> ObservedKernel:
    buckets: dict[tuple[Three, Three], list[Execution]] = {}
    for execution in members:
        buckets.setdefault((execution.grid, execution.block), []).append(execution)
    launch = next((e.launch for e in members if e.launch is not None), None)
    parameters = _parameters(launch)
    seen = [
        _configuration(part, speed, whole, parameters)
        for bucket in buckets.values()
        for speed, part in split(bucket, choice.ratio)
    ]
    seconds = sum(e.seconds for e in members)
    kept = representatives(seen, seconds, choice)
    return ObservedKernel(
        symbol=symbol,
        name=demangled(symbol),
        parameters=parameters,
        parameters_known=launch is not None and not launch.unknown,
        registers=members[0].registers,
        launches=len(members),
        seconds=seconds,
        share=_share(seconds, whole),
        cooperative=any(e.launch is not None and e.launch.cooperative for e in members),
        configurations=kept,
        covered=_share(sum(c.seconds for c in kept), seconds),
        configurations_seen=len(seen),
    )


def representatives(seen: Iterable[Configuration], seconds: float, choice: Choice) -> tuple[Configuration, ...]:
    """The fewest that cover ``choice.cover`` of ``seconds``, and ``choice.top`` at most; the most time first."""
    kept: list[Configuration] = []
    reached = 0.0
    for one in sorted(seen, key=lambda c: (-c.seconds, c.grid, c.block, c.speed)):
        if len(kept) == choice.top or (kept and reached >= choice.cover * seconds):
            break
        kept.append(one)
        reached += one.seconds
    return tuple(kept)


Speed = Literal["all", "fast", "slow"]


def split(bucket: Sequence[Execution], ratio: float) -> list[tuple[Speed, list[Execution]]]:
    """The bucket as one, or its fast and its slow launches, parted at the geometric mean of p25 and p95."""
    times = sorted(e.seconds for e in bucket)
    low, high = quantile(times, 0.25), quantile(times, 0.95)
    if len(times) < LEAST_TO_SPLIT or low <= 0 or high <= ratio * low:
        return [("all", list(bucket))]
    limit = sqrt(low * high)
    fast = [e for e in bucket if e.seconds <= limit]
    return [("fast", fast), ("slow", [e for e in bucket if e.seconds > limit])]


def quantile(ordered: Sequence[float], share: float) -> float:
    """Of sorted values, by linear interpolation."""
    at = share * (len(ordered) - 1)
    below = int(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (at - below)


def _configuration(
    members: list[Execution], speed: Speed, whole: float, parameters: tuple[ParameterSeen, ...]
) -> Configuration:
    times = sorted(e.seconds for e in members)
    launches = [e.launch for e in members if e.launch is not None and e.launch.parameters]
    indices = [e.index for e in members if e.index is not None]
    return Configuration(
        grid=members[0].grid,
        block=members[0].block,
        cluster=_most(e.cluster for e in members),
        static_bytes=members[0].static_bytes,
        dynamic_bytes=_most(e.dynamic_bytes for e in members),
        speed=speed,
        launches=len(members),
        by_graphs=sum(e.by_graph for e in members),
        seconds=sum(times),
        share=_share(sum(times), whole),
        p25_s=quantile(times, 0.25),
        p50_s=quantile(times, 0.5),
        p95_s=quantile(times, 0.95),
        first=min(indices, default=None),
        scalars=_scalars(launches, parameters),
        buffers=_buffers(launches, parameters),
    )


def _share(part: float, whole: float) -> float:
    return min(1.0, part / whole) if whole > 0 else 0.0


def _most(values: Iterable[Value]) -> Value:
    return Counter(values).most_common(1)[0][0]


def _parameters(launch: Launch | None) -> tuple[ParameterSeen, ...]:
    if launch is None:
        return ()
    layout = launch.function.parameters
    types = parts(launch.function.symbol).types
    if types is None or len(types) != len(layout):
        types = ("",) * len(layout)
    return tuple(
        ParameterSeen(index=i, offset=offset, size=size, type=type_)
        for i, ((offset, size), type_) in enumerate(zip(layout, types, strict=True))
    )


def _scalars(launches: list[Launch], parameters: tuple[ParameterSeen, ...]) -> tuple[ScalarSeen, ...]:
    """Every parameter that is no pointer, by its type or, without one, since it never lay in an allocation."""
    pointers = {b.offset for launch in launches for b in launch.buffers}
    found = []
    for parameter in parameters:
        known = scalar_type(parameter.type)
        if is_pointer(parameter.type) or (not parameter.type and parameter.size == 8 and parameter.offset in pointers):
            continue
        end = parameter.offset + parameter.size
        values = Counter(launch.parameters[parameter.offset : end] for launch in launches)
        if not values:
            continue
        content, times = values.most_common(1)[0]
        # a struct keeps its bytes; a lone value of an unknown type is read as an integer
        read = {bytes_: decode(known, bytes_) if known or not parameter.type else bytes_.hex() for bytes_ in values}
        numbers = [v for v in read.values() if not isinstance(v, str)]
        found.append(
            ScalarSeen(
                index=parameter.index,
                type=parameter.type,
                value=read[content],
                share=times / len(launches),
                distinct=len(values),
                low=min(numbers, default=None),
                high=max(numbers, default=None),
                as_float=None if parameter.type else as_float(content),
            )
        )
    return tuple(found)


def _buffers(launches: list[Launch], parameters: tuple[ParameterSeen, ...]) -> tuple[BufferSeen, ...]:
    sizes: dict[int, list[int]] = {}
    together: dict[int, set[int]] = {}
    for launch in launches:
        by_base: dict[int, list[int]] = {}
        for buffer in launch.buffers:
            rest = buffer.base + buffer.size - launch.pointer(buffer)
            sizes.setdefault(buffer.offset, []).append(rest)
            by_base.setdefault(buffer.base, []).append(buffer.offset)
        for offsets in by_base.values():
            for offset in offsets:
                together.setdefault(offset, set()).update(o for o in offsets if o != offset)
    found = []
    for offset, rests in sorted(sizes.items()):
        holder = next((p for p in parameters if p.offset <= offset < p.offset + p.size), None)
        if holder is None or scalar_type(holder.type):
            continue  # an integer that happens to look like an address
        found.append(
            BufferSeen(
                index=holder.index,
                offset=offset,
                type=holder.type,
                least_bytes=min(rests),
                most_bytes=max(rests),
                shared_with=tuple(sorted(together[offset])),
            )
        )
    return tuple(found)
