"""Where in a file a kernel stands: its definition, with its template, its namespaces and its parameters.

Offsets are those of the UTF-8 bytes. A kernel is named as people write it: ``name``, ``space::name``, ``name<float>``
for one instance of a template, ``name(int, float*)`` among several of one name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from warpsmith.app.grammar import Language, language, parse, said, walk
from warpsmith.errors import BadInput

if TYPE_CHECKING:
    from tree_sitter import Node

BEGIN, END = "warpsmith begin", "warpsmith end"
"""Comments around what an integration wrote, each followed by the kernel's name."""
_SAME = {
    "int64_t": "long", "long int": "long", "long long": "long", "long long int": "long", "ptrdiff_t": "long",
    "uint64_t": "unsigned long", "size_t": "unsigned long", "unsigned long long": "unsigned long",
    "unsigned long int": "unsigned long", "unsigned long long int": "unsigned long",
    "int32_t": "int", "signed": "int", "signed int": "int", "uint32_t": "unsigned int", "unsigned": "unsigned int",
    "int8_t": "signed char", "uint8_t": "unsigned char", "int16_t": "short", "uint16_t": "unsigned short",
    "__nv_bfloat16": "nv_bfloat16", "__half": "half",
}  # fmt: skip
"""Types that are one and the same on 64-bit Linux, or differ in a way that no caller sees."""


@dataclass(frozen=True)
class Wanted:
    """A kernel as it was named."""

    scopes: tuple[str, ...]
    name: str
    arguments: tuple[str, ...] | None
    """Of the template; None where none are named."""
    types: tuple[str, ...] | None
    """Of the parameters; None where they are not named."""

    def __str__(self) -> str:
        arguments = f"<{', '.join(self.arguments)}>" if self.arguments is not None else ""
        return "::".join((*self.scopes, self.name)) + arguments


@dataclass(frozen=True)
class Parameter:
    """One parameter of a definition."""

    text: str
    name: str
    type: str
    """Its text without the name."""

    @property
    def normal(self) -> str:
        """What two declarations of the same type have in common."""
        return normal(self.type)

    def named(self, name: str) -> str:
        """The declaration with another name."""
        return re.sub(rf"\b{re.escape(self.name)}\b(?!.*\b{re.escape(self.name)}\b)", name, self.text, flags=re.S)


@dataclass(frozen=True)
class Section:
    """A definition in a text. Offsets in bytes."""

    start: int
    """Of all of it: ``template <...>`` and ``extern "C"`` included."""
    end: int
    name_span: tuple[int, int]
    """Name with the arguments of an explicit specialisation."""
    list_span: tuple[int, int]
    """The parameter list with its brackets."""
    body_span: tuple[int, int]
    name: str
    scopes: tuple[str, ...]
    template: tuple[tuple[str, str], ...] | None
    """(kind, name) of the template's parameters, kind being ``typename`` or the type of a value; None: no template."""
    arguments: tuple[str, ...] | None
    """Of an explicit specialisation."""
    parameters: tuple[Parameter, ...]
    head: str
    """Result type, attributes and linkage: everything before the name, without ``template <...>``."""
    linkage_block: bool
    """It stands within the braces of ``extern "C" { }``."""
    broken: bool
    """Its head could not be read whole."""

    @property
    def signature(self) -> str:
        """For people."""
        arguments = f"<{', '.join(self.arguments)}>" if self.arguments is not None else ""
        if self.template:
            arguments = f"<{', '.join(' '.join(p) for p in self.template)}>"
        spaces = "::".join((*(s for s in self.scopes if s), self.name))
        return f"{spaces}{arguments}({', '.join(p.type for p in self.parameters)})"


