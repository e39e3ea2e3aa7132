"""``install``, ``status``, ``uninstall``: functions of a framework swapped for dispatched ones, and put back exactly.

Standard library only, imports nothing of warpsmith: this module travels inside exported packages. A target that is
missing, or changed since it was written down, is reported and left alone, and the others are installed all the same.
``WARPSMITH_DISABLE`` names what must not be installed, separated by commas: a target, its last name, a package, or 1
for all of them.

What is swapped is the name in its module or class, and every name in an imported module that holds the same object.
Modules that are imported later take the swapped one. What keeps the original elsewhere (closures, tables, partials) is
not reached, and is said.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from .references import re_exports, unreached
from .states import (
    CHANGED,
    DISABLED,
    INSTALLED,
    MISSING,
    OCCUPIED,
    OVERWRITTEN,
    REMOVED,
    UNFIT,
    WAITING,
    Package,
    Shared,
    State,
    Swap,
)
from .targets import (
    Target,
    file_of,
    from_json,
    holder,
    normalised,
    presentable,
    read,
    satisfied,
    signature_of,
    version_of,
)
from .waiting import Waiting

DISABLE = "WARPSMITH_DISABLE"

_shared: Any = vars(sys).setdefault("_warpsmith_installs", Shared())
_waiting = Waiting()


def install(
    package: str | ModuleType = "",
    targets: Sequence[Target | Mapping[str, Any]] | None = None,
    *,
    lazy: bool = False,
    stack: bool = False,
) -> tuple[State, ...]:
    """Swap every target of an exported package; what became of each.

    ``package`` is its name or module, the one that this module lies in by default. ``targets`` are those of the file
    beside it (``PKG.targets.json``), or in it, by default. ``lazy`` imports nothing: a module that is not there yet is
    swapped when it is imported. ``stack`` stands on another package's swap, which is the original then; without it such
    a target is ``occupied``. Doing it twice changes nothing, and tries again what failed. Raises BadTarget for targets
    that cannot be read, and whatever the import of the package raises.
    """
    module = _module(package)
    folder = Path(str(module.__file__)).parent
    wanted = read(file_of(folder)) if targets is None else tuple(_target(t) for t in targets)
    name = module.__name__
    there = [_imported(name, one, lazy=lazy) for one in wanted]  # not under our lock: imports take locks of their own
    with _shared.lock:
        mine = _shared.packages.setdefault(name, Package(name, str(folder)))
        asked = [mine.swaps.setdefault(one.target, Swap(one)) for one in wanted]
        for swap, (found, problem) in zip(asked, there, strict=True):
            swap.dispatch, swap.stack = module.DISPATCH.get(swap.target.dispatch), stack
            _attempt(mine, swap, found, problem)
        return tuple(_state(mine, swap) for swap in asked)


def status(package: str | ModuleType = "") -> tuple[State, ...]:
    """What is installed now, of one package or of every one in this process; nothing is imported."""
    name = package if isinstance(package, str) else package.__name__
    with _shared.lock:
        chosen = [p for p in _shared.packages.values() if name in ("", p.name)]
        for swap in (s for p in chosen for s in p.swaps.values() if s.mine is not None):
            if _current(swap) is not swap.mine:
                above = _above(swap)
                swap.state = INSTALLED if above else OVERWRITTEN
                swap.detail = f"{above} stands on it" if above else "by somebody else, since"
            elif swap.state != INSTALLED:
                swap.state, swap.detail = INSTALLED, ""
        return tuple(_state(p, swap) for p in chosen for swap in p.swaps.values())


def uninstall(package: str | ModuleType = "") -> tuple[State, ...]:
    """Put back exactly what was there, also where it was imported by name since.

    A target that another package stands on stays, and says so; one that somebody else overwrote is left to them.
    """
    name = package if isinstance(package, str) and package else _module(package).__name__
    with _shared.lock:
        mine = _shared.packages.get(name)
        if mine is None:
            return ()
        for swap in mine.swaps.values():
            _undo(mine, swap)
        done = tuple(_state(mine, swap) for swap in mine.swaps.values())
        mine.swaps = {key: swap for key, swap in mine.swaps.items() if swap.state != REMOVED}
        if not mine.swaps:
            del _shared.packages[name]
        return done


def _module(package: str | ModuleType) -> ModuleType:
    if isinstance(package, ModuleType):
        return package
    return import_module(package or __name__.rpartition("._runtime")[0])


def _target(said: Target | Mapping[str, Any]) -> Target:
    return from_json(said) if isinstance(said, Mapping) else said


def _disabled(package: str, target: Target) -> bool:
    said = {part.strip() for part in os.environ.get(DISABLE, "").split(",")}
    return bool(said & {"1", "all", package, target.target, target.path[-1], target.dispatch})


def _imported(package: str, target: Target, *, lazy: bool) -> tuple[ModuleType | None, str]:
    """The target's module, or why it is not there."""
    there = sys.modules.get(target.module)
    if there is not None or lazy or _disabled(package, target):
        return there, ""
    try:
        return import_module(target.module), ""
    except Exception as error:  # noqa: BLE001 (a framework's import may raise anything; the others go on)
        return None, f"{target.module} cannot be imported: {error!r}"


