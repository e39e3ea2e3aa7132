"""The verb ``run``: from observation to a kernel that is kept in the application, or a tree that is as it was."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from warpsmith.app.stages import StageReport
    from warpsmith.model.app import Integration
    from warpsmith.surface.answers_integrate import RunAnswer


def run(
    app: Path, *, skip: tuple[str, ...] = (), again: tuple[str, ...] = (), tag: str = "main", budget: str = "",
    proposer: str | None = None, fix: bool = False, no_webhook: bool = False,
) -> RunAnswer:  # fmt: skip
    """The whole road of an application: observe, capture, optimize, trial, integrate; kept or rolled back.

    Every stage is kept by what it depends on: run again, the road goes on where it was stopped. A stage that cannot
    apply says why. Exit status 0 where the candidate was kept, 1 where it was rolled back, 2 where nothing was gained.

    Args:
        app: The app.toml, or its folder.
        skip: Leave out a stage (may be given several times).
        again: Carry a stage out whatever is kept of it (may be given several times).
        tag: Names the campaign of 'optimize'.
        budget: Its budget, as 'optimize' takes it.
        proposer: Its proposer, as 'optimize' takes it.
        fix: Let a model mend what does not hold in the application.
        no_webhook: Send no notification; the record of each says so.
    """
    from warpsmith.app.loading import load_app
    from warpsmith.app.site import Site
    from warpsmith.app.stages import STAGES, walk
    from warpsmith.surface.answers_integrate import RunAnswer
    from warpsmith.surface.integrating import environment, recovering
    from warpsmith.surface.journey import Journey, made
    from warpsmith.surface.workspace import Workspace

    space = Workspace(flags={"proposer": proposer})
    journey = Journey(space, load_app(app), tag, budget, fix, no_webhook)
    with Site(journey.described, space.home, environment(space)) as site:
        recovering(site)
    tell = partial(_tell, len(STAGES))
    road = walk([made(name, journey) for name in STAGES], journey.folder, skip=skip, again=again, tell=tell)
    last = next((r for r in road.reports if r.name == "integrate"), None)
    integration = _integration(last) if last is not None else None
    return RunAnswer(
        exit_status=road.exit_status, app=journey.described.app.name, stages=road.reports, integration=integration
    )


def _tell(total: int, report: StageReport) -> None:
    from warpsmith.app.stages import STAGES

    number = STAGES.index(report.name) + 1
    print(f"[{number}/{total}] {report.name}: {report.state.replace('_', ' ')}: {report.said}", file=sys.stderr)  # noqa: T201


def _integration(report: StageReport) -> Integration | None:
    from warpsmith.app.outcomes import REPORT
    from warpsmith.model.app import Integration

    path = Path(report.gives.get("evidence", "")) / REPORT
    return Integration.model_validate_json(path.read_bytes()) if "evidence" in report.gives and path.exists() else None
