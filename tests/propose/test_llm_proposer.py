"""The proposer with a scripted model behind the asker's protocol: prompts, conversations, memory, candidates."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from tests.fakes import FakeCrew, failed, measured
from warpsmith.analyse.calibration import outcomes
from warpsmith.analyse.standing import standing
from warpsmith.campaign import optimize, plan
from warpsmith.judge import VERSION
from warpsmith.model.asks import AskRecord, Usage
from warpsmith.model.campaign import Budget, Campaign, Finished, Opened, Started
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Effort, Evaluation, Status
from warpsmith.model.profile import KernelProfile, Profile
from warpsmith.model.step import Explain, Measure, Outcome, Proposal, Propose, Step
from warpsmith.model.target import Target
from warpsmith.propose import Place
from warpsmith.propose.llm.asking import Ask, BudgetSpent, Reply, Unreachable
from warpsmith.propose.llm.prompt import CHANGING, GIVES_WAY
from warpsmith.propose.llm.proposer import REPLIES, Llm
from warpsmith.propose.llm.tokens import estimate
from warpsmith.propose.llm.tuned import TUNED, Tuned
from warpsmith.store.history import History
from warpsmith.store.ledger import Ledger
from warpsmith.surface.campaigns import place_for
from warpsmith.surface.workspace import Known, Workspace

ROOT = Path(__file__).parents[2]
TASKS = sorted(str(p.parent.relative_to(ROOT / "tasks")) for p in (ROOT / "tasks").glob("*/*/task.toml"))
PROFILES = sorted((ROOT / "tests/golden/bottlenecks").glob("*.json"))
DEVICES = {
    "cpu": Target(hardware="cpu", device="a processor", architecture="x86-64", facts={"CORES": 2}),
    "cuda": Target(hardware="cuda", device="NVIDIA H200", architecture="sm_90a", facts={"SM_COUNT": 132}),
}
Script = Callable[[Ask], str]


class Scripted:
    """An asker whose model is a function of what it is asked."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[Ask] = []

    def sitting(self, step: Propose, history: History) -> Sat:
        return Sat(self)

    def close(self) -> None:
        pass


class Sat:
    def __init__(self, asker: Scripted) -> None:
        self.asker = asker
        self.asks: tuple[AskRecord, ...] = ()

    def ask(self, ask: Ask) -> Reply:
        self.asker.asked.append(ask)
        text = self.asker.script(ask)
        record = AskRecord(
            role=ask.role, model="scripted", prompt=ask.digest, blocks=ask.records(), cost=Decimal("0.01")
        )
        self.asks = (*self.asks, record)
        told = {"cost": Decimal("0.01"), "model": "scripted", "seconds": 0.0, "truncated": False}
        return Reply(text=text, usage=Usage(), continuations=0, request_id="", **told)


class Bench:
    """A shipped task, its campaign with a scripted model, and its history."""

    def __init__(self, folder: Path, script: Script, task: str = "cpu/sgemm", **settings: object) -> None:
        self.space = Workspace(ROOT, {"home": str(folder / "home"), **settings})
        self.known: Known = self.space.task(task)
        self.asker = Scripted(script)
        self.target = DEVICES[self.known.loaded.head.hardware]
        place = place_for(self.space, self.known, self.target, self.asker)
        assert place is not None
        self.place: Place = place
        self.h = History() + Opened(campaign=self.campaign(), candidates=self.known.all, at=0)
        for given, seconds in ((self.known.baseline, 1.0), (self.known.entry, 0.5)):
            self.measure(given, seconds)

    def campaign(self, **changes: object) -> Campaign:
        head = self.known.loaded.head
        told = {
            "tag": "main", "task_name": head.name, "task": self.known.loaded.digest, "target": self.target,
            "judge": VERSION, "proposer": "llm", "budget": Budget(rounds=6, patience=9), "seed": 0,
            "baseline": self.known.baseline.id, "entry": self.known.entry.id,
            "weights": {w.name: w.weight for w in head.workloads}, "objective": head.objective, "min_gain": 0.02,
            "noise_floor": 0.0, "batch": 1, "asks": 2, "beam": 3, "fixes": 8, "explain": False, **changes,
        }  # fmt: skip
        return Campaign.model_validate(told)

    def measure(self, given: Candidate, seconds: float, effort: Effort = Effort.screen) -> None:
        step = Measure(candidate=given.id, rival=self.known.baseline.id, effort=effort, round=0)
        times = {self.known.baseline.id: 1.0, given.id: seconds}
        found = measured(self.known.loaded.head, step, self.h, lambda c: times[c.id])
        self.h = self.h + Finished(step=step, outcome=found, seconds=0, at=0)

    def fail(self, given: Candidate, status: Status, detail: str) -> None:
        step = Measure(candidate=given.id, rival=self.known.baseline.id, effort=Effort.screen, round=0)
        self.h = self.h + Finished(
            step=step, outcome=failed(self.known.loaded.head, step, status, detail), seconds=0, at=0
        )

    def step(self, parent: str = "", role: str = "propose", count: int = 1) -> Propose:
        number = len(self.h.rounds)
        return Propose.model_validate(
            {"round": number, "parent": parent or self.known.entry.id, "count": count, "role": role}
        )

    def ask(self, llm: Llm | Tuned, step: Propose) -> Proposal:
        self.h = self.h + Started(step=step, at=0)
        found = llm.propose(step, self.h)
        self.h = self.h + Finished(step=step, outcome=found, seconds=0, at=0)
        return found


