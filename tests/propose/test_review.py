"""The rules of the plan and review loop, with a workshop of which every answer is scripted."""

from __future__ import annotations

from pathlib import Path

import pytest

from warpsmith.errors import BadInput
from warpsmith.model.base import digest_bytes
from warpsmith.propose.llm.asking import BudgetSpent
from warpsmith.propose.review import Implemented, Outcome, Round, Verdict, run, verdict_of


class Scripted:
    """Answers as it was told to; counts what it was asked."""

    def __init__(
        self, reviews: str, *, moved: str = "", edited: int = 0, dirty: int = 0, outside: int = 0,
        rich: int = -1, poor: int = 0,
    ) -> None:  # fmt: skip
        self.reviews = {"A": "ADVANCED", "S": "STALLED", "R": "REGRESSED"}
        self.script = reviews
        self.idle = moved
        self.edited, self.dirty, self.outside = edited, dirty, outside
        self.rich, self.poor = rich, poor
        """After which round the budget is spent, and which review it has no room for."""
        self.number = 0
        self.asked = 0
        self.text = ""
        self.approaches: list[int] = []
        self.log: list[str] = []

    def spent(self) -> str:
        return "$1 were spent" if self.number == self.rich else ""

    def clean(self) -> str:
        return "a file differs" if self.number + 1 == self.dirty else ""

    def plan(self, version: int, approach: str) -> str:
        self.text = f"plan {version}: {approach}"
        return self.text

    def intact(self, digest: str) -> bool:
        return self.number != self.edited and digest == digest_bytes(self.text.encode())

    def contract(self, number: int, limit: int, last: Round | None) -> str:
        return f"round {number} of {limit} after {last.verdict if last else 'nothing'}"

    def implement(self, number: int, contract: str) -> Implemented:
        self.number = number
        refused = "files outside were changed" if number == self.outside else ""
        idle = number <= len(self.idle) and self.idle[number - 1] == "-"
        return Implemented(summary=f"summary {number}", facts=f"facts {number}", moved=not idle, refused=refused)

    def review(self, text: dict[str, str]) -> str:
        self.asked += 1
        assert text["plan"] == self.text
        number = int(text["contract"].split()[1])
        if number == self.poor:
            raise BudgetSpent("money", "0.01 are left of $1, too little for another request.")
        mark = self.script[(number - 1) % len(self.script)]
        if mark == "?":
            return "VERDICT: ADVANCED or VERDICT: STALLED, I cannot say"
        return f"VERDICT: {self.reviews[mark]}\nREASON: because {self.number}\nNEXT: more"

    def approach(self, plan: str, rounds: tuple[Round, ...], stalls: int) -> str:
        self.approaches.append(len(rounds))
        return f"approach after {len(rounds)}"

    def undo(self) -> None:
        self.log.append(f"undo {self.number}")

    def keep(self) -> None:
        self.log.append(f"keep {self.number}")


def marks(outcome: Outcome) -> str:
    return "".join(r.verdict[0] for r in outcome.rounds)


def test_a_reviewer_that_always_stalls_ends_the_loop_at_three_after_one_new_plan(tmp_path: Path) -> None:
    shop = Scripted("S")
    outcome = run(shop, tmp_path, "begin")
    assert marks(outcome) == "SSS"
    assert outcome.why == "3 rounds in a row without progress"
    assert shop.approaches == [2]
    assert [r.plan for r in outcome.rounds] == [1, 1, 2]
    assert (tmp_path / "plan-2.md").read_text() == "plan 2: approach after 2"


@pytest.mark.parametrize(
    ("script", "limit", "expected", "replans", "log"),
    [
        ("A", 12, "A" * 12, [], [f"keep {n}" for n in range(1, 13)]),
        ("SSA", 6, "SSASSA", [2, 5], ["keep 3", "keep 6"]),
        ("ARA", 3, "ARA", [], ["keep 1", "undo 2", "keep 3"]),
        ("ASRS", 12, "ASRS", [3], ["keep 1", "undo 3"]),
        ("A", 1, "A", [], ["keep 1"]),
    ],
)
def test_what_counts_as_progress(
    script: str, limit: int, expected: str, replans: list[int], log: list[str], tmp_path: Path
) -> None:
    shop = Scripted(script)
    outcome = run(shop, tmp_path, "begin", limit)
    assert marks(outcome) == expected
    assert shop.approaches == replans
    assert shop.log == log


