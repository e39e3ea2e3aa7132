"""What the driver's management library says of one GPU: clocks, why they are low, errors. Nothing is ever set.

Through ``libnvidia-ml.so.1``, which comes with every driver. Needs no CUDA context.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
_CLOCK_SM, _CLOCK_MEM = 1, 2
_UNCORRECTED, _VOLATILE = 1, 0
_EVENT_XID = 8
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


class _Event(ctypes.Structure):
    _fields_ = (
        ("device", ctypes.c_void_p), ("type", ctypes.c_ulonglong), ("data", ctypes.c_ulonglong),
        ("instance", ctypes.c_uint), ("compute_instance", ctypes.c_uint),
    )  # fmt: skip


class Nvml:
    """One GPU by its UUID. Raises OSError where the library is missing or does not know the device."""

    def __init__(self, uuid: str) -> None:
        self.library: Any = ctypes.CDLL(LIBRARY)
        parts = (uuid[:8], uuid[8:12], uuid[12:16], uuid[16:20], uuid[20:])
        self.device = ctypes.c_void_p()
        self._ask("nvmlInit_v2")
        self._ask("nvmlDeviceGetHandleByUUID", f"GPU-{'-'.join(parts)}".encode(), ctypes.byref(self.device))
        newer = hasattr(self.library, "nvmlDeviceGetCurrentClocksEventReasons")
        self._reasons = f"nvmlDeviceGetCurrentClocks{'Event' if newer else 'Throttle'}Reasons"
        self._events: ctypes.c_void_p | None = ctypes.c_void_p()
        try:
            self._ask("nvmlEventSetCreate", ctypes.byref(self._events))
            self._ask("nvmlDeviceRegisterEvents", self.device, ctypes.c_ulonglong(_EVENT_XID), self._events)
        except OSError:  # not every device or container tells of errors
            self._events = None

    def close(self) -> None:
        """Give everything back."""
        if self._events is not None:
            self._ask("nvmlEventSetFree", self._events)
            self._events = None
        self._ask("nvmlShutdown")

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
                self._ask("nvmlEventSetWait_v2", self._events, ctypes.byref(event), ctypes.c_uint(0))
            except OSError:  # none is left
                break
            found.append(int(event.data))
        return [xid for xid in found if xid in BROKEN]

    def _clock(self, kind: int) -> int:
        return self._number(ctypes.c_uint, "nvmlDeviceGetClockInfo", ctypes.c_int(kind))

    def _number(self, kind: type[ctypes.c_uint] | type[ctypes.c_ulonglong], function: str, *arguments: Any) -> int:
        value = kind()
        self._ask(function, self.device, *arguments, ctypes.byref(value))
        return int(value.value)

    def _ask(self, function: str, *arguments: Any) -> None:
        try:
            status = getattr(self.library, function)(*arguments)
        except AttributeError as error:
            raise OSError(f"{LIBRARY} has no {function}") from error
        if status != 0:
            raise OSError(f"{function} gave {status}")