def sgemm(number: int = 0, extra: str = "") -> str:
    factors = f"a[i % (M * K)] * b[i % (K * N)] * {number}.0f"
    body = f"    for (int64_t i = 0; i < M * N; i++)\n        c[i] = {factors};\n{extra}"
    head = "void sgemm(const float *a, const float *b, float *c, int64_t M, int64_t N, int64_t K)"
    return (
        f"[idea{number}] another factor, {number}\n```c file=sgemm.c\n#include <stdint.h>\n{head}\n{{\n{body}}}\n```\n"
    )


def block(ask: Ask, name: str) -> str:
    return next((b.text for b in ask.blocks if b.name == name), "")


def numbered() -> Script:
    lock, count = threading.Lock(), [0]

    def script(ask: Ask) -> str:
        with lock:
            count[0] += 1
            return sgemm(count[0])

    return script


def test_a_reply_becomes_a_candidate_whose_story_is_in_the_proposal(tmp_path: Path) -> None:
    bench = Bench(tmp_path, lambda ask: "Sure!\n" + sgemm(3))
    found = bench.ask(Llm(bench.place), bench.step())
    (given,) = found.candidates
    assert (given.memo, given.parent, given.entry) == ("[idea3] another factor, 3", bench.known.entry.id, "sgemm")
    (draft,) = found.drafts
    assert (draft.candidate, draft.problems) == (given.id, ())
    assert draft.notes == ("prose outside of the files was left out",)
    assert bench.place.blobs.get(draft.reply).decode().startswith("Sure!")
    assert [a.role for a in found.asks] == ["propose"]
    assert given.space == bench.known.entry.space, "what a reply does not give stays as it is"


def test_what_cannot_be_used_is_told_back_in_the_same_conversation(tmp_path: Path) -> None:
    said = ["No.", sgemm(1).replace("    for", "    // ... rest of the code unchanged ...\n    for"), sgemm(2)]
    bench = Bench(tmp_path, lambda ask: said[len(bench.asker.asked) - 1])
    found = bench.ask(Llm(bench.place), bench.step())
    assert [bool(d.problems) for d in found.drafts] == [True, True, False]
    assert len(found.candidates) == 1 and "told back 2 times" in found.notes
    last = bench.asker.asked[-1]
    assert [m.role for m in last.messages] == ["user", "assistant", "user", "assistant", "user"]
    assert "leaves code out" in last.messages[-1].text and last.messages[1].text == "No."
    assert last.system == bench.asker.asked[0].system


def test_a_model_that_never_obeys_costs_three_replies_and_no_measurement(tmp_path: Path) -> None:
    bench = Bench(tmp_path, lambda ask: "I cannot do that.")
    found = bench.ask(Llm(bench.place), bench.step())
    assert found.candidates == () and len(found.drafts) == len(found.asks) == REPLIES


def test_a_near_clone_is_told_back_with_what_became_of_the_original(tmp_path: Path) -> None:
    bench = Bench(tmp_path, lambda ask: sgemm(1) if len(bench.asker.asked) == 1 else again)
    llm = Llm(bench.place)
    (first,) = bench.ask(llm, bench.step()).candidates
    bench.measure(first, 0.9)
    again = sgemm(1).replace("(int64_t i", "(int64_t at").replace("; i <", "; at <").replace("i++", "at++")
    again = again.replace("[i", "[at").replace("for", "/* quite new */ for")
    found = bench.ask(llm, bench.step())
    assert found.candidates == ()
    assert all("the same code" in p and first.id[:10] in p for d in found.drafts for p in d.problems)
    assert "rejected" in found.drafts[0].problems[0]


