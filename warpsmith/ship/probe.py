"""Run by an environment's own interpreter: says what it holds. Standard library only, and nothing of the framework is
imported: its functions' signatures are read from their source. Asked by :mod:`warpsmith.ship.environment`.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.metadata
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any


def signature(source: str, path: list[str]) -> str:
    """The signature of a function as its source says it, without annotations; empty where it is not there.

    Of several definitions of one name the last counts that stands at the top of its module or class.
    """
    body = ast.parse(source).body
    for number, name in enumerate(path):
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef) if number == len(path) - 1 else (ast.ClassDef,)
        there = [n for n in body if isinstance(n, kinds) and n.name == name]
        if not there:
            return ""
        last = there[-1]
        body = last.body
    assert isinstance(last, ast.FunctionDef | ast.AsyncFunctionDef)
    for argument in ast.walk(last.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    return f"({ast.unparse(last.args)})"


def _answer(framework: str, package: str, folder: str, targets: list[str]) -> dict[str, Any]:
    spec = importlib.util.find_spec(framework) if framework else None
    file = spec.origin if spec is not None and spec.origin and spec.has_location else ""
    version, distribution = _version(framework)
    said: dict[str, Any] = {"file": file or "", "version": version, "distribution": distribution}
    said.update(problem="", signatures={})
    own = importlib.util.find_spec(package) if package else None
    said["found"] = own is not None and own.origin is not None and Path(own.origin).parent == Path(folder)
    if package and not said["found"]:
        sys.path.append(str(Path(folder).parent))
    try:
        table = importlib.import_module(package).DISPATCH if package else {}
        said["dispatches"] = {n: {"release": d.release, "ratio": d.ratio} for n, d in table.items()}
    except Exception as error:  # noqa: BLE001 (a package that cannot be used here is said, whatever it raises)
        said["dispatches"], said["problem"] = {}, repr(error)
    for target in targets:
        module, _, name = target.partition(":")
        if source := _source(module, spec):
            with contextlib.suppress(OSError, SyntaxError, ValueError):
                if found := signature(source.read_text(), name.split(".")):
                    said["signatures"][target] = found
    return said


def _version(framework: str) -> tuple[str, str]:
    names = importlib.metadata.packages_distributions().get(framework, [framework]) if framework else []
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name), name
    return "", ""


def _source(module: str, spec: Any) -> Path | None:
    """The file of a module below the framework, found without importing anything."""
    for root in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(root, *module.split(".")[1:])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file
    if spec is not None and spec.origin and "." not in module and Path(spec.origin).suffix == ".py":
        return Path(spec.origin)
    return None


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(_answer(*json.loads(sys.argv[1]))))
