"""Whole campaigns on harness tasks: a scripted model over real sockets and SDKs, real programs, the real judge.

The harness counts comparisons, so what is found is the same on any machine, and a replay is the same to the byte.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from tests.fakes import FakeCrew, failed
from tests.judge.test_serving_campaign import project as served
from tests.propose.askers import Still
from tests.propose.server import KEY, Server, fails, tokens
from tests.propose.sorting import (
    BENCH,
    BINARY,
    CRASHES,
    HEAD,
    INSERTION,
    TASK,
    UNBUILDABLE,
    reply,
    sorting,
)
from tests.propose.test_llm_campaign import FIX, PROPOSE, names, proposals, system
from warpsmith.analyse.standing import standing
from warpsmith.campaign import optimize
from warpsmith.judge.machine import detect
from warpsmith.model.campaign import Budget
from warpsmith.model.evaluation import Evaluation, Status, Trust
from warpsmith.model.step import Measure, Step
from warpsmith.propose.llm.proposer import Llm
from warpsmith.propose.llm.sitting import Keeping, open_asker
from warpsmith.store.history import History
from warpsmith.store.ledger import Ledger, read_events
from warpsmith.surface.asked import Recording
from warpsmith.surface.campaigns import open_campaign, place_for, run_campaign
from warpsmith.surface.explanations import explanations
from warpsmith.surface.run_folder import write_run
from warpsmith.surface.view import view
from warpsmith.surface.workspace import Workspace

OUTSIDE = reply("counting in the harness", {"bench.c": BENCH.replace("comparisons++;", "")})
ELIDED = reply(
    "insertion", {"sort.c": f"{HEAD}void sort(int *x, int n) {{\n    // ... rest of the code unchanged ...\n}}\n"}
)
Campaigning = Callable[[Path, dict[str, str], Recording], tuple[Workspace, History]]
BUDGET = Budget(rounds=2, patience=9)


def scripts() -> tuple[Server, Server]:
    proposing = Server([OUTSIDE, fails(429, 0.0), ELIDED, reply("insertion", {"sort.c": CRASHES}),
                        reply("search where it goes by halves", {"workspace/sort.c": BINARY})])  # fmt: skip
    fixing = Server(
        [reply("fix the first value", {"sort.c": UNBUILDABLE}), reply("fix the name", {"sort.c": INSERTION})]
    )
    return proposing, fixing


def judged(root: Path, models: dict[str, str], recording: Recording) -> tuple[Workspace, History]:
    """The campaign as people start it."""
    sorting(root)
    space = Workspace(root, {"proposer": "llm", **models, "asks": 1})
    return space, run_campaign(space, space.task(TASK), "main", BUDGET, recording=recording)


def scripted(root: Path, models: dict[str, str], recording: Recording) -> tuple[Workspace, History]:
    """The same without a judge: what it would find is read off the sources."""
    sorting(root)
    space = Workspace(root, {"proposer": "llm", **models, "asks": 1})
    known, target = space.task(TASK), detect("cpu")
    folder = space.campaign_folder(TASK, "main")
    keeping = Keeping(folder / "asks", folder / "transcript" if recording.transcript else None)
    told = (space.settings, BUDGET, keeping, {} if recording.replay else {"TEST_KEY": KEY})
    asker = open_asker(*told, replay=recording.replay, pace=Still().pace())
    seen: dict[str, str] = {}

    class Crew(FakeCrew):
        def submit(self, step: Step, history: History) -> None:
            for identity, c in history.candidates.items():
                seen[identity] = "".join(space.blobs.get(s.content).decode() for s in c.sources)
            super().submit(step, history)

    def fail(step: Measure) -> Evaluation | None:
        status, detail = FOUND.get(seen[step.candidate], (None, ""))
        return failed(known.loaded.head, step, status, detail) if status else None

    crew = Crew(known.loaded.head, fail=fail, proposer=Llm(place_for(space, known, target, asker)),
                time_of=lambda c: {BINARY: 0.1, INSERTION: 0.5}.get(seen[c.id], 1.0))  # fmt: skip
    with Ledger(space.ledger(TASK, "main")) as ledger:
        h = optimize(open_campaign(space, known, target, "main", "llm", BUDGET), crew, ledger, known.all)
    asker.close()
    return space, h


FOUND = {
    CRASHES: (Status.crashed, "the run ended with SIGSEGV; it printed nothing"),
    UNBUILDABLE: (
        Status.build_failed,
        "prepare ended with status 1; stderr ends \"sort.c:7:16: error: 'where' undeclared\"",
    ),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("campaign", [scripted, pytest.param(judged, marks=pytest.mark.slow)])
def test_overlays_of_a_model_among_mistakes_end_with_the_gain_and_the_campaign_replays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, campaign: Campaigning
) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    proposing, fixing = scripts()
    with proposing, fixing:
        models = names(proposing, fixing)
        space, h = campaign(tmp_path / "first", models, Recording(transcript=True))
        assert not proposing.script and not fixing.script, "every scripted answer was asked for"
        events = read_events(space.ledger(TASK, "main"))
        _the_gain_is_kept(space, h)
        assert "sort.c:7: 'where' undeclared" in fixing.requests[1].last.replace("\u2018", "'").replace("\u2019", "'")
        _every_mistake_is_told_and_kept(events, h)
        assert h.money == proposing.bill(**PROPOSE) + fixing.bill(**FIX), "to the cent, and beyond"
        assert h.money > Decimal(0)
        for server in (proposing, fixing):
            _stable_blocks_are_the_same(server)
        assert [p for p in tmp_path.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()] == []
        sent = len(proposing.requests) + len(fixing.requests)
        monkeypatch.delenv("TEST_KEY")
        kept = space.campaign_folder(TASK, "main") / "transcript"
        again, replayed = campaign(tmp_path / "again", models, Recording(replay=kept))
        assert len(proposing.requests) + len(fixing.requests) == sent, "no network, no key"
    assert [r.candidates for r in replayed.rounds] == [r.candidates for r in h.rounds]
    assert standing(replayed).best == standing(h).best
    notes = [a.note for _, p in proposals(read_events(again.ledger(TASK, "main"))) for a in p.asks]
    assert notes == [""] * len(notes), "the prompts are the same to the byte"
    written = write_run(events, view(h, None), space.blobs, tmp_path / "run", explanations(space, space.task(TASK)))
    assert [Path(w).name for w in written] == ["report.md", "000-propose", "001-fix", "002-fix", "003-propose"]
    best = tmp_path / "run/003-propose" / standing(h).best[:10]
    assert (best / "sort.c").read_text() == BINARY


def _the_gain_is_kept(space: Workspace, h: History) -> None:
    s = standing(h)
    best = h.candidates[s.best]
    assert [x.path for x in best.sources] == ["sort.c"]
    assert space.blobs.get(best.sources[0].content).decode() == BINARY
    published = s.published[s.best]
    assert published.comparison.verdict.value == "faster"
    assert published.evaluation.trust is Trust.harness_reported
    assert best.memo.startswith("[search]")


def _every_mistake_is_told_and_kept(events: list, h: History) -> None:
    asked = proposals(events)
    assert [step.role for step, _ in asked] == ["propose", "fix", "fix", "propose"]
    drafts = [d for _, p in asked for d in p.drafts]
    assert [bool(d.candidate) for d in drafts] == [False, False, True, True, True, True]
    assert "bench.c cannot be changed by a candidate. Mutable are: sort.c, tables/*" in drafts[0].problems[0]
    assert "leaves code out" in drafts[1].problems[0]
    assert drafts[-1].notes == ("workspace/sort.c was taken for sort.c",)
    s = standing(h)
    crashing, unbuildable, mended, _ = (d.candidate or "" for d in drafts[2:])
    assert s.failed[crashing].startswith("crashed: ") and "SIGSEGV" in s.failed[crashing]
    assert s.failed[unbuildable].startswith("build_failed: ") and "sort.c:7" in s.failed[unbuildable]
    assert mended in s.leaders
    assert h.candidates[mended].memo.startswith("[insertion]"), "the idea keeps its name"


def _stable_blocks_are_the_same(server: Server) -> None:
    """Byte-identical from ask to ask, and read from the cache from the second on."""
    answered = [r for r in server.requests if r.status == 200]
    assert len({json.dumps(system(r)) for r in answered}) == 1
    stable = sum(tokens(text) for text in system(answered[0]))
    assert all(r.usage.cache_read >= stable for r in answered[1:])
    told = "\n".join(system(answered[0]))
    for words in ("Fewer comparisons.", "Mutable: sort.c, tables/*", "comparisons: THE OBJECTIVE", "moves: guardrail",
                  "Every pair, again", "GAP: one of 1, 2, 3", "`wrong` in the document is 0", "LD_*"):  # fmt: skip
        assert words in told, words
    assert "counts what sort() does" not in told, "the harness is not for changing"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_served_model_is_made_faster_by_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that crashes is mended; then the knob that the guardrail allows is found."""
    monkeypatch.setenv("TEST_KEY", KEY)
    crashing = reply("fault a variable", None, '[environment]\nMOCK_FAULT = "crash"\n')
    mended = reply("fault taken back, two slots more", None, "environment = {}\n[tunables]\nSLOTS = 8\n")
    with Server([crashing]) as proposing, Server([mended]) as fixing:
        space = Workspace(served(tmp_path), {"proposer": "llm", **names(proposing, fixing), "asks": 1})
        h = run_campaign(space, space.task("my/served"), "main", Budget(rounds=1, patience=9))
        assert not proposing.script and not fixing.script
        told = proposing.requests[0].prompt
        assert "batch.tok_s: THE OBJECTIVE, token/s, larger is better" in told and "single.ttft_p50: guardrail" in told
        assert "every token equals the baseline's" in told and "SLOTS: one of 2, 4, 8, 16" in told
        assert "Status: crashed" in fixing.requests[0].last and "a server that stays up" in fixing.requests[0].last
    s = standing(h)
    assert h.candidates[s.best].parameters == {"SLOTS": 8} and not h.candidates[s.best].environment
    assert s.published[s.best].comparison.verdict.value == "faster"
    assert any(reason.startswith("crashed") for reason in s.failed.values())