def test_a_failure_is_asked_about_with_its_source_and_its_errors(tmp_path: Path) -> None:
    bench = Bench(tmp_path, numbered())
    llm = Llm(bench.place)
    (bad,) = bench.ask(llm, bench.step()).candidates
    detail = "gcc ended with status 1: x\nsgemm.c:5:9: error: 'zero' undeclared (first use in this function)\n"
    bench.fail(bad, Status.build_failed, detail)
    (planned, *_) = [s for s in plan(bench.campaign(), bench.h, 1) if isinstance(s, Propose)]
    assert (planned.role, planned.parent) == ("fix", bad.id)
    (better,) = bench.ask(llm, planned).candidates
    asked = bench.asker.asked[-1]
    assert asked.role == "fix"
    order = block(asked, "order")
    assert "structural" in order and "sgemm.c:5: 'zero' undeclared" in order and "try 1 of 8" in order
    assert ">    5" in order and "c[i] = a[i" in block(asked, "source")
    assert better.parent == bad.id
    assert asked.system == bench.asker.asked[0].system, "both roles share the cached blocks"


def test_a_wrong_value_is_asked_about_with_workload_row_and_precision(tmp_path: Path) -> None:
    bench = Bench(tmp_path, numbered())
    llm = Llm(bench.place)
    (bad,) = bench.ask(llm, bench.step()).candidates
    bench.fail(bad, Status.wrong_values, "c: relative RMS 0.5, worst row 17 of 64 at 0.9")
    bench.ask(llm, bench.step(bad.id, "fix"))
    order = block(bench.asker.asked[-1], "order")
    assert "worst row 17 of 64" in order and "1e-05" in order and "wrong_values" in order


def test_a_mended_candidate_keeps_the_name_of_its_idea(tmp_path: Path) -> None:
    bench = Bench(tmp_path, lambda ask: sgemm(len(bench.asker.asked)).replace("[idea2]", "[fix]"))
    llm = Llm(bench.place)
    (bad,) = bench.ask(llm, bench.step()).candidates
    bench.fail(bad, Status.crashed, "SIGSEGV")
    (better,) = bench.ask(llm, bench.step(bad.id, "fix")).candidates
    assert better.memo == "[idea1] another factor, 2"


def test_cached_blocks_are_the_same_bytes_whatever_happens(tmp_path: Path) -> None:
    bench = Bench(tmp_path, numbered())
    llm = Llm(bench.place)
    for seconds in (0.4, 0.3, 0.6):
        (given,) = bench.ask(llm, bench.step()).candidates
        bench.measure(given, seconds)
    stable = [[b.model_dump_json() for b in a.blocks if b.stable] for a in bench.asker.asked]
    assert stable[0] and stable.count(stable[0]) == 3
    changing = [[b.text for b in a.blocks if not b.stable] for a in bench.asker.asked]
    assert changing[0] != changing[1] != changing[2]
    resumed = Bench(tmp_path, numbered())
    resumed.ask(Llm(resumed.place), resumed.step())
    assert [b.model_dump_json() for b in resumed.asker.asked[0].blocks if b.stable] == stable[0]


def test_equal_histories_make_equal_asks(tmp_path: Path) -> None:
    digests = set()
    for _ in range(2):
        bench = Bench(tmp_path, numbered())
        llm = Llm(bench.place)
        (given,) = bench.ask(llm, bench.step()).candidates
        bench.measure(given, 0.4)
        bench.ask(llm, bench.step())
        digests.add(tuple(a.digest for a in bench.asker.asked))
    assert len(digests) == 1


def test_attempts_of_this_run_come_back_with_what_became_of_them(tmp_path: Path) -> None:
    bench = Bench(tmp_path, numbered())
    llm = Llm(bench.place)
    (good,) = bench.ask(llm, bench.step()).candidates
    bench.measure(good, 0.9, Effort.confirm)
    (bad,) = bench.ask(llm, bench.step()).candidates
    bench.fail(bad, Status.cheated, "an input was changed")
    bench.ask(llm, bench.step())
    told = block(bench.asker.asked[-1], "attempts")
    assert told.index(bad.id[:10]) < told.index(good.id[:10]), "the newest first"
    assert "cheated: an input was changed" in told and "[idea1] another factor, 1" in told