def test_every_round_is_kept_as_files(tmp_path: Path) -> None:
    run(Scripted("AS"), tmp_path, "begin", 2)
    for number in ("01", "02"):
        kept = {p.name for p in (tmp_path / number).iterdir()}
        assert kept == {
            "contract.md",
            "summary.md",
            "facts.md",
            "changes.patch",
            "implemented.json",
            "review.md",
            "round.json",
        }
    assert (tmp_path / "02/contract.md").read_text() == "round 2 of 2 after ADVANCED"
    decided = Round.model_validate_json((tmp_path / "02/round.json").read_text())
    assert (decided.verdict, decided.reason, decided.next) == (Verdict.stalled, "because 2", "more")


def test_an_idle_round_cannot_advance_and_is_not_reviewed(tmp_path: Path) -> None:
    shop = Scripted("A", moved="x-x")
    outcome = run(shop, tmp_path, "begin", 3)
    assert marks(outcome) == "ASA"
    assert shop.asked == 2
    assert "nothing was handed in" in outcome.rounds[1].reason


@pytest.mark.parametrize("what", ["edited", "outside"])
def test_an_edited_plan_or_strange_files_make_the_round_void(what: str, tmp_path: Path) -> None:
    shop = Scripted("A", **{what: 2})  # type: ignore[arg-type]
    outcome = run(shop, tmp_path, "begin", 3)
    assert marks(outcome) == "ASA"
    assert shop.log == ["keep 1", "undo 2", "keep 3"]
    assert outcome.rounds[1].reason.startswith("not reviewed: ")


def test_a_tree_that_is_not_clean_stops_the_loop_before_anything_is_done(tmp_path: Path) -> None:
    shop = Scripted("A", dirty=2)
    with pytest.raises(BadInput, match="round 2 cannot begin: a file differs"):
        run(shop, tmp_path, "begin", 3)
    assert shop.number == 1


def test_a_reviewer_without_a_verdict_is_asked_once_more_and_then_stalls(tmp_path: Path) -> None:
    shop = Scripted("?")
    outcome = run(shop, tmp_path, "begin", 1)
    assert shop.asked == 2
    assert outcome.rounds[0].reason == "the review states no verdict"


def test_a_loop_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    run(Scripted("AS"), tmp_path, "begin", 2)
    (tmp_path / "03").mkdir()  # killed in the middle of the third round
    shop = Scripted("S")
    outcome = run(shop, tmp_path, "begin", 12)
    assert marks(outcome) == "ASSS"
    assert shop.log[0] == "undo 0"
    assert run(shop, tmp_path, "begin", 12).rounds == outcome.rounds


def test_a_spent_budget_ends_the_loop_before_the_next_round(tmp_path: Path) -> None:
    shop = Scripted("A", rich=2)
    outcome = run(shop, tmp_path, "begin", 12)
    assert marks(outcome) == "AA" and outcome.why == "$1 were spent"
    assert not (tmp_path / "03").exists()


def test_work_whose_review_the_budget_has_no_room_for_is_reviewed_later_and_not_done_again(tmp_path: Path) -> None:
    outcome = run(Scripted("A", poor=2), tmp_path, "begin", 3)
    assert marks(outcome) == "A" and "too little for another request" in outcome.why
    shop = Scripted("A")
    outcome = run(shop, tmp_path, "begin", 2)
    assert marks(outcome) == "AA"
    assert shop.number == 0 and shop.asked == 1, "nothing was implemented again"
    assert shop.log == ["keep 0"], "and nothing was undone"


def test_a_plan_of_another_task_is_refused(tmp_path: Path) -> None:
    run(Scripted("A"), tmp_path, "begin", 1)
    (tmp_path / "plan-1.md").write_text("something else")
    with pytest.raises(BadInput, match="another task"):
        run(Scripted("A"), tmp_path, "begin", 2)


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ("VERDICT: ADVANCED\nREASON: x", Verdict.advanced),
        ("Well.\n**VERDICT: REGRESSED**", Verdict.regressed),
        ("VERDICT: STALLED\nVERDICT: STALLED", Verdict.stalled),
        ("VERDICT: ADVANCED\nVERDICT: STALLED", None),
        ("I would not say VERDICT: ADVANCED", None),
        ("VERDICT: ADVANCEDISH", None),
        ("", None),
    ],
)
def test_verdicts_are_read_strictly(said: str, verdict: Verdict | None) -> None:
    assert verdict_of(said) is verdict
