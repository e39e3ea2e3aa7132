"""The libraries that go into an application, each built once per source and compiler, without a GPU or a driver.

The injection library (``inject/inject.cpp``) needs a C++ compiler, the CUDA headers and CUPTI, and is built once per
toolkit; the counter (``inject/count.cpp``) needs the compiler alone.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from warpsmith.errors import BuildFailed, Missing
from warpsmith.model.base import digest

SOURCES = Path(__file__).parent / "inject"
COMPILERS = ("g++", "clang++", "c++")
OPTIONS = ("-std=c++17", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-static-libstdc++", "-static-libgcc")
LINKED = ("-Wl,--exclude-libs,ALL", "-ldl", "-lpthread")
"""The C++ library is linked in and hidden: the application may bring another one."""
TIMEOUT_S = 120.0
LEAST = 12040
"""The oldest headers that say what a kernel's parameters are: CUDA 12.4."""
_REMEDY = "Install the CUDA toolkit (and set CUDA_HOME), or the packages nvidia-cuda-cupti and nvidia-cuda-runtime."


@dataclass(frozen=True)
class Toolkit:
    """Headers and libcupti of one CUDA version."""

    version: int
    """As in ``cuda.h``: 13000 for 13.0."""
    includes: tuple[Path, ...]
    cupti: Path
    """The shared library itself."""

    @property
    def said(self) -> str:
        """Such as ``CUDA 13.0 (/usr/local/cuda/lib64/libcupti.so.13)``."""
        return f"CUDA {self.version // 1000}.{self.version % 1000 // 10} ({self.cupti})"


def toolkit() -> Toolkit:
    """The toolkit to build with: that of CUDA_HOME, then nvcc's, then those of the packages. Raises Missing."""
    names = ("CUDA_HOME", "CUDA_PATH", "PATH")
    return _toolkit(tuple(os.environ.get(name, "") for name in names), tuple(sys.path))


def compiler() -> str:
    """A C++ compiler. Raises Missing."""
    for name in COMPILERS:
        if (path := shutil.which(name)) is not None:
            return path
    raise Missing("no C++ compiler was found.", "Install g++, and put it on PATH.")


def library(cache: Path) -> Path:
    """The injection library, built into ``cache`` unless it is there. Raises Missing, and BuildFailed with the log."""
    kit = toolkit()
    flags = (*(f"-I{p}" for p in kit.includes), str(kit.cupti), f"-Wl,-rpath,{kit.cupti.parent}")
    return _built(cache, "inject", flags, f"the injection library does not build with {kit.said}", kit.version)


def counter(cache: Path) -> Path:
    """The library that counts launches, built likewise. Raises Missing, and BuildFailed with the log."""
    return _built(cache, "count", (), "the library that counts launches does not build", 0)


def _built(cache: Path, name: str, flags: tuple[str, ...], otherwise: str, version: int) -> Path:
    with_ = compiler()
    sources = {path.name: path.read_text() for path in sorted(SOURCES.glob("*.[ch]*"))}
    key = digest([sources, version, flags, OPTIONS, _version(with_)])
    output = cache / "inject" / f"{name}-{key[:32]}.so"
    if output.is_file():
        return output.absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="building-", dir=output.parent) as folder:
        made = Path(folder) / output.name
        command = (with_, *OPTIONS, "-o", str(made), str(SOURCES / f"{name}.cpp"), *flags, *LINKED)
        try:
            ran = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise BuildFailed(f"{otherwise}: {with_} took longer than {TIMEOUT_S:g} s.") from None
        if ran.returncode:
            first = next((line for line in ran.stderr.splitlines() if "error" in line), ran.stderr[-300:])
            raise BuildFailed(f"{otherwise}: {first}", ran.stderr)
        os.replace(made, output)
    return output.absolute()


@lru_cache(maxsize=4)
def _toolkit(variables: tuple[str, ...], paths: tuple[str, ...]) -> Toolkit:
    """``variables`` and ``paths`` make a changed environment count."""
    *homes, path = variables
    nvcc = shutil.which("nvcc", path=path)
    roots = [Path(home) for home in homes if home]
    roots += [_toolkit_of(nvcc)] if nvcc else []
    roots += [Path("/usr/local/cuda"), *sorted(Path("/usr/local").glob("cuda-*"), reverse=True), Path("/opt/cuda")]
    packages = [Path(p) / "nvidia" for p in paths if os.path.isabs(p)]
    groups: list[tuple[Path, ...]] = [(root,) for root in roots]
    groups += [(p / "cu13",) for p in packages]
    groups += [(p / "cuda_cupti", p / "cuda_runtime") for p in packages]
    reasons = []
    for group in groups:
        found, why = _within(group)
        if found is not None:
            return found
        reasons += [why] if why else []
    raise Missing(f"the headers and the library of CUPTI were not found{''.join(f'; {r}' for r in reasons)}.", _REMEDY)


def _toolkit_of(nvcc: str) -> Path:
    """The folder above ``bin/nvcc``; a script that stands for it names the real one."""
    real = Path(nvcc).resolve()
    try:
        head = real.read_bytes()[:400]
    except OSError:
        head = b""
    if head.startswith(b"#!") and (named := re.search(rb"(/\S+)/bin/nvcc", head)):
        return Path(named.group(1).decode())
    return real.parent.parent


def _within(roots: tuple[Path, ...]) -> tuple[Toolkit | None, str]:
    """A toolkit that lies in these folders, and why there is none, where something of one is there."""
    places = [p for root in roots for p in (root, root / "extras" / "CUPTI", root / "targets" / "x86_64-linux")]
    includes = [p / "include" for p in places]
    headers = {name: next((i for i in includes if (i / name).is_file()), None) for name in ("cupti.h", "cuda.h")}
    libraries = [lib for p in places for part in ("lib64", "lib") for lib in sorted((p / part).glob("libcupti.so*"))]
    if all(p is None for p in headers.values()) and not libraries:
        return None, ""
    lacking = [name for name, p in headers.items() if p is None] + ([] if libraries else ["libcupti.so"])
    if lacking:
        return None, f"{roots[0]} lacks {' and '.join(lacking)}"
    cuda = headers["cuda.h"]
    assert cuda is not None and headers["cupti.h"] is not None
    said = re.search(r"#define\s+CUDA_VERSION\s+(\d+)", (cuda / "cuda.h").read_text(errors="replace"))
    version = int(said.group(1)) if said else 0
    if version < LEAST:
        return None, f"{roots[0]} is CUDA {version // 1000}.{version % 1000 // 10}, and 12.4 is the oldest that will do"
    return Toolkit(version, tuple(dict.fromkeys((headers["cupti.h"], cuda))), libraries[0]), ""


@lru_cache(maxsize=4)
def _version(path: str) -> str:
    ran = subprocess.run((path, "--version"), capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    return ran.stdout.partition("\n")[0]