def test_a_spent_budget_ends_the_ask_with_what_was_said_so_far(tmp_path: Path) -> None:
    def script(ask: Ask) -> str:
        if len(ask.messages) > 1:
            raise BudgetSpent("money", "the budget leaves no room.")
        return "No."

    bench = Bench(tmp_path, script)
    found = bench.ask(Llm(bench.place), bench.step())
    assert (found.short_of, found.candidates, len(found.drafts), len(found.asks)) == ("money", (), 1, 1)


def test_a_model_that_cannot_be_reached_is_a_fault_of_the_step(tmp_path: Path) -> None:
    def script(ask: Ask) -> str:
        raise Unreachable("every try failed.")

    bench = Bench(tmp_path, script)
    with pytest.raises(Unreachable):
        Llm(bench.place).propose(bench.step(), bench.h)


def test_near_ties_ask_the_model_for_another_structure(tmp_path: Path) -> None:
    bench = Bench(tmp_path, numbered())
    llm = Llm(bench.place)
    (lead,) = bench.ask(llm, bench.step()).candidates
    bench.measure(lead, 0.3, Effort.confirm)
    for seconds in (0.301, 0.302, 0.299):
        bench.measure(bench.ask(llm, bench.step()).candidates[0], seconds)
    bench.ask(llm, bench.step())
    blocks = [block(a, "directives") for a in bench.asker.asked]
    assert blocks[:-1] == [""] * 4
    assert "PLATEAU: the last 3 candidates" in blocks[-1] and "change the structure" in blocks[-1]
    assert "explain" not in blocks[-1], "the model has no tools"
    assert "change the structure rather" not in block(bench.asker.asked[-1], "order"), "it is said once"
    assert estimate(blocks[-1]) <= CHANGING["directives"]
    newest = block(bench.asker.asked[-1], "attempts")
    assert newest.startswith("# Tried in this run, newest first")
    bad = next(c for c in bench.h.candidates.values() if c.memo.startswith("[idea5]"))
    bench.fail(bad, Status.crashed, "SIGSEGV")
    bench.ask(llm, bench.step(bad.id, "fix"))
    assert not block(bench.asker.asked[-1], "directives"), "who mends keeps the idea"


def test_what_a_round_asks_for_stands_in_the_prompt(tmp_path: Path) -> None:
    bench = Bench(tmp_path, numbered())
    contract = ("# Round 2 of 12: cpu/sgemm", "Its plan: 1. pack the panels.", "It asks for this next: prefetch")
    bench.ask(Llm(replace(bench.place, contract=contract)), bench.step())
    said = block(bench.asker.asked[-1], "round")
    assert all(words in said for words in contract)
    names = [b.name for b in bench.asker.asked[-1].blocks]
    assert names[-2:] == ["round", "order"]
    assert not next(b for b in bench.asker.asked[-1].blocks if b.name == "round").stable
    bench.ask(Llm(bench.place), bench.step())
    assert not block(bench.asker.asked[-1], "round")


def test_a_candidate_that_answers_a_finding_is_profiled_whether_it_won_or_not(tmp_path: Path) -> None:
    memo = "[idea%d] another factor, %d, for poor_coalescing"

    def script(ask: Ask) -> str:
        n = len(bench.asker.asked)
        return sgemm(n).replace(f"another factor, {n}", (memo % (n, n)).partition("] ")[2]) if n != 3 else sgemm(n)

    bench = Bench(tmp_path, script)
    golden = ROOT / "tests/golden/bottlenecks/matmul_tiled.json"
    kernel = KernelProfile.model_validate(json.loads(golden.read_text())["profile"])

    class Crew(FakeCrew):
        def _outcome(self, step: Step, history: History) -> Outcome:
            if isinstance(step, Explain):
                return Profile(candidate=step.candidate, tool="ncu", kernels=(kernel,))
            return super()._outcome(step, history)

    def seconds(given: Candidate) -> float:
        if given.id in (bench.known.baseline.id, bench.known.entry.id):
            return 1.0 if given.id == bench.known.baseline.id else 0.5
        return {"[idea1]": 0.3, "[idea2]": 0.9}.get(given.memo.partition("]")[0] + "]", 0.8)

    def wrong(step: Measure) -> Evaluation | None:
        given = next((c for _, h in seen for c in h.candidates.values() if c.id == step.candidate), None)
        is_fourth = given is not None and given.memo.startswith("[idea4]")
        return failed(bench.known.loaded.head, step, Status.wrong_values) if is_fourth else None

    seen: list[tuple[Step, History]] = []
    crew = Crew(bench.known.loaded.head, fail=wrong, proposer=Llm(bench.place), time_of=seconds)
    submit = crew.submit
    crew.submit = lambda step, history: (seen.append((step, history)), submit(step, history))[1]  # type: ignore[method-assign]
    c = bench.campaign(explain=True, asks=1, beam=1, fixes=0, budget=Budget(rounds=4, patience=9))
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        h = optimize(c, crew, ledger, bench.known.all)
    by_idea = {x.memo.partition("]")[0] + "]": x.id for x in h.candidates.values() if x.memo.startswith("[idea")}
    explained = [s.candidate for s in crew.carried_out if isinstance(s, Explain)]
    assert by_idea["[idea1]"] in explained, "the winner"
    assert by_idea["[idea2]"] in explained, "the loser, since its memo answers a finding of its parent's profile"
    assert by_idea["[idea3]"] not in explained, "it answers none"
    assert by_idea["[idea4]"] not in explained, "it is wrong"
    assert len(explained) == len(set(explained))
    (rate,) = {(o.rule, o.candidate) for o in outcomes(h) if o.candidate == by_idea["[idea2]"]}
    assert rate == ("poor_coalescing", by_idea["[idea2]"]), "the rule's hit rate knows of it"


