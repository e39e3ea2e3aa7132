"""What the installer keeps: of one target, of one package, and of the whole process; and what it answers.

Standard library only: this module travels inside exported packages.
"""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, field
from typing import Any

from .targets import Target

INSTALLED, WAITING, MISSING, CHANGED, UNFIT = "installed", "waiting", "missing", "changed", "unfit"
OCCUPIED, DISABLED, OVERWRITTEN, REMOVED = "occupied", "disabled", "overwritten", "removed"


@dataclass(frozen=True)
class State:
    """What became of one target."""

    target: str
    state: str
    """installed; waiting (for its module to be imported); missing; changed (signature or version); unfit (the dispatch
    cannot be bound to it); occupied (by another package); disabled; overwritten (by somebody since); removed."""
    detail: str
    package: str
    path: str
    """Folder of the exported package."""
    dispatch: str
    release: str
    ratio: float
    hits: int
    fallbacks: int
    """Calls that went to the original. Both count the dispatch, whichever target it was called through."""
    version: str
    """Of the framework, as it was found; empty where it was not looked at."""
    swapped: tuple[str, ...] = ()
    """Every name that was swapped, as module.name."""
    not_reached: tuple[str, ...] = ()
    """What else holds the original, or after uninstall the dispatched one."""

    def json(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)


@dataclass
class Swap:
    """One target of one package, and what is needed to undo it."""

    target: Target
    dispatch: Any = None
    state: str = ""
    detail: str = ""
    version: str = ""
    stack: bool = False
    where: Any = None
    """The module or class that holds it."""
    raw: Any = None
    """What was there: a function, or a staticmethod or classmethod around one."""
    mine: Any = None
    """What stands in its place."""
    function: Any = None
    replacement: Any = None
    """The functions themselves; ``raw`` and ``mine`` may be wrapped."""
    swapped: tuple[str, ...] = ()
    not_reached: tuple[str, ...] = ()


@dataclass
class Package:
    """What one exported package installed."""

    name: str
    path: str
    swaps: dict[str, Swap] = field(default_factory=dict)


class Shared:
    """One for the process, since each exported package brings its own copy of this module."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.packages: dict[str, Any] = {}
        self.ours: dict[int, tuple[Any, str, str]] = {}
        """Replacements by identity: the function, its package and target."""
