"""Reads the logs that the injection library writes (app/inject/format.h says how they lie). Owns the format's reading.

A log is whole up to the last record that was stored, however its process ended. A file that is no log, or is damaged,
fails clearly; one that merely stops is read up to there, and says so.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from warpsmith.errors import BadReport
from warpsmith.model.launch import (
    Buffer,
    Function,
    GraphLaunch,
    How,
    KernelTime,
    Launch,
    ModuleImage,
    Snapshot,
    SwapLoad,
)

MAGIC, VERSION, HEADER_BYTES, MOST_RULES = b"WSLAUNCH", 1, 4096, 256
SUFFIX = ".launches"
_HEADER = struct.Struct(f"<8s4I9Q{MOST_RULES}Q")
_HEAD = struct.Struct("<IHH")
_PROCESS = struct.Struct("<4I")
_FUNCTION = struct.Struct("<3I5i")
_LAUNCH = struct.Struct("<4Q22I")
_BUFFER = struct.Struct("<IIQQ")
_GRAPH_LAUNCH = struct.Struct("<2Q6I")
_CLONE = struct.Struct("<2Q")
_TIME = struct.Struct("<3Q19I")
_TEXT = struct.Struct("<2I")
_SNAPSHOT = struct.Struct("<7Q6I")
_MODULE = struct.Struct("<4Q2I")
_SWAP = struct.Struct("<4I")
_CAPTURED, _PACKED, _UNKNOWN, _COOPERATES, _SWAPPED = 1, 2, 4, 8, 16
_AGAIN = "Observe again; a log is read by the version of warpsmith that wrote it."


@dataclass
class Log:
    """One process of an application, from its start until it ended or became another program."""

    path: Path
    pid: int
    parent: int
    started_ns: int
    recording: bool
    """Whether launches were recorded; the counter only counts them."""
    launched: int
    """Kernel launches that were asked for, those that went into graphs among them."""
    graph_launched: int
    dropped: int
    """Records that did not fit into the log."""
    times_dropped: int
    missed: int
    """Launches of a kernel with swap rules that no rule fitted."""
    hits: tuple[int, ...]
    """Swaps that were made, by rule."""
    finished: bool
    """The process ended by itself: not by a signal, ``_exit`` or exec."""
    cut: bool = False
    """The last record is not whole."""
    driver: int = 0
    """CUDA version of the driver, such as 13000."""
    cupti: int = 0
    exe: str = ""
    command: tuple[str, ...] = ()
    devices: dict[int, str] = field(default_factory=dict)
    functions: dict[int, Function] = field(default_factory=dict)
    launches: list[Launch] = field(default_factory=list)
    graph_launches: list[GraphLaunch] = field(default_factory=list)
    times: list[KernelTime] = field(default_factory=list)
    clones: dict[int, int] = field(default_factory=dict)
    """Graph node to the node that it is a copy of."""
    notes: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    """What the library could not do."""
    snapshots: list[Snapshot] = field(default_factory=list)
    images: list[ModuleImage] = field(default_factory=list)
    swaps: list[SwapLoad] = field(default_factory=list)

    def origin(self, node: int) -> int:
        """The node that the application made, of which ``node`` is a copy or a copy's copy."""
        for _ in range(len(self.clones) + 1):
            if node not in self.clones:
                break
            node = self.clones[node]
        return node


def read_logs(folder: Path) -> list[Log]:
    """All logs of a run, by start. Raises BadReport for one that is damaged."""
    return sorted((read_log(p) for p in folder.glob(f"*{SUFFIX}")), key=lambda log: (log.started_ns, log.pid))


