"""The plan and review loop: implement, have it reviewed by somebody else, decide, until it is done or gets nowhere.

Owns the rules and the files of a run, not who implements and who reviews. A round is ADVANCED, STALLED or REGRESSED.
What is not ADVANCED counts as a round without progress: two in a row force a new plan, three end the loop. The reviewer
judges within what was measured: a round in which nothing was handed in and nothing changed cannot advance.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from warpsmith.errors import BadInput
from warpsmith.model.base import Record, digest_bytes
from warpsmith.propose.llm.asking import BudgetSpent
from warpsmith.store.files import write_atomic

LIMIT = 12
"""Rounds where nothing else is said."""
REPLAN, STOP = 2, 3
"""Rounds in a row without progress that force a new plan, and that end the loop."""
DONE = "implemented.json"
"""What a round's work left, in the round's folder."""
_VERDICT = re.compile(r"VERDICT:\W*(ADVANCED|STALLED|REGRESSED)\b")
_LINE = re.compile(rf"^\W*{_VERDICT.pattern}", re.MULTILINE)
_PARTS = re.compile(r"^\W*(REASON|NEXT):\W*(.*?)(?=^\W*(?:REASON|NEXT|VERDICT):|\Z)", re.MULTILINE | re.DOTALL)


class Verdict(StrEnum):
    """What a round came to."""

    advanced = "ADVANCED"
    stalled = "STALLED"
    regressed = "REGRESSED"


class Round(Record):
    """One round, decided."""

    number: int
    verdict: Verdict
    reason: str
    next: str = ""
    """What the reviewer asks for."""
    plan: int
    """Version of the plan that it worked on."""
    best: str = ""
    """The best afterwards, as people see it."""


class Implemented(Record):
    """What an implementer leaves of a round."""

    summary: str
    """What it says of it."""
    facts: str
    """What was measured, in words: never the implementer's own."""
    diff: str = ""
    moved: bool
    """Whether anything was handed in or changed."""
    refused: str = ""
    """Why the round does not count: files outside of the candidate changed, the plan was edited."""
    best: str = ""


class Outcome(Record):
    """How a loop ended."""

    rounds: tuple[Round, ...]
    why: str
    plans: int


class Workshop(Protocol):
    """Where rounds happen: the worktree and the campaign of one run."""

    def spent(self) -> str:
        """Which limit of the budget is reached, so that no further round can begin; empty while none is."""

    def clean(self) -> str:
        """Why the tree cannot be worked on; empty where it is as the last round left it."""

    def plan(self, version: int, approach: str) -> str:
        """The text of the plan: K, R and W from the task, and the approach. Put where the implementer reads it."""

    def intact(self, digest: str) -> bool:
        """Whether the plan where the implementer reads it still has this hash."""

    def contract(self, number: int, limit: int, last: Round | None) -> str:
        """What a round is to do."""

    def implement(self, number: int, contract: str) -> Implemented:
        """Let the round's work be done."""

    def review(self, text: dict[str, str]) -> str:
        """What the reviewer says of a round."""

    def approach(self, plan: str, rounds: tuple[Round, ...], stalls: int) -> str:
        """A new approach, from somebody who did not write the last one."""

    def undo(self) -> None:
        """Put the candidate back to where the last round that advanced left it."""

    def keep(self) -> None:
        """Make the candidate of this round the one to go back to."""


def run(
    shop: Workshop, folder: Path, approach: str, limit: int = LIMIT, told: Callable[[Round], None] = lambda _: None
) -> Outcome:
    """Carry the loop out; ``folder`` keeps plan, contracts, summaries and reviews. A loop that was killed goes on.

    Raises BadInput where the tree is not clean before a round.
    """
    rounds, version = _kept(folder)
    approach = approach_of(folder) or approach
    plan = _write_plan(shop, folder, version, approach)
    while True:
        stalls = _stalls(rounds)
        if stalls >= STOP:
            return Outcome(rounds=rounds, why=f"{stalls} rounds in a row without progress", plans=version)
        if len(rounds) >= limit:
            return Outcome(rounds=rounds, why=f"{limit} rounds were asked for", plans=version)
        if why := shop.spent():
            return Outcome(rounds=rounds, why=why, plans=version)
        try:
            if stalls == REPLAN and rounds[-1].plan == version:
                version, approach = version + 1, shop.approach(plan, rounds, stalls)
                plan = _write_plan(shop, folder, version, approach)
            decided = _round(shop, folder, plan, version, rounds, limit)
        except BudgetSpent as spent:  # the reviewer cannot be asked: what the round left waits for a larger budget
            return Outcome(rounds=rounds, why=spent.message.rstrip("."), plans=version)
        rounds = (*rounds, decided)
        told(decided)