def wanted(text: str) -> Wanted:
    """Read how a kernel is named. Raises BadInput."""
    rest, types = text.strip(), None
    if rest.endswith(")") and "(" in rest:
        at = rest.index("(", rest.rfind(">") + 1)
        inside = rest[at + 1 : -1].strip()
        rest, types = rest[:at].strip(), tuple(normal(t) for t in _split(inside)) if inside not in ("", "void") else ()
    arguments = None
    if rest.endswith(">") and "<" in rest:
        at = rest.index("<")
        rest, arguments = rest[:at].strip(), tuple(t.strip() for t in _split(rest[at + 1 : -1]))
    *scopes, name = [p.strip() for p in rest.split("::")]
    if not all(re.fullmatch(r"[A-Za-z_]\w*", p) for p in (name, *filter(None, scopes))):
        raise BadInput(f"{text!r} names no kernel.", "Say it as 'space::name<float, 32>'; app.toml, kernel.")
    return Wanted(tuple(s for s in scopes if s), name, arguments, types)


def normal(type_: str) -> str:
    """A parameter's type as two declarations of the same type both have it: without restrict and outer const."""
    text = re.sub(r"\b(__restrict__|__restrict|restrict|struct|class|enum|register|__grid_constant__)\b", " ", type_)
    text = re.sub(r"=.*$", "", text, flags=re.S)  # a default value
    text = re.sub(r"\[[^\]]*\]", "*", text).replace("std::", "")
    constant = bool(re.search(r"\bconst\b", text.split("*")[0].split("&")[0]))
    pointers = "".join(re.findall(r"[*&]", text))
    base = " ".join(re.sub(r"\b(const|volatile)\b|[*&]", " ", text).split())
    base = re.sub(r"\s*([<>,])\s*", r"\1", base)
    return f"{'const ' if constant and pointers else ''}{_SAME.get(base, base)}{pointers}"


def sections(text: str, of: Language) -> tuple[Section, ...]:
    """Every definition of a function in ``text``."""
    root = parse(text.encode(), of)
    wanted_type = "function_item" if of == "rust" else "function_definition"
    return tuple(_section(n) for n in walk(root) if n.type == wanted_type and _body(n) is not None)


def find(text: str, path: str, named: Wanted) -> Section:
    """The definition that ``named`` names: the very instance of a template where there is one, else the template.

    Raises BadInput where there is none, several, or one that cannot be read.
    """
    every = sections(text, language(path))
    found = [s for s in every if _is(s, named)]
    if named.arguments is not None:
        given = [normal(a) for a in named.arguments]
        exact = [s for s in found if s.arguments is not None and [normal(a) for a in s.arguments] == given]
        found = exact or [s for s in found if s.template and len(s.template) == len(given)]
    else:
        found = [s for s in found if s.arguments is None]
    if len(found) != 1:
        others = "; ".join(f"line {_line(text, s.start)}: {s.signature}" for s in found or every) or "none"
        problem = f"defines {len(found)} kernels that {named} could be" if found else f"defines no {named}"
        raise BadInput(f"{path} {problem}.", f"Say which in app.toml, kernel. Definitions there: {others}.")
    if found[0].broken:
        raise BadInput(
            f"{path}:{_line(text, found[0].start)}: the definition of {named} cannot be read.",
            "Macros in its head hide what it is: write them out.",
        )
    return found[0]


def marked(text: str, section: Section, name: str) -> tuple[int, int] | None:
    """The lines that an earlier integration of that kernel wrote around ``section``, markers included; None where it is
    the application's own.
    """
    content = text.encode()
    first = rb"^[^\n]*" + BEGIN.encode() + rb" " + re.escape(name.encode()) + rb":[^\n]*\n"
    for m in re.finditer(first, content, re.M):
        last = re.compile(rb"^[^\n]*" + END.encode() + rb"[^\n]*\n?", re.M).search(content, m.end())
        if last and m.start() <= section.start and section.end <= last.end():
            return m.start(), last.end()
    return None


def _is(section: Section, named: Wanted) -> bool:
    spaces = tuple(s for s in section.scopes if s)
    if section.name != named.name or (named.scopes and spaces[-len(named.scopes) :] != named.scopes):
        return False
    return named.types is None or tuple(p.normal for p in section.parameters) == named.types


