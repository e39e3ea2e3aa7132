"""What an exported package runs on: the guard table's front in Python. Copied verbatim into the package as
``_runtime/dispatch.py``; standard library only. Imports nothing of warpsmith, and no torch: where that is installed,
apache-tvm-ffi has imported it.

**The contract** (what ``install`` and others may rely on). A package ``PKG`` has

- one function per operation, ``PKG.<op>(inputs..., numbers..., outputs=None, defaulted numbers=...)``. It returns its
  output (a tuple where there are several). An output that is None is allocated. A call that no row of the guard table
  covers goes to :attr:`Dispatch.original`, and raises :class:`NotCovered` where that is None.
- ``PKG.DISPATCH: dict[str, Dispatch]``, by operation.
- ``PKG.warm()``: load every kernel of this machine's devices now. Call it before a CUDA graph is captured; a call loads
  its kernel lazily otherwise.
- ``PKG.allow_unmeasured(architecture)``: let variants that are "compiled, not measured" be dispatched. They never are
  by default.
- ``PKG/export.json``: ``format``, ``name``, ``kind``, ``releases`` (stamps: ``spec``, ``manifest``, ``task``,
  ``commit``, ``at``, ``gain``, ``architecture``), ``rows`` (the guard table, in order of choice), ``parameters``,
  ``added_cost`` (or "not measured"), ``files`` (path to SHA-256, of every file but this one).

A :class:`Dispatch` has ``name``, ``release`` ("group/name@version" of the first row that this machine could hit, else
of the first row), ``releases`` (of all rows), ``ratio`` (that row's speed-up over the baseline), ``signature``,
``positional`` (names, in the order of ``direct``), ``covers(*args, **kwargs) -> str`` (empty, or why it would fall
back; counts and launches nothing), ``bind(original, arguments=None, when="True")``, ``direct`` (the kernel's own
binding without guard, all of ``positional``; None where no row fits this machine), ``hits`` and ``fallbacks`` (counted
in compiled code), ``reset()``, ``original``.

``bind(original)`` returns a function with exactly the original's signature (``__wrapped__`` is the original). A
parameter is matched by its name (``out`` also means the only output); ``arguments`` maps an argument of the operation
to a Python expression over the original's parameters instead, and ``when`` is one that has to hold, such as
``"bias is None and is_rms_norm"``. Parameters that neither names have to have their default's value, or the call goes
to the original. Raises :class:`CannotBind` (a TypeError) with every reason at once.

A call whose inputs need gradients goes to the original: kernels have none. Under ``torch.compile`` the call is a custom
operation of ``torch.library``, with a fake kernel, which runs the same guard.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .functions import Bound, bound_function, own_function

REASONS = (
    "",
    "an argument is missing, or is no tensor or number",
    "the tensors are on different devices",
    "the shapes do not agree with each other",
    "a tensor is not row-major and contiguous",
    "no row is for this kind of device",
    "no row is for this architecture",
    "the variant for this architecture was compiled, not measured",
    "no row is for these element types",
    "the shape is outside what was measured",
    "a number is not one that was verified",
    "a buffer is not aligned as it was measured",
    "an output overlaps another tensor",
    "the launch plan cannot be carried out for this shape",
    "the kernel cannot be loaded on this device",
    "it needs scratch memory, and there is no allocator",
)
"""Why a call goes to the original, by the code that the compiled guard returns; 0 is a hit."""
CPU, CUDA = 1, 2
"""Kinds of device, as DLPack numbers them."""


class NotCovered(RuntimeError):
    """No row of the guard table covers the call, and there is no original to go to."""


class CannotBind(TypeError):
    """A function whose signature does not fit the operation; says every reason."""


class Dispatch:
    """One operation: its guard table, its compiled functions, and its counters."""

    def __init__(self, said: Mapping[str, Any], native: Any, unique: str) -> None:
        self.name: str = said["name"]
        self.parameters: list[dict[str, Any]] = said["parameters"]
        self.rows: list[dict[str, Any]] = said["rows"]
        self.positional: tuple[str, ...] = tuple(p["name"] for p in self.parameters)
        self.original: Callable[..., Any] | None = None
        """Where the operation's own function goes with a call that no row covers."""
        self.said = said
        self.unique = unique
        """Names its operations in torch: two packages of one name must not meet."""
        self.call = native["call"]
        self.missed = native["missed"]
        self._native = native
        if all(row["hardware"] != "cpu" for row in self.rows):
            self.call.release_gil = False  # a launch is shorter than giving the lock away
        self.function = own_function(self)
        self.signature = inspect.signature(self.function)

    def __repr__(self) -> str:
        return f"<Dispatch {self.name}: {self.release}, {self.hits} hits, {self.fallbacks} fallbacks>"

    @property
    def release(self) -> str:
        """The release that this machine would hit first."""
        return str(self._chosen["release"])

    @property
    def releases(self) -> tuple[str, ...]:
        """Every release of the table, each once."""
        return tuple(dict.fromkeys(row["release"] for row in self.rows))

    @property
    def ratio(self) -> float:
        """Speed-up over the baseline, as that release measured it; 0 where nobody did."""
        gain = self._chosen["gain"]
        return float(gain["speedup"]) if gain else 0.0

    @property
    def hits(self) -> int:
        """Calls that went to a kernel."""
        return int(self._native["counts"](0))

    @property
    def fallbacks(self) -> int:
        """Calls that went to an original, or would have."""
        return int(self._native["counts"](1))

    def reset(self) -> None:
        """Set both counters to zero."""
        self._native["counts"](2)

    @property
    def direct(self) -> Any:
        """The binding of the first row that fits this machine, without guard; None where none does."""
        at = self.fitting()
        return None if at is None else self.direct_of(at)

    def direct_of(self, row: int) -> Any:
        """The binding of one row, without guard: the shape is taken as it is."""
        function = self._native[f"direct_{row}"]
        function.release_gil = self.call.release_gil
        return function

    def fitting(self, probe: bool = True) -> int | None:
        """The first row that fits the first device of its kind here; None where none does.

        Without ``probe`` a GPU that torch has not begun to use is not asked: that would begin it, and a process that
        has done so cannot be forked any more.
        """
        torch = sys.modules.get("torch")
        idle = torch is not None and not torch.cuda.is_initialized()
        for at, row in enumerate(self.rows):
            if row["hardware"] != "cpu" and idle and not probe:
                continue
            if self._native["fits"](at, CPU if row["hardware"] == "cpu" else CUDA, 0) == 0:
                return at
        return None

    def covers(self, *args: Any, **kwargs: Any) -> str:
        """Why a call with these arguments would go to the original; empty where it would not."""
        try:
            given = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            return str(error)
        given.apply_defaults()
        values = self.function.complete(*given.args)
        return REASONS[self._native["covers"](*values)]

    def bind(
        self, original: Callable[..., Any], arguments: Mapping[str, str] | None = None, when: str = "True"
    ) -> Callable[..., Any]:
        """A function for the original's place: to the kernel on a hit, to the original otherwise.

        Raises CannotBind where the signature does not fit, or an expression is none.
        """
        wanted = Bound.of(self, original, arguments or {}, when)
        if wanted.problems:
            raise CannotBind(f"{self.name} cannot stand for {original!r}: {'; '.join(wanted.problems)}")
        made: Callable[..., Any] = bound_function(self, wanted)
        return made

    def missing(self, *args: Any) -> Any:
        """A call of the operation's own function that no row covers."""
        if self.original is not None:
            return self.original(*args)
        raise NotCovered(f"{self.name}: {self.covers(*args) or 'an input needs gradients'}")

    def warm(self) -> int:
        """Load every row that fits this machine's current devices; how many there were."""
        torch = sys.modules.get("torch")
        ordinal = torch.cuda.current_device() if torch is not None and torch.cuda.is_initialized() else 0
        return sum(max(0, int(self._native["warm"](kind, at))) for kind, at in ((CPU, 0), (CUDA, ordinal)))

    def allow(self, capability: int) -> None:
        """Let unmeasured variants for a compute capability be chosen, such as 100 for sm_100."""
        self._native["allow"](capability)

    @property
    def _chosen(self) -> dict[str, Any]:
        at = self.fitting(probe=False)
        return self.rows[at or 0]


