"""What an application did on its devices, as it is kept: kernels, their configurations and the scalars of each.

One ``<kernel>.observed.json`` holds one :class:`KernelObservation`. Times are device times in seconds, and shares are
of the device time of all kernels. A number that JSON cannot carry is a text: ``nan``, ``inf``, ``-inf``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from warpsmith.model.base import Digest, Record, digest

FORMAT = 1
SUFFIX = ".observed.json"
Share = Annotated[float, Field(ge=0, le=1.000001)]
Extents = tuple[int, int, int]
Number = int | float | str
Source = Literal["injection", "nsys", "ncu", "python"]


class ParameterSeen(Record):
    """One parameter of a kernel: where it lies among the others, and its type."""

    index: int
    offset: int
    size: int
    type: str = ""
    """From the mangled name; empty where that says nothing of types."""


class ScalarSeen(Record):
    """What a parameter that is no pointer was, over the launches of one configuration."""

    index: int
    type: str = ""
    """Empty where it is not known: then the value is that of an integer of this size."""
    value: Number
    """The most frequent one; a struct's bytes as hexadecimal digits."""
    share: Share
    """Of the launches, with that value."""
    distinct: int
    low: Number | None = None
    high: Number | None = None
    as_float: float | None = None
    """The value read as a float, where the type is not known, it has 4 or 8 bytes, and that makes a plausible one."""


class BufferSeen(Record):
    """What a pointer reached, over the launches of one configuration."""

    index: int
    """Of the parameter."""
    offset: int
    """Of the pointer, in the parameter buffer: within a struct, further on than the parameter's own."""
    type: str = ""
    least_bytes: int
    """From the pointer to the end of its allocation, at least and at most."""
    most_bytes: int
    shared_with: tuple[int, ...] = ()
    """Offsets of other pointers that lay in the same allocation in some launch."""


class Configuration(Record):
    """The launches of one kernel with one grid and block; those much slower than the others stand apart."""

    grid: Extents
    block: Extents
    cluster: Extents = (1, 1, 1)
    static_bytes: int = 0
    dynamic_bytes: int = 0
    """Dynamic shared memory, the most frequent value."""
    speed: Literal["all", "fast", "slow"] = "all"
    launches: int
    """Executions, those by graphs among them."""
    by_graphs: int = 0
    seconds: float
    share: Share
    """Of the device time of all kernels of the run."""
    p25_s: float
    p50_s: float
    p95_s: float
    first: int | None = None
    """The first launch of it, counted among those of that grid and block in its process: what a capture takes."""
    scalars: tuple[ScalarSeen, ...] = ()
    buffers: tuple[BufferSeen, ...] = ()


class ObservedKernel(Record):
    """One kernel of an application."""

    symbol: str
    """Its name in the code image, mangled."""
    name: str
    """For people: demangled."""
    parameters: tuple[ParameterSeen, ...] = ()
    parameters_known: bool = True
    registers: int = 0
    launches: int
    seconds: float
    share: Share
    cooperative: bool = False
    configurations: tuple[Configuration, ...]
    """The leading ones, the most device time first."""
    covered: Share
    """Share of the kernel's device time that they make up."""
    configurations_seen: int

    @property
    def signature(self) -> str:
        """What a caller relies on: symbol and parameter layout."""
        return digest([self.symbol, [[p.offset, p.size] for p in self.parameters]])


class BinaryFile(Record):
    """A file that the application is made of, as it was."""

    path: str
    sha256: Digest


class RunFacts(Record):
    """One run of an application: what was run, how it ended, and how it was watched."""

    command: tuple[str, ...]
    folder: str
    """Its working folder."""
    at: str
    source: Source
    status: int | None
    """The application's own exit status, negative for a signal; None where it was ended by us after its time."""
    seconds: float
    """Wall time of the run, watching included."""
    binaries: tuple[BinaryFile, ...]
    devices: tuple[str, ...] = ()
    driver: int = 0
    """CUDA version of the driver, such as 13000."""
    processes: int = 1
    """That used CUDA."""
    launches: int = 0
    """Kernel launches that the application asked for, those into graphs among them."""
    graph_launches: int = 0
    executions: int = 0
    """Kernels whose device time is known."""
    device_s: float = 0.0
    """Their sum."""
    top: int = 0
    """Configurations of a kernel that were kept, at most."""
    cover: float = 0.0
    """Share of a kernel's device time that they were to make up."""
    ratio: float = 0.0
    """p95 over p25 from which fast and slow launches were told apart."""
    conditions: tuple[str, ...] = ()
    """What a reader must know: what was dropped, lost, or not looked at."""

    @property
    def id(self) -> str:
        """The same for all files of one observation."""
        return digest(self)


class KernelObservation(Record):
    """What ``<kernel>.observed.json`` holds."""

    format: Literal[1] = 1
    run: RunFacts
    kernel: ObservedKernel
    found_in: tuple[str, ...] = ()
    """Of the run's binaries, those that name the kernel's symbol."""


class Observation(Record):
    """A run, with its kernels: the most device time first."""

    run: RunFacts
    kernels: tuple[ObservedKernel, ...]


class CallSeen(Record):
    """Calls of a Python function with the same shapes, dtypes and strides."""

    arguments: dict[str, str]
    """By name: ``f32[64, 128] strides (128, 1) cuda:0``, or a plain value."""
    results: str = ""
    calls: int
    """That returned."""
    unfinished: int = 0
    """That raised, or were under way when the process ended; they are no workload."""
    seconds: float
    """Host time of the calls that returned; work on a device may outlast it."""
    p50_s: float
    share: Share
    """Of the host time of all calls that returned."""


class FunctionObservation(Record):
    """What ``module.function.observed.json`` holds."""

    format: Literal[1] = 1
    run: RunFacts
    function: str
    """As ``module:function``."""
    calls: tuple[CallSeen, ...]