def read_log(path: Path) -> Log:
    """One log. Raises BadReport for a file that is none, is of another version, or is damaged."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadReport(f"{path}: cannot be read: {error}.", _AGAIN) from None
    return decode(content, path)


def decode(content: bytes, path: Path) -> Log:
    """A log from its bytes; ``path`` is for messages. Raises BadReport."""
    if len(content) < HEADER_BYTES or content[:8] != MAGIC:
        raise BadReport(f"{path}: not a log of kernel launches.", _AGAIN)
    _, version, header, pid, parent, started, used, *counts = _HEADER.unpack_from(content)
    if version != VERSION or header != HEADER_BYTES:
        raise BadReport(f"{path}: the log has format {version}, and {VERSION} is read here.", _AGAIN)
    launched, graphs, dropped, times_dropped, finished, missed, mode, *hits = counts
    log = Log(
        path, pid, parent, started, bool(mode), launched, graphs, dropped, times_dropped, missed, tuple(hits),
        bool(finished),
    )  # fmt: skip
    reader = _Reader(log, content, min(used, len(content)))
    log.cut = used > len(content)
    try:
        for kind, at, end in reader.records():
            reader.take(kind, at, end)
    except (struct.error, ValueError, KeyError, UnicodeDecodeError) as error:
        raise BadReport(f"{path}: the log is damaged at byte {reader.at}: {error!r}.", _AGAIN) from None
    return log


class _Reader:
    """Walks the records of one log into it."""

    def __init__(self, log: Log, content: bytes, end: int) -> None:
        self.log = log
        self.content = content
        self.end = end
        self.at = HEADER_BYTES
        self.names: dict[int, str] = {}
        self.kinds = {
            1: self._process, 2: self._function, 3: self._launch, 4: self._graph_launch, 5: self._clone, 6: self._time,
            7: self._name, 8: self._note, 9: self._snapshot, 10: self._module, 11: self._swap, 12: self._device,
        }  # fmt: skip

    def records(self) -> Iterator[tuple[int, int, int]]:
        """Kind, begin of the payload and end of each record; stops where the file does."""
        while self.at + _HEAD.size <= self.end:
            size, kind, _ = _HEAD.unpack_from(self.content, self.at)
            if size == 0:
                break
            if size % 8 or size < _HEAD.size:
                raise ValueError(f"a record of {size} bytes")
            if self.at + size > self.end:
                self.log.cut = True
                break
            yield kind, self.at + _HEAD.size, self.at + size
            self.at += size

    def take(self, kind: int, at: int, end: int) -> None:
        """One record; an unknown kind is damage, since versions differ by number."""
        if kind not in self.kinds:
            raise ValueError(f"a record of kind {kind}")
        self.kinds[kind](at, end)

    def _bytes(self, at: int, count: int, end: int) -> bytes:
        if at + count > end:
            raise ValueError("a record that is longer than itself")
        return self.content[at : at + count]

    def _text(self, at: int, count: int, end: int) -> str:
        return self._bytes(at, count, end).decode(errors="replace")

    def _process(self, at: int, end: int) -> None:
        self.log.driver, self.log.cupti, exe, command = _PROCESS.unpack_from(self.content, at)
        at += _PROCESS.size
        self.log.exe = self._text(at, exe, end)
        words = self._text(at + exe, command, end)
        self.log.command = tuple(words.split("\0")[:-1] if words.endswith("\0") else words.split("\0"))

    def _function(self, at: int, end: int) -> None:
        number, count, name, *facts = _FUNCTION.unpack_from(self.content, at)
        at += _FUNCTION.size
        layout = struct.iter_unpack("<II", self._bytes(at, count * 8, end))
        symbol = self._text(at + count * 8, name, end)
        self.log.functions[number] = Function(number, symbol, tuple((o, s) for o, s in layout), *facts)

    def _launch(self, at: int, end: int) -> None:
        found = _LAUNCH.unpack_from(self.content, at)
        sequence, moment, stream, node, function, correlation, context, device, thread = found[:9]
        dynamic, how, flags, result, rule, executable, size, buffers = found[18:]
        at += _LAUNCH.size
        parameters = self._bytes(at, size, end)
        at += (size + 7) & ~7
        reached = struct.iter_unpack("<IIQQ", self._bytes(at, buffers * _BUFFER.size, end))
        known = self.log.functions[function]
        self.log.launches.append(
            Launch(
                sequence=sequence, at_ns=moment, function=known, correlation=correlation, how=How(how),
                grid=found[9:12], block=found[12:15], cluster=found[15:18], dynamic_bytes=dynamic,
                parameters=parameters, buffers=tuple(Buffer(o, b, s) for o, _, b, s in reached), stream=stream,
                context=context, device=device, thread=thread, node=node, exec=executable, result=result,
                rule=rule if flags & _SWAPPED else None, captured=bool(flags & _CAPTURED),
                packed=bool(flags & _PACKED), unknown=bool(flags & _UNKNOWN), cooperative=bool(flags & _COOPERATES),
            )
        )  # fmt: skip

    def _graph_launch(self, at: int, end: int) -> None:
        moment, stream, correlation, context, thread, executable, result, _ = _GRAPH_LAUNCH.unpack_from(
            self.content, at
        )
        self.log.graph_launches.append(GraphLaunch(moment, correlation, executable, stream, context, thread, result))

    def _clone(self, at: int, end: int) -> None:
        original, node = _CLONE.unpack_from(self.content, at)
        self.log.clones[node] = original

    def _time(self, at: int, end: int) -> None:
        found = _TIME.unpack_from(self.content, at)
        start, stop, node, correlation, device, context, stream, graph, name = found[:9]
        static, dynamic, registers, _ = found[18:]
        self.log.times.append(
            KernelTime(
                self.names[name], start, stop, correlation, node, graph, device, context, stream,
                found[9:12], found[12:15], found[15:18], static, dynamic, registers,
            )
        )  # fmt: skip

    def _name(self, at: int, end: int) -> None:
        number, count = _TEXT.unpack_from(self.content, at)
        self.names[number] = self._text(at + _TEXT.size, count, end)

    def _note(self, at: int, end: int) -> None:
        trouble, count = _TEXT.unpack_from(self.content, at)
        (self.log.troubles if trouble else self.log.notes).append(self._text(at + _TEXT.size, count, end))

    def _device(self, at: int, end: int) -> None:
        number, count = _TEXT.unpack_from(self.content, at)
        self.log.devices[number] = self._text(at + _TEXT.size, count, end)

    def _snapshot(self, at: int, end: int) -> None:
        sequence, base, size, address, count, high, low, phase, role, offset, changed, name, _ = _SNAPSHOT.unpack_from(
            self.content, at
        )
        self.log.snapshots.append(
            Snapshot(
                sequence, bool(phase), self._text(at + _SNAPSHOT.size, name, end) if role else "", offset, base, size,
                address, count, bool(changed), _file(high, low, count),
            )
        )  # fmt: skip

    def _module(self, at: int, end: int) -> None:
        sequence, count, high, low, candidates, _ = _MODULE.unpack_from(self.content, at)
        self.log.images.append(ModuleImage(sequence, _file(high, low, count), candidates))

    def _swap(self, at: int, end: int) -> None:
        rule, function, result, count = _SWAP.unpack_from(self.content, at)
        message = self._text(at + _SWAP.size, count, end)
        self.log.swaps.append(SwapLoad(rule, self.log.functions[function].symbol, result, message))


def _file(high: int, low: int, count: int) -> str:
    return f"{high:016x}{low:016x}-{count}.bin" if count else ""
