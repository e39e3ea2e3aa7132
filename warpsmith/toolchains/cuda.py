"""CUDA C++ to a cubin for one architecture, through NVRTC or nvcc; device code only.

NVRTC takes 0.2 s for a small kernel and nvcc 1 s, so NVRTC is taken where it can be used. ``WARPSMITH_CUDA_COMPILER``
(``nvrtc`` or ``nvcc``) forces one. Owns the choice of compiler, the flags that both take, and how ptxas is read.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from warpsmith.errors import BuildFailed, Missing
from warpsmith.model.evaluation import Build, KernelBuild
from warpsmith.sandbox.view import tool
from warpsmith.toolchains import Job, spare
from warpsmith.toolchains.compiler import run, toolkits

FORCE = "WARPSMITH_CUDA_COMPILER"
_FLAG = re.compile(
    r"-O[0-3]|-std=c\+\+(17|20)|-D[A-Za-z_]\w*(=[\w.]+)?|--?use_fast_math|--?extra-device-vectorization"
    r"|--?(fmad|ftz|prec-div|prec-sqrt)=(true|false)|--?maxrregcount=\d+"
)
"""What both compilers take and what does nothing but tune code."""
_HEADER = "cuda_bf16.h"
NVRTC = Path(__file__).with_name("nvrtc.py")
_UNUSABLE = 3
"""Exit status of nvrtc.py where NVRTC itself, not the source, is at fault."""
MOST_SYMBOLS, LONGEST_NAME = 100_000, 4096
"""Of a cubin: its bytes may be a stranger's, and reading them must end."""
_SYMBOL_TABLE = 2
_CUDA_ENTRY = 0x10
"""Bit of a symbol's ``st_other`` that marks a ``__global__`` function."""


class Cuda:
    """The ``cuda`` toolchain: the first ``.cu`` of a candidate is compiled, and may include its other files."""

    name = "cuda"

    def version(self) -> str:
        """``NVRTC 13.0`` or ``nvcc 13.0.88``. Raises Missing with the remedy."""
        return _version(os.environ.get(FORCE, ""), os.environ.get("PATH", ""))

    def build(self, job: Job) -> Build:
        """One cubin for the target's architecture. Raises BuildFailed, also where a launch names no kernel of it."""
        check_flags(job.candidate.flags)
        main = next((f for f in job.files if f.endswith(".cu")), None)
        if main is None:
            raise BuildFailed(f"there is no .cu file among {', '.join(job.files)}")
        began = time.monotonic()
        make = _nvrtc if self.version().startswith("NVRTC") else _nvcc
        command, log = make(job, main)
        kernels = entries(job.output.read_bytes())
        check_launches(job, kernels, log, 'a kernel is declared extern "C" __global__')
        return job.built(self.name, command, began, kernel_facts(kernels, log), log)


def check_launches(job: Job, kernels: Sequence[str], log: str, hint: str) -> None:
    """Raise BuildFailed where a launch names a kernel that the cubin lacks."""
    for launch in job.candidate.launch:
        if launch.kernel not in kernels:
            has = ", ".join(kernels) or "none"
            raise BuildFailed(f"the cubin has no kernel {launch.kernel!r}; it has: {has} ({hint})", log)


def kernel_facts(kernels: Sequence[str], log: str) -> tuple[KernelBuild, ...]:
    """The kernels of a cubin with what ``ptxas -v`` said of them."""
    said = {k.name: k for k in parse_ptxas(log)}
    return tuple(said.get(name, KernelBuild(name=name)) for name in kernels)


def parse_ptxas(log: str) -> list[KernelBuild]:
    """What ``ptxas -v`` said of each kernel, in its order. Functions that a kernel calls are not kernels."""
    found: list[KernelBuild] = []
    function = ""
    for line in log.splitlines():
        if entry := re.search(r"Compiling entry function '([^']+)'", line):
            found.append(KernelBuild(name=entry.group(1), shared_bytes=0))
        elif properties := re.search(r"Function properties for (\S+)", line):
            function = properties.group(1)
        elif not found:
            continue
        elif frame := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            if function == found[-1].name:
                stack, stores, loads = (int(n) for n in frame.groups())
                found[-1] = found[-1].model_copy(update={"stack_bytes": stack, "spill_bytes": stores + loads})
        elif used := re.search(r"Used (\d+) registers", line):
            shared = re.search(r"(\d+) bytes smem", line)
            update = {"registers": int(used.group(1)), "shared_bytes": int(shared.group(1)) if shared else 0}
            found[-1] = found[-1].model_copy(update=update)
    return found


