"""Expressions over axes, tunables and device facts: shapes, launch geometry, byte counts, constraints.

Owns a small, total language: integers, names, ``+ - * // / % **``, comparisons, ``and or not``, a conditional, and
the functions ``ceil_div round_up min max abs next_pow2``. Parsed with :mod:`ast`, evaluated by walking the tree: no
attribute, call or name outside the given environment can be reached. Imports only the error tree.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

from warpsmith.errors import ExpressionError

Number = int | float
MAX_POWER = 64
"""Largest exponent."""
MAX_BITS = 1024
"""Longest power: an expression must not be able to eat the machine's memory, also not by a tower of powers."""


def ceil_div(a: Number, b: Number) -> int:
    """The least integer that is at least ``a / b``."""
    return int(-(-a // b))


def round_up(a: Number, b: Number) -> int:
    """``a`` rounded up to a multiple of ``b``."""
    return int(ceil_div(a, b) * b)


def next_pow2(a: Number) -> int:
    """The least power of two that is at least ``a``."""
    return 1 << max(0, math.ceil(a) - 1).bit_length()


FUNCTIONS: dict[str, Callable[..., Number]] = {
    "ceil_div": ceil_div,
    "round_up": round_up,
    "next_pow2": next_pow2,
    "min": min,
    "max": max,
    "abs": abs,
}


def _power(base: Number, exponent: Number) -> Number:
    if abs(exponent) > MAX_POWER:
        raise ValueError(f"the exponent {exponent} is beyond {MAX_POWER}")
    if isinstance(base, int) and base.bit_length() * abs(exponent) > MAX_BITS:
        raise ValueError(f"a power is longer than {MAX_BITS} bits")
    result: Number = base**exponent
    return result


BINARY: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
COMPARE: dict[type[ast.cmpop], Callable[[Number, Number], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
UNARY: dict[type[ast.unaryop], Callable[[Number], Number]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}


@lru_cache(maxsize=4096)
def _parse(text: str) -> ast.expr:
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ExpressionError(f"the expression {text!r} cannot be read: {error}.") from None


def names(text: str | int) -> frozenset[str]:
    """The free names of an expression. Raises :class:`ExpressionError` where it cannot be parsed."""
    if isinstance(text, int):
        return frozenset()
    called = {id(n.func) for n in ast.walk(_parse(text)) if isinstance(n, ast.Call)}
    return frozenset(n.id for n in ast.walk(_parse(text)) if isinstance(n, ast.Name) and id(n) not in called)


def evaluate(text: str | int, environment: Mapping[str, Number]) -> Number:
    """The value of ``text`` under ``environment``.

    Raises :class:`ExpressionError` for unknown names, forbidden syntax, division by zero and results that are no finite
    real number, naming the expression and the values that it saw.
    """
    if isinstance(text, int):
        return text
    tree = _parse(text)
    try:
        value = _value(tree, environment)
        if not math.isfinite(value):
            raise ValueError(f"the result is {value}")
        return value
    except ExpressionError:
        raise
    except (ZeroDivisionError, OverflowError, ValueError, TypeError, RecursionError) as error:
        seen = ", ".join(f"{k}={environment[k]}" for k in sorted(names(text)) if k in environment)
        raise ExpressionError(f"the expression {text!r} fails: {error} (with {seen or 'no names'}).") from None


def evaluate_int(text: str | int, environment: Mapping[str, Number]) -> int:
    """Like :func:`evaluate`, and the result must be a whole number."""
    value = evaluate(text, environment)
    if int(value) != value:
        raise ExpressionError(f"the expression {text!r} gives {value}; a whole number was expected.")
    return int(value)


def _value(node: ast.expr, env: Mapping[str, Number]) -> Number:
    match node:
        case ast.Constant(value=bool() | int() | float() as constant):
            return constant
        case ast.Name(id=name):
            if name not in env:
                known = ", ".join(sorted(env)) or "none"
                raise ExpressionError(f"the name {name!r} is not known here.", f"Known names: {known}.")
            return env[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
            return BINARY[type(op)](_value(left, env), _value(right, env))
        case ast.UnaryOp(op=op_, operand=operand) if type(op_) in UNARY:
            return UNARY[type(op_)](_value(operand, env))
        case ast.Compare():
            return _compare(node, env)
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_value(v, env) for v in values)
        case ast.BoolOp(op=ast.Or(), values=values):
            return any(_value(v, env) for v in values)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return _value(body if _value(test, env) else orelse, env)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
            return FUNCTIONS[name](*[_value(a, env) for a in args])
    raise ExpressionError(
        f"{ast.unparse(node)!r} is not allowed in an expression.",
        f"Use + - * // / % **, comparisons, and/or/not, and {', '.join(sorted(FUNCTIONS))}.",
    )


def _compare(node: ast.Compare, env: Mapping[str, Number]) -> bool:
    def links() -> Iterator[bool]:
        left = _value(node.left, env)
        for op, right_node in zip(node.ops, node.comparators, strict=True):
            if type(op) not in COMPARE:
                raise ExpressionError(f"{ast.unparse(node)!r} is not allowed in an expression.")
            right = _value(right_node, env)
            yield COMPARE[type(op)](left, right)
            left = right

    return all(links())
