"""The Python functions of an exported operation: one frame between the caller and the compiled guard.

They are written out for their own signature and compiled, since a wrapper that takes ``*args`` costs as much as all the
rest. Where torch is imported (apache-tvm-ffi brings it, if it is installed) they ask it whether gradients are wanted
and whether its compiler is tracing; elsewhere ``bool()`` answers no.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import linecache
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import operations
from .arrays import allocate

if TYPE_CHECKING:
    from .dispatch import Dispatch

_NUMBERS = itertools.count()
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass
class Bound:
    """How an original's parameters become the operation's arguments."""

    original: Callable[..., Any]
    signature: inspect.Signature
    expressions: dict[str, str] = field(default_factory=dict)
    """Argument of the operation to an expression; an output that is absent is allocated."""
    conditions: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    defaults: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(dispatch: Dispatch, original: Callable[..., Any], arguments: Mapping[str, str], when: str) -> Bound:
        """Match them; :attr:`problems` says what does not fit."""
        try:
            signature = inspect.signature(original)
        except (TypeError, ValueError) as error:
            return Bound(original, inspect.Signature(), problems=[f"it has no signature ({error})"])
        made = Bound(original, signature)
        parameters = signature.parameters
        for p in parameters.values():
            if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
                made.problems.append(f"it takes any number of arguments ({p})")
        known = {p["name"] for p in dispatch.parameters}
        made.problems += [f"the operation has no argument {n!r}" for n in arguments if n not in known]
        outputs = [p["name"] for p in dispatch.parameters if p["kind"] == "output"]
        for wanted in dispatch.parameters:
            made._match(wanted, arguments, outputs)
        used = set()
        for text in (*made.expressions.values(), when):
            used |= made._names(text)
        for name, parameter in parameters.items():
            if name in used:
                continue
            if parameter.default is parameter.empty:
                made.problems.append(f"its parameter {name!r} has no default, and nothing says what it means")
            else:
                made.defaults[f"_default_{name}"] = parameter.default
                plain = parameter.default is None or isinstance(parameter.default, bool)
                made.conditions.append(f"{name} is {parameter.default}" if plain else f"_same({name}, _default_{name})")
        if when != "True":
            made.conditions.insert(0, f"({when})")
        return made

    def _match(self, parameter: Mapping[str, Any], arguments: Mapping[str, str], outputs: list[str]) -> None:
        name = parameter["name"]
        if name in arguments:
            self.expressions[name] = arguments[name]
        elif name in self.signature.parameters:
            self.expressions[name] = name
        elif outputs == [name] and "out" in self.signature.parameters:
            self.expressions[name] = "out"
        elif parameter["kind"] == "output":
            return
        elif parameter["default"] is not None:
            self.expressions[name] = repr(parameter["default"])
        else:
            self.problems.append(f"nothing says what {name!r} is")

    def _names(self, text: str) -> set[str]:
        """The parameters that an expression uses; notes what is wrong with it."""
        try:
            tree = ast.parse(text, mode="eval")
        except SyntaxError as error:
            self.problems.append(f"{text!r} is no expression ({error.msg})")
            return set()
        return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} & set(self.signature.parameters)

    @property
    def plain(self) -> bool:
        """Whether every tensor is a parameter as it is, so that the call can be an operation of torch."""
        return all(text.isidentifier() or _is_literal(text) for text in self.expressions.values())

    def passed(self) -> str:
        """The arguments with which the original is called."""
        return ", ".join(
            name if p.kind in _POSITIONAL else f"{name}={name}" for name, p in self.signature.parameters.items()
        )


def own_function(dispatch: Dispatch) -> Any:
    """The operation's function, with its outputs optional. ``complete(*args)`` allocates them."""
    parameters = [
        inspect.Parameter(p["name"], inspect.Parameter.POSITIONAL_OR_KEYWORD, default=_default(p))
        for p in dispatch.parameters
    ]
    made = Bound(dispatch.missing, inspect.Signature(parameters), {p.name: p.name for p in parameters})
    function = _compiled(dispatch, made, dispatch.name, counts=False)
    function.__doc__ = dispatch.said["summary"]

    def complete(*args: Any) -> list[Any]:
        values = dict(zip(dispatch.positional, args, strict=True))
        for output in (p["name"] for p in dispatch.parameters if p["kind"] == "output"):
            if values[output] is None:
                values[output] = allocate(dispatch.said, output, values)
        return list(values.values())

    function.complete = complete
    return function


def bound_function(dispatch: Dispatch, made: Bound) -> Any:
    """A function with the original's signature."""
    function = _compiled(dispatch, made, getattr(made.original, "__name__", dispatch.name), counts=True)
    for attribute in ("__module__", "__qualname__", "__doc__"):
        if hasattr(made.original, attribute):
            setattr(function, attribute, getattr(made.original, attribute))
    function.__wrapped__ = made.original
    function.__signature__ = made.signature
    return function