def _attempt(mine: Package, swap: Swap, there: ModuleType | None, problem: str) -> None:
    """Swap one target unless something speaks against it; the lock is held."""
    if swap.mine is not None:
        if _current(swap) is swap.mine or _above(swap):
            return
        _give_back(swap)  # somebody overwrote it, or its module was loaded again
    key = f"{mine.name} {swap.target.target}"
    _waiting.drop(swap.target.module, key)
    if _disabled(mine.name, swap.target):
        swap.state, swap.detail = DISABLED, f"by {DISABLE}={os.environ[DISABLE]}"
    elif problem:
        swap.state, swap.detail = MISSING, problem
    elif there is None:
        swap.state, swap.detail = WAITING, f"for {swap.target.module} to be imported"
        _waiting.add(swap.target.module, key, lambda module: _arrived(mine, swap, module))
    else:
        swap.state, swap.detail = _prepare(mine, swap, there)
        if swap.state == INSTALLED:
            _swap(mine, swap)


def _swap(mine: Package, swap: Swap) -> None:
    _shared.ours[id(swap.replacement)] = (swap.replacement, mine.name, swap.target.target)
    names = re_exports(swap.function)
    _put(swap.where, swap.target.path[-1], swap.mine)
    for module, name in names:
        vars(module)[name] = swap.replacement
    said = {f"{module.__name__}.{name}" for module, name in names}
    swap.swapped = tuple(sorted(said | {swap.target.target.replace(":", ".")}))


def _arrived(mine: Package, swap: Swap, module: ModuleType) -> None:
    """The module that it waited for was executed. Never raises: the framework's import must not fail for us."""
    with _shared.lock:
        try:
            _attempt(mine, swap, module, "")
        except Exception as error:  # noqa: BLE001
            swap.state, swap.detail = UNFIT, repr(error)


def _prepare(mine: Package, swap: Swap, there: ModuleType) -> tuple[str, str]:
    """Find the function, check it, and bind the dispatch to it: ``installed``, or what speaks against it."""
    target = swap.target
    if swap.dispatch is None:
        return UNFIT, f"{mine.name} has no dispatch {target.dispatch!r}"
    try:
        where, raw = holder(there, target.path)
    except AttributeError as error:
        return MISSING, str(error)
    function = raw.__func__ if isinstance(raw, staticmethod | classmethod) else raw
    _, other, what = _shared.ours.get(id(function), (None, "", ""))
    if other and (other == mine.name or not swap.stack):
        return OCCUPIED, f"by {other}, as {what}"
    if problem := _changed(swap, function):
        return CHANGED, problem
    swap.not_reached = unreached(function, _holders(where))  # before we hold it ourselves
    try:
        made = _bound(target, function, swap.dispatch)
    except Exception as error:  # noqa: BLE001 (a hook may raise anything; the others go on)
        return UNFIT, f"{type(error).__name__}: {error}"
    swap.where, swap.raw, swap.function, swap.replacement = where, raw, function, made
    swap.mine = type(raw)(made) if isinstance(raw, staticmethod | classmethod) else made
    return INSTALLED, f"on {other}" if other else ""


