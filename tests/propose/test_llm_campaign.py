"""A whole campaign with a scripted model over real sockets, real SDKs, a real compiler and the real judge."""

from __future__ import annotations

import json
import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from tests.fakes import FakeCrew, failed
from tests.projects import calibrate
from tests.propose.askers import Still
from tests.propose.server import GRAIN, KEY, Received, Server, fails, tokens
from tests.propose.speaking import Scripted
from warpsmith.analyse.standing import standing
from warpsmith.campaign import optimize
from warpsmith.errors import BadInput, Missing
from warpsmith.judge.machine import detect
from warpsmith.model.campaign import Budget, Finished
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Evaluation, Status
from warpsmith.model.step import Draft, Measure, Proposal, Propose, Step
from warpsmith.propose.llm.proposer import Llm
from warpsmith.propose.llm.sitting import CampaignAsker, Keeping, open_asker
from warpsmith.store.blobs import Blobs
from warpsmith.store.history import History
from warpsmith.store.ledger import Ledger, read_events
from warpsmith.surface.asked import Recording
from warpsmith.surface.campaigns import open_campaign, place_for, run_campaign
from warpsmith.surface.explanations import explanations
from warpsmith.surface.run_folder import write_run
from warpsmith.surface.view import view
from warpsmith.surface.workspace import Workspace

ROOT = Path(__file__).parents[2]
PROPOSE = {"input": "4", "cache_write": "5", "cache_read": "0.20", "output": "20"}
"""claude-opus-5-5, US dollars per million tokens: the provider's list, not our table."""
FIX = {"input": "2", "cache_write": "2.50", "cache_read": "0.10", "output": "10"}
"""claude-sonnet-5-5."""
OPENAI = {"input": "2", "cache_read": "0.10", "output": "10"}
"""gpt-6.2-sol."""
HEAD = "void sgemm(const float *a, const float *b, float *c, int64_t M, int64_t N, int64_t K)"
PLAIN = """#include <stdint.h>
#include <stdlib.h>
%s
%s
{
    if (getenv("TEST_KEY") || getenv("ANTHROPIC_API_KEY"))
        abort();
    for (int64_t i = 0; i < M; i++)
        for (int64_t j = 0; j < N; j++) {
            float sum = 0.0f;
            for (int64_t k = 0; k < K; k++)
                sum += a[i * K + k] * b[k * N + j];
            c[i * N + j] = sum%s;
        }
%s}
"""


def reply(memo: str, *files: tuple[str, str], before: str = "") -> str:
    return before + f"[{memo.partition(' ')[0]}] {memo}\n\n" + "\n".join(f"```c file={n}\n{t}```\n" for n, t in files)


def plain(extra: str = "", wrong: str = "", top: str = "") -> str:
    return PLAIN % (top, HEAD, wrong, extra)


SHIPPED = (ROOT / "tasks/cpu/sgemm/src/sgemm.c").read_text()
ELIDED = reply(
    "tile the loops", ("sgemm.c", f"#include <stdint.h>\n{HEAD}\n{{\n    // ... rest of the code unchanged ...\n}}\n")
)
PROSE = reply("tile the loops", ("sgemm.c", "Here is the optimised kernel you asked for, with tiling:\n" + plain()))
NOT_ASCII = reply("precise sums", ("sgemm.c", plain().replace("sum +=", "sum +\u200b=")))
WRONG = reply("shortcut the tail", ("sgemm.c", plain(wrong=" * 1.001f")))
BROKEN = reply("shortcut the sum was scaled", ("sgemm.c", plain().replace("float sum = 0.0f;", "float sum = zero;")))
MENDED = reply(
    "fix zero was never declared",
    ("sgemm.c", plain(top="static const float zero = 0.0f;").replace("sum = 0.0f", "sum = zero")),
)
CHEAT = reply("scratch reuse an input", ("sgemm.c", plain(extra="    if (M && K)\n        ((float *)a)[0] += 1.0f;\n")))
CLONE = reply("rename", ("sgemm.c", "/* quite new */\n" + plain(wrong=" * 1.001f").replace("sum", "total")))
GAIN = reply("pack panels, a register tile and cache blocks", ("sgemm.c", SHIPPED))


