"""Where an application launches a kernel, and the geometry that a candidate's plan asks for, written there.

A plan's expressions are over the task's axes; app.toml's ``axes`` say what each is called at the launch. Without them
the launches stay as they are, and a plan whose geometry depends on an axis cannot be written.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from warpsmith.app.grammar import language, parse, said, walk
from warpsmith.app.sections import Wanted, wanted
from warpsmith.errors import BadInput
from warpsmith.model.candidate import Launch
from warpsmith.model.expression import names

if TYPE_CHECKING:
    from tree_sitter import Node

_CALLS = {
    "ceil_div": "(({0} + {1} - 1) / {1})", "round_up": "(({0} + {1} - 1) / {1} * {1})", "abs": "({0} < 0 ? -{0} : {0})",
    "min": "({0} < {1} ? {0} : {1})", "max": "({0} < {1} ? {1} : {0})",
}  # fmt: skip
_SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "/", ast.Mod: "%"}


@dataclass(frozen=True)
class Site:
    """One ``kernel<<<grid, block, ...>>>(...)``. Offsets in bytes."""

    start: int
    end: int
    """Of what stands between the angles, without them."""
    given: tuple[str, ...]
    """Grid, block, and where they are there, shared memory and stream."""
    arguments: tuple[str, ...]


def sites(text: str, path: str, kernel: Wanted) -> tuple[Site, ...]:
    """Every launch of the kernel in ``text``; of a template, those of the instance that is named."""
    if path.endswith(".py") or language(path) != "cuda":
        return ()
    found = []
    for node in walk(parse(text.encode(), "cuda")):
        if node.type != "call_expression":
            continue
        angles = next((c for c in node.children if c.type == "kernel_call_syntax"), None)
        if angles is None or not _names(node.child_by_field_name("function"), kernel):
            continue
        listed = node.child_by_field_name("arguments")
        found.append(
            Site(
                angles.start_byte + 3,
                angles.end_byte - 3,
                tuple(said(c) for c in angles.named_children if c.type != "comment"),
                tuple(said(c) for c in listed.named_children if c.type != "comment") if listed else (),
            )
        )
    return tuple(found)


def relaunched(
    text: str, path: str, kernel: str, plan: Launch, tunables: Mapping[str, int], axes: Mapping[str, str]
) -> str:
    """``text`` with the plan's grid, block and shared memory at every launch of the kernel.

    Raises BadInput for a plan that cannot be written there.
    """
    if plan.block is None or plan.cluster is not None or plan.when is not None:
        raise BadInput(
            "the candidate's plan has clusters, conditions or no block: no launch can be written for it.", ""
        )
    known = {**{k: f"({v})" for k, v in axes.items()}, **{k: str(v) for k, v in tunables.items()}}
    extents = [written(e, known) for e in (*plan.grid, *plan.block)]
    shared = written(plan.shared_bytes, known)
    content = text.encode()
    for site in reversed(sites(text, path, wanted(kernel))):
        rest = [shared, *site.given[3:]] if shared != "0" or len(site.given) > 3 else []
        made = ", ".join((f"dim3({', '.join(extents[:3])})", f"dim3({', '.join(extents[3:])})", *rest))
        content = content[: site.start] + made.encode() + content[site.end :]
    return content.decode()


def needs_axes(plan: Launch) -> frozenset[str]:
    """Names in a plan's geometry."""
    return frozenset().union(*(names(e) for e in (*plan.grid, *(plan.block or ()), plan.shared_bytes)))


def written(expression: str | int, known: Mapping[str, str]) -> str:
    """An expression of a plan in C. Raises BadInput for a name that ``known`` lacks, or what C has no word for."""
    if isinstance(expression, int):
        return str(expression)
    return _c(ast.parse(expression, mode="eval").body, expression, known)


def _c(node: ast.expr, whole: str, known: Mapping[str, str]) -> str:
    match node:
        case ast.Constant(value=int(value)):
            return str(value)
        case ast.Name(id=name):
            if name not in known:
                raise BadInput(
                    f"the candidate's geometry {whole!r} needs {name!r}, and app.toml does not say what that is.",
                    f'Add {name} = "EXPRESSION" under [axes], as it is called where the kernel is launched.',
                )
            return known[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _SIGNS:
            return f"({_c(left, whole, known)} {_SIGNS[type(op)]} {_c(right, whole, known)})"
        case ast.Call(func=ast.Name(id=name), args=arguments) if name in _CALLS:
            return _CALLS[name].format(*(_c(a, whole, known) for a in arguments))
    raise BadInput(f"the candidate's geometry {whole!r} cannot be written in C.", "Use + - * // % ceil_div min max.")


def _names(node: Node | None, kernel: Wanted) -> bool:
    text = said(node).replace(" ", "")
    bare, _, arguments = text.partition("<")
    if bare.rpartition("::")[2] != kernel.name:
        return False
    if kernel.arguments is None or not arguments:
        return True
    given = [a.strip() for a in arguments.removesuffix(">").split(",")]
    free = _template_names(node)
    return len(given) == len(kernel.arguments) and all(
        g == w.replace(" ", "") or (w.isdigit() and g.isidentifier() and g not in free)  # a constant with a name
        for g, w in zip(given, kernel.arguments, strict=True)
    )


def _template_names(node: Node | None) -> set[str]:
    """Names of the parameters of every template around a node: what they are is not to be seen there."""
    found: set[str] = set()
    while node is not None:
        if node.type == "template_declaration" and (listed := node.child_by_field_name("parameters")) is not None:
            found |= {said(n) for n in walk(listed) if n.type in ("identifier", "type_identifier")}
        node = node.parent
    return found