def _changed(swap: Swap, function: Any) -> str:
    """What is not as it was written down; empty where all is."""
    target = swap.target
    if target.package:
        swap.version = version_of(target.package, target.module)
        if not satisfied(swap.version, target.versions):
            return f"{target.package} is {swap.version or 'not there'}, and {target.versions} is asked for"
    if not callable(function):
        return f"it is a {type(function).__name__} now, and no function"
    try:
        now = signature_of(function)
    except (TypeError, ValueError):
        return "its signature cannot be read"
    if target.signature and now != normalised(target.signature):
        return f"its signature is {now}, and {normalised(target.signature)} is asked for"
    return ""


def _bound(target: Target, function: Any, dispatch: Any) -> Any:
    how = target.adapter
    if how.hook:
        module, _, name = how.hook.partition(":")
        return getattr(import_module(module), name)(function, dispatch)
    function = presentable(function)
    options: dict[str, Any] = {"arguments": dict(how.arguments)} if how.arguments else {}
    return dispatch.bind(function, **options, **({"when": how.when} if how.when else {}))


def _holders(where: Any) -> list[Any]:
    """What holds functions on our behalf, and the namespace ``where`` the one in question lives."""
    swaps = [vars(s) for p in _shared.packages.values() for s in p.swaps.values()]
    return [where, *swaps, *_shared.ours.values()]


def _undo(mine: Package, swap: Swap) -> None:
    """Put one back; the lock is held."""
    _waiting.drop(swap.target.module, f"{mine.name} {swap.target.target}")
    if swap.mine is None:
        swap.state, swap.detail = REMOVED, f"it was {swap.state}: {swap.detail}" if swap.detail else ""
        return
    if above := _above(swap):
        swap.detail = f"{above} stands on it: uninstall that first"
        return
    here, held, where = _current(swap) is swap.mine, swap.replacement, swap.where
    _give_back(swap)
    left = "somebody replaced it since, and that is left as it is"
    swap.state, swap.detail = (REMOVED, "") if here else (OVERWRITTEN, left)
    swap.not_reached = unreached(held, _holders(where))


def _above(swap: Swap) -> str:
    """The package whose swap has this one's for its original; empty without."""
    every = ((p.name, s) for p in _shared.packages.values() for s in p.swaps.values())
    return next((name for name, s in every if s.mine is not None and s.function is swap.replacement), "")


def _give_back(swap: Swap) -> None:
    """The original wherever ours is held by name."""
    if _current(swap) is swap.mine:
        _put(swap.where, swap.target.path[-1], swap.raw)
    for module, name in re_exports(swap.replacement):
        vars(module)[name] = swap.function
    _shared.ours.pop(id(swap.replacement), None)
    swap.mine = swap.raw = swap.function = swap.replacement = None
    swap.swapped = ()


def _current(swap: Swap) -> Any:
    return vars(swap.where).get(swap.target.path[-1])


def _put(where: Any, name: str, value: Any) -> None:
    """In place: the order of the namespace stays as it is."""
    if isinstance(where, type):
        setattr(where, name, value)
    else:
        vars(where)[name] = value


def _state(mine: Package, swap: Swap) -> State:
    dispatch = swap.dispatch
    return State(
        target=swap.target.target,
        state=swap.state,
        detail=swap.detail,
        package=mine.name,
        path=mine.path,
        dispatch=swap.target.dispatch,
        release=str(getattr(dispatch, "release", "")),
        ratio=float(getattr(dispatch, "ratio", 0.0)),
        hits=int(getattr(dispatch, "hits", 0)),
        fallbacks=int(getattr(dispatch, "fallbacks", 0)),
        version=swap.version,
        swapped=swap.swapped,
        not_reached=swap.not_reached,
    )
