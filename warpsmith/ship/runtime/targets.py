"""What may be swapped: a function named ``module:function`` or ``module:Class.method``, its signature, its versions.

Standard library only: this module travels inside exported packages.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

FILE = "targets.json"
_SPEC = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_VERSION = re.compile(
    r"v?(\d+(?:\.\d+)*)(?:[.\-_]?(a|b|rc)(\d*))?(?:\.post(\d+))?(?:\.dev(\d+))?(?:\+[a-z0-9.]+)?", re.I
)
_RANGE = re.compile(r"(==|!=|>=|<=|>|<)\s*(\S+)")


class BadTarget(ValueError):
    """A target, an adapter or a range of versions that cannot be understood."""


@dataclass(frozen=True)
class Adapter:
    """How a call of the target becomes a call of the kernel, where names do not say it."""

    arguments: Mapping[str, str] = field(default_factory=dict)
    """Argument of the operation to a Python expression over the target's parameters; by name where it is not said."""
    when: str = ""
    """An expression over the target's parameters that has to hold, such as ``bias is None and is_rms_norm``."""
    hook: str = ""
    """``module:function`` that makes the replacement itself, for what an expression cannot say: it is called with the
    original and the dispatch."""


@dataclass(frozen=True)
class Target:
    """One function of a framework, and the dispatch that takes its place."""

    target: str
    dispatch: str
    """Name of the dispatch in the package's table."""
    signature: str = ""
    """As :func:`signature_of` says it; empty: any."""
    package: str = ""
    """Distribution whose version counts; empty: the version is not looked at."""
    versions: str = ""
    """Such as ``>=0.5.12,<0.5.13``; empty: any."""
    adapter: Adapter = field(default_factory=Adapter)

    def __post_init__(self) -> None:
        if not _SPEC.fullmatch(self.target):
            raise BadTarget(f"{self.target!r} is no target: say module:function or module:Class.method")
        satisfied("0", self.versions)

    @property
    def module(self) -> str:
        """Where it lives."""
        return self.target.partition(":")[0]

    @property
    def path(self) -> tuple[str, ...]:
        """Its attributes inside the module."""
        return tuple(self.target.partition(":")[2].split("."))


def beside(package: Path) -> Path:
    """Where an environment's own targets lie: beside the package, which stays as it was exported."""
    return package.parent / f"{package.name}.{FILE}"


def file_of(package: Path) -> Path:
    """The file of targets that counts for a package: the one beside it, else the one that it was exported with."""
    own = beside(package)
    return own if own.is_file() else package / FILE


