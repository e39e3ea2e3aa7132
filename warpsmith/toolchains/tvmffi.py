"""C++ and CUDA host code to a shared object that exports its entry through apache-tvm-ffi.

``TVM_FFI_DLL_EXPORT_TYPED_FUNC(entry, function)`` makes a function known by name, over DLPack tensors and numbers. A
``.cu`` among the sources brings nvcc, which compiles device code for the target only; ``.cpp`` alone is g++'s.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from warpsmith.errors import BuildFailed, Missing
from warpsmith.model.evaluation import Build
from warpsmith.toolchains import Job, compiler, cuda
from warpsmith.toolchains.cuda import kernel_facts, parse_ptxas

_NVCC = ("-shared", "-cudart=static", "-Xcompiler=-fPIC", "-t0")
_CPP = ("-shared", "-fPIC", "-march=native")
_SYMBOL = "__tvm_ffi_"
Checked = Callable[[Sequence[str]], None]
"""Raises BuildFailed for a flag that does more than tune code."""


class TvmFfi:
    """The ``tvm-ffi`` toolchain: every ``.cu`` and ``.cpp`` of a candidate, with headers found beside them."""

    name = "tvm-ffi"

    def version(self) -> str:
        """``tvm-ffi 0.1.15, nvcc 13.0.88``. Raises Missing with the remedy."""
        package_folder()
        return f"tvm-ffi {version('apache-tvm-ffi')}, {_compilers()}"

    def build(self, job: Job) -> Build:
        """One shared object. Raises BuildFailed, also where it does not export the entry."""
        sources = [f for f in job.files if f.endswith((".cu", ".cpp"))]
        if not sources:
            raise BuildFailed(f"there is no .cu or .cpp file among {', '.join(job.files)}")
        root = package_folder()
        head, checked = _nvcc(job) if any(f.endswith(".cu") for f in sources) else _cpp(job)
        checked(job.candidate.flags)
        flags = job.candidate.flags
        standard = () if any(flag.startswith("-std=") for flag in flags) else ("-std=c++17",)
        optimised = () if any(flag.startswith("-O") for flag in flags) else ("-O3",)
        command = (
            *(*head, *standard, *optimised, *job.defines, *flags, "-I.", f"-I{root}/include"),
            *("-o", str(job.output), *sources, f"-L{root}/lib", "-ltvm_ffi"),
        )
        began = time.monotonic()
        log = compiler.run(command, job.sources, job.output, folders=(root,))
        if f"{_SYMBOL}{job.candidate.entry}\0".encode() not in job.output.read_bytes():
            hint = f"TVM_FFI_DLL_EXPORT_TYPED_FUNC({job.candidate.entry}, function)"
            raise BuildFailed(f"nothing is exported as {job.candidate.entry!r}; write {hint}", log)
        return job.built(self.name, command, began, kernel_facts([k.name for k in parse_ptxas(log)], log), log)


def _nvcc(job: Job) -> tuple[tuple[str, ...], Checked]:
    """The command of nvcc for the one architecture, and what it may be told."""
    number = job.target.architecture.removeprefix("sm_")
    code = f"-gencode=arch=compute_{number},code=sm_{number}"
    lines = () if job.configuration == "release" else ("-lineinfo",)
    return (cuda.nvcc_path(), *_NVCC, code, "-Xptxas=-v", *lines), cuda.check_flags


def _cpp(job: Job) -> tuple[tuple[str, ...], Checked]:
    """The command of g++ for host code without kernels of its own, and what it may be told."""
    lines = () if job.configuration == "release" else ("-g",)
    return ("g++", *_CPP, *lines), compiler.check_flags


def package_folder() -> Path:
    """The folder of the package: headers and library lie in it. Raises Missing."""
    found = find_spec("tvm_ffi")
    if found is None or found.origin is None:
        raise Missing("apache-tvm-ffi is not installed.", "Install warpsmith[gpu].")
    try:
        version("apache-tvm-ffi")
    except PackageNotFoundError:
        raise Missing("apache-tvm-ffi is only half installed.", "Install it anew.") from None
    return Path(found.origin).parent


@lru_cache(maxsize=1)
def _compilers() -> str:
    """What would compile here. Raises Missing where there is neither."""
    known = []
    if shutil.which("nvcc"):
        said = re.search(r"\bV(\d+\.\d+\.\d+)", compiler.run((cuda.nvcc_path(), "--version"), None))
        known.append(f"nvcc {said.group(1) if said else 'of unknown version'}")
    if shutil.which("g++"):
        known.append((compiler.said_by(("g++", "--version")).splitlines() or ["g++"])[0].strip())
    if not known:
        raise Missing("no C++ compiler was found (nvcc, g++).", "Install the CUDA toolkit with nvcc on PATH.")
    return ", ".join(known)