def opened(folder: Path, package: str) -> dict[str, Dispatch]:
    """The dispatches of the package in ``folder``. Raises ImportError where apache-tvm-ffi is not installed."""
    import tvm_ffi

    said = json.loads((folder / "export.json").read_text())
    library = folder / said["library"]
    if not library.is_file():  # another builder compiled it, and named it
        library = next(iter(sorted(folder.glob("*.so"))), library)
    native = tvm_ffi.load_module(str(library))
    dispatch = Dispatch(said, native, f"{said['name']}_{said['unique']}")
    dispatch.function.__module__ = package
    return {dispatch.name: dispatch}


def warm(dispatches: Mapping[str, Dispatch]) -> int:
    """Load every kernel that fits; how many rows there were."""
    return sum(d.warm() for d in dispatches.values())


def allow_unmeasured(dispatches: Mapping[str, Dispatch], architecture: str) -> None:
    """Let variants for ``architecture`` (``sm_100``) be dispatched that nobody measured. Raises ValueError."""
    digits = "".join(c for c in architecture.removeprefix("sm_") if c.isdigit())
    if not architecture.startswith("sm_") or not digits:
        raise ValueError(f"{architecture!r} is no architecture; say it as sm_100")
    for dispatch in dispatches.values():
        dispatch.allow(int(digits))
