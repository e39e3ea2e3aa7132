"""What the verbs ``notify test`` and ``notify status`` answer."""

from __future__ import annotations

from warpsmith.model.base import Record
from warpsmith.notify.record import Notification
from warpsmith.surface.answers import Answer


class Address(Record):
    """One address, without its secrets."""

    channel: str
    understood: bool
    detail: str = ""


class NotifyTestAnswer(Answer):
    """What became of a test message."""

    notification: Notification


class NotifyStatusAnswer(Answer):
    """What is set up, and what was sent last. Nothing was sent to find out."""

    enabled: bool
    """Whether the settings name an address."""
    installed: bool
    """Whether apprise is there."""
    addresses: tuple[Address, ...]
    problem: str = ""
    """Why the file of addresses cannot be read."""
    every_s: float
    records: str
    """The file of all notifications."""
    latest: tuple[Notification, ...]
