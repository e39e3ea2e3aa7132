"""Answers of the verbs of notifications as text for a terminal; importing this registers them with :mod:`render`."""

from __future__ import annotations

import time

from rich.console import Console
from rich.table import Table
from rich.text import Text

from warpsmith.notify.record import Notification
from warpsmith.surface import answers_notify as answers
from warpsmith.surface.render import render


@render.register
def _(answer: answers.NotifyTestAnswer, out: Console) -> None:
    done = answer.notification
    out.print(Text(f"{done.webhook_status.replace('_', ' ')} ({done.seconds:.1f} s)"))
    for one in done.channels:
        out.print(Text(f"  {one.channel}: {'sent' if one.sent else one.detail}"), soft_wrap=True)


@render.register
def _(answer: answers.NotifyStatusAnswer, out: Console) -> None:
    for one in answer.addresses:
        out.print(Text(f"{one.channel}: {'understood' if one.understood else one.detail}"), soft_wrap=True)
    if not answer.enabled:
        out.print("no address is set up (docs/notify.md)")
    if answer.problem:
        out.print(Text(answer.problem), soft_wrap=True)
    if answer.latest:
        table = Table("when", "what", "task", "tag", "status")
        for done in answer.latest:
            table.add_row(*_row(done))
        out.print(table)
    out.print(f"all of them: {answer.records}", highlight=False, soft_wrap=True)


def _row(done: Notification) -> tuple[str | Text, ...]:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(done.notice.at))
    status = done.webhook_status.replace("_", " ")
    return when, Text(done.notice.line), done.notice.task, done.notice.tag, status
