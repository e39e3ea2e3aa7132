"""A candidate's source taken apart: what goes before every scope, what its kernel leans on, and the kernel itself."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from warpsmith.app.grammar import language, parse, said, walk
from warpsmith.app.sections import Section, find, wanted
from warpsmith.errors import BadInput

if TYPE_CHECKING:
    from tree_sitter import Node

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"\n]+)"|<[^>\n]+>)[^\n]*$', re.M)
_DEFINE = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", re.M)
_KEEPS = re.compile(r"\b(static|inline|constexpr|extern|template|__global__|using|typedef)\b")


@dataclass(frozen=True)
class Item:
    """One thing that a candidate's file says beside its kernel."""

    text: str
    name: str
    """What it defines; empty where nothing, or several things, or macros."""
    function: bool = False


@dataclass(frozen=True)
class Parts:
    """A candidate's source, taken apart."""

    hoisted: tuple[str, ...]
    """Includes and the macros that steer them: they belong to the top of a file."""
    before: tuple[Item, ...]
    kernel: Section
    text: str
    """The file that ``kernel`` has its offsets in."""
    after: tuple[Item, ...]

    @property
    def macros(self) -> tuple[str, ...]:
        """Every macro that the items define."""
        found = [m for item in (*self.before, *self.after) for m in _DEFINE.findall(item.text)]
        return tuple(dict.fromkeys([*found, *_DEFINE.findall(self.cut(self.kernel.start, self.kernel.end))]))

    def cut(self, start: int, end: int) -> str:
        """Text between two offsets in bytes."""
        return self.text.encode()[start:end].decode(errors="replace")


def take_apart(sources: Mapping[str, str], name: str) -> Parts:
    """A candidate's files by path, and the name of its kernel. Raises BadInput."""
    path, text = flat(sources, name)
    kernel = find(text, path, wanted(name))
    of = language(path)
    hoisted: list[str] = []
    before: list[Item] = []
    after: list[Item] = []
    for node in _top(parse(text.encode(), of)):
        if node.start_byte <= kernel.start and kernel.end <= node.end_byte:
            continue
        whole = said(node)
        last = before if node.end_byte <= kernel.start else after
        if whole.strip() == ";" and last:  # the grammar keeps it apart from the type that it ends
            last[-1] = replace(last[-1], text=f"{last[-1].text};")
        elif _steers(node, whole):
            hoisted.append(whole.strip())
        elif whole.strip() and not re.match(r"\s*#\s*pragma\s+once", whole):
            last.append(_item(node, whole))
    return Parts(tuple(hoisted), tuple(before), kernel, text, tuple(after))


def flat(sources: Mapping[str, str], name: str) -> tuple[str, str]:
    """The file that defines ``name``, with the candidate's own files that it includes written out in their place."""
    bare = wanted(name).name
    holding = [p for p, t in sources.items() if re.search(rf"\b{re.escape(bare)}\s*(<[^;{{}}()]*>)?\s*\(", t)]
    mains = [p for p in holding if not p.endswith((".h", ".cuh", ".hpp"))] or holding
    if not mains:
        raise BadInput(f"no source of the candidate defines {bare!r}.", f"Its files: {', '.join(sources)}.")
    if len(others := set(sources) - _reached(sources, mains[0])) > 0:
        raise BadInput(
            f"the candidate's {', '.join(sorted(others))} is no part of {mains[0]}, so it has no place in one file.",
            "Include it there.",
        )
    return mains[0], _written_out(sources, mains[0], set())


def _written_out(sources: Mapping[str, str], path: str, seen: set[str]) -> str:
    seen.add(path)

    def put(m: re.Match[str]) -> str:
        named = _named(sources, path, m[1])
        if named is None:
            return m[0]
        return "" if named in seen else _written_out(sources, named, seen)

    return _INCLUDE.sub(put, sources[path])


def _reached(sources: Mapping[str, str], path: str) -> set[str]:
    seen, pending = {path}, [path]
    while pending:
        at = pending.pop()
        for m in _INCLUDE.finditer(sources[at]):
            named = _named(sources, at, m[1])
            if named is not None and named not in seen:
                seen.add(named)
                pending.append(named)
    return seen


def _named(sources: Mapping[str, str], within: str, included: str | None) -> str | None:
    """The candidate's own file that an include names."""
    if included is None:
        return None
    beside = posixpath.normpath(posixpath.join(posixpath.dirname(within), included))
    return next((p for p in (beside, included) if p in sources), None)


def _top(root: Node) -> list[Node]:
    """What stands at file level, with namespaces and linkage blocks opened."""
    found = []
    for node in root.children:
        body = node.child_by_field_name("body")
        if node.type in ("namespace_definition", "linkage_specification") and body is not None:
            opened = body.type == "declaration_list"
            found += [c for c in _top(body) if said(c) not in ("{", "}")] if opened else [node]
        else:
            found.append(node)
    return found


def _steers(node: Node, text: str) -> bool:
    """Whether it is an include, or decides about includes: feature macros, and conditions around only such."""
    if node.type == "preproc_include":
        return True
    if node.type == "preproc_def":
        return said(node.child_by_field_name("name")).startswith("_")
    if node.type not in ("preproc_if", "preproc_ifdef"):
        return False
    inner = [c for c in node.named_children if c.type not in ("identifier", "comment", "binary_expression")]
    inner = [c for c in inner if c.type.startswith("preproc_") and c.type not in ("preproc_defined", "preproc_call")]
    macros = _DEFINE.findall(text)
    only = all(c.type in ("preproc_include", "preproc_def") for c in inner) and all(m.startswith("_") for m in macros)
    return bool(inner) and only and not any("specifier" in n.type or n.type == "declaration" for n in walk(node))


def _item(node: Node, text: str) -> Item:
    inner = node
    while inner.type == "template_declaration":
        inner = inner.named_children[-1]
    if inner.type == "function_definition":
        declarator = next((n for n in walk(inner) if n.type == "function_declarator"), None)
        name = said(declarator.child_by_field_name("declarator")) if declarator is not None else ""
        head = text[: text.find("{")]
        own = node is inner and not _KEEPS.search(head)  # what has linkage of its own could meet another of its name
        return Item(f"static {text}" if own else text, name if name.isidentifier() else "", True)
    names = []
    for child in (inner, *inner.named_children):
        if child.type in ("struct_specifier", "enum_specifier", "class_specifier", "union_specifier"):
            names.append(said(child.child_by_field_name("name")))
    if inner.type in ("type_definition", "declaration", "alias_declaration"):
        for field in ("declarator", "name"):
            at = inner.child_by_field_name(field)
            names += [said(n) for n in walk(at) if n.type in ("identifier", "type_identifier")][:1] if at else []
    names = [n for n in names if n]
    return Item(text, names[0] if len(set(names)) == 1 else "")
