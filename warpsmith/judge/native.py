"""The native halves of the host contract: the judge's clock, and the loop that answers calls inside a worker of C code.

Both are a few system calls around the candidate's entry. In Python they cost 65 us of a cold call (docs/lab-notes.md),
which is noise that no candidate caused.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

from warpsmith.model.base import digest_bytes
from warpsmith.model.candidate import Candidate, SourceFile
from warpsmith.model.target import Target
from warpsmith.model.task import Argument, Dtype, KernelTask, Role
from warpsmith.toolchains.cache import Built, build

CLOCK = Path(__file__).with_name("clock.c")
TIMED_OUT, ENDED, GONE = -1, -2, -3
"""What ``clocked`` returns instead of nanoseconds: no answer in time; the worker ended; it was gone before."""
C_NAMES = {
    Dtype.f64: "double", Dtype.f32: "float", Dtype.f16: "uint16_t", Dtype.i64: "int64_t", Dtype.i32: "int32_t",
    Dtype.i8: "int8_t", Dtype.u8: "uint8_t",
}  # fmt: skip
SERVE = """#include <stdint.h>
#include <unistd.h>

typedef void (*entry_t)({types});
struct call {{ {fields} }};

void serve(entry_t entry, const struct call *calls, int commands, int answers)
{{
    unsigned char which;
    while (read(commands, &which, 1) == 1) {{
        const struct call *c = calls + which;
        entry({values});
        if (write(answers, "D", 1) != 1)
            break;
    }}
    _exit(0);
}}
"""


class Clock:
    """``clocked(group, commands, answers, workload, timeout_ms)``: nanoseconds of one call, or a negative reason."""

    def __init__(self, target: Target, cache: Path) -> None:
        built = library("clocked", CLOCK, target, cache)
        self.clocked = ctypes.CDLL(str(built.binary)).clocked
        self.clocked.restype = ctypes.c_int64
        self.clocked.argtypes = [ctypes.c_int] * 5


def library(entry: str, source: Path, target: Target, cache: Path) -> Built:
    """A trusted C file as a shared object, through the build cache."""
    files = (SourceFile(path=source.name, content=digest_bytes(source.read_bytes())),)
    return build(Candidate(toolchain="c", entry=entry, sources=files), source.parent, target, "release", cache)


def serve_loop(task: KernelTask, folder: Path, target: Target, cache: Path) -> Built:
    """The loop for the signature of ``task``'s entry."""
    types = [_c_type(a) for a in task.arguments]
    source = folder / "serve.c"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(
        SERVE.format(
            types=", ".join(types),
            fields=" ".join(f"{t} a{i};" for i, t in enumerate(types)),
            values=", ".join(f"c->a{i}" for i in range(len(types))),
        )
    )
    return library("serve", source, target, cache)


def _c_type(argument: Argument) -> str:
    name = C_NAMES[argument.element]
    return name if not argument.is_tensor else f"const {name} *" if argument.role is Role.input else f"{name} *"
