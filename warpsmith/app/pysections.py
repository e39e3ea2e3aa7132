"""The same for Python: a function of an application (a Triton kernel, a layer) and a candidate's in its place.

A function is replaced whole, decorators included. What the candidate imports goes below the application's own imports
of the future, what else its module says stands right before the function, tunables as assignments first.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass

from warpsmith.app.sections import BEGIN, END
from warpsmith.errors import BadInput
from warpsmith.model.base import short
from warpsmith.model.candidate import Candidate

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class PythonPlace:
    """Where a function stands, and what comes there."""

    before: str
    opening: str
    section: str
    closing: str
    after: str


def splice_python(
    text: str, path: str, kernel: str, candidate: Candidate, sources: Mapping[str, str], name: str, of: str
) -> PythonPlace:
    """``text`` with the candidate's function ``name`` in the place of ``kernel`` (``function`` or ``Class.method``).

    Raises BadInput where one of them is not there, or takes other parameters.
    """
    own = _function(text, path, kernel)
    if len(sources) != 1:
        raise BadInput(f"the candidate has {len(sources)} files, and there is one place.", "Write it as one module.")
    theirs_path, theirs = next(iter(sources.items()))
    new = _function(theirs, theirs_path, name)
    mine, other = _parameters(own), _parameters(new)
    if mine != other:
        raise BadInput(
            f"the candidate's {name}({', '.join(other)}) takes other parameters than {kernel}({', '.join(mine)}).",
            "Give it the names and the order of the application's function.",
        )
    if own.col_offset and len(ast.parse(theirs).body) > 1:
        raise BadInput(f"{kernel} is a method, and the candidate is more than one function.", "Write it as one.")
    first, last = _lines(text, own, kernel)
    lines = text.splitlines(keepends=True)
    imports, helpers = _around(theirs, new)
    body = _cut(theirs, new)
    body = re.sub(rf"\bdef {re.escape(new.name)}\b", f"def {own.name}", body, count=1)
    # constants of a Triton kernel are given where it is launched, and its launches stay as they are
    written = {} if candidate.launch else candidate.parameters
    tunables = [f"{key} = {value}\n" for key, value in written.items()]
    section = "".join(tunables) + "".join(f"{h}\n" for h in helpers) + body
    if own.col_offset:
        section = "".join(" " * own.col_offset + line if line.strip() else line for line in section.splitlines(True))
    indent = " " * own.col_offset
    before, after = "".join(lines[: first - 1]), "".join(lines[last:])
    return PythonPlace(
        before=_with_imports(before, text, imports),
        opening=f"{indent}# {BEGIN} {kernel}: {of}, {short(candidate.id)}\n",
        section=section,
        closing=f"{indent}# {END} {kernel}\n",
        after=after,
    )


def _function(text: str, path: str, named: str) -> _Function:
    try:
        body: list[ast.stmt] = ast.parse(text).body
    except SyntaxError as error:
        raise BadInput(f"{path}:{error.lineno}: {error.msg}.", "Mend the syntax there.") from None
    *classes, name = re.split(r"\.|::", named)
    for one in classes:
        body = next((n.body for n in body if isinstance(n, ast.ClassDef) and n.name == one), [])
    found = [n for n in body if isinstance(n, _Function) and n.name == name]
    if len(found) != 1:
        known = ", ".join(n.name for n in ast.walk(ast.parse(text)) if isinstance(n, _Function)) or "none"
        raise BadInput(f"{path} defines {len(found) or 'no'} {named}.", f"Functions there: {known}.")
    return found[0]


def _parameters(function: _Function) -> list[str]:
    a = function.args
    plain = [x.arg for x in (*a.posonlyargs, *a.args)]
    starred = [f"*{a.vararg.arg}"] if a.vararg else []
    return [*plain, *starred, *(x.arg for x in a.kwonlyargs), *([f"**{a.kwarg.arg}"] if a.kwarg else [])]


def _first(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(d.lineno for d in decorators)])


def _cut(text: str, node: ast.stmt) -> str:
    lines = text.splitlines(keepends=True)[_first(node) - 1 : node.end_lineno]
    return "".join(lines).rstrip() + "\n"


def _lines(text: str, own: _Function, kernel: str) -> tuple[int, int]:
    """First and last line to be replaced: those of the function, or of an earlier integration around it."""
    first, last = _first(own), own.end_lineno or own.lineno
    lines = text.splitlines()
    begins = [i for i, x in enumerate(lines[: first - 1], 1) if x.strip().startswith(f"# {BEGIN} {kernel}:")]
    ends = [i for i, x in enumerate(lines[last:], last + 1) if x.strip() == f"# {END} {kernel}"]
    if begins and ends and not any(f"# {END}" in x for x in lines[begins[-1] : first - 1]):
        return begins[-1], ends[0]
    return first, last


def _around(text: str, function: _Function) -> tuple[list[str], list[str]]:
    imports, helpers = [], []
    for node in ast.parse(text).body:
        if node is function or (isinstance(node, _Function) and node.name == function.name):
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            imports.append(_cut(text, node).rstrip())
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):  # the module's docstring
            helpers.append(_cut(text, node))
    return imports, helpers


def _with_imports(before: str, text: str, imports: list[str]) -> str:
    """``before`` with what the module does not import yet, behind its docstring and what it takes from the future."""
    there = {line.strip() for line in text.splitlines()}
    new = [i for i in imports if i not in there and "__future__" not in i]
    if not new:
        return before
    at = 0
    for node in ast.parse(text).body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not docstring and not (isinstance(node, ast.ImportFrom) and node.module == "__future__"):
            break
        at = node.end_lineno or at
    lines = before.splitlines(keepends=True)
    return "".join((*lines[:at], *(f"{i}\n" for i in new), *lines[at:]))
