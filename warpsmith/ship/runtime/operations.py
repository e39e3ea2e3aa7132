"""Operations of ``torch.library`` for a function: what ``torch.compile`` sees instead of Python. Standard library only.

``into`` writes outputs that are given, ``new`` makes them. Each runs the compiled guard, and the original where no row
covers the call; each has a fake kernel. What the original needs beside the operation's arguments is a constant while
torch traces, and is kept here under a number.
"""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .arrays import allocate

if TYPE_CHECKING:
    from .dispatch import Dispatch

_CONSTANTS: list[tuple[Any, ...]] = [()]
_LIBRARIES: dict[str, Any] = {}
"""Libraries of torch by namespace: an operation goes with its library."""


def keep(*constants: Any) -> int:
    """A number for some constants; the same for the same ones."""
    for at, known in enumerate(_CONSTANTS):
        if len(known) == len(constants) and all(type(a) is type(b) and a == b for a, b in zip(known, constants)):  # noqa: B905
            return at
    _CONSTANTS.append(constants)
    return len(_CONSTANTS) - 1


keep._dynamo_marked_constant = True  # type: ignore[attr-defined]


class Kept:
    """What the operations of one function need."""

    def __init__(
        self, dispatch: Dispatch, original: Callable[..., Any], signature: inspect.Signature,
        expressions: Mapping[str, str],
    ) -> None:  # fmt: skip
        self.dispatch, self.original, self.signature = dispatch, original, signature
        self.expressions = expressions
        kinds = {p["name"]: p["kind"] for p in dispatch.parameters}
        self.outputs = [n for n in dispatch.positional if kinds[n] == "output"]
        self.inputs = [n for n in dispatch.positional if kinds[n] != "output"]

    def register(self) -> dict[str, Any]:
        """Define both operations; their overloads by the names that the function's text uses."""
        torch = sys.modules["torch"]
        space = f"warpsmith_{self.dispatch.unique}"
        library = _LIBRARIES.get(space)
        if library is None:
            library = _LIBRARIES[space] = torch.library.Library(space, "FRAGMENT")
        kinds = {p["name"]: p for p in self.dispatch.parameters}
        marks = dict(zip(self.outputs, "abcdefgh", strict=False))
        written = [
            f"Tensor({marks[n]}!) {n}" if n in marks else f"{_schema(kinds[n])} {n}" for n in self.dispatch.positional
        ]
        read = [f"{_schema(kinds[n])} {n}" for n in self.inputs]
        returned = "Tensor" if len(self.outputs) == 1 else f"({', '.join('Tensor' for _ in self.outputs)})"
        operations = getattr(torch.ops, space)
        number = next(
            n for n in itertools.count() if not hasattr(operations, f"into_{n}")
        )  # of other copies of this too
        into, new = f"into_{number}", f"new_{number}"
        tags = (torch.Tag.pt2_compliant_tag,)
        library.define(f"{into}({', '.join([*written, 'int kept'])}) -> ()", tags=tags)
        library.define(f"{new}({', '.join([*read, 'int kept'])}) -> {returned}", tags=tags)
        library.impl(into, self.into, "CompositeExplicitAutograd")
        library.impl(new, self.new, "CompositeExplicitAutograd")
        torch.library.register_fake(f"{space}::{into}", lambda *values: None, lib=library)
        torch.library.register_fake(f"{space}::{new}", self.fake, lib=library)
        return {"_into": getattr(operations, into).default, "_new": getattr(operations, new).default}

    def into(self, *values: Any) -> None:
        """Guard and kernel; else the original, whose result is copied where it is another tensor."""
        *given, kept = values
        if self.dispatch.call(*given):
            arguments = dict(zip(self.dispatch.positional, given, strict=True))
            for output, result in zip(self.outputs, self._originals(arguments, kept), strict=True):
                if result is not arguments[output]:
                    arguments[output].copy_(result)

    def new(self, *values: Any) -> Any:
        """The same with outputs of its own, which must be no input and lie as the fake ones do."""
        *given, kept = values
        arguments = dict(zip(self.inputs, given, strict=True))
        made = {output: allocate(self.dispatch.said, output, arguments) for output in self.outputs}
        ordered = [made[n] if n in made else arguments[n] for n in self.dispatch.positional]
        results = list(made.values())
        if self.dispatch.call(*ordered):
            found = self._originals({**arguments, **dict.fromkeys(self.outputs)}, kept)
            results = [r.clone() if any(r is g for g in given) else r.contiguous() for r in found]
        return results[0] if len(results) == 1 else tuple(results)

    def fake(self, *values: Any) -> Any:
        """Outputs without content."""
        arguments = dict(zip(self.inputs, values[:-1], strict=True))
        made = [allocate(self.dispatch.said, output, arguments) for output in self.outputs]
        return made[0] if len(made) == 1 else tuple(made)

    def _originals(self, arguments: Mapping[str, Any], kept: int) -> list[Any]:
        """Call the original with its own parameters again; its results as a list."""
        back = {text: arguments[name] for name, text in self.expressions.items() if name in arguments}
        others = [n for n in self.signature.parameters if n not in self.expressions.values()]
        back.update(zip(others, _CONSTANTS[kept], strict=True))
        positional = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
        parameters = self.signature.parameters
        args = [back[n] for n, p in parameters.items() if p.kind in positional]
        named = {n: back[n] for n, p in parameters.items() if p.kind not in positional}
        found = self.original(*args, **named)
        if found is None:
            return [arguments[output] for output in self.outputs]
        return [found] if len(self.outputs) == 1 else list(found)


def _schema(parameter: Mapping[str, Any]) -> str:
    """The type of a parameter in an operation's schema."""
    if parameter["kind"] == "axis":
        return "SymInt"
    if parameter["kind"] == "scalar":
        return "float" if parameter["dtype"] in ("f64", "f32") else "int"
    return "Tensor"