def _section(node: Node) -> Section:
    declarator = _declarator(node)
    body = _body(node)
    assert body is not None
    named = declarator.child_by_field_name("declarator") if node.type != "function_item" else None
    named = named or node.child_by_field_name("name") or declarator
    inner = [n for n in walk(named) if n.type in ("identifier", "field_identifier", "type_identifier")]
    qualified = [said(n) for n in walk(named) if n.type == "namespace_identifier"]
    arguments = next((n for n in walk(named) if n.type == "template_argument_list"), None)
    listed = declarator.child_by_field_name("parameters") or node.child_by_field_name("parameters") or declarator
    top, template, scopes, block = _outside(node)
    content = node.start_byte
    own = said(node)[: named.start_byte - content] if said(node).isascii() else _slice(node, named.start_byte)
    before = _slice(top, node.start_byte) if top.type == "linkage_specification" else ""
    broken = any((n.type == "ERROR" or n.is_missing) and n.start_byte < body.start_byte for n in walk(node))
    return Section(
        start=top.start_byte,
        end=top.end_byte,
        name_span=(named.start_byte, named.end_byte),
        list_span=(listed.start_byte, listed.end_byte),
        body_span=(body.start_byte, body.end_byte),
        name=said(inner[0]) if inner else said(named),
        scopes=(*scopes, *qualified),
        template=template,
        arguments=None if arguments is None else tuple(said(c) for c in arguments.named_children),
        parameters=tuple(_parameter(c) for c in listed.named_children if "parameter" in c.type and _takes(c)),
        head=before + own,
        linkage_block=block,
        broken=broken,
    )


def _slice(node: Node, until: int) -> str:
    return (node.text or b"")[: until - node.start_byte].decode(errors="replace")


def _outside(node: Node) -> tuple[Node, tuple[tuple[str, str], ...] | None, tuple[str, ...], bool]:
    """What belongs to a definition around it: the outermost node, its template, its namespaces, a linkage block."""
    top, template, block = node, None, False
    scopes: list[str] = []
    at = node.parent
    while at is not None:
        if at.type == "template_declaration" and top.parent == at:
            listed = at.child_by_field_name("parameters")
            template = tuple(_template_parameter(c) for c in (listed.named_children if listed else ()))
            top = at
        elif at.type == "linkage_specification":
            block = top.parent != at
            top = top if block else at
        elif at.type in ("namespace_definition", "class_specifier", "struct_specifier", "mod_item", "impl_item"):
            name = at.child_by_field_name("name") or at.child_by_field_name("type")
            scopes = [*said(name).split("::"), *scopes]
        at = at.parent
    return top, template or None, tuple(scopes), block


def _template_parameter(node: Node) -> tuple[str, str]:
    names = [n for n in walk(node) if n.type in ("identifier", "type_identifier")]
    kind = said(node.child_by_field_name("type")) if node.type.startswith(("parameter", "optional_parameter")) else ""
    return (kind or "typename", said(names[-1] if kind else names[0]) if names else "")


def _parameter(node: Node) -> Parameter:
    text = said(node)
    at = node.child_by_field_name("declarator") or node.child_by_field_name("pattern")
    names = [n for n in walk(at) if n.type == "identifier"] if at is not None else []
    name = said(names[0]) if names else ""
    if not names:
        return Parameter(text, "", text)
    begin, end = names[0].start_byte - node.start_byte, names[0].end_byte - node.start_byte
    content = node.text or b""
    if node.type == "parameter" and (kind := node.child_by_field_name("type")) is not None:
        return Parameter(text, name, said(kind))
    return Parameter(text, name, " ".join((content[:begin] + content[end:]).decode(errors="replace").split()))


def _takes(node: Node) -> bool:
    return said(node).strip() != "void" and node.type != "self_parameter"


def _declarator(node: Node) -> Node:
    return next((n for n in walk(node) if n.type == "function_declarator"), node)


def _body(node: Node) -> Node | None:
    return node.child_by_field_name("body")


def _split(inside: str) -> Sequence[str]:
    """At the commas that lie in no bracket."""
    found, depth, begin = [], 0, 0
    for at, letter in enumerate(inside):
        depth += {"(": 1, "<": 1, "[": 1, "{": 1, ")": -1, ">": -1, "]": -1, "}": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            found.append(inside[begin:at])
            begin = at + 1
    return [*found, inside[begin:]]


def _line(text: str, offset: int) -> int:
    return text.encode()[:offset].count(b"\n") + 1