def test_of_two_asks_side_by_side_the_later_knows_of_the_other(tmp_path: Path) -> None:
    bench = Bench(tmp_path, numbered())
    llm = Llm(bench.place)
    first, second = bench.step(), bench.step().model_copy(update={"round": 1})
    bench.h = bench.h + Started(step=first, at=0) + Started(step=second, at=0)
    for step in (first, second):
        llm.propose(step, bench.h)
    orders = [block(a, "order") for a in bench.asker.asked]
    assert ["Another candidate is being written" in order for order in orders] == [False, True]


SUMMARY = "Resolved:\n- factor 3 helps\n\nPending:\n- none\n\nAvoid:\n- factor 1"


def compacting(answer: str) -> Script:
    writes = numbered()
    return lambda ask: answer if ask.role == "compact" else writes(ask)


def tried(bench: Bench, llm: Llm, rounds: int) -> list[Proposal]:
    found = []
    for _ in range(rounds):
        proposal = bench.ask(llm, bench.step())
        bench.measure(proposal.candidates[0], 0.9)
        found.append(proposal)
    return found


def test_a_long_run_is_compacted_once_and_its_originals_stay(tmp_path: Path) -> None:
    bench = Bench(tmp_path, compacting(SUMMARY), memory_tokens=400)
    llm = Llm(bench.place)
    found = tried(bench, llm, 14)
    compacted = [c for p in found for c in p.compacted]
    asks = [a for a in bench.asker.asked if a.role == "compact"]
    assert 1 <= len(compacted) == len(asks) < 8
    assert "another factor" in block(asks[0], "attempts")
    told = block(bench.asker.asked[-1], "attempts")
    assert "Resolved:\n- factor 3 helps" in told and "Avoid:\n- factor 1" in told
    assert len(bench.h.candidates) >= 14, "every candidate is still in the history"
    covered = {c for one in compacted[-1:] for c in one.covers}
    assert not any(c[:10] in told for c in covered)
    assert estimate(told) < 1200


def test_compacting_is_the_same_after_a_restart(tmp_path: Path) -> None:
    bench = Bench(tmp_path, compacting(SUMMARY), memory_tokens=400)
    llm = Llm(bench.place)
    tried(bench, llm, 9)
    step = bench.step()
    started = bench.h + Started(step=step, at=0)
    llm.propose(step, started)
    once = bench.asker.asked[-1]
    Llm(bench.place).propose(step, started)
    assert bench.asker.asked[-1].digest == once.digest
    assert "Resolved" in block(once, "attempts")


def test_a_summary_without_its_sections_is_not_used(tmp_path: Path) -> None:
    bench = Bench(tmp_path, compacting("It went well."), memory_tokens=400)
    llm = Llm(bench.place)
    found = tried(bench, llm, 10)
    assert not any(p.compacted for p in found)
    assert sum(a.role == "compact" for a in bench.asker.asked) == 2, "it is not asked for ever"
    assert "It went well" not in block(bench.asker.asked[-1], "attempts")
    assert "[idea9]" in block(bench.asker.asked[-1], "attempts")


