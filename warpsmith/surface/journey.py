"""The stages of ``run``: those that this package carries out itself; :data:`FROM` names where the others come from."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from warpsmith.app.stages import Name, Result, Stage, of_files
from warpsmith.errors import BadInput
from warpsmith.model.base import digest, short

if TYPE_CHECKING:
    from warpsmith.app.loading import Described
    from warpsmith.surface.workspace import Known, Workspace

FROM: dict[Name, str] = {
    "observe": "warpsmith.surface.journey:Observe",
    "capture": "warpsmith.surface.capturing:stage",
    "optimize": "warpsmith.surface.journey:Optimize",
    "trial": "warpsmith.surface.trying:stage",
    "integrate": "warpsmith.surface.journey:Integrate",
}
"""Stage to ``module:function``; the function takes a :class:`Journey` and gives a :class:`Stage`."""


@dataclass(frozen=True)
class Journey:
    """One application on its road, as every stage is given it."""

    space: Workspace
    described: Described
    tag: str = "main"
    budget: str = ""
    fix: bool = False
    no_webhook: bool = False

    @property
    def folder(self) -> Path:
        """Where the results of stages are kept."""
        key = short(digest([str(self.described.file), self.tag]))
        return self.space.home / "runs" / f"{self.described.app.name}-{key}"

    def known(self, given: Mapping[str, str]) -> Known | None:
        """The task: that of app.toml, else the one that ``capture`` made; None where there is none."""
        from warpsmith.surface.integrating import known_task

        return known_task(self.space, self.described, "" if self.described.app.task else given.get("task", ""))


class Factory(Protocol):
    """Makes one stage."""

    def __call__(self, journey: Journey) -> Stage:
        """The stage of this application."""


@dataclass(frozen=True)
class Absent:
    """A stage that this version does not have."""

    name: Name

    def not_applicable(self, given: Mapping[str, str]) -> str:
        """That it is not there."""
        return "not part of this version"

    def inputs(self, given: Mapping[str, str]) -> Mapping[str, str]:
        """Nothing."""
        return {}

    def run(self, given: Mapping[str, str]) -> Result:
        """Never comes to it."""
        raise BadInput(f"there is no stage {self.name}.", "Use --skip.")


@dataclass(frozen=True)
class Observe:
    """What the application launches, and where its time goes."""

    journey: Journey
    name: Name = "observe"

    def not_applicable(self, given: Mapping[str, str]) -> str:
        """Where nothing is launched on a device."""
        return _on_processor(self.journey, "nothing is launched on a device")

    def inputs(self, given: Mapping[str, str]) -> Mapping[str, str]:
        """Command, environment and what is run."""
        described = self.journey.described
        ran = described.app.artefacts or described.app.edited
        return {"run": str(described.app.run), "set": str(described.app.environment), **of_files(described.root, ran)}

    def run(self, given: Mapping[str, str]) -> Result:
        """Run it under observation."""
        from warpsmith.app.observe import Wish, observe
        from warpsmith.app.prints import observe_prints
        from warpsmith.app.running import app
        from warpsmith.app.sections import wanted
        from warpsmith.app.site import Site
        from warpsmith.app.symbols import parts
        from warpsmith.store.files import write_atomic
        from warpsmith.surface.integrating import environment

        described, home = self.journey.described, self.journey.space.home
        with Site(described, home, environment(self.journey.space)) as site:
            site.begin(f"observe-{short(digest(str(described.root)))}", "observe")
            site.normalise()
            site.give_up("built as it is")
            command = described.app.run
            argv = ("sh", "-c", command) if isinstance(command, str) else command
            said = app(argv, described.root, {**environment(self.journey.space), **site.set_variables})
            seen = observe(said, home, Wish(output=sys.stderr.fileno()))
            unwatched = seen.observation.run.source != "injection"
            printed = observe_prints(site) if unwatched and described.app.wrapper else ()
        bare = wanted(described.app.kernel).name
        mine = [k for k in seen.observation.kernels if wanted_name(parts(k.symbol).name) == bare]
        if not mine:
            others = ", ".join(parts(k.symbol).name for k in seen.observation.kernels[:5]) or "none"
            return Result(
                said="", stop=f"the run launches no {described.app.kernel}; it launches {others}", exit_status=2
            )
        share = sum(k.share for k in mine)
        gives = {"observation": str(seen.folder), "symbol": mine[0].symbol, "share": f"{share:.6f}"}
        if printed:  # launches could not be watched: what the program says of itself stands in
            path = self.journey.folder / "prints.json"
            write_atomic(path, json.dumps([p.model_dump(mode="json") for p in printed], indent=1))
            gives["prints"] = str(path)
        return Result(said=f"{described.app.kernel} takes {share:.1%} of the device time", gives=gives)


@dataclass(frozen=True)
class Optimize:
    """The campaign of the task."""

    journey: Journey
    name: Name = "optimize"

    def not_applicable(self, given: Mapping[str, str]) -> str:
        """Where there is no task."""
        if self.journey.known(given) is None:
            return "no task: app.toml names none, and none was captured"
        return ""

    def inputs(self, given: Mapping[str, str]) -> Mapping[str, str]:
        """Task, candidates with folders, device, judge, and how it is asked."""
        from warpsmith.judge import VERSION

        known, settings = self.journey.known(given), self.journey.space.settings
        assert known is not None
        asked = {"tag": self.journey.tag, "budget": self.journey.budget, "proposer": settings.proposer}
        said = {"task": known.loaded.digest, "judge": VERSION, "target": self.journey.space.target(known).key}
        return {**said, **asked, "seed": str(settings.seed), "candidates": digest([c.id for c in known.all])}

    def run(self, given: Mapping[str, str]) -> Result:
        """Run or resume it."""
        from warpsmith.surface.budgets import budget_of
        from warpsmith.surface.campaigns import run_campaign
        from warpsmith.surface.notices import Notices
        from warpsmith.surface.progress import progress
        from warpsmith.surface.view import view

        space, known = self.journey.space, self.journey.known(given)
        assert known is not None
        limits = budget_of(self.journey.budget, space.settings)
        name = known.loaded.head.name
        with Notices(space, name, self.journey.tag, disabled=self.journey.no_webhook) as notices:
            h = run_campaign(space, known, self.journey.tag, limits, notices.watching(progress(space)))
            seen = view(h, known.loaded.kernel)
            notices.finished(seen, "")
        if not seen.promotable:
            return Result(said="", stop=f"no candidate of {name} is clearly faster than its baseline", exit_status=2)
        return Result(
            said=f"{short(seen.best)} of {name}", gives={"candidate": seen.best, "of": str(known.loaded.folder)}
        )


@dataclass(frozen=True)
class Integrate:
    """The candidate into the application's source."""

    journey: Journey
    name: Name = "integrate"

    def not_applicable(self, given: Mapping[str, str]) -> str:
        """Where there is no candidate."""
        return "" if "candidate" in given else "no stage gave a candidate"

    def inputs(self, given: Mapping[str, str]) -> Mapping[str, str]:
        """The candidate, app.toml, and the files that it may be written into."""
        described = self.journey.described
        said = {"candidate": given["candidate"], "app": digest(described.app), "root": str(described.root)}
        return {**said, **of_files(described.root, described.app.edited)}

    def run(self, given: Mapping[str, str]) -> Result:
        """Carry it out."""
        from warpsmith.app.site import Site
        from warpsmith.surface import integrating

        space, described = self.journey.space, self.journey.described
        with Site(described, space.home, integrating.environment(space)) as site:
            chosen = integrating.choose(space, described, given["candidate"], given.get("of", ""), self.journey.tag)
            answer = integrating.carry_out(space, site, chosen, fix=self.journey.fix, budget="")
        assert answer.integration is not None
        gives = {"evidence": answer.integration.evidence}
        stop = "" if answer.exit_status == 0 else answer.integration.reason.splitlines()[0]
        return Result(said=answer.integration.reason, gives=gives, stop=stop, exit_status=answer.exit_status)


def wanted_name(name: str) -> str:
    """The last part of a demangled name, without the arguments of its template."""
    return name.partition("<")[0].rpartition("::")[2]


def _on_processor(journey: Journey, why: str) -> str:
    return f"the kernel runs on the processor: {why}" if journey.described.app.hardware == "cpu" else ""


def made(name: Name, journey: Journey) -> Stage:
    """The stage of that name; :class:`Absent` where its module is not there."""
    module, _, attribute = FROM[name].partition(":")
    try:
        factory: Factory = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        return Absent(name)
    return factory(journey)
