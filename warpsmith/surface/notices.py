"""What is worth telling: events of campaigns and answers of verbs, turned into notices.

A verb opens :class:`Notices`, hands over what it sees, and leaves; the end waits a moment for what is under way. How a
notice is sent, and that it never holds anything up, is :mod:`warpsmith.notify`'s.
"""

from __future__ import annotations

import math
import time
from types import TracebackType
from typing import Any, Self

from warpsmith.analyse.compare import compare, effect, logs
from warpsmith.analyse.standing import PROOF, Standing, standing
from warpsmith.campaign import Watcher
from warpsmith.errors import BadInput
from warpsmith.model.base import short
from warpsmith.model.campaign import Campaign, Event, Finished, Opened
from warpsmith.model.evaluation import Evaluation
from warpsmith.notify.channels import channels
from warpsmith.notify.post import CLOSING_S, Post
from warpsmith.notify.record import Book, Kind, Notice
from warpsmith.ship.handoff import HandOff
from warpsmith.store.history import History
from warpsmith.surface.answers import BenchAnswer
from warpsmith.surface.answers_ship import PromoteAnswer, RejectAnswer
from warpsmith.surface.numbers import one_line, ratio_text
from warpsmith.surface.ratio import ratio_of
from warpsmith.surface.view import View
from warpsmith.surface.workspace import Workspace

FILE = "notifications.jsonl"
"""Every notification of the project, in its home."""
LONGEST = 300
"""Characters of a line."""
INTERRUPTED_S = 1.0
"""How long the end waits after Ctrl-C."""


def book(space: Workspace) -> Book:
    """The records of the project."""
    return Book(space.home / FILE)


class Notices:
    """What one verb tells of one campaign. A context manager: what it raises is told too, but for a person's slip."""

    def __init__(self, space: Workspace, task: str = "", tag: str = "", *, disabled: bool = False) -> None:
        self.space, self.task, self.tag = space, task, tag
        to, every = channels(space.settings, space.root), space.settings.notify_every_s
        self._post = Post(to, book(space), disabled=disabled, every_s=every)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if isinstance(error, Exception) and type(error) is not BadInput:
            self._tell("failed", f"failed: {getattr(error, 'message', '') or repr(error)}")
        self._post.close(CLOSING_S if error is None or isinstance(error, Exception) else INTERRUPTED_S)

    def watching(self, inner: Watcher | None = None) -> Watcher:
        """A watcher that tells of each new best, after ``inner`` saw the event."""
        known: set[str] = set()

        def watch(event: Event, h: History) -> None:
            if inner is not None:
                inner(event, h)
            if isinstance(event, Opened):
                known.update(standing(h).leaders)  # told before, or not new
                return
            found = event.outcome if isinstance(event, Finished) else None
            if isinstance(found, Evaluation) and found.effort in PROOF and (s := standing(h)).best not in known:
                known.update(s.leaders)
                self._best(h, s, found)

        return watch

    def _best(self, h: History, s: Standing, found: Evaluation) -> None:
        assert h.campaign is not None
        answer = compare(found, h.campaign)
        over = f"{math.exp(-s.estimates[s.best]):.3f}x over the baseline"
        beside = {f"over {short(found.rival)}": ratio_text(ratio_of(answer.overall))} if answer else {}
        facts = {**beside, **guarded(found, h.campaign), "measurements": str(h.measured)}
        self._tell("new_best", f"new best {short(s.best)}: {over}", s.best, facts)

    def finished(self, seen: View, report: str) -> None:
        """A campaign ended by itself."""
        gate = "promotable" if seen.promotable else f"not promotable (gate {seen.min_gain:.1%})"
        said = f"{ratio_text(seen.ratio)} over the baseline, {seen.verdict}, {gate}" if seen.ratio else "no gain"
        facts = {w.name: ratio_text(w.ratio) for w in seen.workloads[:8] if len(seen.workloads) > 1}
        facts |= {"measurements": str(seen.measured), "stopped": seen.stopped_because or "the plan is empty"}
        facts |= {"time to escalate": "; ".join(seen.rhythm)}
        self._tell("finished", f"finished: {said}", seen.best, facts, report)

    def measured(self, answer: BenchAnswer) -> None:
        """A benchmark was made."""
        said = [f"{e.name} {e.verdict or e.status} {ratio_text(e.ratio)}" for e in answer.entries]
        line = f"measured beside {answer.against}: {'; '.join(said)}"
        candidate = answer.entries[0].candidate.id if len(answer.entries) == 1 else ""
        self._tell("measured", line, candidate, {"notes": answer.notes}, answer.report)

    def promoted(self, answer: PromoteAnswer) -> None:
        """A promotion ended: released, or refused."""
        name = f"{answer.task}@{answer.version}"
        if answer.manifest is not None:
            gain = answer.manifest.gain
            ends = "" if gain.low is None or gain.high is None else f" [{gain.low:.3f}, {gain.high:.3f}]"
            line = f"released {name}: {gain.speedup:.3f}x{ends} over the baseline"
            self._tell("promoted", line, answer.candidate, {}, answer.folder)
        else:
            why = ", ".join(dict.fromkeys(r.reason for r in answer.refusals))
            self._tell("rejected", f"{name} was not released: {why}", answer.candidate)

    def rejected(self, answer: RejectAnswer) -> None:
        """A candidate was rejected by a person or an agent."""
        facts = {"claim": answer.claim, "next blocker": answer.next_blocker}
        self._tell("rejected", f"rejected: {answer.why}", answer.candidate, facts)

    def handed_off(self, handed: HandOff) -> None:
        """A release went to a consumer; a hook of :mod:`warpsmith.ship.handoff`."""
        self._tell("handed_off", f"{handed.name}@{handed.version} ({handed.gain.speedup:.3f}x) for {handed.consumer}")

    def _tell(
        self, kind: Kind, line: str, candidate: str = "", facts: dict[str, str] | None = None, report: str = ""
    ) -> None:
        said: dict[str, Any] = {"task": self.task, "tag": self.tag, "candidate": candidate, "report": report}
        plain = {name: one_line(text, LONGEST) for name, text in (facts or {}).items()}
        self._post.send(Notice(kind=kind, line=one_line(line, LONGEST), facts=plain, at=time.time(), **said))


def guarded(found: Evaluation, c: Campaign) -> dict[str, str]:
    """Each guardrail in words: how much worse than beside the rival, and how much is allowed."""
    said = {}
    for guard in c.guardrails:
        for result in found.workloads:
            if (metric := result.metric(guard.metric)) is not None:
                worse = math.expm1(effect(logs(metric)).log)
                name = guard.metric if len(found.workloads) == 1 else f"{result.workload}/{guard.metric}"
                said[f"guardrail {name}"] = f"{worse:+.1%} worse than its rival, at most {guard.limit:+.1%}"
    return said
