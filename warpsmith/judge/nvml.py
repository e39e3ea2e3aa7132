"""What the driver's management library says: which GPUs there are and who computes on them; of one GPU, its clocks, why
they are low, and errors. Nothing is ever set.

Through ``libnvidia-ml.so.1``, which comes with every driver. Needs no CUDA context.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
_CLOCK_SM, _CLOCK_MEM = 1, 2
_UNCORRECTED, _VOLATILE = 1, 0
_EVENT_XID = 8
_TEXT = 96
"""Bytes of a UUID or a name, at most (nvml.h)."""
_UNTOLD = (1 << 64) - 1
"""What stands for bytes that the driver does not tell (NVML_VALUE_NOT_AVAILABLE)."""
_MORE_PROCESSES = 32
"""Room for those that begin between two calls."""
SLOWED = {
    0x04: "slowed to keep to its power limit",
    0x08: "slowed by its hardware",
    0x20: "slowed for its temperature",
    0x40: "slowed by its hardware for its temperature",
    0x80: "slowed by its hardware's power brake",
}
"""Reasons for low clocks that are no setting and no idleness, by the bits of nvml.h (nvmlClocksEventReason)."""
BROKEN = {48, 62, 63, 64, 74, 79, 92, 94, 95, 109, 110, 119, 120, 121, 140, 143}
"""Xid errors that say something of the device or its driver (NVIDIA, Xid errors); others are a program's doing."""


@dataclass(frozen=True)
class Look:
    """The state of the GPU at one moment."""

    sm_mhz: int
    memory_mhz: int
    reasons: int
    """Bits, see SLOWED."""

    @property
    def slowed(self) -> str:
        """Why clocks are lower than they could be, in words; empty where nothing but idleness or a setting is."""
        return ", ".join(said for bit, said in SLOWED.items() if self.reasons & bit)


@dataclass(frozen=True)
class Process:
    """A process with a compute context on a GPU."""

    pid: int
    name: str
    held_bytes: int | None = None
    """Memory of that GPU that it holds; None where the driver does not tell it by process."""


