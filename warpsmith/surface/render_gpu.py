"""Answers of the GPU pin as text; importing this registers them with :mod:`render`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from warpsmith.surface import answers_gpu as answers
from warpsmith.surface.render import render


@render.register
def _(answer: answers.GpuListAnswer, out: Console) -> None:
    table = Table("index", "UUID", "name", "memory", "free", "computing", "used")
    for gpu in answer.gpus:
        sizes = (f"{size / 2**30:.1f} GiB" for size in (gpu.memory_bytes, gpu.free_bytes))
        table.add_row(gpu.index, Text(gpu.uuid, overflow="fold"), gpu.name, *sizes, Text(gpu.state), Text(gpu.used))
    out.print(table if answer.gpus else "this machine has no GPU")
    if answer.problem:
        out.print(Text(answer.problem), soft_wrap=True)


@render.register
def _(answer: answers.GpuSelectAnswer, out: Console) -> None:
    done = f"pinned {answer.uuid} ({answer.name})" if answer.uuid else "no GPU is pinned now"
    out.print(Text(f"{done}, in {answer.file}"), soft_wrap=True)
    if answer.note:
        out.print(Text(answer.note), soft_wrap=True)
