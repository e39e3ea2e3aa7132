"""What Triton and CuTe share: kernels without types of their own, compiled ahead for the launches that a plan states.

Owns the job that the compiler's process is given, and how its answer is read. That process runs the candidate's
module, so the answer is a stranger's word: numbers within bounds, and cubins that must hold what they claim.
"""

from __future__ import annotations

import json
import os
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from warpsmith.errors import BuildFailed, ExpressionError, Missing
from warpsmith.model.base import Record
from warpsmith.model.candidate import Launch
from warpsmith.model.evaluation import Build, Compiled, KernelBuild
from warpsmith.model.expression import Number, evaluate, evaluate_int
from warpsmith.model.task import Dtype
from warpsmith.toolchains import Job
from warpsmith.toolchains.compiler import run
from warpsmith.toolchains.cuda import entries

SPECIALISER = Path(__file__).with_name("specialiser.py")
SCRATCH_ALIGNMENT = 256
"""What the launcher's own allocations are aligned to, at least."""
MOST_DIVISIBLE = 16
"""Bytes of alignment that a compiler is told of: what its widest load needs."""
LONGEST_ANSWER, LARGEST_BINARY = 64 << 10, 64 << 20


class _Said(Record):
    """What the compiler's process says of one cubin."""

    symbol: Annotated[str, Field(min_length=1, max_length=1024)]
    bytes: Annotated[int, Field(ge=1, le=LARGEST_BINARY)]
    block: tuple[int, int, int] | None = None
    cluster: tuple[int, int, int] | None = None
    shared_bytes: Annotated[int, Field(ge=0, le=1 << 30)] | None = None
    scratch: Annotated[tuple[Annotated[int, Field(ge=0, le=1 << 30)], ...], Field(max_length=2)] = ()


_ANSWER = TypeAdapter(tuple[_Said, ...])


def specialise(job: Job, backend: str, packages: tuple[str, ...]) -> Build:
    """One cubin for each different kernel that the launches need, one after another in ``job.output``.

    ``packages`` are the folders that the backend is made of. Raises BuildFailed.
    """
    if job.candidate.flags:
        raise BuildFailed(f"{backend} takes no flags; options such as num_warps are tunables or constants")
    main = job.files[0]
    groups = _groups(job)
    kernels = [json.loads(kernel) for kernel in groups]
    architecture = job.target.architecture
    said = {
        "backend": backend,
        "paths": _paths(packages),
        "source": main,
        "architecture": architecture,
        "debug": job.configuration == "debug",
        "output": str(job.output),
        "kernels": kernels,
    }
    began = time.monotonic()
    log = _compile(job, said, backend, packages)
    answer, start = _answer(job.output)
    if len(answer) != len(groups):
        raise BuildFailed(f"{backend} made {len(answer)} kernels of {len(groups)}", log)
    content = job.output.read_bytes()
    command = (backend, f"--arch={architecture}", main, *(k["kernel"] for k in kernels))
    return job.built(backend, command, began, _kernels(content, start, answer, groups, log), log)


def _groups(job: Job) -> dict[str, list[int]]:
    """What is to be compiled, each as JSON, with the launches that it serves."""
    groups: dict[str, list[int]] = {}
    for index, launch in enumerate(job.candidate.launch):
        groups.setdefault(json.dumps(_wanted(job, launch), sort_keys=True), []).append(index)
    return groups


def _wanted(job: Job, launch: Launch) -> dict[str, Any]:
    """One kernel as the compiler's process is asked for it."""
    tunables: dict[str, Number] = dict(job.candidate.parameters)
    try:
        constants = {name: evaluate(text, tunables) for name, text in launch.constants.items()}
        block, cluster = (_compiled_in(extents, tunables) for extents in (launch.block, launch.cluster))
    except ExpressionError as error:
        where = f"launch of {launch.kernel!r}: what is compiled in may use tunables only"
        raise BuildFailed(f"{where}: {error}") from None
    return {
        "kernel": launch.kernel,
        "arguments": [_argument(job, launch, name) for name in launch.arguments],
        "constants": {**tunables, **constants},
        "said": sorted(constants),
        "block": block,
        "cluster": cluster,
    }


def _compiled_in(extents: tuple[str | int, ...] | None, tunables: dict[str, Number]) -> list[int] | None:
    return [evaluate_int(extent, tunables) for extent in extents] if extents else None


