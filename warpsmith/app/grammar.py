"""Source text as trees: the grammars, by the suffix of a file. Needs the extra ``app``; imports it when it is used."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from warpsmith.errors import BadInput, Missing

if TYPE_CHECKING:
    from tree_sitter import Node

Language = Literal["c", "cuda", "rust"]
_SUFFIXES: dict[str, Language] = {
    ".c": "c", ".rs": "rust",
    **dict.fromkeys((".cu", ".cuh", ".cpp", ".cc", ".cxx", ".hpp", ".hh", ".hxx", ".h"), "cuda"),
}  # fmt: skip
"""CUDA's grammar is that of C++ with a little more, so it reads both."""


def language(path: str) -> Language:
    """What a file is written in. Raises BadInput."""
    found = _SUFFIXES.get(Path(path).suffix)
    if found is None:
        raise BadInput(f"{path}: no source of C, C++, CUDA or Rust.", f"Suffixes: {' '.join(_SUFFIXES)}.")
    return found


def parse(text: bytes, of: Language) -> Node:
    """The root of the tree of ``text``. Raises Missing where the extra ``app`` is not installed."""
    root: Node = _parser(of).parse(text).root_node
    return root


def walk(node: Node) -> Iterator[Node]:
    """A node and everything below it, in the order of the text."""
    pending = [node]
    while pending:
        one = pending.pop()
        yield one
        pending.extend(reversed(one.children))


def said(node: Node | None) -> str:
    """The text of a node; empty for none."""
    return "" if node is None or node.text is None else node.text.decode(errors="replace")


@lru_cache(maxsize=4)
def _parser(of: Language) -> Any:
    try:
        trees, grammar = import_module("tree_sitter"), import_module(f"tree_sitter_{of}")
    except ImportError as error:
        raise Missing(
            f"the grammar of {of} is not installed ({error}).", "Install it with: pip install 'warpsmith[app]'."
        ) from None
    return trees.Parser(trees.Language(grammar.language()))