def read(path: Path) -> tuple[Target, ...]:
    """The targets of a file. Raises BadTarget naming the file."""
    try:
        said = json.loads(path.read_bytes())
        return tuple(from_json(one) for one in said["targets"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadTarget(f"{path}: {error}") from None


def from_json(said: Mapping[str, Any]) -> Target:
    """One target of a file. Raises BadTarget."""
    adapter = said.get("adapter") or {}
    known = {f.name for f in fields(Target)}, {f.name for f in fields(Adapter)}
    if unknown := (set(said) - known[0]) | (set(adapter) - known[1]):
        raise BadTarget(f"unknown field {', '.join(sorted(unknown))}")
    try:
        return Target(**{**said, "adapter": Adapter(**adapter)})
    except TypeError as error:
        raise BadTarget(str(error)) from None


def to_json(targets: Sequence[Target]) -> dict[str, Any]:
    """The same as a file holds it, defaults left out."""
    rows = []
    for one in targets:
        row: dict[str, Any] = {f.name: getattr(one, f.name) for f in fields(one) if f.name != "adapter"}
        row["adapter"] = {
            f.name: getattr(one.adapter, f.name) for f in fields(one.adapter) if getattr(one.adapter, f.name)
        }
        rows.append({name: value for name, value in row.items() if value})
    return {"format": 1, "targets": rows}


def signature_of(function: Callable[..., Any]) -> str:
    """Names, kinds and defaults of the parameters, without annotations. Raises ValueError where none can be known."""
    return str(_bare(_signature(function)))


def presentable(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself, or one before it that shows its signature, where it does not (an operation of torch)."""
    known = _signature(function)
    if inspect.signature(function) == known:
        return function

    def called(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    called.__signature__ = known  # type: ignore[attr-defined]
    called.__name__ = called.__qualname__ = str(getattr(function, "__name__", "called"))
    return called


def _bare(known: inspect.Signature) -> inspect.Signature:
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in known.parameters.values()]
    return known.replace(parameters=bare, return_annotation=inspect.Signature.empty)


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """Of a function; of torch's custom operations, which take anything, that of what they were made of."""
    if (made_of := getattr(function, "_init_fn", None)) is not None:
        return inspect.signature(made_of)
    schema = getattr(getattr(function, "default", None), "_schema", None)
    if schema is None:
        return inspect.signature(function)
    parameters = [
        inspect.Parameter(
            one.name,
            inspect.Parameter.KEYWORD_ONLY if one.kwarg_only else inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=one.default_value if one.has_default_value() else inspect.Parameter.empty,
        )
        for one in schema.arguments
    ]
    return inspect.Signature(parameters)


def normalised(signature: str) -> str:
    """A written signature in the same form. Raises BadTarget for one that is none."""
    scope: dict[str, Any] = {}
    try:
        exec(f"def it{signature}: pass", scope)
    except (SyntaxError, NameError) as error:
        raise BadTarget(f"{signature!r} is no signature with literal defaults: {error}") from None
    return signature_of(scope["it"])


def version_of(package: str, module: str) -> str:
    """The version of a distribution, or what its module says; empty where neither does."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        said = getattr(sys.modules.get(module.partition(".")[0]), "__version__", "")
        return said if isinstance(said, str) else ""


def satisfied(version: str, wanted: str) -> bool:
    """Whether a version lies in a range such as ``>=0.5.12,<0.5.13``. Raises BadTarget for a range that is none."""
    here = _key(version)
    for part in filter(None, (p.strip() for p in wanted.split(","))):
        found = _RANGE.fullmatch(part)
        there = _key(found[2]) if found else None
        if found is None or there is None:
            raise BadTarget(f"{part!r} is no range: use ==, !=, >=, <=, > or < with a version")
        if here is None:
            return False
        holds = {"==": here == there, "!=": here != there, ">=": here >= there, "<=": here <= there,
                 ">": here > there, "<": here < there}  # fmt: skip
        if not holds[found[1]]:
            return False
    return True


_Key = tuple[tuple[int, ...], tuple[int, int], int, float]


def _key(version: str) -> _Key | None:
    """Orders versions: releases, then dev < a < b < rc < final < post. Local parts are left out."""
    found = _VERSION.fullmatch(version.strip())
    if found is None:
        return None
    numbers = [int(n) for n in found[1].split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    before = (("a", "b", "rc").index(found[2].lower()), int(found[3] or 0)) if found[2] else (3, 0)
    if found[5] and not found[2] and not found[4]:
        before = (-1, 0)  # 1.0.dev1 comes before 1.0a1
    return tuple(numbers), before, int(found[4]) if found[4] else -1, float(found[5]) if found[5] else float("inf")


def holder(module: ModuleType, path: Sequence[str]) -> tuple[Any, Any]:
    """The namespace that holds a target itself (module or class), and its raw value there. Raises AttributeError."""
    where: Any = module
    for name in path[:-1]:
        where = _own(where)[name] if name in _own(where) else _missing(where, name)
    value = _own(where)[path[-1]] if path[-1] in _own(where) else _missing(where, path[-1])
    return where, value


def _own(where: Any) -> Mapping[str, Any]:
    return vars(where) if isinstance(where, ModuleType | type) else {}


def _missing(where: Any, name: str) -> Any:
    said = getattr(where, "__name__", repr(where))
    if isinstance(where, type) and hasattr(where, name):
        owner = next((c.__name__ for c in where.__mro__ if name in vars(c)), "a base")
        raise AttributeError(f"{said} inherits {name!r} from {owner}: name that class")
    raise AttributeError(f"{said} has no {name!r}")