def _compiled(dispatch: Dispatch, made: Bound, name: str, counts: bool) -> Any:
    """Write the function out and compile it."""
    scope: dict[str, Any] = {
        **made.defaults, "_call": dispatch.call, "_missed": _counted(dispatch), "_original": made.original,
        "_same": _same, "_grad": bool, "_compiling": bool, "_keep": operations.keep,
        "_allocate": allocate, "_said": dispatch.said,
    }  # fmt: skip
    name = name if name.isidentifier() else dispatch.name
    text = _text(dispatch, made, name, scope, counts)
    where = f"<{dispatch.unique}: {name} {next(_NUMBERS)}>"
    linecache.cache[where] = (len(text), None, text.splitlines(keepends=True), where)
    exec(compile(text, where, "exec"), scope)
    if torch := sys.modules.get("torch"):
        kept = operations.Kept(dispatch, made.original, made.signature, made.expressions)
        scope.update(_grad=torch.is_grad_enabled, _compiling=torch.compiler.is_compiling, **kept.register())
    return scope[name]


def _default(parameter: Mapping[str, Any]) -> Any:
    """What the signature says; empty for what has to be given."""
    if parameter["kind"] == "output":
        return None
    return inspect.Parameter.empty if parameter["default"] is None else parameter["default"]


def _counted(dispatch: Dispatch) -> Callable[[], None]:
    """Counts a call that goes to the original before the guard. Traced by torch it counts once, for the graph."""

    def missed() -> None:
        dispatch.missed()

    missed._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return missed


def _text(dispatch: Dispatch, made: Bound, name: str, scope: dict[str, Any], counts: bool) -> str:
    """The source of the function."""
    tensors = [p["name"] for p in dispatch.parameters if p["kind"] == "input"]
    outputs = [p["name"] for p in dispatch.parameters if p["kind"] == "output"]
    original = f"_original({made.passed()})"
    local = {n: t if t.isidentifier() or _is_literal(t) else f"_arg_{n}" for n, t in made.expressions.items()}
    lines = [f"def {name}({_parameters(made.signature, scope)}):"]
    away = [f"        {'_missed(); ' if counts else ''}return {original}"]
    if made.conditions:
        lines += [f"    if not ({' and '.join(made.conditions)}):", *away]
    lines += [f"    {local[n]} = {t}" for n, t in made.expressions.items() if local[n] == f"_arg_{n}"]
    needs = " or ".join(f"getattr({local[t]}, 'requires_grad', False)" for t in tensors)
    lines += [f"    if _grad() and ({needs}):", *away]
    lines += ["    if _compiling():", *_traced_call(dispatch, made, local, outputs, original)]
    for output in outputs:
        given = local.get(output)
        values = ", ".join(f"{n!r}: {v}" for n, v in local.items())
        fresh = f"_allocate(_said, {output!r}, {{{values}}})"
        lines.append(f"    _out_{output} = {given or fresh}")
        if given:
            lines += [f"    if _out_{output} is None:", f"        _out_{output} = {fresh}"]
    passed = ", ".join(f"_out_{n}" if n in outputs else local[n] for n in dispatch.positional)
    lines += [f"    if _call({passed}):", f"        return {original}"]
    lines.append(f"    return {', '.join(f'_out_{o}' for o in outputs)}")
    return "\n".join(lines) + "\n"


def _traced_call(
    dispatch: Dispatch, made: Bound, local: Mapping[str, str], outputs: list[str], original: str
) -> list[str]:
    """What torch's compiler sees: one operation; or the original, where a tensor is not a parameter as it is."""
    if not made.plain:
        return [f"        return {original}"]
    inputs = [n for n in dispatch.positional if n not in outputs]
    mapped = set(local.values())
    others = [n for n in made.signature.parameters if n not in mapped]
    kept = f"_keep({', '.join(others)})"
    fresh = ", ".join([*(local[n] for n in inputs), kept])
    lines = []
    given = [local[o] for o in outputs if o in local]
    if len(given) == len(outputs):
        absent = " or ".join(f"{g} is None" for g in given)
        lines.append(f"        if {absent}:")
        lines.append(f"            return _new({fresh})")
        lines.append(f"        _into({', '.join(local[n] for n in dispatch.positional)}, {kept})")
        lines.append(f"        return {', '.join(given)}")
    else:
        lines.append(f"        return _new({fresh})")
    return lines


def _parameters(signature: inspect.Signature, scope: dict[str, Any]) -> str:
    """The parameter list, with defaults by name in ``scope``."""
    parts: list[str] = []
    kinds = [p.kind for p in signature.parameters.values()]
    for at, (name, p) in enumerate(signature.parameters.items()):
        if p.kind is p.KEYWORD_ONLY and p.KEYWORD_ONLY not in kinds[:at]:
            parts.append("*")
        if p.default is p.empty:
            parts.append(name)
        else:
            scope[f"_default_{name}"] = p.default
            parts.append(f"{name}=_default_{name}")
        if p.kind is p.POSITIONAL_ONLY and p.POSITIONAL_ONLY not in kinds[at + 1 :]:
            parts.append("/")
    return ", ".join(parts)


def _same(value: Any, default: Any) -> bool:
    """Whether a parameter that the operation does not know has its default's value."""
    return value is default or (
        type(value) is type(default) and isinstance(value, int | float | str) and value == default
    )


def _is_literal(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return False
    return True
