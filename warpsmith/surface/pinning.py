"""The verbs ``gpu list``, ``gpu select`` and ``gpu exec``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from warpsmith.surface import answers_gpu


def gpu_list() -> answers_gpu.GpuListAnswer:
    """Every GPU of this machine: index, UUID, name, memory, who computes on it, and which one is used, by whose word.

    Exit status 2 where there is none.
    """
    from warpsmith.errors import BadInput, Missing
    from warpsmith.judge.pin import choose
    from warpsmith.surface.answers import NOTHING_GAINED, YES
    from warpsmith.surface.answers_gpu import GpuListAnswer, GpuRow
    from warpsmith.surface.gpus import found, pinned_by
    from warpsmith.surface.workspace import Workspace

    settings, here = Workspace().settings, found()
    chosen, problem = None, ""
    try:
        chosen = choose(here, settings.gpu, pinned_by(), os.environ)
    except (BadInput, Missing) as error:
        problem = str(error)
    rows = tuple(GpuRow.of(gpu, chosen.how if chosen and gpu.uuid == chosen.uuid else "") for gpu in here)
    return GpuListAnswer(
        exit_status=YES if here else NOTHING_GAINED, gpus=rows, pin=settings.gpu,
        by=pinned_by() if settings.gpu else "", problem=problem,
    )  # fmt: skip


def gpu_select(gpu: str) -> answers_gpu.GpuSelectAnswer:
    """Pin the GPU that every step uses: its UUID is written into warpsmith.toml, whose other lines stay as they are.

    Args:
        gpu: An index or a UUID of 'gpu list', also that of a MIG slice; none takes the pin off.
    """
    from warpsmith.judge.pin import named
    from warpsmith.settings import FILE
    from warpsmith.surface.answers_gpu import GpuSelectAnswer
    from warpsmith.surface.gpus import VARIABLE, found, write_pin
    from warpsmith.surface.workspace import Workspace

    space = Workspace()
    path = space.root / FILE
    one = None if gpu == "none" else named(found(), gpu)
    write_pin(path, one.uuid if one else "")
    over = os.environ.get(VARIABLE, "")
    return GpuSelectAnswer(
        file=str(path), uuid=one.uuid if one else "", name=one.name if one else "",
        note=f"{VARIABLE}={over} is set, and goes over it" if over else "",
    )  # fmt: skip


def gpu_exec(*, application: tuple[str, ...] = ()) -> NoReturn:
    """Run a command that sees the one GPU only: the pinned one, or else a free one.

    The command takes the place of this process, so its exit status, signals and streams are its own.

    Args:
        application: The command with its arguments, behind --.
    """
    from warpsmith.errors import BadInput, Missing
    from warpsmith.judge.pin import CHOSEN, VISIBLE, listed
    from warpsmith.surface.gpus import found, settle
    from warpsmith.surface.workspace import Workspace

    if not application:
        raise BadInput("no command is named.", "Say it behind --: 'gpu exec -- CMD ARGS...'.")
    settle(Workspace().settings)
    if CHOSEN not in os.environ:
        raise Missing(f"there is no GPU to show: {listed(found())}.", f"Unset {VISIBLE}, or see 'nvidia-smi -L'.")
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execvp(application[0], application)
    except OSError as error:
        raise BadInput(f"{application[0]}: {error.strerror}.", "Give its path, or put it on PATH.") from None
