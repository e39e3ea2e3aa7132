"""Answers of ``install``, ``status`` and ``uninstall`` as text; importing this registers them with :mod:`render`."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from warpsmith.surface import answers_install as answers
from warpsmith.surface.render import render


def _patch(one: answers.InstalledPatch, out: Console) -> None:
    said = f": {one.detail}" if one.detail else ""
    out.print(Text(f"{one.package} in {one.framework} {one.version or '?'}: {one.state}{said}"), soft_wrap=True)
    out.print(Text(f"  {one.file}"), soft_wrap=True)
    for row in one.targets:
        why = f": {row.detail}" if row.detail else ""
        gain = f" {row.release} {row.ratio:.3f}x" if row.release else ""
        out.print(Text(f"  {row.state} {row.target} <- {row.dispatch}{gain}{why}"), soft_wrap=True)


@render.register
def _(answer: answers.InstallAnswer, out: Console) -> None:
    _patch(answer.patch, out)
    out.print(Text(f"the win where it is called: {answer.path}"))
    for refusal in answer.refusals:
        out.print(Text(f"  {refusal.reason}: {refusal.message} {refusal.remedy}"), soft_wrap=True)
    out.print(Text(answer.diff), soft_wrap=True)
    if answer.written:
        out.print(Text(f"{'changed' if answer.changed else 'nothing to change'}; the diff is {answer.written}"))


@render.register
def _(answer: answers.StatusAnswer, out: Console) -> None:
    for one in answer.patches:
        _patch(one, out)
    out.print(Text(answer.note if answer.patches else "nothing is installed"), soft_wrap=True)


@render.register
def _(answer: answers.UninstallAnswer, out: Console) -> None:
    for one in answer.removed:
        how = "as it was before" if one.exact else one.detail
        out.print(Text(f"{one.package} out of {one.framework}: {one.file} is {how}"), soft_wrap=True)
