"""The verbs ``notify test`` and ``notify status``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from warpsmith.surface import answers_notify
    from warpsmith.surface.workspace import Workspace

SHOWN = 5
"""Latest notifications that ``notify status`` shows."""


def notify_test() -> answers_notify.NotifyTestAnswer:
    """Send a test message to every address of the settings, and wait for what becomes of it.

    Exit status 1 where one of them did not take it, 3 where none is named, 4 without apprise.
    """
    import time

    from warpsmith.errors import BadInput, Missing
    from warpsmith.notify.channels import channels
    from warpsmith.notify.post import GRACE_S, LIMIT_S, Post
    from warpsmith.notify.record import Notice
    from warpsmith.surface.answers import NO, YES
    from warpsmith.surface.answers_notify import NotifyTestAnswer
    from warpsmith.surface.notices import book

    space = _workspace()
    to = channels(space.settings, space.root)
    if not to.urls:
        raise BadInput(to.problem or "no address is set up for notifications.", "See docs/notify.md.")
    post, notice = Post(to, book(space)), Notice(kind="test", line="A test: nothing happened.", at=time.time())
    post.send(notice)
    post.close(LIMIT_S + 2 * GRACE_S)
    done = next((n for n in reversed(book(space).latest()) if n.notice == notice), None)
    if done is None:
        raise Missing(f"{book(space).path} cannot be written.", "Make it so: every notification is recorded there.")
    if done.webhook_status == "missing":
        raise Missing("apprise is not installed.", "Run: pip install 'warpsmith[notify]'.")
    return NotifyTestAnswer(exit_status=YES if done.webhook_sent else NO, notification=done)


def notify_status() -> answers_notify.NotifyStatusAnswer:
    """Say what is set up for notifications and what became of the latest ones. Sends nothing.

    Exit status 1 where something that is set up cannot be used.
    """
    from warpsmith.notify.channels import channels
    from warpsmith.notify.post import Heard, ask
    from warpsmith.surface.answers import NO, YES
    from warpsmith.surface.answers_notify import Address, NotifyStatusAnswer
    from warpsmith.surface.notices import book

    space = _workspace()
    to = channels(space.settings, space.root)
    heard = ask(to, "", None) if to.urls else Heard("sent", ())
    installed = heard.status != "missing"
    found = tuple(Address(channel=c.channel, understood=c.sent, detail=c.detail) for c in heard.channels)
    broken = bool(to.problem) or (bool(to.urls) and heard.status != "sent")
    return NotifyStatusAnswer(
        exit_status=NO if broken else YES,
        enabled=bool(to.urls),
        installed=installed,
        addresses=found or tuple(Address(channel=c, understood=False, detail=heard.detail) for c in to.labels),
        problem=to.problem,
        every_s=space.settings.notify_every_s,
        records=str(book(space).path),
        latest=tuple(book(space).latest()[-SHOWN:]),
    )


def _workspace() -> Workspace:
    from warpsmith.surface.workspace import Workspace

    return Workspace()