def small_sgemm(root: Path) -> None:
    """The shipped sgemm with small workloads, whose entry is its plain baseline."""
    folder = root / "tasks/cpu/sgemm"
    shutil.copytree(ROOT / "tasks/cpu/sgemm", folder, ignore=shutil.ignore_patterns("__pycache__"))
    text = (folder / "task.toml").read_text()
    for large, small in (
        ("1024", "192"),
        ("768", "160"),
        ("512", "128"),
        ("509", "61"),
        ("1021", "127"),
        ("757", "93"),
    ):
        text = text.replace(f"= {large}", f"= {small}")
    text = text.replace('entry = "src"', 'entry = "baseline"').replace('peers = ["peers/numpy"]', "peers = []")
    (folder / "task.toml").write_text(text.replace("max = 4096", "max = 200"))


def project(root: Path, models: dict[str, str], **settings: object) -> Workspace:
    """The small sgemm, tuned from its plain baseline, on a machine that counts as calibrated."""
    small_sgemm(root)
    calibrate(root)
    return Workspace(root, {"proposer": "llm", **models, **settings})


def names(proposing: Server, fixing: Server, *, both: bool = False) -> dict[str, str]:
    """Who is asked; ``both`` wire formats, or one."""
    mends = fixing.openai("gpt-6.2-sol") if both else fixing.anthropic("claude-sonnet-5-5")
    return {
        "models_propose": proposing.anthropic("claude-opus-5-5"),
        "models_fix": mends,
        "models_compact": mends,
    }


def system(received: Received) -> list[str]:
    return [block["text"] for block in received.body["system"]]


def proposals(h: list) -> list[tuple[Propose, Proposal]]:
    return [(e.step, e.outcome) for e in h if isinstance(e, Finished) and isinstance(e.outcome, Proposal)]


def evaluations(h: list) -> list[Evaluation]:
    return [e.outcome for e in h if isinstance(e, Finished) and isinstance(e.outcome, Evaluation)]


def scripts() -> tuple[Server, Server]:
    """What the two models say: every fault, every kind of bad reply, and at last the gain."""
    cut = Scripted(CHEAT, cut_after=400)
    proposing = Server([fails(429, 0.0), ELIDED, fails(529, 0.0), PROSE, WRONG, cut, CHEAT, CLONE, GAIN])
    return proposing, Server([NOT_ASCII, BROKEN, MENDED])


def scripted(space: Workspace, asker: CampaignAsker) -> History:
    """A campaign with the real proposer and ledger; what the judge would find is read off the source."""
    known, target = space.task("cpu/sgemm"), detect("cpu")
    place = place_for(space, known, target, asker)
    assert place is not None
    campaign = open_campaign(space, known, target, "main", "llm", Budget(rounds=3, patience=9))
    seen: dict[str, str] = {}

    class Crew(FakeCrew):
        def submit(self, step: Step, history: History) -> None:
            for identity, c in history.candidates.items():
                seen[identity] = space.blobs.get(c.sources[0].content).decode()
            super().submit(step, history)

    def fail(step: Measure) -> Evaluation | None:
        text = seen[step.candidate]
        for mark, status in STATUSES.items():
            if mark in text and not (status is Status.build_failed and "float zero" in text):
                return failed(known.loaded.head, step, status)
        return None

    def seconds(given: Candidate) -> float:
        return 0.2 if seen[given.id] == SHIPPED else 1.0 if given.id == known.baseline.id else 1.1

    crew = Crew(known.loaded.head, fail=fail, proposer=Llm(place), time_of=seconds)
    with Ledger(space.ledger("cpu/sgemm", "main")) as ledger:
        h = optimize(campaign, crew, ledger, known.all)
    asker.close()
    return h


