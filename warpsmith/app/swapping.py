"""A candidate's launch plan as swap rules: one per configuration of the application, its numbers evaluated. Pure.

The injection library compares grid, block and bytes of the parameters; it evaluates nothing. So launches that were
recorded say which configurations there are, and parameters count only where the plan depends on them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from warpsmith.app.capturetypes import DECODED
from warpsmith.app.injection import MOST_RULES, SwapRule
from warpsmith.app.symbols import decode
from warpsmith.errors import BadInput, ExpressionError
from warpsmith.judge.plan import MOST_BLOCKS, MOST_THREADS, MOST_THREADS_PER_BLOCK
from warpsmith.model.candidate import Candidate
from warpsmith.model.candidate import Launch as Planned
from warpsmith.model.captured import GEOMETRY
from warpsmith.model.expression import Number, evaluate, evaluate_int, names
from warpsmith.model.launch import Launch, Three
from warpsmith.model.task import DEVICE_FACTS, AppTask


@dataclass(frozen=True)
class Replacement:
    """What a launch becomes."""

    grid: Three
    block: Three
    shared_bytes: int


@dataclass(frozen=True)
class Swaps:
    """The rules of one candidate in one application."""

    rules: tuple[SwapRule, ...]
    launches: int
    """Recorded launches of the kernel."""
    covered: int
    """Of those, that some rule replaces."""
    notes: tuple[str, ...] = ()


def planned(candidate: Candidate, task: AppTask) -> tuple[Planned, ...]:
    """The launches of a candidate that may each stand for the original. Raises BadInput for one that cannot.

    One launch must do the whole work, with the original's parameters in their order: there is no place for more.
    """
    instead = "Use 'integrate', which changes the source."
    if candidate.scratch or candidate.tensor_map:
        raise BadInput("the candidate needs scratch buffers or tensor maps, which a swapped launch has not.", instead)
    if not candidate.launch or any(one.when is None for one in candidate.launch[:-1]):
        raise BadInput("the candidate launches several kernels, and a swap replaces one by one.", instead)
    wanted = tuple(p.name for p in task.parameters)
    for one in candidate.launch:
        if one.arguments != wanted:
            raise BadInput(
                f"{one.kernel} takes {', '.join(one.arguments)}, and the original {', '.join(wanted)}.",
                "A swapped kernel has the signature of the original.",
            )
    return candidate.launch


def rules(
    candidate: Candidate, task: AppTask, launches: Sequence[Launch], image: Path, facts: Mapping[str, int]
) -> Swaps:
    """The rules under which ``image`` stands for the original in all of ``launches``, the most frequent first.

    Raises BadInput where no launch can be replaced.
    """
    plan = planned(candidate, task)
    mine = [x for x in launches if x.function.symbol == task.original.symbol and x.parameters]
    used = _used(plan)
    groups: dict[tuple[Three, Three], dict[tuple[tuple[int, bytes], ...], list[Launch]]] = {}
    for launch in mine:
        key = (launch.grid, launch.block)
        groups.setdefault(key, {}).setdefault(_conditions(task, launch, used), []).append(launch)
    found: list[tuple[int, SwapRule]] = []
    notes: Counter[str] = Counter()
    for (grid, block), kinds in groups.items():
        answers = {where: _answer(plan, candidate, task, same[0], facts) for where, same in kinds.items()}
        whole = len(set(map(str, answers.values()))) == 1
        for where, (kernel, answer, why) in answers.items():
            if answer is None:
                notes[why] += len(kinds[where])
                continue
            count = sum(map(len, kinds.values())) if whole else len(kinds[where])
            rule = SwapRule(
                task.original.symbol, image, kernel, grid, block, answer.grid, answer.block, answer.shared_bytes,
                () if whole else where,
            )  # fmt: skip
            found.append((count, rule))
            if whole:
                break
    found.sort(key=lambda one: -one[0])
    if len(found) > MOST_RULES:
        left = sum(count for count, _ in found[MOST_RULES:])
        notes[f"more than {MOST_RULES} configurations: the rarest stay as they are"] += left
        found = found[:MOST_RULES]
    if not found:
        said = "; ".join(notes) or "it was never launched"
        raise BadInput(f"no launch of {task.original.name} can be replaced: {said}.", "See the candidate's [[launch]].")
    texts = tuple(f"{count} launches keep the original: {why}" for why, count in notes.items())
    return Swaps(tuple(rule for _, rule in found), len(mine), sum(count for count, _ in found), texts)


def _used(plan: Sequence[Planned]) -> frozenset[str]:
    """The names that the plan's numbers depend on."""
    found: set[str] = set()
    for one in plan:
        for text in (*one.grid, *(one.block or ()), one.shared_bytes, *([one.when] if one.when is not None else [])):
            found |= names(text)
    return frozenset(found)


