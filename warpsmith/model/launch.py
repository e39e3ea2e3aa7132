"""What was seen of an application's kernel launches: the facts of one log, as small frozen values.

A run has hundreds of thousands of these, so they are dataclasses with slots, built from whole logs only; what is kept
of them (model/observed.py) is made of records. Sizes are in bytes, times in nanoseconds of one clock per process.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

Three = tuple[int, int, int]


class How(IntEnum):
    """The call that made a launch."""

    kernel = 0
    """``cuLaunchKernel``, as ``<<<>>>`` does."""
    extended = 1
    """``cuLaunchKernelEx``."""
    cooperative = 2
    node_added = 3
    """A graph got a kernel node; it runs when the graph does."""
    node_set = 4
    """A node of a graph was given other parameters."""
    exec_node_set = 5
    """The same for a graph that was instantiated; ``node`` is that of the graph it was made of."""


@dataclass(frozen=True, slots=True)
class Function:
    """A kernel, as the driver knows it."""

    id: int
    symbol: str
    """Its name in the code image, mangled."""
    parameters: tuple[tuple[int, int], ...]
    """Offset and size of each, in the parameter buffer."""
    static_bytes: int
    registers: int
    local_bytes: int
    max_threads: int
    binary_version: int
    """Architecture of the code that was loaded: 90 for sm_90."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """An allocation that a pointer among the parameters lies in."""

    offset: int
    """Of the pointer, in the parameter buffer."""
    base: int
    size: int


@dataclass(frozen=True, slots=True)
class Launch:
    """One launch, or one kernel node of a graph."""

    sequence: int
    """Counts a process's launches from 0. A graph's node that was added or set has no meaningful one."""
    at_ns: int
    function: Function
    correlation: int
    """What its :class:`KernelTime` carries too."""
    how: How
    grid: Three
    block: Three
    cluster: Three
    dynamic_bytes: int
    parameters: bytes
    """The parameter buffer; empty where ``unknown``."""
    buffers: tuple[Buffer, ...]
    stream: int
    """The driver's handle."""
    context: int
    device: int
    thread: int
    node: int
    """The graph node that it is; 0 for a launch that ran."""
    exec: int
    """The instantiated graph whose node was set."""
    result: int
    """The driver's answer; 0 is success."""
    rule: int | None
    """The swap rule that replaced it. Grid, block and function are still those that were asked for."""
    captured: bool
    """It became a node of a graph by stream capture, and did not run."""
    packed: bool
    unknown: bool
    """The driver did not say how its parameters lie."""
    cooperative: bool

    @property
    def runs(self) -> bool:
        """Whether it ran by itself, and not as part of a graph."""
        return self.how <= How.cooperative and not self.captured and self.result == 0

    @property
    def values(self) -> tuple[bytes, ...]:
        """The bytes of each parameter, in order; empty where they are not known."""
        return tuple(self.parameters[at : at + size] for at, size in self.function.parameters if self.parameters)

    def buffer(self, index: int) -> Buffer | None:
        """The allocation that parameter ``index`` points into, where that is a pointer."""
        offset, size = self.function.parameters[index]
        return next((b for b in self.buffers if b.offset == offset), None) if size == 8 else None

    def pointer(self, buffer: Buffer) -> int:
        """The address that was passed."""
        return int.from_bytes(self.parameters[buffer.offset : buffer.offset + 8], "little")


@dataclass(frozen=True, slots=True)
class KernelTime:
    """One execution on a device, as CUPTI measured it."""

    symbol: str
    start_ns: int
    end_ns: int
    correlation: int
    """Of the launch, or of the launch of the graph."""
    node: int
    """The node of an instantiated graph; 0 outside graphs."""
    graph: int
    device: int
    context: int
    stream: int
    """CUPTI's number, not the driver's handle."""
    grid: Three
    block: Three
    cluster: Three
    static_bytes: int
    dynamic_bytes: int
    registers: int

    @property
    def seconds(self) -> float:
        """How long it ran."""
        return (self.end_ns - self.start_ns) / 1e9


@dataclass(frozen=True, slots=True)
class GraphLaunch:
    """One launch of an instantiated graph."""

    at_ns: int
    correlation: int
    exec: int
    stream: int
    context: int
    thread: int
    result: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What lay in memory right before or right after a captured launch."""

    sequence: int
    """Of the launch."""
    after: bool
    name: str
    """Of a ``__device__`` or ``__constant__`` variable; empty for what a parameter points to."""
    offset: int
    """Of the pointer, in the parameter buffer."""
    base: int
    size: int
    """The allocation, or the variable."""
    address: int
    bytes: int
    """What was copied: the whole allocation, or what lies behind the pointer up to the limit. 0: nothing could be."""
    changed: bool
    """After the launch: it differs from before. Otherwise ``file`` is that of before."""
    file: str
    """Beside the log; named by content, so that equal content has one file."""

    @property
    def whole(self) -> bool:
        """Whether all of it was copied."""
        return self.address == self.base and self.bytes == self.size


@dataclass(frozen=True, slots=True)
class ModuleImage:
    """The code image that holds a captured launch's function."""

    sequence: int
    file: str
    candidates: int
    """Images seen that have a kernel of that name; with more than one, the last is taken."""


@dataclass(frozen=True, slots=True)
class SwapLoad:
    """How loading a swap rule's kernel went, in one context."""

    rule: int
    symbol: str
    """Of the kernel that is replaced."""
    result: int
    message: str
    """Empty where it worked."""
