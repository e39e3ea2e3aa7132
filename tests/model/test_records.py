"""Records that make no sense cannot be built; those that do survive the way through JSON."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tests.fakes import BASELINE, ENTRY, KERNEL, KINDS, campaign, failed, measured
from warpsmith.model.asks import AskRecord, BlockRecord, Try, Usage
from warpsmith.model.campaign import Consulted, Decided, Event, Finished, Opened, Started, Submitted
from warpsmith.model.evaluation import (
    Build,
    Ceiling,
    Effort,
    Evaluation,
    KernelBuild,
    Metric,
    Status,
    TensorError,
    WorkloadResult,
)
from warpsmith.model.head import Direction, Workload
from warpsmith.model.profile import KernelProfile, Profile
from warpsmith.model.step import (
    Explain,
    Fault,
    Measure,
    Outcome,
    Proposal,
    Propose,
    Result,
    Step,
    step_key,
)
from warpsmith.model.task import Argument, Dtype, KernelTask, Role, Task
from warpsmith.store.history import History

STEP = Measure(candidate=ENTRY.id, rival=BASELINE.id, effort=Effort.screen, round=1)
HISTORY = History() + Opened(campaign=campaign(KERNEL), candidates=(BASELINE, ENTRY), at=0)
GOOD = measured(KERNEL, STEP, HISTORY)
METRIC = GOOD.workloads[0].metrics[0]
EVENT: TypeAdapter[Event] = TypeAdapter(Event)

# --- refusals


def metric(candidate: Any = (1.0,), rival: Any = (1.0,)) -> Metric:
    return Metric(name="time", unit="s", direction=Direction.minimize, candidate=candidate, rival=rival)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, 0.0, -1e-9])
@pytest.mark.parametrize("side", ["candidate", "rival"])
def test_a_sample_is_positive_and_finite(wrong: float, side: str) -> None:
    with pytest.raises(ValidationError):
        metric(**{side: (wrong,)})


def test_samples_come_in_pairs() -> None:
    with pytest.raises(ValidationError, match="2 samples face 1"):
        metric((1.0, 1.0), (1.0,))
    with pytest.raises(ValidationError):
        metric((), ())


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.passed])
def test_metrics_need_a_passed_verdict(status: Status) -> None:
    with pytest.raises(ValidationError, match="metrics without a passed verdict"):
        WorkloadResult(workload="w", status=status, detail="why", metrics=(METRIC,))


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.passed])
def test_a_failure_says_why(status: Status) -> None:
    with pytest.raises(ValidationError, match="needs a detail"):
        WorkloadResult(workload="w", status=status)
    with pytest.raises(ValidationError, match="needs a detail"):
        failed(KERNEL, STEP, status, "")


def changed(evaluation: Evaluation, **update: Any) -> Evaluation:
    """Validated again, unlike model_copy."""
    return Evaluation.model_validate({**evaluation.model_dump(), **update})


def test_passed_means_every_workload() -> None:
    broken = WorkloadResult(workload="large", status=Status.crashed, detail="SIGSEGV")
    with pytest.raises(ValidationError, match="'large' is crashed"):
        changed(GOOD, workloads=(GOOD.workloads[0], broken))
    with pytest.raises(ValidationError, match="without any workload"):
        changed(GOOD, workloads=())


def test_what_was_not_built_was_not_run() -> None:
    ran = WorkloadResult(workload="small", status=Status.passed)
    with pytest.raises(ValidationError, match="no workloads"):
        changed(GOOD, status=Status.build_failed, detail="syntax", workloads=(ran,))


def test_no_time_stands_beside_a_rival_that_failed() -> None:
    with pytest.raises(ValidationError, match="rival"):
        changed(GOOD, rival_status=Status.wrong_values, rival_detail="row 3")
    assert not GOOD.model_copy(update={"rival_status": Status.crashed}).passed
    assert GOOD.passed


@pytest.mark.parametrize("matched", [-0.1, 1.1, math.nan])
def test_a_share_is_a_share(matched: float) -> None:
    with pytest.raises(ValidationError):
        TensorError(tensor="y", relative_rms=0, worst_row=0, limit=0, matched=matched)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_what_json_cannot_carry_is_refused_before_it_reaches_a_ledger(wrong: float) -> None:
    for build in (
        lambda: Finished(step=STEP, outcome=GOOD, seconds=wrong, at=0),
        lambda: AskRecord(role="fix", model="m", prompt="0" * 64, cost=Decimal(wrong)),
        lambda: KernelProfile(kernel="k", grid=(1, 1, 1), block=(1, 1, 1), metrics={"ipc": wrong}),
        lambda: TensorError(tensor="y", relative_rms=wrong, worst_row=0, limit=0, matched=1),
    ):
        with pytest.raises(ValidationError):
            build()


def argument(**changes: Any) -> Argument:
    return Argument.model_validate({"name": "x", "role": "input", "dtype": "f32", "shape": ["N"], **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dtype": None}, "needs dtype and shape"),
        ({"shape": None}, "needs dtype and shape"),
        ({"role": "axis", "dtype": None}, "only tensors have a shape"),
        ({"role": "axis", "shape": None}, "an axis is an i64"),
        ({"role": "scalar", "dtype": None, "shape": None}, "a scalar's dtype is one of"),
        ({"name": "2x"}, "pattern"),
        ({"dtype": "f8"}, "'f64'"),
    ],
)
def test_arguments_that_make_no_sense(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        argument(**changes)


def kernel(**changes: Any) -> KernelTask:
    said = {**KERNEL.model_dump(), **changes}
    return KernelTask.model_validate(said)


SCALAR = Argument(name="alpha", role=Role.scalar, dtype=Dtype.f32)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arguments": (argument(),)}, "role 'output'"),
        ({"arguments": (*KERNEL.arguments, *KERNEL.arguments)}, "argument names repeat"),
        ({"arguments": (*KERNEL.arguments, SCALAR)}, "'alpha' has no value"),
        ({"arguments": (*KERNEL.arguments, Argument(name="M", role=Role.axis))}, "'M' has no value"),
        ({"workloads": (Workload(name="w", axes={"N": 1}, scalars={"beta": 1.0}),)}, "unknown scalars"),
        ({"workloads": (Workload(name="w", axes={"N": -1}),)}, "negative shape"),
        ({"workloads": ()}, "at least 1"),
        ({"bytes": "0 - N"}, "must not be negative"),
        ({"bytes": "N / 3"}, "whole number"),
        ({"flops": "1e400 * N"}, "inf"),
        ({"flops": "N ** 64 * N ** 64 * N ** 64 * N ** 64 * N ** 64 * N ** 64"}, "too large"),
        ({"flops": "(0 - N) ** 0.5"}, "must be real"),
        ({"bytes": "1 / 0 * K"}, "division by zero"),
        ({"name": "nogroup"}, "pattern"),
    ],
)
def test_tasks_that_make_no_sense(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        kernel(**changes)


def test_a_workload_may_set_a_scalar_and_an_axis_may_be_zero() -> None:
    task = kernel(
        arguments=(*KERNEL.arguments, SCALAR.model_copy(update={"value": 1.5})),
        workloads=(Workload(name="w", axes={"N": 0}, scalars={"alpha": 3.0}), Workload(name="v", axes={"N": 1})),
    )
    scalar = task.arguments[1]
    assert [task.scalar(scalar, w) for w in task.workloads] == [3.0, 1.5]
    assert task.traffic(task.workloads[0]) == 0


# --- round trips

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
TEXTS = st.text(max_size=12)
TIMES = st.floats(0, 1e9)
SAMPLES = st.floats(1e-9, 1e3)
ATTEMPTS = st.integers(0, 3)
IDS = st.sampled_from([BASELINE.id, ENTRY.id])
CANDIDATES = st.builds(
    lambda base, memo, parent, parameters: base.model_copy(
        update={"memo": memo, "parent": parent, "parameters": parameters}
    ),
    st.sampled_from([BASELINE, ENTRY]),
    TEXTS,
    st.none() | IDS,
    st.dictionaries(NAMES, st.integers(-(2**40), 2**40), max_size=2),
)
STEPS = st.one_of(
    st.builds(Propose, round=ATTEMPTS, parent=IDS, count=st.integers(1, 9), attempt=ATTEMPTS),
    st.builds(
        Measure, candidate=IDS, rival=IDS, effort=st.sampled_from(list(Effort)), round=ATTEMPTS, attempt=ATTEMPTS
    ),
    st.builds(Explain, candidate=IDS, round=ATTEMPTS, attempt=ATTEMPTS),
)


@st.composite
def results(draw: st.DrawFn) -> WorkloadResult:
    pairs = draw(st.lists(st.tuples(SAMPLES, SAMPLES), min_size=1, max_size=4))
    taken = Metric(
        name=draw(NAMES),
        unit="s",
        direction=draw(st.sampled_from(list(Direction))),
        candidate=tuple(c for c, _ in pairs),
        rival=tuple(r for _, r in pairs),
    )
    error = TensorError(
        tensor="y", relative_rms=draw(TIMES), worst_row=1.7e308, limit=1e-5, matched=draw(st.floats(0, 1))
    )
    ceiling = Ceiling(bytes=draw(st.integers(1, 2**50)), seconds=(draw(SAMPLES),), how=draw(TEXTS))
    return WorkloadResult(
        workload=draw(TEXTS),
        status=Status.passed,
        calls=draw(ATTEMPTS),
        errors=(error,),
        metrics=(taken,),
        ceiling=ceiling,
    )


BUILDS = st.builds(
    Build,
    toolchain=NAMES,
    command=st.tuples(TEXTS, TEXTS),
    seconds=TIMES,
    cached=st.booleans(),
    binary=IDS,
    binary_bytes=st.integers(0, 2**40),
    kernels=st.lists(st.builds(KernelBuild, name=TEXTS, registers=st.none() | ATTEMPTS), max_size=2).map(tuple),
    log=TEXTS,
)
EVALUATIONS = st.one_of(
    st.builds(
        lambda some, build: GOOD.model_copy(update={"workloads": tuple(some), "build": build}),
        st.lists(results(), min_size=1, max_size=2),
        st.none() | BUILDS,
    ),
    st.builds(
        lambda status, why: failed(KERNEL, STEP, status, why or "?"),
        st.sampled_from([s for s in Status if s is not Status.passed]),
        TEXTS,
    ),
)
KERNELS = st.builds(
    KernelProfile,
    kernel=NAMES,
    grid=st.just((1, 1, 1)),
    block=st.just((32, 1, 1)),
    metrics=st.dictionaries(NAMES, TIMES, max_size=2),
)
MONEY = st.none() | st.decimals(min_value=0, max_value=100, places=9)
USAGES = st.builds(Usage, input=ATTEMPTS, cache_read=ATTEMPTS, output=ATTEMPTS)
TRIES = st.builds(Try, ending=st.sampled_from(["answered", "stream_cut"]), usage=USAGES, cost=MONEY, detail=TEXTS)
ASKS = st.builds(
    AskRecord,
    role=st.sampled_from(["propose", "compact"]),
    model=TEXTS,
    prompt=IDS,
    blocks=st.lists(st.builds(BlockRecord, name=TEXTS, digest=IDS, tokens=ATTEMPTS), max_size=2).map(tuple),
    tries=st.lists(TRIES, max_size=2).map(tuple),
    usage=USAGES,
    cost=MONEY,
)
OUTCOMES = st.one_of(
    st.builds(Fault, what=TEXTS, detail=TEXTS, asks=st.lists(ASKS, max_size=2).map(tuple)),
    st.builds(
        Proposal,
        candidates=st.lists(CANDIDATES, max_size=2).map(tuple),
        exhausted=st.booleans(),
        notes=TEXTS,
        asks=st.lists(ASKS, max_size=2).map(tuple),
    ),
    EVALUATIONS,
    st.builds(Profile, candidate=IDS, tool=TEXTS, kernels=st.lists(KERNELS, max_size=2).map(tuple)),
)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        Opened,
        campaign=st.sampled_from([campaign(t) for t in KINDS.values()]),
        candidates=st.lists(CANDIDATES, max_size=2).map(tuple),
        at=TIMES,
    ),
    st.builds(Started, step=STEPS, at=TIMES),
    st.builds(Finished, step=STEPS, outcome=OUTCOMES, seconds=TIMES, at=TIMES),
    st.builds(Submitted, candidate=CANDIDATES, by=TEXTS, at=TIMES),
    st.builds(
        Decided,
        candidate=IDS,
        decision=st.sampled_from(["trial", "integrate", "promote", "reject"]),
        result=st.sampled_from(["deployed", "rolled_back", "short_circuit", "accepted", "rejected"]),
        reason=TEXTS,
        at=TIMES,
    ),
    st.builds(Consulted, asks=st.lists(ASKS, max_size=2).map(tuple), about=TEXTS, at=TIMES),
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(EVENTS)
def test_every_event_survives_its_line(event: Event) -> None:
    line = event.model_dump_json()
    assert "\n" not in line, "an event is one line of the ledger"
    back = EVENT.validate_json(line)
    assert back == event
    assert type(back) is type(event)
    assert back.model_dump_json() == line


@given(OUTCOMES)
@settings(deadline=None, max_examples=50)
def test_every_outcome_survives_the_way_from_the_judge(outcome: Outcome) -> None:
    result = Result(outcome=outcome, seconds=1.5, phases={"build": 0.5})
    assert Result.model_validate_json(result.model_dump_json()) == result


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_task_survives(kind: str) -> None:
    adapter: TypeAdapter[Task] = TypeAdapter(Task)
    back = adapter.validate_json(KINDS[kind].model_dump_json())
    assert back == KINDS[kind]
    assert back.kind == kind


@settings(deadline=None)
@given(STEPS, ATTEMPTS)
def test_a_step_is_known_by_all_but_its_attempt(step: Step, attempt: int) -> None:
    assert step_key(step.model_copy(update={"attempt": attempt})) == step_key(step)
    assert step_key(step.model_copy(update={"round": step.round + 1})) != step_key(step)