def _layout(task: AppTask, launch: Launch) -> list[tuple[str, int, int]]:
    """Name, offset and size of each parameter."""
    if len(task.parameters) != len(launch.function.parameters):
        raise BadInput(f"{task.original.name} takes other parameters than when it was captured.", "Capture it again.")
    return [(p.name, o, s) for p, (o, s) in zip(task.parameters, launch.function.parameters, strict=True)]


def _conditions(task: AppTask, launch: Launch, used: frozenset[str]) -> tuple[tuple[int, bytes], ...]:
    """The bytes of the parameters that the plan depends on."""
    found = []
    for name, offset, size in _layout(task, launch):
        if name in used:
            found.append((offset, launch.parameters[offset : offset + size]))
        for at in range(0, size - 3, 4):
            if f"{name}_{at}" in used:
                found.append((offset + at, launch.parameters[offset + at : offset + at + 4]))
    return tuple(found)


def _environment(candidate: Candidate, task: AppTask, launch: Launch, facts: Mapping[str, int]) -> dict[str, Number]:
    """What a launch plan may name, of one launch of the application."""
    scalars = {a.name: a.element for a in task.arguments if not a.is_tensor}
    said: dict[str, Number] = dict(zip(GEOMETRY, (*launch.grid, *launch.block), strict=True))
    said["SHARED_BYTES"] = launch.dynamic_bytes
    for name, offset, size in _layout(task, launch):
        content = launch.parameters[offset : offset + size]
        if name in scalars:
            value = decode(DECODED[scalars[name]], content)
            said[name] = value if not isinstance(value, str) else float("nan")
        else:
            for at in range(0, size - 3, 4):
                said[f"{name}_{at}"] = int.from_bytes(content[at : at + 4], "little", signed=True)
    return {**said, **candidate.parameters, **{n: v for n, v in facts.items() if n in DEVICE_FACTS}}


def _answer(
    plan: Sequence[Planned], candidate: Candidate, task: AppTask, launch: Launch, facts: Mapping[str, int]
) -> tuple[str, Replacement | None, str]:
    """Kernel and geometry of the replacement; None with a reason where there is none."""
    if launch.unknown:
        return "", None, "its parameters are not known"
    try:
        environment = _environment(candidate, task, launch, facts)
        one = next((p for p in plan if p.when is None or evaluate(p.when, environment)), None)
        if one is None:
            return "", None, "the candidate has no kernel for it"
        grid, block = _three(one.grid, environment), _three(one.block or (0, 0, 0), environment)
        shared = evaluate_int(one.shared_bytes, environment)
        cluster = _three(one.cluster, environment) if one.cluster else (1, 1, 1)
    except ExpressionError as error:
        return "", None, str(error)
    for name, extents, most in (("grid", grid, MOST_BLOCKS), ("block", block, MOST_THREADS)):
        if any(not 1 <= e <= m for e, m in zip(extents, most, strict=True)):
            return "", None, f"the {name} {extents} is out of range"
    if prod(block) > MOST_THREADS_PER_BLOCK or shared < 0:
        return "", None, f"a block of {prod(block)} threads with {shared} bytes of shared memory is out of range"
    if cluster != launch.cluster:
        return "", None, f"the application asks for clusters of {launch.cluster}, and the candidate for {cluster}"
    if prod(cluster) > 1 and any(g % c for g, c in zip(grid, cluster, strict=True)):
        return "", None, f"the grid {grid} is no multiple of the cluster {cluster}"
    if launch.cooperative and prod(grid) > prod(launch.grid):
        return "", None, "a cooperative launch may not grow: all its blocks must be resident"
    return one.kernel, Replacement(grid, block, shared), ""


def _three(extents: Sequence[str | int], environment: Mapping[str, Number]) -> Three:
    x, y, z = (evaluate_int(e, environment) for e in extents)
    return x, y, z
