"""A campaign whose leaders are profiled: by a profiler that works, and by ones that do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes import BASELINE, ENTRY, KERNEL, FakeCrew, campaign, ledger_path
from tests.profilers.tools import tool
from tests.projects import project
from warpsmith.analyse.standing import standing
from warpsmith.campaign import optimize
from warpsmith.crew import LocalCrew
from warpsmith.errors import ProfilerFailed
from warpsmith.model.base import digest_bytes
from warpsmith.model.profile import Profile
from warpsmith.model.step import Explain, Fault, Measure, Outcome, Step
from warpsmith.store.history import History, fold
from warpsmith.store.ledger import Ledger, read_events
from warpsmith.surface.campaigns import crew_for, open_campaign, proposer_at
from warpsmith.surface.profiling import kept, profile_request, take
from warpsmith.surface.workspace import Workspace

LOST = Fault(what="the worker was lost", detail="killed")
MISSING = Fault(what="no profile", detail="ncu may not read the counters", final=True)


class ProfilingCrew(FakeCrew):
    """Carries Explain steps out with ``explain``."""

    def __init__(self, explain: Callable[[Explain], Outcome]) -> None:
        super().__init__(KERNEL)
        self.explain = explain

    def _outcome(self, step: Step, history: History) -> Outcome:
        return self.explain(step) if isinstance(step, Explain) else super()._outcome(step, history)


def run(folder: Path, explain: Callable[[Explain], Outcome]) -> tuple[History, list[Explain]]:
    crew = ProfilingCrew(explain)
    with Ledger(ledger_path(folder)) as ledger:
        h = optimize(campaign(KERNEL, explain=True, attempts=3), crew, ledger, (BASELINE, ENTRY))
    assert fold(read_events(ledger_path(folder))) == h
    return h, [s for s in crew.carried_out if isinstance(s, Explain)]


def test_every_leader_is_profiled_once(tmp_path: Path) -> None:
    h, asked = run(tmp_path, lambda step: Profile(candidate=step.candidate, tool="fake"))
    assert [s.candidate for s in asked] == list(standing(h).leaders[1:]) == list(h.profiles)


@pytest.mark.parametrize(("fault", "attempts"), [(MISSING, 1), (LOST, 3)])
def test_without_a_profile_the_campaign_goes_on(tmp_path: Path, fault: Fault, attempts: int) -> None:
    h, asked = run(tmp_path, lambda step: fault)
    s = standing(h)
    assert h.candidates[s.best].parameters == {"TILE": 8, "UNROLL": 2}
    assert not h.profiles and not s.unexplained and not h.refused
    for leader in s.leaders[1:]:
        assert sum(step.candidate == leader for step in asked) == attempts
        assert (leader in h.unexplained) == fault.final
    assert not any(isinstance(step, Measure) for step in h.faulted.values())


def test_a_profile_that_comes_at_the_second_attempt(tmp_path: Path) -> None:
    seen: set[str] = set()

    def once_lost(step: Explain) -> Outcome:
        if step.candidate in seen:
            return Profile(candidate=step.candidate, tool="fake")
        seen.add(step.candidate)
        return LOST

    h, _ = run(tmp_path, once_lost)
    assert list(h.profiles) == list(standing(h).leaders[1:])


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    tmp_path.chmod(0o755)  # the user inside the sandbox runs a program of it
    return project(tmp_path)


@pytest.mark.parametrize(
    ("body", "version", "says"),
    [
        ("exit 3", None, "exit status 3"),
        ("kill -SEGV $$", None, "SIGSEGV"),
        ("exit 0", "valgrind-2.0.0", "version 2.0.0, and 3.15"),
    ],
)  # fmt: skip
def test_the_crew_says_what_a_broken_profiler_did(
    space: Workspace, tmp_path: Path, body: str, version: str | None, says: str
) -> None:
    tool(tmp_path / "bin", "valgrind", body, version)
    known = space.task("my/axpy")
    target = space.target(known)
    opened = open_campaign(space, known, target, "main", "sweep", campaign(KERNEL).budget)
    assert not opened.explain, "no rule reads what the processor's counters say"
    crew = crew_for(space, known, opened, proposer_at("sweep", None))
    assert isinstance(crew, LocalCrew)
    try:
        step = Explain(candidate=known.entry.id, round=0)
        crew.submit(step, History(candidates={known.entry.id: known.entry}))
        assert crew.free == 0
        finished = crew.next()
    finally:
        crew.close()
    assert crew.free == 1 and finished.step == step
    assert isinstance(finished.outcome, Fault) and finished.outcome.final
    assert says in finished.outcome.detail


def test_the_verb_raises_what_the_campaign_notes(space: Workspace, tmp_path: Path) -> None:
    tool(tmp_path / "bin", "valgrind", "exit 0", "valgrind-2.0.0")
    known = space.task("my/axpy")
    step = Explain(candidate=known.entry.id, round=0)
    request = profile_request(space, known, space.target(known), step, known.entry)
    with pytest.raises(ProfilerFailed, match="oldest that will do"):
        take(space, known, request)
    assert kept(space, known, request) is None


@pytest.mark.slow
def test_callgrind_on_a_candidate_in_a_session(tmp_path: Path) -> None:
    import shutil

    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed")
    space = project(tmp_path)
    known = space.task("my/axpy")
    step = Explain(candidate=known.entry.id, round=0)
    request = profile_request(space, known, space.target(known), step, known.entry, workload="odd")
    found = take(space, known, request)
    (kernel,) = found.kernels
    source = space.blobs.get(known.entry.sources[0].content).decode().splitlines()
    assert kernel.lines[0].text == source[kernel.lines[0].line - 1].strip()
    assert kernel.metrics["cpu_instructions"] > 1000
    (report,) = found.reports
    assert digest_bytes(space.blobs.get(report)) == report
    assert kept(space, known, request) == found