def entries(cubin: bytes) -> list[str]:
    """The names of the kernels in a cubin, in the order of its symbol table. Raises BuildFailed for another file."""
    try:
        if cubin[:5] != b"\x7fELF\x02":
            raise ValueError("not a 64-bit ELF file")
        table, size, count = struct.unpack_from("<Q", cubin, 40)[0], *struct.unpack_from("<HH", cubin, 58)
        sections = [struct.unpack_from("<IIQQQQIIQQ", cubin, table + i * size) for i in range(count)]
        tables = [section for section in sections if section[1] == _SYMBOL_TABLE]
        if sum(section[5] for section in tables) > MOST_SYMBOLS * 24:
            raise ValueError(f"it has more than {MOST_SYMBOLS} symbols")
        names = []
        for section in tables:
            strings = sections[section[6]][4]
            for at in range(section[4], section[4] + section[5], 24):
                name, _, other = struct.unpack_from("<IBB", cubin, at)
                if other & _CUDA_ENTRY:
                    start = strings + name
                    names.append(cubin[start : cubin.index(b"\0", start, start + LONGEST_NAME)].decode())
    except (struct.error, ValueError, IndexError, OverflowError) as error:
        raise BuildFailed(f"the compiler's output is no cubin: {error}") from None
    return names


def include_folders() -> list[str]:
    """Where the toolkit's headers are: the toolkit's own folder, else those of the wheels; none raises Missing."""
    roots = [Path(os.environ[n]) / "include" for n in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(n)]
    roots.append(Path("/usr/local/cuda/include"))
    roots += [Path(p) / "nvidia" / part / "include" for p in sys.path for part in ("cu13", "cuda_runtime")]
    for root in roots:
        if (root / _HEADER).is_file():
            return [str(folder) for folder in (root, root / "cccl") if folder.is_dir()]
    raise Missing(
        f"the CUDA headers ({_HEADER}) were not found.",
        "Install the CUDA toolkit and set CUDA_HOME, or install the package nvidia-cuda-runtime.",
    )


def _nvrtc(job: Job, main: str) -> tuple[tuple[str, ...], str]:
    folders = include_folders()
    options = (
        f"-arch={job.target.architecture}",
        "-I.",
        *(f"-I{folder}" for folder in folders),
        *_options(job, "--ptxas-options=-v", "--ptxas-options="),
    )
    said = {"paths": _paths(), "source": main, "options": options, "output": str(job.output)}
    if (ready := spare.take(waiting(job.target.architecture))) is not None:
        with _named():
            return ("nvrtc", *options, main), ready.compile("NVRTC", job.sources, said, job.output)
    path = job.output.with_name("nvrtc.json")
    path.write_text(json.dumps(said))
    try:
        with _named():
            log = run(
                (*_worker(), "compile", str(path)), job.sources, job.output, reads=(NVRTC, path),
                folders=_packages(folders),
            )  # fmt: skip
    finally:
        path.unlink()
    return ("nvrtc", *options, main), log


@contextmanager
def _named() -> Iterator[None]:
    """NVRTC's failures under its own name, not that of the interpreter; Missing where the library is at fault."""
    try:
        yield
    except BuildFailed as failed:
        said_by = failed.message.replace(Path(sys.executable).name, "NVRTC", 1)
        if said_by.startswith(f"NVRTC ended with status {_UNUSABLE}:"):
            raise Missing(f"{said_by}.", f"Mend the installation, or set {FORCE}=nvcc.") from None
        raise BuildFailed(said_by, failed.log) from None


def waiting(architecture: str) -> spare.Kind:
    """An NVRTC process that waits for its job, for code of that architecture."""
    folders = include_folders()
    options = (f"-arch={architecture}", *(f"-I{folder}" for folder in folders), "-std=c++17")
    argv = (*_worker(), "wait", json.dumps(_paths()), json.dumps(options))
    return spare.Kind(argv, (NVRTC,), (*tool(sys.executable), *toolkits(), *_packages(folders)))