@dataclass(frozen=True)
class Gpu:
    """One GPU, or one MIG slice of a GPU, at one moment."""

    index: str
    """As the library counts, in the order of the bus: ``1``; of a slice ``1:0``."""
    uuid: str
    """``GPU-...``, or ``MIG-...`` of a slice."""
    name: str
    memory_bytes: int = 0
    free_bytes: int = 0
    processes: tuple[Process, ...] | None = ()
    """Who computes on it; None where that cannot be told from here."""
    unusable: str = ""
    """Why no program can use it as it is: it is divided into slices, or does not answer."""


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _Process(ctypes.Structure):
    _fields_ = (
        ("pid", ctypes.c_uint), ("bytes", ctypes.c_ulonglong), ("instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )  # fmt: skip


class _Event(ctypes.Structure):
    _fields_ = (
        ("device", ctypes.c_void_p), ("type", ctypes.c_ulonglong), ("data", ctypes.c_ulonglong),
        ("instance", ctypes.c_uint), ("compute_instance", ctypes.c_uint),
    )  # fmt: skip


class _Library:
    """The library itself. Raises OSError where it is missing or a call fails."""

    def __init__(self) -> None:
        self.library: Any = ctypes.CDLL(LIBRARY)
        self.ask("nvmlInit_v2")

    def ask(self, function: str, *arguments: Any) -> None:
        """Call ``function``."""
        try:
            status = getattr(self.library, function)(*arguments)
        except AttributeError as error:
            raise OSError(f"{LIBRARY} has no {function}") from error
        if status != 0:
            raise OSError(f"{function} gave {status}")

    def number(self, kind: type[ctypes.c_uint] | type[ctypes.c_ulonglong], function: str, *arguments: Any) -> int:
        """The number that ``function`` writes behind its last argument."""
        value = kind()
        self.ask(function, *arguments, ctypes.byref(value))
        return int(value.value)

    def text(self, function: str, device: ctypes.c_void_p) -> str:
        """The text that ``function`` says of a device."""
        said = ctypes.create_string_buffer(_TEXT)
        self.ask(function, device, said, ctypes.c_uint(_TEXT))
        return said.value.decode(errors="replace")

    def handle(self, function: str, *arguments: Any) -> ctypes.c_void_p:
        """The device that ``function`` finds."""
        device = ctypes.c_void_p()
        self.ask(function, *arguments, ctypes.byref(device))
        return device


@contextmanager
def _opened() -> Iterator[_Library]:
    library = _Library()
    try:
        yield library
    finally:
        library.ask("nvmlShutdown")


def dashed(uuid: str) -> str:
    """32 hexadecimal digits as they are written behind ``GPU-``."""
    return "-".join((uuid[:8], uuid[8:12], uuid[12:16], uuid[16:20], uuid[20:]))


def gpus() -> tuple[Gpu, ...]:
    """Every GPU of this machine in the order of the bus, each with its slices behind it. Raises OSError where the
    library is missing or refuses.
    """
    with _opened() as nvml:
        found: list[Gpu] = []
        for index in range(nvml.number(ctypes.c_uint, "nvmlDeviceGetCount_v2")):
            try:
                device = nvml.handle("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index))
                found += _with_slices(nvml, device, index)
            except OSError as error:  # one that fell off the bus must not hide the others
                found.append(Gpu(str(index), "", "a GPU", unusable=f"it does not answer ({error})"))
        return tuple(found)


def _with_slices(nvml: _Library, device: ctypes.c_void_p, index: int) -> list[Gpu]:
    slices: list[Gpu] = []
    if not _divided(nvml, device):
        return [_gpu(nvml, device, str(index))]
    for number in range(nvml.number(ctypes.c_uint, "nvmlDeviceGetMaxMigDeviceCount", device)):
        with suppress(OSError):  # there is no slice of that number
            own = nvml.handle("nvmlDeviceGetMigDeviceHandleByIndex", device, ctypes.c_uint(number))
            slices.append(_gpu(nvml, own, f"{index}:{number}"))
    return [_gpu(nvml, device, str(index), "it is divided into slices (MIG)"), *slices]


def _divided(nvml: _Library, device: ctypes.c_void_p) -> bool:
    pending = ctypes.c_uint()
    now = ctypes.c_uint()
    try:
        nvml.ask("nvmlDeviceGetMigMode", device, ctypes.byref(now), ctypes.byref(pending))
    except OSError:  # most GPUs cannot be divided
        return False
    return now.value == 1


def _gpu(nvml: _Library, device: ctypes.c_void_p, index: str, unusable: str = "") -> Gpu:
    memory = _memory(nvml, device)
    return Gpu(
        index=index,
        uuid=nvml.text("nvmlDeviceGetUUID", device),
        name=nvml.text("nvmlDeviceGetName", device),
        memory_bytes=int(memory.total) if memory else 0,
        free_bytes=int(memory.free) if memory else 0,
        processes=_processes(nvml, device),
        unusable=unusable,
    )


def _memory(nvml: _Library, device: ctypes.c_void_p) -> _Memory | None:
    memory = _Memory()
    with suppress(OSError):  # not every container may ask
        nvml.ask("nvmlDeviceGetMemoryInfo", device, ctypes.byref(memory))
        return memory
    return None


def _processes(nvml: _Library, device: ctypes.c_void_p) -> tuple[Process, ...] | None:
    newer = hasattr(nvml.library, "nvmlDeviceGetComputeRunningProcesses_v3")
    function = f"nvmlDeviceGetComputeRunningProcesses_v{3 if newer else 2}"
    count = ctypes.c_uint()
    for _ in range(2):  # where there was too little room, the first call says how much it takes
        count.value += _MORE_PROCESSES
        found = (_Process * count.value)()
        with suppress(OSError):
            nvml.ask(function, device, ctypes.byref(count), found)
            return tuple(
                Process(one.pid, program(one.pid), None if one.bytes == _UNTOLD else int(one.bytes))
                for one in found[: count.value]
            )
    return None


def program(pid: int) -> str:
    """What a process runs; says so where that is not to be seen from here."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return "a process that is not to be seen from here"


class Holders:
    """Who holds memory of one GPU or slice, by its UUID; open from the first to the last question, for opening the
    library takes long enough to disturb who computes. Raises OSError where the library is missing or does not know it.
    """

    def __init__(self, uuid: str) -> None:
        self._nvml = _Library()
        try:
            self._device = self._found(uuid)
        except OSError:
            self.close()
            raise

    def _found(self, uuid: str) -> ctypes.c_void_p:
        """The device of 32 digits, of which only the library knows whether they are of a GPU or of a slice."""
        try:
            return self._nvml.handle("nvmlDeviceGetHandleByUUID", f"GPU-{dashed(uuid)}".encode())
        except OSError:
            return self._nvml.handle("nvmlDeviceGetHandleByUUID", f"MIG-{dashed(uuid)}".encode())

    def close(self) -> None:
        """Give the library back."""
        self._nvml.ask("nvmlShutdown")

    def processes(self) -> tuple[Process, ...] | None:
        """Who computes on it now; None where that cannot be told from here."""
        return _processes(self._nvml, self._device)

    def used(self) -> int | None:
        """Bytes of it that are in use by anybody; None where that cannot be told."""
        memory = _memory(self._nvml, self._device)
        return None if memory is None else int(memory.used)


class Nvml:
    """One GPU by its UUID. Raises OSError where the library is missing or does not know the device."""

    def __init__(self, uuid: str) -> None:
        self._nvml = _Library()
        self.device = self._nvml.handle("nvmlDeviceGetHandleByUUID", f"GPU-{dashed(uuid)}".encode())
        newer = hasattr(self._nvml.library, "nvmlDeviceGetCurrentClocksEventReasons")
        self._reasons = f"nvmlDeviceGetCurrentClocks{'Event' if newer else 'Throttle'}Reasons"
        self._events: ctypes.c_void_p | None = ctypes.c_void_p()
        try:
            self._nvml.ask("nvmlEventSetCreate", ctypes.byref(self._events))
            self._nvml.ask("nvmlDeviceRegisterEvents", self.device, ctypes.c_ulonglong(_EVENT_XID), self._events)
        except OSError:  # not every device or container tells of errors
            self._events = None

    def close(self) -> None:
        """Give everything back."""
        if self._events is not None:
            self._nvml.ask("nvmlEventSetFree", self._events)
            self._events = None
        self._nvml.ask("nvmlShutdown")

    def look(self) -> Look:
        """Clocks and the reasons for them, now."""
        return Look(self._clock(_CLOCK_SM), self._clock(_CLOCK_MEM), self._number(ctypes.c_ulonglong, self._reasons))

    def uncorrected(self) -> int | None:
        """Memory errors that could not be corrected since the driver was loaded; None where they are not counted."""
        kind, counter = ctypes.c_int(_UNCORRECTED), ctypes.c_int(_VOLATILE)
        try:
            return self._number(ctypes.c_ulonglong, "nvmlDeviceGetTotalEccErrors", kind, counter)
        except OSError:
            return None

    def broken(self) -> list[int]:
        """Xid errors of the device itself since this was last asked."""
        found = []
        event = _Event()
        while self._events is not None:
            try:
                self._nvml.ask("nvmlEventSetWait_v2", self._events, ctypes.byref(event), ctypes.c_uint(0))
            except OSError:  # none is left
                break
            found.append(int(event.data))
        return [xid for xid in found if xid in BROKEN]

    def _clock(self, kind: int) -> int:
        return self._number(ctypes.c_uint, "nvmlDeviceGetClockInfo", ctypes.c_int(kind))

    def _number(self, kind: type[ctypes.c_uint] | type[ctypes.c_ulonglong], function: str, *arguments: Any) -> int:
        return self._nvml.number(kind, function, self.device, *arguments)
