"""Swapping at the moment a module is imported, so that nobody imports by name what was there before.

Standard library only: this module travels inside exported packages.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Then = Callable[[ModuleType], None]


class Waiting(MetaPathFinder):
    """Calls back once a module was executed, before whoever imports it sees it. On ``sys.meta_path`` while it waits."""

    def __init__(self) -> None:
        self._then: dict[str, dict[str, Then]] = {}
        self._here = threading.local()

    def add(self, module: str, key: str, then: Then) -> None:
        """Call ``then`` when the module is imported; ``key`` says whose wish it is."""
        self._then.setdefault(module, {})[key] = then
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def drop(self, module: str, key: str) -> None:
        """Wait no longer; does nothing where nobody waits."""
        self._then.get(module, {}).pop(key, None)
        if not self._then.get(module):
            self._then.pop(module, None)
        if not self._then and self in sys.meta_path:
            sys.meta_path.remove(self)

    def arrived(self, module: ModuleType) -> None:
        """Tell everybody who waits for it."""
        for then in list(self._then.get(module.__name__, {}).values()):
            then(module)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the other finders say, with a loader that calls back."""
        busy: set[str] = self._here.__dict__.setdefault("busy", set())
        if fullname not in self._then or fullname in busy:
            return None
        busy.add(fullname)
        try:
            for finder in list(sys.meta_path):
                found = finder.find_spec(fullname, path, target) if hasattr(finder, "find_spec") else None
                if found is not None:
                    break
            else:
                return None
        finally:
            busy.discard(fullname)
        if found.loader is not None and hasattr(found.loader, "exec_module"):
            found.loader = _Loader(found.loader, self)
        return found


class _Loader(Loader):
    """The real loader, and the call back; the module never sees anything but the real one."""

    def __init__(self, real: Any, waiting: Waiting) -> None:
        self._real, self._waiting = real, waiting

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._real.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._real
        module.__loader__ = self._real
        self._real.exec_module(module)
        self._waiting.arrived(module)
