"""Source text as tokens, comments and functions: enough to see what a reply left out, never to judge what it computes.

C, C++, CUDA and PTX by a small lexer; Python by its own parser. Code that does not parse gives fewer facts, no error.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Kind = Literal["word", "number", "string", "mark", "comment", "directive"]
_C = re.compile(
    r"(?P<comment>//(?:\\\n|[^\n])*|/\*.*?(?:\*/|\Z))"
    r"|(?P<string>R\"(?P<d>[^\s()\\]{0,16})\(.*?\)(?P=d)\"|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])+')"
    r"|(?P<number>\.?\d(?:[eEpP][+\-]|'(?=\w)|[\w.])*)"
    r"|(?P<word>[^\W\d]\w*)"
    r"|(?P<mark>\.\.\.|::|->|<<<|>>>|\S)",
    re.DOTALL,
)
KEYWORDS = frozenset({
    "if", "else", "for", "while", "do", "switch", "case", "default", "return", "break", "continue", "goto", "sizeof",
    "alignof", "decltype", "typeof", "static_assert", "_Static_assert", "catch", "try", "throw", "new", "delete",
    "using", "namespace", "template", "typename", "operator",
})  # fmt: skip
"""Words of C and C++ that are no names of functions, though a bracket follows."""


@dataclass(frozen=True)
class Token:
    """A piece of source."""

    kind: Kind
    text: str
    line: int
    alone: bool = False
    """A comment with nothing else on its first line."""


@dataclass(frozen=True)
class Function:
    """A function that a file defines."""

    name: str
    line: int
    parameters: tuple[str, ...]
    body: tuple[Token, ...]
    """Tokens between its braces, comments included."""
    head: str
    """What stands before its name: the return type, qualifiers, and a template's."""

    @property
    def code(self) -> tuple[Token, ...]:
        """The body without comments."""
        return tuple(t for t in self.body if t.kind != "comment")


def is_python(path: str) -> bool:
    """Whether the file is Python; anything else is read as C."""
    return path.endswith(".py")


@lru_cache(64)
def tokens(text: str, path: str) -> tuple[Token, ...]:
    """All tokens of a source, in their order."""
    return tuple(_python_tokens(text) if is_python(path) else _c_tokens(text))


@lru_cache(64)
def functions(text: str, path: str) -> tuple[Function, ...]:
    """Every function that a source defines, nested ones too in Python."""
    return tuple(_python_functions(text)) if is_python(path) else tuple(_c_functions(tokens(text, path)))


def _c_tokens(text: str) -> Iterator[Token]:
    line, at = 1, 0
    for found in _C.finditer(text):
        line += text.count("\n", at, found.start())
        at = found.start()
        kind = found.lastgroup if found.lastgroup != "d" else "string"
        before = text.rfind("\n", 0, found.start()) + 1
        alone = kind == "comment" and not text[before : found.start()].strip()
        if alone and found[0].startswith("/*"):
            rest = text[found.end() :].partition("\n")[0]
            alone = not rest.strip()
        yield Token(kind, found[0], line, alone)  # type: ignore[arg-type]


def _python_tokens(text: str) -> Iterator[Token]:
    kinds: dict[int, Kind] = {
        tokenize.NAME: "word", tokenize.NUMBER: "number", tokenize.STRING: "string", tokenize.OP: "mark",
        tokenize.COMMENT: "comment",
    }  # fmt: skip
    try:
        for t in tokenize.generate_tokens(io.StringIO(text).readline):
            if t.type in kinds:
                alone = t.type == tokenize.COMMENT and not t.line[: t.start[1]].strip()
                yield Token(kinds[t.type], t.string, t.start[0], alone)
    except (tokenize.TokenError, SyntaxError, ValueError):
        return  # the judge says what is wrong with it


def _c_functions(given: tuple[Token, ...]) -> Iterator[Function]:
    """``name ( ... ) [words] { ... }``, and CUDA's ``__launch_bounds__ (...)`` before the name."""
    where = [i for i, t in enumerate(given) if t.kind != "comment"]
    code = [given[i] for i in where]
    at = 0
    while at < len(code):
        opened = _body_opens(code, at)
        if opened is None:
            at += 1
            continue
        closed = _closing(code, opened, "{", "}")
        brackets = _closing(code, at + 1, "(", ")")
        stop = where[closed] if closed < len(code) else len(given)
        yield Function(
            name=code[at].text,
            line=code[at].line,
            parameters=tuple(_parameters(code[at + 2 : brackets])),
            body=given[where[opened] + 1 : stop],
            head=" ".join(t.text for t in code[_head(code, at) : at]),
        )
        at = closed + 1


def _body_opens(code: list[Token], at: int) -> int | None:
    """Where the body of a function opens whose name is at ``at``; None where none is defined there."""
    named = code[at].kind == "word" and code[at].text not in KEYWORDS and not code[at].text.startswith("__launch_")
    if not (named and at + 1 < len(code) and code[at + 1].text == "(" and _typed(code, at)):
        return None
    after = _closing(code, at + 1, "(", ")") + 1
    while after < len(code) and (code[after].text in ("const", "noexcept", "override", "final", "__restrict__")):
        after += 1
    return after if after < len(code) and code[after].text == "{" else None


def _typed(code: list[Token], at: int) -> bool:
    """Whether something that can be a return type stands before a name."""
    before = code[at - 1] if at else None
    return (
        before is not None
        and (before.text in ("*", "&", ">", ")") or before.kind == "word")
        and (before.text not in KEYWORDS)
    )


def _head(code: list[Token], at: int) -> int:
    while at > 0 and code[at - 1].text not in (";", "}", "{"):
        at -= 1
    return at


def _closing(code: list[Token], at: int, opening: str, closing: str) -> int:
    """Where the bracket at ``at`` closes; the end where it does not."""
    depth = 0
    for i in range(at, len(code)):
        depth += (code[i].text == opening) - (code[i].text == closing)
        if depth == 0:
            return i
    return len(code)


def _parameters(between: list[Token]) -> Iterator[str]:
    """The last word of each part between commas: the parameter's name, where it has one."""
    part: list[Token] = []
    depth = 0
    for t in [*between, Token("mark", ",", 0)]:
        depth += (t.text in "([{<") - (t.text in ")]}>") if t.kind == "mark" else 0
        if t.text == "," and depth <= 0:
            flat = [p for i, p in enumerate(part) if p.kind == "word" and not (i and part[i - 1].text == "[")]
            if len(flat) > 1:
                yield flat[-1].text
            part = []
        else:
            part.append(t)


def _python_functions(text: str) -> Iterator[Function]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            said = node.body[1:] if ast.get_docstring(node) is not None else node.body
            body = "\n".join(ast.unparse(s) for s in said if not _says_nothing(s))
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            yield Function(
                name=node.name,
                line=node.lineno,
                parameters=tuple(a.arg for a in arguments),
                body=tuple(_python_tokens(body)),
                head=" ".join(ast.unparse(d) for d in node.decorator_list),
            )


def _says_nothing(statement: ast.stmt) -> bool:
    """``pass``, ``...``, a bare string, or ``raise NotImplementedError``."""
    if isinstance(statement, ast.Pass):
        return True
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Raise) and "NotImplementedError" in ast.unparse(statement)
