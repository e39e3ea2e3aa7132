"""Sending without being waited for: a thread with a queue, and a process per message that is killed at its deadline.

A run hands a notice over and goes on. What cannot be sent, and why, is in the record; nothing here raises for it. At
its end a run waits at most :data:`CLOSING_S` for what is under way.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from warpsmith.notify.channels import Channels, rub_out
from warpsmith.notify.record import OFTEN, Book, Notice, Notification, Sent, Status

LIMIT_S = 10.0
"""Longest time that one message may take, over all addresses."""
CLOSING_S = 5.0
"""Longest time that the end of a run waits."""
GRACE_S = 1.0
"""What the process gets beyond its limit before it is killed."""
SENDER = (sys.executable, "-P", "-m", "warpsmith.notify.sending")


class Post:
    """Takes notices, and sends those that are to be sent, in order."""

    def __init__(self, to: Channels, book: Book, *, disabled: bool = False, every_s: float = 60.0) -> None:
        self.to, self.book, self.disabled, self.every_s = to, book, disabled, every_s
        self._waiting: deque[Notice] = deque()
        self._held: Notice | None = None
        """The latest of those that come often, until it may go."""
        self._free_at = 0.0
        self._last: dict[str, float] = {}
        self._changed = threading.Condition()
        self._end: float | None = None
        """When what is left is given up; None until the run ends."""
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[str] | None = None

    def send(self, notice: Notice) -> None:
        """Take a notice over; returns at once."""
        if self.disabled or not self.to.urls:
            status: Status = "disabled_by_flag" if self.disabled else "not_configured"
            self._note(notice, status, "" if self.disabled else self.to.problem)
            return
        with self._changed:
            if self._held is not None:  # the newer one says more
                self._note(self._held, "superseded")
                self._held = None
            if notice.kind in OFTEN:
                self._held, self._free_at = notice, self._free(notice)
            else:
                self._waiting.append(notice)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="notify", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self, wait_s: float = CLOSING_S) -> None:
        """Let what waits go, for ``wait_s`` at most; what is left then is recorded as given up."""
        with self._changed:
            self._end = time.monotonic() + wait_s
            self._changed.notify()
            thread = self._thread
        if thread is None:
            return
        thread.join(wait_s)
        with self._changed:
            if self._process is not None:
                self._process.kill()
        thread.join(GRACE_S)

    def _free(self, notice: Notice) -> float:
        """When a notice of this kind may go; what other processes sent counts too."""
        if notice.kind not in self._last:
            self._last[notice.kind] = self.book.last_out(notice)
        return min(self._last[notice.kind], time.time()) + self.every_s

    def _work(self) -> None:
        while (notice := self._next()) is not None:
            if self._over:
                self._note(notice, "given_up", "the run ended")
            else:
                self._deliver(notice)

    @property
    def _over(self) -> bool:
        return self._end is not None and time.monotonic() >= self._end

    def _next(self) -> Notice | None:
        """The next notice that may go; None once there is none and no more will come."""
        with self._changed:
            while True:
                if self._waiting:
                    return self._waiting.popleft()
                left = self._free_at - time.time() if self._held is not None else None
                if left is not None and left <= 0:
                    notice, self._held = self._held, None
                    return notice
                if self._end is not None:
                    if self._held is not None:
                        self._note(self._held, "held_back", f"another went out less than {self.every_s:g} s before")
                        self._held = None
                    return None
                self._changed.wait(left)

    def _deliver(self, notice: Notice) -> None:
        self._last[notice.kind] = time.time()
        begun = time.monotonic()
        heard = ask(self.to, notice.title, notice.body, self._under_way)
        self._process = None
        status = "given_up" if heard.status == "timed_out" and self._over else heard.status
        self._note(notice, status, heard.detail, heard, time.monotonic() - begun)

    def _under_way(self, process: subprocess.Popen[str]) -> None:
        with self._changed:
            self._process = process

    def _note(
        self, notice: Notice, status: Status, detail: str = "", heard: Heard | None = None, seconds: float = 0.0
    ) -> None:
        enabled = bool(self.to.urls)
        self.book.append(
            Notification(
                notice=notice,
                webhook_enabled_by_config=enabled,
                webhook_disabled_by_flag=self.disabled,
                webhook_expected=enabled and not self.disabled,
                webhook_attempted=heard is not None and status != "missing",
                webhook_sent=status == "sent",
                webhook_status=status,
                detail=detail,
                channels=heard.channels if heard is not None else (),
                seconds=seconds,
            )
        )


@dataclass(frozen=True)
class Heard:
    """What the sending process said."""

    status: Status
    channels: tuple[Sent, ...]
    detail: str = ""


def ask(
    to: Channels,
    title: str,
    body: str | None,
    under_way: Callable[[subprocess.Popen[str]], None] = lambda process: None,
    limit_s: float = LIMIT_S,
) -> Heard:
    """Have a process send to every address; without a body it only looks whether apprise understands them.

    Args:
        to: The addresses.
        title: The subject.
        body: The message.
        under_way: Given the process: whoever kills it ends the asking.
        limit_s: Longest time.
    """
    job = json.dumps({"urls": to.urls, "title": title, "body": body, "limit_s": limit_s})
    process = subprocess.Popen(
        SENDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    under_way(process)
    try:
        said, complained = process.communicate(job, timeout=limit_s + GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        said, complained = process.communicate()
    return _understood(to, said, complained)


def _understood(to: Channels, said: str, complained: str) -> Heard:
    lines = []
    for line in said.splitlines():
        with suppress(json.JSONDecodeError):  # one that was cut off
            lines.append(json.loads(line))
    if any("missing" in line for line in lines):
        return Heard("missing", (), "apprise is not installed: pip install 'warpsmith[notify]'")
    answers = {line["at"]: line for line in lines}
    found = []
    for number, label in enumerate(to.labels):
        answer = answers.get(number, {"ok": False, "detail": "no answer in time"})
        found.append(Sent(channel=label, sent=answer["ok"], detail=rub_out(answer["detail"], to.urls)))
    sent = sum(one.sent for one in found)
    if sent:
        return Heard("sent" if sent == len(found) else "partly_sent", tuple(found))
    last = rub_out(complained.strip().rpartition("\n")[2], to.urls)
    return Heard("failed" if answers else "timed_out", tuple(found), last)
