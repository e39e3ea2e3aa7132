"""Who else holds a function: other modules that imported it by name, and what cannot be reached by swapping.

Standard library only: this module travels inside exported packages.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable
from types import CellType, FrameType, FunctionType, ModuleType
from typing import Any

_MOST = 8


def re_exports(value: object) -> list[tuple[ModuleType, str]]:
    """Every imported module, with the name, that holds this very object."""
    found = []
    for module in list(sys.modules.values()):
        if isinstance(module, ModuleType):  # a copy of its names: another thread may import meanwhile
            found += [(module, name) for name, held in list(vars(module).items()) if held is value]
    return found


def unreached(value: object, known: Iterable[object]) -> tuple[str, ...]:
    """What holds the object and is no module's namespace, in words; ``known`` are holders that are accounted for.

    Closures, defaults, tables, partials, classes and instances keep what they were given: whoever calls through them
    calls that still.
    """
    ours = {id(k) for k in known}
    left_out = ours | {id(vars(m)) for m in _modules()}
    holders = [h for h in gc.get_referrers(value) if id(h) not in left_out and not isinstance(h, FrameType)]
    if not holders:
        return ()
    names = {id(held): f"{m.__name__}.{n}" for m in _modules() for n, held in list(vars(m).items())}
    found = set()
    for holder in holders:  # not in a comprehension: its cell would hold the object too
        found.add(_said(holder, value, ours, names))
    said = sorted(found - {""})
    more = len(said) - _MOST
    return (*said[:_MOST], *((f"and {more} more",) if more > 0 else ()))


def _modules() -> list[ModuleType]:
    return [m for m in list(sys.modules.values()) if isinstance(m, ModuleType)]


def _said(holder: Any, value: object, ours: set[int], names: dict[int, str]) -> str:
    """A holder in words; empty for one through which nobody calls the object."""
    if isinstance(holder, FunctionType):
        defaults = (*(holder.__defaults__ or ()), *(holder.__kwdefaults__ or {}).values())
        return f"a default of {_name(holder)}" if any(d is value for d in defaults) else ""
    if isinstance(holder, CellType):
        tuples = [t for t in gc.get_referrers(holder) if isinstance(t, tuple)]
        owners = [f for t in tuples for f in gc.get_referrers(t) if isinstance(f, FunctionType)]
        return f"the closure of {_name(owners[0])}" if owners else "a closure"
    if isinstance(holder, dict):
        return _dictionary(holder, value, ours, names)
    if isinstance(holder, list | set | tuple):
        owners = [f for f in gc.get_referrers(holder) if isinstance(f, FunctionType) and f.__defaults__ is holder]
        if owners:
            return f"a default of {_name(owners[0])}"
        return (
            f"the {type(holder).__name__} {names[id(holder)]}" if id(holder) in names else f"a {type(holder).__name__}"
        )
    return f"a {type(holder).__module__}.{type(holder).__qualname__}"


def _dictionary(holder: dict[Any, Any], value: object, ours: set[int], names: dict[int, str]) -> str:
    """A dict: a table, or the namespace of a class, function or instance."""
    if id(holder) in names:
        return f"the dict {names[id(holder)]}"
    if getattr(value, "__globals__", None) is holder:
        return ""
    for where in gc.get_referrers(holder):
        if isinstance(where, type):
            return "" if id(where) in ours else f"the class {where.__module__}.{where.__qualname__}"
        if isinstance(where, FunctionType) and where.__dict__ is holder:
            return "" if holder.get("__wrapped__") is value else f"an attribute of {_name(where)}"
    return "a dict"


def _name(function: FunctionType) -> str:
    return f"{function.__module__}.{function.__qualname__}"