def _argument(job: Job, launch: Launch, name: str) -> dict[str, Any]:
    """The type of one argument: the task's, or what a scratch buffer says of itself."""
    for argument in job.arguments:
        if argument.name == name:
            if name in launch.divisible and (argument.is_tensor or argument.element.is_float):
                raise BuildFailed(f"launch of {launch.kernel!r}: divisible: {name!r} is no whole number")
            aligned = min(job.alignment, MOST_DIVISIBLE) if argument.is_tensor else launch.divisible.get(name, 1)
            return {"dtype": argument.element.value, "pointer": argument.is_tensor, "divisible": aligned}
    for scratch in job.candidate.scratch:
        if scratch.name == name:
            dtype = (scratch.dtype or Dtype.u8).value
            return {"dtype": dtype, "pointer": True, "divisible": min(SCRATCH_ALIGNMENT, MOST_DIVISIBLE)}
    raise BuildFailed(
        f"launch of {launch.kernel!r}: {name!r} is neither an argument of the task nor a scratch buffer"
        f" ({job.candidate.toolchain} kernels take no tensor maps)"
    )


def _compile(job: Job, said: dict[str, Any], backend: str, packages: tuple[str, ...]) -> str:
    """Run the compiler's process; what it printed. Whatever goes wrong there is the candidate's doing."""
    path = job.output.with_name("specialise.json")
    path.write_text(json.dumps(said))
    argv = (sys.executable, "-I", str(SPECIALISER), "compile", str(path))
    try:
        return run(argv, job.sources, job.output, reads=(SPECIALISER, path), folders=_folders(packages))
    except BuildFailed as failed:
        message = failed.message.replace(Path(sys.executable).name, backend, 1)
        raise BuildFailed(message, failed.log) from None
    finally:
        path.unlink()


def _answer(output: Path) -> tuple[tuple[_Said, ...], int]:
    """What is said of the cubins, and where they begin. Raises BuildFailed."""
    if output.stat().st_size > LARGEST_BINARY:
        raise BuildFailed(f"the compiler's output is larger than {LARGEST_BINARY >> 20} MiB")
    with output.open("rb") as file:
        line = file.readline(LONGEST_ANSWER)
    try:
        return _ANSWER.validate_json(line), len(line)
    except ValidationError as error:
        first = error.errors()[0]
        raise BuildFailed(f"the compiler's output cannot be read: {first['loc']}: {first['msg']}") from None


def _kernels(
    content: bytes, start: int, answer: tuple[_Said, ...], groups: dict[str, list[int]], log: str
) -> tuple[KernelBuild, ...]:
    """The kernels with where they lie. Raises BuildFailed where a cubin is not what it is said to be."""
    made = []
    asked = [json.loads(kernel)["kernel"] for kernel in groups]
    for said, name, launches in zip(answer, asked, groups.values(), strict=True):
        if said.symbol not in entries(content[start : start + said.bytes]):
            raise BuildFailed(f"the cubin of {name} has no kernel {said.symbol!r}", log)
        facts = said.model_dump(exclude={"bytes"})
        compiled = Compiled(launches=tuple(launches), offset=start, bytes=said.bytes, **facts)
        unique = name if asked.count(name) == 1 else f"{name}, launch {launches[0] + 1}"
        made.append(KernelBuild(name=unique, compiled=compiled))
        start += said.bytes
    return tuple(made)


@lru_cache(maxsize=4)
def version(backend: str, packages: tuple[str, ...], remedy: str) -> str:
    """The version of the backend's package. Raises Missing."""
    argv = (sys.executable, "-I", str(SPECIALISER), "version", backend, json.dumps(_paths(packages)))
    try:
        return f"{backend} {run(argv, None, reads=(SPECIALISER,), folders=_folders(packages)).strip()}"
    except BuildFailed as failed:
        said = failed.log.strip().splitlines()
        raise Missing(f"{backend} cannot be used here{f': {said[-1]}' if said else ''}.", remedy) from None


def _paths(packages: tuple[str, ...]) -> list[str]:
    """The folders of ``sys.path`` that hold one of the packages: ``-I`` forgets PYTHONPATH."""
    held = [p for p in sys.path if os.path.isabs(p) and any((Path(p) / name).is_dir() for name in packages)]
    parts = (Path(p) / "nvidia_cutlass_dsl" / part for p in held for part in CUTE_PARTS)
    return [*held, *(str(part) for part in parts if part.is_dir())]


CUTE_PARTS = ("dsl_packages", "python_packages")
"""Where nvidia-cutlass-dsl keeps its modules; its ``.pth`` says so to the interpreter's own site folder only."""


def _folders(packages: tuple[str, ...]) -> tuple[Path, ...]:
    """What the compiler's process reads beside the interpreter's own folders: packages, and what says their version."""
    wanted = [p for path in _paths(packages) for name in packages for p in _named(Path(path), name)]
    return tuple(p for p in wanted if p.is_dir())


def _named(path: Path, package: str) -> tuple[Path, ...]:
    return (path / package, *path.glob(f"*{package}-*.dist-info"))
