"""What a model writes for a harness task: an overlay, which is whole files of the workspace and the variables of a run.

A reply says an overlay as its folder does: files by their path in the workspace, and candidate.toml for variables and
tunables. Files that it leaves out stay; one that is given as the workspace has it leaves the overlay.
"""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from warpsmith.analyse.compare import effect, logs
from warpsmith.analyse.reasons import strongest
from warpsmith.analyse.standing import Standing
from warpsmith.errors import BadInput
from warpsmith.model.base import digest_bytes, short
from warpsmith.model.campaign import Campaign
from warpsmith.model.candidate import OVERLAY, Candidate, SourceFile
from warpsmith.model.evaluation import Evaluation, Metric, Status
from warpsmith.model.harness import HarnessTask
from warpsmith.propose import Place
from warpsmith.propose.harness import contract, mutable, text_of
from warpsmith.propose.llm import hygiene, overlay_prompt, prompt
from warpsmith.propose.llm.asking import Block
from warpsmith.propose.llm.clones import overlay_key
from warpsmith.propose.llm.fixing import Failure, failure
from warpsmith.propose.llm.handlers.prose import Handler
from warpsmith.propose.llm.prompt import Part
from warpsmith.propose.llm.reply import Reply, ended, safe, toml
from warpsmith.propose.llm.writing import failed_evaluation
from warpsmith.store.folders import CANDIDATE_FILE, load_candidate, workspace_files
from warpsmith.store.history import History