def earlier(folder: Path, rounds: int = 3) -> None:
    """A campaign of before, in the same project: every third idea wins, every third is wrong."""
    bench = Bench(folder, numbered())
    c = bench.campaign(tag="old", asks=1, fixes=0, budget=Budget(rounds=rounds, patience=99))
    known: dict[str, Candidate] = {}

    def number(given: Candidate) -> int:
        return int(given.memo[5 : given.memo.index("]")]) if given.memo.startswith("[idea") else 0

    def seconds(given: Candidate) -> float:
        known[given.id] = given
        return 0.4 - 0.01 * number(given) if number(given) % 3 == 1 else 1.0

    class Crew(FakeCrew):
        def submit(self, step: Step, history: History) -> None:
            known.update(history.candidates)
            super().submit(step, history)

    def wrong(step: Measure) -> Evaluation | None:
        bad = number(known[step.candidate]) % 3 == 2
        return failed(bench.known.loaded.head, step, Status.wrong_values, "row 7") if bad else None

    crew = Crew(bench.known.loaded.head, fail=wrong, proposer=Llm(bench.place), time_of=seconds)
    with Ledger(folder / "home/campaigns/cpu/sgemm/old/ledger.jsonl") as ledger:
        optimize(c, crew, ledger, bench.known.all)


def test_earlier_campaigns_and_their_patterns_are_frozen_into_the_cached_part(tmp_path: Path) -> None:
    earlier(tmp_path)
    tight = Bench(tmp_path, lambda ask: "No.")
    tight.ask(Llm(tight.place), tight.step())
    assert "[idea1]" in block(tight.asker.asked[0], "past"), "a long source does not make it forget what helped"
    assert "idea1@x86-64" in block(tight.asker.asked[0], "patterns")
    assert sum(r.tokens for r in tight.asker.asked[0].records()) <= tight.space.settings.prompt_tokens
    bench = Bench(tmp_path, numbered(), prompt_tokens=12_000)
    llm = Llm(bench.place)
    for _ in range(2):
        bench.measure(bench.ask(llm, bench.step()).candidates[0], 0.2, Effort.confirm)
    past, again = (block(ask, "past") for ask in bench.asker.asked)
    assert past == again and "[idea1] another factor, 1" in past and "row 7" in past
    assert past.index("[idea1]") < past.index("[idea2]"), "what helped comes first"
    told = block(bench.asker.asked[0], "patterns")
    assert "idea1@x86-64: 1 of 1 helped" in told and "idea2@x86-64: 0 of 1 helped" in told
    assert {b.name for b in bench.asker.asked[0].blocks if b.stable} >= {"past", "patterns"}
    other = Bench(tmp_path, lambda ask: "No.", task="cpu/rmsnorm")
    other.ask(Llm(other.place), other.step())
    assert "idea1@x86-64" in block(other.asker.asked[0], "patterns"), "patterns go across tasks"
    assert not block(other.asker.asked[0], "past"), "attempts do not"


def test_a_long_past_is_compacted_once_by_the_cheap_model(tmp_path: Path) -> None:
    earlier(tmp_path, rounds=12)
    bench = Bench(tmp_path, compacting(SUMMARY), memory_tokens=300)
    llm = Llm(bench.place)
    found = bench.ask(llm, bench.step())
    (kept,) = found.compacted
    assert kept.of == "past" and len(kept.covers) >= 12
    asks = [a for a in bench.asker.asked if a.role == "compact"]
    assert len(asks) == 1 and "another factor, 12" in block(asks[0], "attempts")
    assert "factor 3 helps" in block(bench.asker.asked[-1], "past")
    again = Bench(tmp_path, compacting("never asked"), memory_tokens=300)
    again.h = bench.h
    again.ask(Llm(again.place), bench.step())
    assert block(again.asker.asked[-1], "past") == block(bench.asker.asked[-1], "past"), "after a restart too"
    assert [a.role for a in again.asker.asked] == ["propose"] * len(again.asker.asked)


def test_where_the_cheap_model_cannot_be_had_attempts_stand_in_full(tmp_path: Path) -> None:
    writes = numbered()

    def script(ask: Ask) -> str:
        if ask.role == "compact":
            raise Unreachable("every try failed.")
        return writes(ask)

    bench = Bench(tmp_path, script, memory_tokens=400)
    found = tried(bench, Llm(bench.place), 10)
    assert all(p.candidates for p in found) and not any(p.compacted for p in found)
    assert "[idea9]" in block(bench.asker.asked[-1], "attempts")


