"""Runs inside somebody's Python program before its own code: notes what one function is called with.

Written for that place: standard library only, no warpsmith, never an exception of its own, and where the environment
has another ``sitecustomize``, that one runs too. Each process writes lines of JSON to a file of its own.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import json
import os
import sys
import time
from typing import Any

WATCH = "WARPSMITH_WATCH"
LONGEST = 80
DEEPEST = 3


def described(value: Any, depth: int = 0) -> str:
    """Shape, dtype, strides and device of an array; the value of a plain one; the type of anything else."""
    kind = type(value)
    try:
        shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
        if shape is not None and dtype is not None and not isinstance(value, type):
            strides = getattr(value, "stride", None)
            strides = strides() if callable(strides) else getattr(value, "strides", None)
            device = getattr(value, "device", "")
            said = f"{str(dtype).replace('torch.', '')} {[int(n) for n in shape]}"
            said += f" strides {tuple(int(n) for n in strides)}" if strides is not None else ""
            return f"{said} {device}".rstrip()
        if value is None or kind in (bool, int, float):
            return repr(value)
        if kind is str:
            return repr(value[:LONGEST])
        if kind in (list, tuple) and depth < DEEPEST:
            inner = ", ".join(described(v, depth + 1) for v in value[:16])
            return f"{kind.__name__}({inner}{', ...' if len(value) > 16 else ''})"
        if kind is dict and depth < DEEPEST:
            return "dict(" + ", ".join(f"{k}: {described(v, depth + 1)}" for k, v in list(value.items())[:16]) + ")"
    except Exception:  # noqa: BLE001 (somebody's class, somebody's program)
        pass
    return f"{kind.__module__}.{kind.__qualname__}"


class Notes:
    """The file of this process; a forked child gets its own."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.pid = 0
        self.file = -1
        self.known: dict[tuple[str, str], int] = {}

    def write(self, **said: object) -> None:
        """One line, at once: what was written stays, however the process ends."""
        if self.pid != os.getpid():
            self.pid = os.getpid()
            self.known = {}
            path = os.path.join(self.folder, f"{self.pid}-{time.time_ns()}.calls")
            self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.write(self.file, (json.dumps(said) + "\n").encode())

    def number(self, kind: str, text: str) -> int:
        """Of a text that repeats; written out the first time."""
        if self.pid != os.getpid():
            self.write(pid=os.getpid())
        key = (kind, text)
        if key not in self.known:
            self.known[key] = len(self.known)
            self.write(k=self.known[key], kind=kind, text=text)
        return self.known[key]


def watched(function: Any, notes: Notes) -> Any:
    """The function, with notes about each call."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        signature = None

    def said(arguments: tuple[Any, ...], options: dict[str, Any]) -> str:
        named: dict[str, Any] = {}
        with contextlib.suppress(TypeError):
            named = signature.bind(*arguments, **options).arguments if signature else {}
        if not named:
            named = {**{str(i): v for i, v in enumerate(arguments)}, **options}
        return json.dumps({name: described(value) for name, value in named.items()})

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            key = notes.number("arguments", said(arguments, options))
            notes.write(b=key)
        except Exception:  # noqa: BLE001
            return function(*arguments, **options)
        began = time.perf_counter_ns()
        try:
            result = function(*arguments, **options)
        except BaseException:
            notes.write(x=key)
            raise
        took = time.perf_counter_ns() - began
        with contextlib.suppress(Exception):
            notes.write(e=key, ns=took, r=notes.number("result", described(result)))
        return result

    return call


def wrap(module: Any, path: str, notes: Notes) -> None:
    """Put the watched function in the place of the named one."""
    *owners, name = path.split(".")
    owner = module
    for part in owners:
        owner = getattr(owner, part)
    getattr(owner, name)  # says what is missing
    found = inspect.getattr_static(owner, name)
    inner = found.__func__ if isinstance(found, (staticmethod, classmethod)) else found
    made = watched(inner, notes)
    setattr(owner, name, type(found)(made) if inner is not found else made)
    notes.write(wrapped=path)


class Finder(importlib.abc.MetaPathFinder):
    """Wraps the function as soon as its module was executed, before whoever imports it sees it."""

    def __init__(self, module: str, path: str, notes: Notes) -> None:
        self.module = module
        self.path = path
        self.notes = notes

    def find_spec(self, name: str, paths: Any = None, target: Any = None) -> Any:
        """The module's own spec, with a loader that wraps afterwards."""
        if name != self.module:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, paths, target)
            if spec is None or spec.loader is None:
                continue
            execute = spec.loader.exec_module

            def exec_module(module: Any, execute: Any = execute) -> None:
                execute(module)
                try:
                    wrap(module, self.path, self.notes)
                except Exception as error:  # noqa: BLE001
                    self.notes.write(trouble=f"{self.module}:{self.path}: {error!r}")

            setattr(spec.loader, "exec_module", exec_module)  # noqa: B010 (of this one loader)
            return spec
        return None


def others() -> None:
    """The environment's own ``sitecustomize``, as if this one were not there."""
    here = os.path.dirname(os.path.abspath(__file__))
    places = [p for p in sys.path if os.path.abspath(p or ".") != here]
    sys.path[:] = places
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", places)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def start() -> None:
    """Watch what the environment names."""
    target, _, folder = os.environ.get(WATCH, "").partition("@")
    module, _, path = target.partition(":")
    if module and path and os.path.isdir(folder):
        notes = Notes(folder)
        notes.write(python=sys.version.split()[0], argv=sys.argv[:1] if hasattr(sys, "argv") else [])
        sys.meta_path.insert(0, Finder(module, path, notes))


start()
others()
