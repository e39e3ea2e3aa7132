"""Strategies and small real things for the tests of knowledge."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from tests.fakes import BASELINE, ENTRY, KERNEL, FakeCrew, campaign, candidate, failed, ledger_path
from warpsmith.campaign import optimize
from warpsmith.knowledge.library import Library
from warpsmith.knowledge.memory import Attempt, Checked, Outcome
from warpsmith.model.base import Digest
from warpsmith.model.campaign import Budget, Decided, Event, Submitted
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Status
from warpsmith.model.step import Measure
from warpsmith.model.step import Outcome as StepOutcome
from warpsmith.store.blobs import Blobs
from warpsmith.store.ledger import Ledger, read_events

DIGESTS: st.SearchStrategy[Digest] = st.text("0123456789abcdef", min_size=64, max_size=64)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
"""Anything that JSON and UTF-8 can carry, control characters and Markdown among it."""
FACTORS = st.none() | st.floats(0.001, 1000)
WORDS = st.from_regex(r"[a-z0-9_+./\-]{1,12}", fullmatch=True)
EVENTS = st.integers(1, 5)
CHECKED = st.builds(Checked, rule=WORDS, metric=WORDS, before=st.floats(0, 9), after=st.floats(0, 9), hit=st.booleans())


@st.composite
def attempts(draw: st.DrawFn) -> Attempt:
    """Any attempt; campaigns and candidates are few, so that keys meet. What belongs to a campaign follows from it."""
    number = draw(st.integers(0, 2))
    return Attempt(
        task=("cpu/a", "cuda/b-2", "x/y_z")[number],
        campaign=f"{number:016x}",
        tag="main",
        hardware="cpu",
        device=("AMD | EPYC", "NVIDIA H200", "<b>`x`")[number],
        architecture="sm_90",
        events=draw(EVENTS),
        candidate=f"{draw(st.integers(0, 3)):064x}",
        parent=draw(st.none() | DIGESTS),
        origin=draw(TEXT),
        outcome=draw(st.sampled_from(Outcome)),
        status=draw(st.sampled_from([s.value for s in Status])),
        why=draw(TEXT),
        memo=draw(TEXT),
        edit=draw(st.just("") | WORDS),
        rules=tuple(draw(st.lists(WORDS, max_size=2, unique=True))),
        checked=tuple(draw(st.lists(CHECKED, max_size=1))),
        bottleneck=draw(st.sampled_from(["", "memory_bound", "latency_bound"])),
        parameters=draw(st.dictionaries(st.sampled_from(["TILE", "VEC"]), st.integers(-3, 64), max_size=2)),
        changed=draw(
            st.dictionaries(WORDS, st.tuples(st.none() | st.integers(), st.none() | st.integers()), max_size=2)
        ),
        rival=draw(st.none() | DIGESTS),
        effort=draw(st.sampled_from(["", "screen", "promote"])),
        speedup=draw(FACTORS),
        low=draw(FACTORS),
        high=draw(FACTORS),
        confidence=draw(st.sampled_from([0.95, 0.975])),
        pairs=draw(st.integers(0, 20)),
        over_baseline=draw(FACTORS),
    )


MEMO = "[vectorise] 16-byte loads | answers poor_coalescing\nand not low_ipc twice: poor_coalescing"
GIFT = candidate("gift", TILE=8, UNROLL=2, EXTRA=1).model_copy(update={"memo": MEMO, "parent": ENTRY.id})
WRONG = candidate("wrong").model_copy(update={"memo": "[fuse] one pass", "parent": ENTRY.id})
BROKEN = candidate("broken").model_copy(update={"memo": "no tag at all", "parent": ENTRY.id})


def time_of(c: Candidate) -> float:
    """The gift is the fastest of all; the baseline takes 1."""
    if c.id == GIFT.id:
        return 0.25
    return 1.0 if not c.parameters else 0.5 + 0.05 * abs(c.parameters["TILE"] - 8)


def fail(step: Measure) -> StepOutcome | None:
    """One hand-in is wrong, one does not build."""
    if step.candidate == WRONG.id:
        return failed(KERNEL, step, Status.wrong_values, "row 3")
    return failed(KERNEL, step, Status.build_failed, "no such type\nline 2") if step.candidate == BROKEN.id else None


def run(folder: Path, **changes: object) -> list[Event]:
    """A whole campaign on fakes, with three candidates from outside; appends to the ledger of ``folder``."""
    path = ledger_path(folder)
    gifts = [Submitted(candidate=c, at=0) for c in (GIFT, WRONG, BROKEN)]
    with Ledger(path) as ledger:
        crew = FakeCrew(KERNEL, fail=fail, time_of=time_of, submissions=gifts)
        optimize(
            campaign(KERNEL, **{"budget": Budget(rounds=2, patience=2), **changes}), crew, ledger, (BASELINE, ENTRY)
        )
    return read_events(path)


def decided(result: str, decision: str = "integrate", reason: str = "", identity: str = GIFT.id) -> Decided:
    return Decided.model_validate(
        {"candidate": identity, "decision": decision, "result": result, "reason": reason, "at": 0.0}
    )


def library(root: Path) -> Library:
    """The library of a project folder, read anew."""
    home = root / ".warpsmith"
    return Library(home, root, Blobs(home / "blobs"))


def ledger_folder(root: Path, task: str = "fake/kernel", tag: str = "main") -> Path:
    """Where the ledger of a campaign lies in a project folder."""
    folder = root / ".warpsmith" / "campaigns" / task / tag
    folder.mkdir(parents=True, exist_ok=True)
    return folder