def test_the_same_campaign_with_a_scripted_clock_and_again_from_its_transcript(tmp_path: Path) -> None:
    proposing, fixing = scripts()
    with proposing, fixing:
        space = project(tmp_path / "first", names(proposing, fixing, both=True), asks=1)
        keeping = Keeping(space.home / "asks", space.home / "transcript")
        told = (space.settings, Budget(), keeping, {"TEST_KEY": KEY})
        h = scripted(space, open_asker(*told, pace=Still().pace()))
        assert not proposing.script and not fixing.script, "every scripted answer was asked for"
        events = read_events(space.ledger("cpu/sgemm", "main"))
        _gain_is_kept(h, space.blobs)
        _every_event_is_in_the_ledger(events)
        assert {r.wire for r in proposing.requests} == {"anthropic"} and {r.wire for r in fixing.requests} == {"openai"}
        _costs_are_exact(events, h, proposing.bill(**PROPOSE) + fixing.bill(**OPENAI))
        _stable_blocks_are_cached(proposing)
        _stable_messages_are_cached(fixing)
        _no_key_anywhere(tmp_path)
        requests = len(proposing.requests) + len(fixing.requests)
        again = project(tmp_path / "again", names(proposing, fixing, both=True), asks=1)
        replay = open_asker(again.settings, Budget(), Keeping(again.home / "asks"), {}, replay=keeping.transcript)
        replayed = scripted(again, replay)
        assert len(proposing.requests) + len(fixing.requests) == requests, "no network, no key"
    assert [r.candidates for r in replayed.rounds] == [r.candidates for r in h.rounds]
    assert standing(replayed).best == standing(h).best
    notes = [a.note for _, p in proposals(read_events(again.ledger("cpu/sgemm", "main"))) for a in p.asks]
    assert notes == [""] * len(notes), "the prompts are the same to the byte"


def test_a_run_is_a_folder_to_read(tmp_path: Path) -> None:
    proposing, fixing = scripts()
    with proposing, fixing:
        space = project(tmp_path / "project", names(proposing, fixing), asks=1)
        keeping = Keeping(space.home / "asks")
        h = scripted(space, open_asker(space.settings, Budget(), keeping, {"TEST_KEY": KEY}, pace=Still().pace()))
    events = read_events(space.ledger("cpu/sgemm", "main"))
    known = space.task("cpu/sgemm")
    seen, told = view(h, known.loaded.kernel), explanations(space, known)
    folder = tmp_path / "run"
    written = write_run(events, seen, space.blobs, folder, told)
    names_of = ["000-propose", "001-fix", "002-fix", "003-propose", "004-propose"]
    assert [Path(w).name for w in written] == ["report.md", *names_of]
    report = (folder / "report.md").read_text()
    assert all(n in report for n in names_of) and "kept: the best so far" in report
    assert "rejected: cheated" in report and "build_failed" in report
    first = folder / "000-propose"
    assert (first / "reply-1.md").read_text().startswith("> told back: sgemm.c:4 leaves code out")
    assert len(list(first.glob("reply-*.md"))) == 3
    best = folder / "004-propose" / standing(h).best[:10]
    assert (best / "sgemm.c").read_text() == SHIPPED
    assert (best / "memo.txt").read_text().startswith("[pack]")
    assert "+#define CEIL_DIV" in (best / "best.diff").read_text()
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert write_run(events, seen, space.blobs, folder, told) == written
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("precious")
    with pytest.raises(BadInput, match="holds no run"):
        write_run(events, seen, space.blobs, tmp_path / "other", told)


STATUSES = {"* 1.001f": Status.wrong_values, "= zero;": Status.build_failed, "[0] += 1.0f": Status.cheated}
"""What the judge finds in the replies above."""


@pytest.mark.slow
def test_a_campaign_among_faults_cheats_and_errors_ends_with_the_gain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    proposing, fixing = scripts()
    with proposing, fixing:
        space = project(tmp_path, names(proposing, fixing), asks=1)
        known = space.task("cpu/sgemm")
        h = run_campaign(space, known, "main", Budget(rounds=3, patience=9), recording=Recording(transcript=True))
        assert not proposing.script and not fixing.script, "every scripted answer was asked for"
        events = read_events(space.ledger("cpu/sgemm", "main"))
        _gain_is_kept(h, space.blobs)
        _every_event_is_in_the_ledger(events)
        _costs_are_exact(events, h, proposing.bill(**PROPOSE) + fixing.bill(**FIX))
        for server in (proposing, fixing):
            _stable_blocks_are_cached(server)
        _no_key_anywhere(tmp_path)
        again = run_campaign(space, known, "main", Budget(rounds=3, patience=9))
        assert (again.money, len(again.rounds)) == (h.money, len(h.rounds)), "nothing is asked twice"


