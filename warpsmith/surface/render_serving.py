"""Answers of the verb ``serve`` as text for a terminal; importing this registers them with :mod:`render`."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from warpsmith.model.base import short
from warpsmith.surface import answers_serving as answers
from warpsmith.surface.render import render


@render.register
def _(answer: answers.ServeAnswer, out: Console) -> None:
    served = f"{answer.task} with {short(answer.candidate)} was served at {answer.url}"
    out.print(Text(f"{served}; {answer.how} in {answer.seconds:.1f} s with status {answer.status}"), soft_wrap=True)
    out.print(Text(f"log: {answer.log}"), soft_wrap=True)