def _profiled(bench: Bench, golden: Path) -> None:
    kernel = KernelProfile.model_validate(json.loads(golden.read_text())["profile"])
    profile = Profile(candidate=bench.known.entry.id, tool="ncu", kernels=(kernel,))
    step = Explain(candidate=bench.known.entry.id, round=0)
    bench.h = bench.h + Finished(step=step, outcome=profile, seconds=0, at=0)


@pytest.mark.parametrize("task", TASKS)
def test_prompts_stay_below_eight_thousand_tokens(task: str, tmp_path: Path) -> None:
    """Over a run with attempts, findings, skills and failures, on every task that ships; the library is never cut."""
    sizes = []
    goldens = PROFILES[::10] if DEVICES[task.partition("/")[0]].hardware == "cuda" else PROFILES[:1]
    for golden in goldens:
        said: list[str] = []
        bench = Bench(tmp_path, lambda ask, said=said: said.pop(), task=task)
        if bench.target.hardware == "cuda":
            _profiled(bench, golden)
        llm, path = Llm(bench.place), bench.known.entry.sources[0].path
        text = bench.place.blobs.get(bench.known.entry.sources[0].content).decode()
        for n in range(5):
            more = f"static const int v{n} = {n} * {n};"
            said.append(f"[try{n}] change {n}, for poor_coalescing\n```c file={path}\n{text}\n{more}\n```\n")
            proposal = bench.ask(llm, bench.step())
            if proposal.candidates and n % 2:
                bench.fail(proposal.candidates[0], Status.build_failed, "nvcc ended\n" + f"{path}(9): error: no\n" * 90)
            elif proposal.candidates:
                bench.measure(proposal.candidates[0], 0.6)
        sizes += [sum(r.tokens for r in a.records()) for a in bench.asker.asked]
        names = {b.name for b in bench.asker.asked[-1].blocks}
        assert {"rules", "contract", "task", "source", "order", "attempts"} <= names
        if bench.target.hardware == "cuda":
            assert {"findings", "catalogue"} <= names
    assert sum(sizes) / len(sizes) < 8000, sizes


def test_blocks_give_way_in_the_order_that_is_stated(tmp_path: Path) -> None:
    task = next(t for t in TASKS if t.startswith("cuda/"))
    shown = []
    for limit in (20_000, 8_300, 7_400, 6_000):
        bench = Bench(tmp_path, lambda ask: "No.", task=task, prompt_tokens=limit)
        _profiled(bench, ROOT / "tests/golden/bottlenecks/matmul_tiled.json")
        bench.ask(Llm(bench.place), bench.step())
        shown.append([b.name for b in bench.asker.asked[0].blocks])
    last = [n for n in dict.fromkeys(name for name, least in GIVES_WAY if least == 0) if n in shown[0]]
    gone = [[n for n in last if n not in names] for names in shown]
    assert gone[0] == [] and gone[-1], "a tighter limit drops something"
    assert all(names == last[: len(names)] for names in gone)
    assert all({"rules", "contract", "arguments", "source", "order"} <= set(names) for names in shown)
    assert {name for name, _ in GIVES_WAY} == set(CHANGING)


def test_the_sweep_works_while_the_model_thinks(tmp_path: Path) -> None:
    bench = Bench(tmp_path, numbered())
    tuned = Tuned(bench.place)
    first, second = bench.step(), bench.step().model_copy(update={"round": 1, "count": 8})
    bench.h = bench.h + Started(step=first, at=0) + Started(step=second, at=0)
    swept = tuned.propose(second, bench.h)
    assert len(swept.candidates) == 8 and all(c.memo.startswith("[sweep]") for c in swept.candidates)
    assert not swept.exhausted and not bench.asker.asked


TUNABLE = """[tile] with a size to be found
```toml file=candidate.toml
toolchain = "c"
sources = ["sgemm.c"]
entry = "sgemm"
[tunables]
TILE = { values = [4, 8, 16, 32], default = 8, doc = "columns at a time" }
WIDE = { values = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], default = 1 }
```
""" + sgemm(7).partition("\n")[2]


def test_what_the_model_makes_tunable_the_sweep_tunes(tmp_path: Path) -> None:
    bench = Bench(tmp_path, lambda ask: TUNABLE)
    tuned = Tuned(bench.place)
    (made,) = bench.ask(tuned, bench.step(count=8)).candidates
    assert (
        made.parameters == {"TILE": 8, "WIDE": 1}
        and "A search tries them after you" in bench.asker.asked[0].system[0].text
    )
    bench.measure(made, 0.2, Effort.confirm)
    assert standing(bench.h).best == made.id
    found = bench.ask(tuned, bench.step(count=8))
    assert (
        {c.space for c in found.candidates} == {made.space}
        if False
        else all(c.space == made.space for c in found.candidates)
    )
    assert len(found.candidates) == 8 and len(bench.asker.asked) == 1


