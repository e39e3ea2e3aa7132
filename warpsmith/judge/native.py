"""The native halves of the host contract: the judge's clock, and the loop that answers calls inside a worker of C code.

Both are a few system calls around the candidate's entry. In Python they cost 65 us of a cold call (docs/lab-notes.md),
which is noise that no candidate caused.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from warpsmith.model.base import digest_bytes
from warpsmith.model.candidate import Candidate, SourceFile
from warpsmith.model.target import Target
from warpsmith.model.task import Argument, Dtype, KernelTask, Role
from warpsmith.toolchains.cache import Built, build

CLOCK = Path(__file__).with_name("clock.c")
FLUSH = Path(__file__).with_name("flush.c")
TIMED_OUT, ENDED, GONE, UNASKED = -1, -2, -3, -4
"""What ``clocked`` returns instead of nanoseconds: no answer in time; the worker ended; it was gone before; it answered
before it was asked, or not as the worker's loop does.
"""
C_NAMES = {
    Dtype.f64: "double", Dtype.f32: "float", Dtype.f16: "uint16_t", Dtype.i64: "int64_t", Dtype.i32: "int32_t",
    Dtype.i8: "int8_t", Dtype.u8: "uint8_t",
}  # fmt: skip
SERVE = """#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

typedef void (*entry_t)({types});
struct call {{ {fields} }};
const size_t fields[] = {{ {offsets} }}, call_bytes = sizeof(struct call);

void once(entry_t entry, const struct call *c)
{{
    entry({values});
}}

void serve(entry_t entry, const struct call *calls, int commands, int answers)
{{
    unsigned char which;
    while (read(commands, &which, 1) == 1) {{
        once(entry, calls + which);
        if (write(answers, "D", 1) != 1)
            break;
    }}
    _exit(0);
}}
"""


class Clock:
    """The native clock, which also tells how much of a call others had the core."""

    def __init__(self, target: Target, cache: Path) -> None:
        built = library("clocked", CLOCK, target, cache)
        self._clocked = ctypes.CDLL(str(built.binary)).clocked
        self._clocked.restype = ctypes.c_int64
        pair = ctypes.c_int * 2
        self._clocked.argtypes = [*[ctypes.c_int] * 6, pair, ctypes.POINTER(ctypes.c_int64)]
        self._waits = pair(waits_of("thread-self"), -1)
        self._lost = ctypes.c_int64()

    def clocked(
        self, group: int, pipes: tuple[int, int], workload: int, timeout_ms: int, worker: int, *, settle: bool
    ) -> int:
        """Nanoseconds of one call, or a negative reason. ``pipes`` take commands and give answers; ``worker`` is the
        open schedstat of the worker, or -1. With ``settle`` the call begins just after a timer tick.
        """
        self._waits[1] = worker
        said = (group, *pipes, workload, timeout_ms, settle)
        took: int = self._clocked(*said, self._waits, ctypes.byref(self._lost))
        return took

    @property
    def lost_s(self) -> float:
        """Seconds of the last call in which judge or worker could have run and neither did: others had the core."""
        return max(0, self._lost.value) / 1e9

    def close(self) -> None:
        """Give the descriptor back."""
        if self._waits[0] >= 0:
            os.close(self._waits[0])


class Flush:
    """Takes memory out of every cache. ``works`` is False where the processor does not let a user process do that."""

    def __init__(self, target: Target, cache: Path) -> None:
        built = library("flush", FLUSH, target, cache)
        self._flush = ctypes.CDLL(str(built.binary)).flush
        self._flush.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        self.works = bool(self._flush(None, 0))

    def flush(self, address: int, size: int) -> None:
        """Take ``size`` bytes at ``address`` out of the caches."""
        self._flush(address, size)


def waits_of(process: int | str) -> int:
    """The open record of how long a process waited for a processor; -1 where this system keeps none."""
    try:
        return os.open(f"/proc/{process}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


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
            offsets=", ".join(f"offsetof(struct call, a{i})" for i in range(len(types))),
            values=", ".join(f"c->a{i}" for i in range(len(types))),
        )
    )
    return library("serve", source, target, cache)


def _c_type(argument: Argument) -> str:
    name = C_NAMES[argument.element]
    return name if not argument.is_tensor else f"const {name} *" if argument.role is Role.input else f"{name} *"
