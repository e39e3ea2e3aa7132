"""Is the task worth judging by? Answers that compute nothing must fail it, on every workload.

The lazy answers are given what no candidate has: the expected output itself, to take its mean from. Whatever passes
even then could be had without the work, and no speed-up on such a task means anything. Inputs are ``normal``, as in
timed calls.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from warpsmith.errors import TaskAtFault
from warpsmith.judge.inputs import HiddenInputs
from warpsmith.judge.numeric import Array, Numeric
from warpsmith.judge.oracle import Oracle
from warpsmith.judge.verify import verify
from warpsmith.model.head import Workload
from warpsmith.model.task import Argument, KernelTask

DRAWS = 3
"""Other draws whose mean stands for the expectation."""
GLANCE = 1 << 16
"""Elements of the first rows that are looked at before a whole tensor is."""
CLEARLY_WRONG = 0.9
"""An answer that misses more than a tenth of those elements needs no second look."""


def admit(task: KernelTask, oracle: Oracle, inputs: HiddenInputs, numeric: Numeric) -> None:
    """Raise TaskAtFault, naming workload and trick, where an answer that computes nothing passes."""
    for workload in task.workloads:
        given = inputs.draw(workload)
        expected = oracle.expect(workload, given)
        usual = _mean_of_draws(workload, oracle, inputs, numeric)
        for argument in oracle.outputs:
            wanted = numeric.f64(expected[argument.name])
            if math.prod(wanted.shape) == 0:
                continue
            for trick, answer in _tricks(wanted, given, usual[argument.name], numeric):
                if passes(answer, wanted, argument, numeric, task.tolerance.relative_rms):
                    raise TaskAtFault(
                        f"workload {workload.name!r}: {trick} would pass as {argument.name!r}, so the task cannot tell"
                        f" who does the work.",
                        "Change the output, the workload or the tolerance until it fails (docs/tasks.md, Admission).",
                    )


def _mean_of_draws(workload: Workload, oracle: Oracle, inputs: HiddenInputs, numeric: Numeric) -> dict[str, Array]:
    """The mean of each output over other draws, summed as they come: an output may be large."""
    total: dict[str, Array] = {}
    for _ in range(DRAWS):
        for name, values in oracle.expect(workload, inputs.draw(workload)).items():
            share = numeric.f64(values) / DRAWS
            total[name] = total[name] + share if name in total else share
    return total


def _tricks(wanted: Array, given: dict[str, Array], usual: Array, numeric: Numeric) -> Iterator[tuple[str, Array]]:
    """Names and float64 answers of the shape of ``wanted``, one at a time: each may be as large as the output."""
    xp = numeric.xp
    yield "an answer of zeros", xp.zeros_like(wanted)
    if math.prod(wanted.shape) > 1:
        yield "a constant, the mean of the expected output,", xp.zeros_like(wanted) + xp.mean(wanted)
    rows = xp.reshape(wanted, (-1, wanted.shape[-1])) if wanted.ndim else None
    if rows is not None and rows.shape[0] > 1:
        mean = xp.mean(rows, axis=0, keepdims=True)
        yield "the mean row of the expected output", xp.reshape(xp.zeros_like(rows) + mean, wanted.shape)
    for name, values in given.items():
        if tuple(values.shape) == tuple(wanted.shape):
            yield f"the input {name!r} passed through", numeric.f64(values)
    yield f"the mean of {DRAWS} other draws", usual


def passes(answer: Array, wanted: Array, argument: Argument, numeric: Numeric, limit: float | None) -> bool:
    """Whether ``answer``, cast to the dtype of the output, is right by the judge's own limits."""
    columns = int(wanted.shape[-1]) if wanted.ndim else 1
    first = max(1, GLANCE // columns)
    flat = (a.reshape(-1, columns) for a in (answer, wanted))
    out, ref = (a[:first] for a in flat)
    glance = verify(_stored(out, argument, numeric), ref, argument, numeric, limit)
    if glance.wrong and glance.error.matched < CLEARLY_WRONG:
        return False
    return not verify(_stored(answer, argument, numeric), wanted, argument, numeric, limit).wrong


def _stored(values: Array, argument: Argument, numeric: Numeric) -> Array:
    if not argument.element.is_float:
        values = numeric.xp.round(values)
    return numeric.cast(values, argument.element)