class Overlays:
    """A :class:`~warpsmith.propose.llm.writing.Writing`."""

    def __init__(self, place: Place) -> None:
        assert isinstance(place.task, HarnessTask)
        self.place, self.task = place, place.task
        self.contract = contract(place.task)

    @cached_property
    def own(self) -> dict[str, bytes]:
        """The workspace's mutable files, in the order in which a prompt shows them."""
        return {path: p.read_bytes() for path, p in mutable(self.place.folder, self.task).items()}

    @cached_property
    def _around(self) -> dict[str, str]:
        """Texts that may name what an overlay declares: the whole workspace, and the task."""
        root = self.place.folder / self.task.workspace
        paths = workspace_files(root) if self.task.workspace else []
        texts = {p.relative_to(root).as_posix(): text_of(p.read_bytes()) for p in paths}
        return {"": self.task.model_dump_json(), **{path: text for path, text in texts.items() if text is not None}}

    def files(self, candidate: Candidate) -> dict[str, str]:
        """The mutable files as a run with this overlay sees them; what is no text, or too long to be read, is not."""
        seen = {**{path: text_of(content) for path, content in self.own.items()}, **self._given(candidate)}
        return {path: text for path, text in seen.items() if text is not None}

    def _given(self, candidate: Candidate) -> dict[str, str | None]:
        """The overlay's own files; None for what is no text."""
        return {s.path: text_of(self.place.blobs.get(s.content)) for s in candidate.sources}

    def system(self, entry: Candidate, c: Campaign, past: tuple[str, ...], *, tunes: bool) -> tuple[Block, ...]:
        """Rules, contract, the task's texts, the mutable files as far as there is room, patterns and the past."""
        tried = tuple(p.line for p in self.place.library.patterns if c.task_name in p.tasks and not p.under)
        source = self.source(entry, "the entry", fix=False)
        texts = {path: text_of(content) for path, content in self.own.items()}
        sizes = {path: len(content) for path, content in self.own.items()}
        told = overlay_prompt.Told(self.task, self.contract, self.place.folder, texts, sizes, tried, past)
        return overlay_prompt.system(told, source.tokens, self.place.settings.prompt_tokens, tunes=tunes)

    def source(self, candidate: Candidate, where: str, *, fix: bool) -> Part:
        """Its manifest and its own files."""
        given = self._given(candidate)
        shown = {path: text for path, text in given.items() if text is not None}
        return prompt.source({CANDIDATE_FILE: manifest(candidate), **shown}, where, OVERLAY, fix=fix)

    def results(self, h: History, candidate: str) -> Part:
        """What it scored beside its rival, metric by metric: what decides first."""
        return Part("timings", _results(h, self.task, candidate), (("title", "What it scored, median of its runs"),))

    def order(self, told: Mapping[str, object]) -> str:
        """A better overlay by the objective."""
        objective = self.contract["metrics"][0]
        return prompt.render("overlay_propose", objective=objective, guarded=bool(self.task.guardrails), **told)

    def candidate(self, reply: Reply, parent: Candidate) -> tuple[Candidate, tuple[str, ...]]:
        """The parent's overlay with the reply's files and variables."""
        notes = self._without_folder(reply)
        safe(reply.files)
        files = {path: ended(text).encode() for path, text in reply.files.items() if path != CANDIDATE_FILE}
        if fixed := [path for path in files if not self.task.may_change(path)]:
            allowed = ", ".join(self.task.mutable) or "no files: set variables in candidate.toml"
            raise BadInput(f"{', '.join(fixed)} cannot be changed by a candidate. Mutable are: {allowed}.")
        said = _said(reply.files[CANDIDATE_FILE]) if CANDIDATE_FILE in reply.files else {}
        kept = {s.path: s.content for s in parent.sources if s.path in said.get("sources", [s.path])}
        for path, content in files.items():
            kept[path] = self.place.blobs.put(content)
            if path in self.own and ended(self.own[path].decode("utf-8", "replace")).encode() == content:
                del kept[path]
        if lost := [p for p in said.get("sources", ()) if p not in kept and p not in self.own]:
            raise BadInput(f"{CANDIDATE_FILE}: sources: {lost[0]!r} is not there. Give it whole, or leave it out.")
        given = self._variables(said, parent)
        sources = tuple(SourceFile(path=path, content=kept[path]) for path in sorted(kept))
        given = given.model_copy(update={"sources": sources, "parent": parent.id})
        if why := self.task.refuses(given):
            raise BadInput(f"{why[0].upper()}{why[1:]}.")
        if given.id == parent.id:
            raise BadInput("Nothing is changed: files and variables are those of the overlay that you were given.")
        return given, notes

    def mended(self, files: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
        """Code without a fence within its fence."""
        code = {path: Handler().mend(path, text) for path, text in files.items() if path.endswith(hygiene.CODE)}
        return {**files, **code}, tuple(f"prose: {p} was mended" for p, text in code.items() if files[p] != text)

    def problems(self, reply: Reply, parent: Candidate, given: Candidate | None) -> list[str]:
        """Hygiene of the files that it gives."""
        files = {path: text for path, text in reply.files.items() if path != CANDIDATE_FILE}
        return hygiene.of_overlay(files, self.files(parent))

    def failure(self, h: History, s: Standing, candidate: str) -> Failure:
        """From the evaluation in which it failed, or the guardrail that it breaks."""
        evaluation = failed_evaluation(h, candidate)
        if evaluation is not None:
            return failure(evaluation, self.place.task, self.files(h.candidates[candidate]))
        if candidate in s.failed:
            status, _, detail = s.failed[candidate].partition(": ")
            return Failure(status=Status(status), what=None, summary=detail)
        broken = ", ".join(s.broken.get(candidate, ()))
        scored = "\n".join(_results(h, self.task, candidate))
        said = f"It is better by the objective and breaks {broken}, so it does not count.\n{scored}"
        limits = "; ".join(m for m in self.contract["metrics"] if "guardrail" in m)
        return Failure(status="guardrail", what=None, summary=said, expected=limits)

    def key(self, candidate: Candidate) -> str:
        """Its variables, and its files but for comments, spacing and names."""
        sources = {s.path: self.place.blobs.get(s.content) for s in candidate.sources}
        texts = {path: text_of(content) or digest_bytes(content) for path, content in sources.items()}
        return overlay_key(candidate, texts, self._around)

    def _without_folder(self, reply: Reply) -> tuple[str, ...]:
        """Take the workspace's own name off paths that nothing else can mean."""
        prefix = f"{self.task.workspace}/"
        meant = {p: p.removeprefix(prefix) for p in reply.files if self.task.workspace and not self.task.may_change(p)}
        meant = {p: q for p, q in meant.items() if q != p and self.task.may_change(q) and q not in reply.files}
        reply.files = {meant.get(path, path): text for path, text in reply.files.items()}
        return tuple(f"{path} was taken for {meant[path]}" for path in meant)

    def _variables(self, said: dict[str, Any], parent: Candidate) -> Candidate:
        """An overlay without files. What the manifest leaves out stays as it is in the parent."""
        tunables = {n: {**t.model_dump(), "default": parent.parameters.get(n, t.default)}
                    for n, t in parent.space.tunables.items()}  # fmt: skip
        for name, value in said.get("tunables", {}).items():
            if isinstance(value, int) and name not in tunables:
                known = ", ".join(tunables) or "none"
                raise BadInput(f"{CANDIDATE_FILE}: {name} is no tunable ({known}). Set it in [environment].")
            tunables[name] = {**tunables[name], "default": value} if isinstance(value, int) else value
        environment = said.get("environment", parent.environment)
        if both := sorted(set(environment) & set(tunables)):
            raise BadInput(f"{CANDIDATE_FILE}: {', '.join(both)}: a tunable. Set it under [tunables].")
        lines = [f"toolchain = {toml(OVERLAY)}", f"environment = {toml({k: _word(v) for k, v in environment.items()})}"]
        lines += [f"constraints = {toml(said.get('constraints', parent.space.constraints))}"]
        lines += [f"tunables = {toml(tunables)}"]
        with tempfile.TemporaryDirectory() as made:
            (Path(made) / CANDIDATE_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
            try:
                return load_candidate(Path(made), self.place.blobs, self.task)
            except BadInput as error:
                raise BadInput(error.message.replace(f"{made}/", "")) from None


def manifest(candidate: Candidate) -> str:
    """``candidate.toml`` of an overlay, as a reply may give it: tunables by their present values."""
    lines = [f"sources = {toml([s.path for s in candidate.sources])}", "", "[environment]"]
    lines += [f"{name} = {toml(value)}" for name, value in candidate.environment.items()]
    if candidate.space.tunables:
        now = {name: candidate.parameters.get(name, t.default) for name, t in candidate.space.tunables.items()}
        lines += ["", "[tunables]", *(f"{name} = {value}" for name, value in now.items())]
    return "\n".join(lines) + "\n"


def _said(text: str) -> dict[str, Any]:
    """A manifest of a reply. Raises BadInput."""
    try:
        said = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{CANDIDATE_FILE}: not TOML: {error}.") from None
    tables = {"environment": dict, "tunables": dict, "sources": list, "constraints": list}
    if unknown := sorted(set(said) - {"toolchain", "entry", "flags", "memo", *tables}):
        raise BadInput(f"{CANDIDATE_FILE}: {', '.join(unknown)}: unknown. Variables stand under [environment].")
    for name, kind in tables.items():
        if not isinstance(said.get(name, kind()), kind):
            raise BadInput(f"{CANDIDATE_FILE}: {name}: write it as {'a table' if kind is dict else 'a list'}.")
    return said


def _word(value: object) -> object:
    """A number as the text that a variable holds."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _results(h: History, task: HarnessTask, candidate: str) -> tuple[str, ...]:
    evaluation = strongest(h, candidate)
    if evaluation is None or not evaluation.passed:
        return ()
    decided = {named.metric: n for n, named in enumerate(task.decided_by)}
    found = [(decided.get(m.name, len(decided)), r.workload, m) for r in evaluation.workloads for m in r.metrics]
    found.sort(key=lambda one: one[0])
    return tuple(_result(evaluation, workload, metric, order, len(task.workloads)) for order, workload, metric in found
                 if order < len(decided) or candidate != evaluation.rival)  # fmt: skip


def _result(e: Evaluation, workload: str, metric: Metric, order: int, workloads: int) -> str:
    """One metric of one workload beside the rival."""
    role = "objective, " if order == 0 else ""
    where = f" on {workload}" if workloads > 1 else ""
    now = f"- {metric.name}{where} ({role}{metric.direction.value}): {_middle(metric.candidate):.4g} {metric.unit}"
    if e.rival == e.candidate or not metric.rival:
        return now
    better = effect(logs(metric)).speedup
    return f"{now}, {better:.3f}x as good as {short(e.rival)}'s {_middle(metric.rival):.4g}"


def _middle(samples: tuple[float, ...]) -> float:
    return sorted(samples)[len(samples) // 2]
