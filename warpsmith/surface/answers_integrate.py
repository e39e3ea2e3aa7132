"""What ``integrate``, ``intake`` and ``run`` answer."""

from __future__ import annotations

from warpsmith.app.intake import Changes, Intake
from warpsmith.app.stages import StageReport
from warpsmith.model.app import Integration
from warpsmith.surface.answers import Answer


class IntegrateAnswer(Answer):
    """What became of a candidate in an application."""

    integration: Integration | None = None
    """None where only an interrupted command was finished."""
    recovered: str = ""
    """What an interrupted command had left, and what was done about it."""
    ledger: str = ""
    """The ledger that the outcome was written into; empty where no campaign knows the candidate."""


class IntakeRow(Answer):
    """One intake, and what is not as it was."""

    intake: Intake
    folder: str
    changes: Changes


class IntakeAnswer(Answer):
    """What was taken in."""

    intakes: tuple[IntakeRow, ...]


class RunAnswer(Answer):
    """The whole road, stage by stage."""

    app: str
    stages: tuple[StageReport, ...]
    integration: Integration | None = None
