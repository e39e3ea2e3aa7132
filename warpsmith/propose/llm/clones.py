"""Is this what was measured already? Sources without comments, spacing and the names that they choose themselves.

Only names that a file declares are renamed: two sources that call different intrinsics are never the same.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping

from warpsmith.model.base import digest
from warpsmith.model.candidate import Candidate
from warpsmith.propose.llm.hygiene import CODE
from warpsmith.propose.llm.lexing import KEYWORDS, Token, is_python, tokens

_TYPES = frozenset({
    "void", "bool", "char", "short", "int", "long", "float", "double", "signed", "unsigned", "auto", "const",
    "volatile", "static", "inline", "extern", "register", "restrict", "__restrict__", "__restrict", "struct", "union",
    "enum", "class", "half",
})  # fmt: skip
_WORD = re.compile(r"[A-Za-z_]\w*")
_STATEMENTS = KEYWORDS | {"struct", "union", "enum", "class"}


def clone_key(candidate: Candidate, texts: Mapping[str, str]) -> str:
    """Equal for candidates that differ only in comments, spacing and names; ``texts`` are its sources by path."""
    kept = {candidate.entry, *candidate.parameters, *(x.kernel for x in candidate.launch)}
    said = candidate.model_dump(mode="json", exclude={"sources", "space", "parent", "memo"})
    return digest([said, [[path, normal(texts[path], path, kept)] for path in sorted(texts)]])


def overlay_key(candidate: Candidate, texts: Mapping[str, str], outside: Mapping[str, str]) -> str:
    """Equal for overlays that set the same variables and whose files differ only in comments, spacing and names.

    Args:
        candidate: The overlay.
        texts: Its files by path; what is no code is compared as it stands.
        outside: What else is in the workspace and the task, by path. A name that stands there too is known outside of
            its file: it stays, unless it is local to a C function.
    """
    said = candidate.model_dump(mode="json", exclude={"sources", "space", "parent", "memo"})
    words = {path: frozenset(_WORD.findall(text)) for path, text in {**outside, **texts}.items()}
    files = []
    for path in sorted(texts):
        known = frozenset().union(*(found for other, found in words.items() if other != path))
        kept = known if is_python(path) else known & _at_file_scope(texts[path], path)
        files.append([path, normal(texts[path], path, kept) if path.endswith(CODE) else texts[path].rstrip()])
    return digest([said, files])


def _at_file_scope(text: str, path: str) -> set[str]:
    """Words of a C source that stand outside of every bracket: names that other files can see are among them."""
    depth, found = 0, set()
    for t in tokens(text, path):
        depth += (t.text in ("{", "(")) - (t.text in ("}", ")"))
        if t.kind == "word" and depth == 0:
            found.add(t.text)
    return found


def normal(text: str, path: str, kept: Iterable[str] = ()) -> str:
    """A source as it is compared. Names of ``kept`` stay: they are known outside of the file."""
    code = [t for t in tokens(text, path) if t.kind != "comment"]
    if not code:
        return text
    own = (_python_names(text) if is_python(path) else _c_names(code)) - set(kept)
    number: dict[str, str] = {}
    layout = _layout(text) if is_python(path) else ""
    return " ".join(number.setdefault(t.text, f"v{len(number)}") if t.text in own else t.text for t in code) + layout


def _c_names(code: list[Token]) -> set[str]:
    """Names that stand where something is declared: behind a type, and before what ends a declarator."""
    found = set()
    for i, t in enumerate(code[1:-1], 1):
        before, after = code[i - 1], code[i + 1]
        typed = before.kind == "word" and before.text not in _STATEMENTS
        pointer = (
            before.text in ("*", "&") and i > 1 and (code[i - 2].text in _TYPES or code[i - 2].text.endswith("_t"))
        )
        if before.text == "define" and i > 1 and code[i - 2].text == "#":
            found.add(t.text)
        elif t.kind != "word" or t.text in _TYPES or t.text in _STATEMENTS or t.text.startswith("__"):
            continue
        elif (typed or pointer) and after.text in "=;,)[({:":
            found.add(t.text)
    return found


def _python_names(text: str) -> set[str]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return set()
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.FunctionDef):
            found.add(node.name)
    return found


def _layout(text: str) -> str:
    """How deep each statement stands: indentation is code in Python."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    widths = sorted({len(line) - len(line.lstrip()) for line in lines})
    return " " + "".join(str(widths.index(len(line) - len(line.lstrip()))) for line in lines)