def test_a_tuned_kernel_goes_back_to_the_model(tmp_path: Path) -> None:
    bench = Bench(tmp_path, lambda ask: TUNABLE if len(bench.asker.asked) == 1 else sgemm(len(bench.asker.asked)))
    tuned = Tuned(bench.place)
    (made,) = bench.ask(tuned, bench.step(count=8)).candidates
    bench.measure(made, 0.2, Effort.confirm)
    kinds = []
    for _ in range(12):
        found = bench.ask(tuned, bench.step(count=8))
        kinds.append(found.candidates[0].memo.startswith("[sweep]") if found.candidates else None)
        for c in found.candidates:
            bench.measure(c, 0.3)
    points = sum(c.sources == made.sources for c in bench.h.candidates.values())
    assert points >= TUNED
    assert False in kinds[3:], "the model is asked again"


def test_a_campaign_with_two_asks_at_a_time_ends_with_the_fastest(tmp_path: Path) -> None:
    """The whole loop on the scripted crew, in a moment: proposals, failures, a mended one, and the gain."""
    bench = Bench(
        tmp_path, lambda ask: sgemm(1 + len(bench.asker.asked), "" if ask.role == "propose" else "    c[0] += 0;\n")
    )
    c = bench.campaign(explain=False, budget=Budget(rounds=5, patience=9))

    def seconds(given: Candidate) -> float:
        if given.id in (bench.known.baseline.id, bench.known.entry.id) or given.toolchain != "c":
            return 1.0
        text = bench.place.blobs.get(given.sources[0].content).decode()
        return 1.0 / float(text.partition("* ")[2].rpartition(".0f")[0].rpartition("* ")[2])

    def fail(step: Measure):
        given = bench.h0.candidates.get(step.candidate) or by_id(step.candidate)
        text = bench.place.blobs.get(given.sources[0].content).decode()
        return failed(bench.known.loaded.head, step, Status.crashed, "SIGSEGV") if "* 3.0f" in text else None

    def by_id(identity: str) -> Candidate:
        return next(x for _, h in crew.waiting_histories for x in h.candidates.values() if x.id == identity)

    class Crew(FakeCrew):
        waiting_histories: list[tuple[object, History]] = []

        def submit(self, step, history) -> None:
            self.waiting_histories.append((step, history))
            super().submit(step, history)

    bench.h0 = bench.h
    crew = Crew(bench.known.loaded.head, fail=fail, proposer=Llm(bench.place), time_of=seconds)
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        h = optimize(c, crew, ledger, bench.known.all)
    s = standing(h)
    assert seconds(h.candidates[s.best]) == min(seconds(x) for x in h.candidates.values() if x.id not in s.failed)
    assert {r.role for r in h.rounds} == {"propose", "fix"} and len(h.proposed) == 5
    assert any(sum(isinstance(x, Propose) for x in past.running.values()) == 2 for _, past in crew.waiting_histories)
    assert s.published[s.best].comparison.verdict.value == "faster"


@pytest.mark.slow
def test_a_campaign_of_both_ends_with_a_tuned_kernel_of_the_model(tmp_path: Path) -> None:
    bench = Bench(tmp_path, lambda ask: TUNABLE if len(bench.asker.asked) == 1 else sgemm(len(bench.asker.asked)))
    tuned = Tuned(bench.place)
    budget = Budget(rounds=14, patience=14)
    c = bench.campaign(proposer="sweep+llm", batch=8, budget=budget)

    def seconds(given: Candidate) -> float:
        if "WIDE" in given.parameters:
            return 0.3 + 0.01 * abs(given.parameters["WIDE"] - 6) + 0.001 * abs(given.parameters["TILE"] - 16)
        return 1.0

    crew = FakeCrew(bench.known.loaded.head, proposer=tuned, time_of=seconds)
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        h = optimize(c, crew, ledger, bench.known.all)
    best = h.candidates[standing(h).best]
    assert best.memo.startswith("[sweep]") and seconds(best) < 0.31
    assert "WIDE" in best.parameters
    assert not h.candidates[best.parent or ""].memo.startswith("[sweep]"), "points hang on the kernel as it was written"
    swept = sum(x.memo.startswith("[sweep]") for x in h.candidates.values())
    assert swept >= 8 and len(bench.asker.asked) >= 3