def _round(shop: Workshop, folder: Path, plan: str, version: int, rounds: tuple[Round, ...], limit: int) -> Round:
    """One round, with its files. Work that was done and not reviewed yet is reviewed, not done again."""
    number = len(rounds) + 1
    place = folder / f"{number:02d}"
    if (done := _done(place)) is None:
        if place.is_dir():
            shop.undo()  # an earlier process was ended in the middle of this round
        if why := shop.clean():
            raise BadInput(
                f"round {number} cannot begin: {why}.", "Commit or remove it in the worktree, then start again."
            )
        write_atomic(place / "contract.md", shop.contract(number, limit, rounds[-1] if rounds else None))
        done = _work(shop, folder, plan, number, version)
    contract = (place / "contract.md").read_text(encoding="utf-8")
    decided = _decided(shop, place, plan, contract, done, number, version)
    if decided.verdict is Verdict.advanced:
        shop.keep()
    elif decided.verdict is Verdict.regressed or done.refused:
        shop.undo()
    write_atomic(place / "round.json", decided.model_dump_json(indent=1))
    return decided


def _work(shop: Workshop, folder: Path, plan: str, number: int, version: int) -> Implemented:
    """Have the round's work done, and keep what it left."""
    place = folder / f"{number:02d}"
    done = shop.implement(number, (place / "contract.md").read_text(encoding="utf-8"))
    if not done.refused and not shop.intact(digest_bytes(plan.encode())):
        done = done.model_copy(update={"refused": "the plan was edited"})
        shop.plan(version, approach_of(folder))
    write_atomic(place / "summary.md", done.summary or "(nothing was said)\n")
    write_atomic(place / "facts.md", done.facts)
    write_atomic(place / "changes.patch", done.diff)
    write_atomic(place / DONE, done.model_dump_json(indent=1))
    return done


def _done(place: Path) -> Implemented | None:
    """What the work of a round left that is not decided; None where it was not ended."""
    path = place / DONE
    return Implemented.model_validate_json(path.read_bytes()) if path.is_file() else None


def _decided(
    shop: Workshop, place: Path, plan: str, contract: str, done: Implemented, number: int, version: int
) -> Round:
    """What the reviewer says, within what was measured."""
    told: dict[str, Any] = {"number": number, "plan": version, "best": done.best}
    if done.refused:
        return Round(verdict=Verdict.stalled, reason=f"not reviewed: {done.refused}", **told)
    if not done.moved:
        return Round(verdict=Verdict.stalled, reason="nothing was handed in, and nothing changed", **told)
    text = {"plan": plan, "contract": contract, "facts": done.facts, "diff": done.diff, "summary": done.summary}
    said = ""
    for _ in range(2):  # a reviewer that forgot the form is asked once more
        said = shop.review(text)
        write_atomic(place / "review.md", said)
        if (found := verdict_of(said)) is not None:
            parts = {name: " ".join(words.split()) for name, words in _PARTS.findall(said)}
            return Round(verdict=found, reason=parts.get("REASON", ""), next=parts.get("NEXT", ""), **told)
    return Round(verdict=Verdict.stalled, reason="the review states no verdict", **told)


def verdict_of(said: str) -> Verdict | None:
    """The verdict of a review; None where it states none, or several."""
    found = set(_VERDICT.findall(said))
    return Verdict(found.pop()) if len(found) == 1 and _LINE.search(said) else None


def _stalls(rounds: tuple[Round, ...]) -> int:
    """Rounds without progress at the end."""
    return next((n for n, r in enumerate(reversed(rounds)) if r.verdict is Verdict.advanced), len(rounds))


def _write_plan(shop: Workshop, folder: Path, version: int, approach: str) -> str:
    plan, path = shop.plan(version, approach), folder / f"plan-{version}.md"
    if path.is_file() and path.read_text(encoding="utf-8") != plan:
        raise BadInput(f"{path} was made for another task, or was edited.", "Begin anew with another --run.")
    write_atomic(folder / f"approach-{version}.md", approach)
    write_atomic(path, plan)
    return plan


def approach_of(folder: Path) -> str:
    """The approach of the newest plan; empty where there is none."""
    found = sorted(folder.glob("approach-*.md"), key=lambda path: int(path.stem.partition("-")[2]))
    return found[-1].read_text(encoding="utf-8") if found else ""


def _kept(folder: Path) -> tuple[tuple[Round, ...], int]:
    """The rounds of before, and the version of the last plan."""
    found = sorted(folder.glob("[0-9][0-9]/round.json"))
    plans = len(list(folder.glob("approach-*.md")))
    return tuple(Round.model_validate_json(p.read_bytes()) for p in found), max(1, plans)