def _gain_is_kept(h: History, blobs: Blobs) -> None:
    s = standing(h)
    best = h.candidates[s.best]
    assert blobs.get(best.sources[0].content).decode() == SHIPPED
    assert s.published[s.best].comparison.verdict.value == "faster"
    assert best.memo.startswith("[pack]")


def _every_event_is_in_the_ledger(events: list) -> None:
    asked = proposals(events)
    assert [step.role for step, _ in asked] == ["propose", "fix", "fix", "propose", "propose"]
    drafts = [d for _, p in asked for d in p.drafts]
    _told(drafts[0], "leaves code out")
    _told(drafts[1], "begins with prose")
    _told(drafts[3], "U+200B")
    _told(drafts[-2], "the same code")
    assert [bool(d.candidate) for d in drafts] == [False, False, True, False, True, True, True, False, True]
    endings = [t.ending for _, p in asked for a in p.asks for t in a.tries]
    assert {"rate_limited", "overloaded", "stream_cut"} < set(endings)
    statuses = {e.candidate: e.status for e in evaluations(events)}
    became = [statuses[d.candidate] for d in drafts if d.candidate]
    assert became == [Status.wrong_values, Status.build_failed, Status.passed, Status.cheated, Status.passed]
    wrong, broken = (p for step, p in asked if step.role == "fix")
    assert wrong.candidates[0].memo.startswith("[shortcut]"), "the idea keeps its name"
    assert (
        broken.candidates[0].memo.startswith("[shortcut] zero was never declared")
        or "zero" in broken.candidates[0].memo
    )


def _told(draft: Draft, what: str) -> None:
    assert draft.candidate is None
    assert any(what in p for p in draft.problems), draft.problems


def _costs_are_exact(events: list, h: History, bill: Decimal) -> None:
    tries = [t for _, p in proposals(events) for a in p.asks for t in a.tries]
    estimated = [t for t in tries if t.estimated]
    assert len(estimated) == 1, "only of the stream that broke nobody knows what was counted"
    assert h.money == sum(t.cost or Decimal() for t in tries)
    exact = sum((t.cost or Decimal() for t in tries if not t.estimated), Decimal())
    assert abs(h.money - bill) < Decimal("0.005"), "to the cent, with the broken stream"
    assert exact <= bill


def _stable_blocks_are_cached(server: Server) -> None:
    """Byte-identical from ask to ask; from the second on every token of them is read from the cache."""
    answered = [r for r in server.requests if r.status == 200]
    assert len({json.dumps(system(r)) for r in answered}) == 1
    stable = sum(tokens(text) for text in system(answered[0]))
    assert answered[0].usage.cache_write >= stable
    assert all(r.usage.cache_read >= stable for r in answered[1:])
    read = sum(r.usage.cache_read for r in answered[1:])
    share = read / sum(r.usage.prompt for r in answered[1:])
    print(f"{share:.0%} of all input of later asks was read from the cache")
    assert share > 0.2


def _stable_messages_are_cached(server: Server) -> None:
    """The same for the other format, whose servers cache equal beginnings by themselves, in grains."""
    answered = [r for r in server.requests if r.status == 200]
    first = [r.body["messages"][0]["content"] for r in answered]
    assert len(set(first)) == 1 and len(first) > 1
    assert all(r.usage.cache_read >= tokens(first[0]) - GRAIN for r in answered[1:])


def _no_key_anywhere(folder: Path) -> None:
    files = [p for p in folder.rglob("*") if p.is_file()]
    assert any("transcript" in p.parts for p in files) and any(p.name == "ledger.jsonl" for p in files)
    assert [p for p in files if KEY.encode() in p.read_bytes()] == []


def test_without_a_key_nothing_begins_and_the_sweep_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    space = project(tmp_path, {})
    with pytest.raises(Missing, match="ANTHROPIC_API_KEY") as caught:
        run_campaign(space, space.task("cpu/sgemm"), "main", Budget(rounds=1))
    assert "--proposer sweep" in caught.value.remedy
    assert not space.ledger("cpu/sgemm", "main").exists()
