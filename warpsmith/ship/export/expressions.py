"""Expressions of launch plans as C, with the meaning that :mod:`warpsmith.model.expression` gives them. Pure.

Integers are 64 bits wide here, where Python's have no end: what does not fit gives the plan up at run time (``bad``),
and the call goes to the original.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

from warpsmith.errors import ExpressionError
from warpsmith.model.expression import evaluate, names

_CHECKED = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.FloorDiv: "floordiv", ast.Mod: "mod", ast.Pow: "pow"}
_PLAIN = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}
_COMPARE = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_BAD = "&bad"


@dataclass(frozen=True)
class Term:
    """A C expression, and whether it is a ``double`` rather than an ``int64_t``."""

    text: str
    real: bool = False


class Writer:
    """Writes expressions over ``known`` names for functions that begin with ``prefix``."""

    def __init__(self, prefix: str, known: Mapping[str, Term]) -> None:
        self.prefix = prefix
        self.known = known

    def whole(self, text: str | int) -> str:
        """An ``int64_t`` expression. Raises ExpressionError for what cannot be said in C."""
        term = self._term(text)
        return f"{self.prefix}_whole({term.text}, {_BAD})" if term.real else term.text

    def truth(self, text: str | int) -> str:
        """An expression that is not zero where ``text`` holds."""
        return f"(({self._term(text).text}) != 0)"

    def _term(self, text: str | int) -> Term:
        if isinstance(text, int):
            return Term(_literal(text))
        if not names(text):
            value = evaluate(text, {})
            return Term(_literal(value) if isinstance(value, int) else repr(float(value)), isinstance(value, float))
        return self._visit(ast.parse(text, mode="eval").body)

    def _visit(self, node: ast.expr) -> Term:
        match node:
            case ast.Constant(value=bool() | int() as value):
                return Term(_literal(int(value)))
            case ast.Constant(value=float() as value):
                return Term(repr(value), real=True)
            case ast.Name(id=name) if name in self.known:
                return self.known[name]
            case ast.Name(id=name):
                raise ExpressionError(f"the name {name!r} is not known here.", f"Known: {', '.join(self.known)}.")
            case ast.BinOp(left=left, op=op, right=right):
                return self._binary(type(op), self._visit(left), self._visit(right))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return Term(f"(int64_t)!({self._visit(operand).text})")
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self._binary(ast.Sub, Term(_literal(0)), self._visit(operand))
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self._visit(operand)
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                sides = [self._visit(n).text for n in (left, *comparators)]
                links = [f"({a} {_COMPARE[type(o)]} {b})" for a, o, b in zip(sides, ops, sides[1:], strict=False)]
                return Term(f"(int64_t)({' && '.join(links)})")
            case ast.BoolOp(op=op, values=values):
                sign = " && " if isinstance(op, ast.And) else " || "
                return Term(f"(int64_t)({sign.join(f'({self._visit(v).text} != 0)' for v in values)})")
            case ast.IfExp(test=test, body=body, orelse=orelse):
                yes, no = self._visit(body), self._visit(orelse)
                return Term(f"(({self._visit(test).text}) ? ({yes.text}) : ({no.text}))", yes.real or no.real)
            case ast.Call(func=ast.Name(id=name), args=args):
                return self._call(name, [self._visit(a) for a in args])
        raise ExpressionError(f"{ast.unparse(node)!r} cannot be exported.", "Simplify the launch plan.")

    def _binary(self, op: type[ast.operator], left: Term, right: Term) -> Term:
        real = left.real or right.real
        if op is ast.Div:
            return Term(f"{self.prefix}_divide({left.text}, {right.text}, {_BAD})", real=True)
        if real and op in _PLAIN:
            return Term(f"({left.text} {_PLAIN[op]} {right.text})", real=True)
        if real and op is ast.FloorDiv:
            return Term(f"{self.prefix}_ffloordiv({left.text}, {right.text}, {_BAD})", real=True)
        if real or op not in _CHECKED:
            raise ExpressionError("% and ** of numbers that are not whole cannot be exported.", "Use whole numbers.")
        return Term(f"{self.prefix}_{_CHECKED[op]}({left.text}, {right.text}, {_BAD})")

    def _call(self, name: str, args: list[Term]) -> Term:
        if any(a.real for a in args):
            raise ExpressionError(f"{name} of numbers that are not whole cannot be exported.", "Use whole numbers.")
        texts = [a.text for a in args]
        if name in ("min", "max") and texts:
            made = texts[0]
            for text in texts[1:]:
                made = f"{self.prefix}_{name}({made}, {text})"
            return Term(made)
        if (name, len(texts)) in (("ceil_div", 2), ("round_up", 2), ("abs", 1), ("next_pow2", 1)):
            return Term(f"{self.prefix}_{name}({', '.join(texts)}, {_BAD})")
        raise ExpressionError(f"{name} with {len(texts)} arguments cannot be exported.", "Simplify the launch plan.")


def _literal(value: int) -> str:
    if not -(2**63) < value < 2**63:
        raise ExpressionError(f"{value} does not fit 64 bits.", "Simplify the launch plan.")
    return f"INT64_C({value})" if value >= 0 else f"(-INT64_C({-value}))"