def keep_ready(architecture: str) -> None:
    """Have a process wait ahead of each build that this process will make, where NVRTC is what builds."""
    if _version(os.environ.get(FORCE, ""), os.environ.get("PATH", "")).startswith("NVRTC"):
        spare.want(waiting(architecture))


def _nvcc(job: Job, main: str) -> tuple[tuple[str, ...], str]:
    options = (f"-arch={job.target.architecture}", "-I.", *_options(job, "-Xptxas=-v", "-Xptxas="))
    log = run((nvcc_path(), "-cubin", *options, "-o", str(job.output), main), job.sources, job.output)
    return ("nvcc", "-cubin", *options, "-o", "OUTPUT", main), log


def _options(job: Job, verbose: str, to_ptxas: str) -> tuple[str, ...]:
    """What both compilers are told, beside architecture and headers. ``-O`` is for ptxas, whose default is 3."""
    flags = tuple(f"{to_ptxas}{flag}" if re.fullmatch("-O[0-3]", flag) else flag for flag in job.candidate.flags)
    standard = () if any(flag.startswith("-std=") for flag in flags) else ("-std=c++17",)
    debug = () if job.configuration == "release" else ("-lineinfo",)
    return (*standard, verbose, *debug, *job.defines, *flags)


def check_flags(flags: Sequence[str]) -> None:
    """Raise BuildFailed for a flag beyond tuning: nvcc's others can read files, write files and run programs."""
    for flag in flags:
        if not _FLAG.fullmatch(flag):
            allowed = "-O0..3, -D, -std, -use_fast_math, -fmad, -ftz, -prec-div, -prec-sqrt, -maxrregcount"
            raise BuildFailed(f"the flag {flag!r} is not allowed: only flags that tune code are ({allowed})")


@lru_cache(maxsize=8)
def _version(forced: str, path: str) -> str:
    """The compiler to use, by what is forced and what works; ``path`` makes a changed PATH count."""
    if forced not in ("", "nvrtc", "nvcc"):
        raise Missing(f"{FORCE}={forced} names no compiler.", "Set it to nvrtc or nvcc, or unset it.")
    reason = ""
    if forced != "nvcc":
        try:
            include_folders()
            asked = (*_worker(), "version", json.dumps(_paths()))
            return f"NVRTC {run(asked, None, reads=(NVRTC,), folders=_packages(())).strip()}"
        except (BuildFailed, Missing) as error:
            reason = error.log.strip() if isinstance(error, BuildFailed) else error.message
    if forced != "nvrtc" and shutil.which("nvcc", path=path):
        printed = run((nvcc_path(), "--version"), None)
        found = re.search(r"\bV(\d+\.\d+\.\d+)", printed)
        return f"nvcc {found.group(1) if found else printed.strip()[-60:]}"
    raise Missing(
        f"no CUDA compiler can be used here{f' ({reason[-300:]})' if reason else ''}.",
        "Install warpsmith[gpu] with the CUDA headers, or the CUDA toolkit with nvcc on PATH.",
    )


def nvcc_path() -> str:
    """Where nvcc is. Raises Missing."""
    path = shutil.which("nvcc")
    if path is None:
        raise Missing("nvcc was not found.", "Install the CUDA toolkit, and put nvcc on PATH.")
    return path


def _worker() -> tuple[str, ...]:
    return (sys.executable, "-I", str(NVRTC))


def _packages(headers: Sequence[str]) -> tuple[Path, ...]:
    """What NVRTC's process reads beside the interpreter's own folders."""
    parts = [Path(p) / part for p in _paths() for part in ("cuda", "nvidia")]
    return (*(p for p in parts if p.is_dir()), *map(Path, headers))


def _paths() -> list[str]:
    """The folders of ``sys.path`` that hold a part of the CUDA packages: ``-I`` forgets PYTHONPATH."""
    return [p for p in sys.path if os.path.isabs(p) and any((Path(p) / n).is_dir() for n in ("cuda", "nvidia"))]
