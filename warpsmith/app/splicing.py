"""A candidate written in the place, and under the signature, of an application's kernel.

What it includes goes to the top of the file; what its kernel leans on stands right before it, in the same namespace;
its macros, tunables among them, are set before and put back behind. A name that the file has already is left out where
both are the same text, and renamed where they are not. Of a template with concrete arguments an explicit specialisation
is written behind the template, so that its other instances stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from warpsmith.app.grammar import language, parse, said, walk
from warpsmith.app.parts import Item, Parts, take_apart
from warpsmith.app.pysections import splice_python
from warpsmith.app.sections import BEGIN, END, Parameter, Section, Wanted, find, marked, wanted
from warpsmith.errors import BadInput
from warpsmith.model.base import short
from warpsmith.model.candidate import Candidate

_ATTRIBUTES = re.compile(r"__(?:launch_bounds|cluster_dims|maxnreg|block_size)__\s*\(")


@dataclass(frozen=True)
class Place:
    """Where a candidate goes: the file around it, and the lines of its own that may be mended later."""

    path: str
    before: str
    """Of the file, with hoisted includes."""
    section: str
    """Between the markers, without them."""
    after: str
    opening: str
    closing: str
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The whole file."""
        return f"{self.before}{self.opening}{self.section}{self.closing}{self.after}"


def kernel_of(candidate: Candidate) -> str:
    """The one function of a candidate that takes the kernel's place. Raises BadInput for a plan of several launches."""
    kernels = {launch.kernel for launch in candidate.launch}
    if len(candidate.launch) > 1 or candidate.scratch or candidate.tensor_map:
        raise BadInput(
            f"the candidate's plan has {len(candidate.launch)} launches, {len(candidate.scratch)} scratch buffers and "
            f"{len(candidate.tensor_map)} tensor maps: no single kernel can take its place.",
            "Export it ('warpsmith export'), and call that from the application.",
        )
    return next(iter(kernels), candidate.entry)


def splice(text: str, path: str, kernel: str, candidate: Candidate, sources: Mapping[str, str], of: str) -> Place:
    """``text`` of the application's file ``path`` with the candidate in the place of ``kernel``; ``of`` names it for
    people. Raises BadInput where the candidate does not fit there, with what it should look like.
    """
    if path.endswith(".py"):
        made = splice_python(text, path, kernel, candidate, sources, kernel_of(candidate), of)
        told = f"launches must give {', '.join(f'{k}={v}' for k, v in candidate.parameters.items())}"
        said_of_it = (told,) if candidate.launch and candidate.parameters else ()
        return Place(path, made.before, made.section, made.after, made.opening, made.closing, said_of_it)
    if language(path) == "rust":
        raise BadInput(f"{path}: no candidate is written in Rust.", "Name the file that holds the kernel itself.")
    named = wanted(kernel)
    own = find(text, path, named)
    parts = take_apart(sources, kernel_of(candidate))
    if parts.kernel.broken:
        raise BadInput(f"the candidate's {parts.kernel.name} cannot be read.", "Write macros in its head out.")
    instance = bool(own.template) and named.arguments is not None
    if own.template and not instance and not parts.kernel.template:
        raise BadInput(
            f"{path}: {own.signature} is a template, and the candidate is written for one instance of it.",
            "Say which in app.toml, such as kernel = 'name<float, 32>'.",
        )
    notes = [f"{flag} is the candidate's flag and none of this build" for flag in candidate.flags if flag[:2] != "-D"]
    definition, said_of = _definition(own, named, parts, instance)
    notes += said_of
    around = marked(text, own, str(named))
    begin, end = (own.end, own.end) if instance and own.arguments is None else around or (own.start, own.end)
    content = text.encode()
    before, after = content[:begin].decode(), content[end:].decode()
    items, renamed = _told_apart(before + after, parts)
    section = _replaced(_section(definition, items, parts, candidate, own), renamed)
    opening, closing = _markers(path, str(named), of, short(candidate.id))
    if before and not before.endswith("\n"):
        opening = "\n" + opening
    if (begin, end) != around and after.startswith("\n"):
        closing = closing.removesuffix("\n")
    return Place(path, hoist(before, text, parts.hoisted), section, after, opening, closing, tuple(notes))


def hoist(before: str, text: str, lines: Sequence[str]) -> str:
    """``before`` with what is not yet in ``text`` at its top: behind the first comment and ``#pragma once``."""
    there = {" ".join(line.split()) for line in text.splitlines()}
    new = [line for line in lines if " ".join(line.split()) not in there]
    if not new:
        return before
    at = re.match(r"(?:\s*(?://[^\n]*\n|/\*.*?\*/|#[ \t]*pragma[ \t]+once[^\n]*\n))*\s*", before, re.S)
    cut = at.end() if at else 0
    return before[:cut] + "\n".join(new) + "\n" + before[cut:]


def _definition(own: Section, named: Wanted, parts: Parts, instance: bool) -> tuple[str, list[str]]:
    """The candidate's kernel under the application's head."""
    kernel, notes = parts.kernel, []
    concrete = _concrete(own, named) if instance else {}
    types = {t[1]: o[1] for t, o in zip(kernel.template or (), own.template or (), strict=False)}
    if kernel.template and own.template and len(kernel.template) != len(own.template):
        raise BadInput(f"the candidate's template {kernel.signature} is not that of {own.signature}.", "Align them.")
    parameters = [Parameter(*(_replaced(x, concrete) for x in (p.text, p.name, p.type))) for p in own.parameters]
    theirs = [
        Parameter(*(_replaced(x, {**types, **concrete} if kernel.template else {}) for x in (p.text, p.name, p.type)))
        for p in kernel.parameters
    ]
    theirs = [Parameter(_replaced(p.text, concrete), p.name, _replaced(p.type, concrete)) for p in theirs]
    if [p.normal for p in parameters] != [p.normal for p in theirs]:
        raise BadInput(
            f"the candidate's {kernel.signature} takes other parameters than {named}"
            f"({', '.join(p.type for p in parameters)}).",
            "Give it the types and the order of the application's kernel.",
        )
    listed = []
    for mine, other in zip(parameters, theirs, strict=True):
        same = " ".join(re.sub(r"\b(__restrict__|__restrict|restrict)\b", " ", other.type).split())
        exact = same.replace(" ", "") == " ".join(mine.type.split()).replace(" ", "")
        listed.append(other.text if exact else mine.named(other.name))
        if "restrict" in other.type and "restrict" not in mine.type and exact:
            notes.append(f"{other.name} became restrict: no other parameter may reach what it points to")
    head = _without_attributes(own.head)
    attributes = _attributes(parts.cut(kernel.start, kernel.list_span[0]))
    template, arguments = "", ""
    if instance:
        assert named.arguments is not None
        template, arguments = "template <>\n", f"<{', '.join(named.arguments)}>"
    elif own.arguments is not None:
        template, arguments = "template <>\n", f"<{', '.join(own.arguments)}>"
    elif own.template:
        template = f"template <{', '.join(' '.join(p) for p in own.template)}>\n"
    if kernel.template:
        attributes = _replaced(_replaced(attributes, types), concrete)
    body = parts.cut(*kernel.body_span)
    if kernel.template:
        body = _replaced(body, types)
        if instance:
            assert own.template is not None
            body = "{\n" + "".join(f"    {_fixed(k, n, concrete[n])}\n" for k, n in own.template) + body[1:]
    if kernel.name != own.name:
        body = _replaced(body, {kernel.name: own.name})
    head = _replaced(head, concrete)
    if instance:
        head = re.sub(r"\b(static|inline)\b\s*", "", head)  # a specialisation has the storage of its template
    return f"{template}{head}{attributes}{own.name}{arguments}({', '.join(listed)}) {body}", notes


def _concrete(own: Section, named: Wanted) -> dict[str, str]:
    assert own.template is not None and named.arguments is not None
    return dict(zip((name for _, name in own.template), named.arguments, strict=True))


def _fixed(kind: str, name: str, value: str) -> str:
    return f"using {name} = {value};" if kind in ("typename", "class") else f"constexpr {kind} {name} = {value};"


def _section(
    definition: str, items: tuple[list[Item], list[Item]], parts: Parts, candidate: Candidate, own: Section
) -> str:
    before, after = items
    defines = {k: str(v) for k, v in candidate.parameters.items()}
    for flag in candidate.flags:
        if flag.startswith("-D"):
            key, _, value = flag[2:].partition("=")
            defines[key] = value or "1"
    macros = tuple(dict.fromkeys([*defines, *(m for m in parts.macros if not m.startswith("_"))]))
    lines = [line for m in macros for line in (f'#pragma push_macro("{m}")', f"#undef {m}")]
    lines += [f"#define {k} {v}" for k, v in defines.items()]
    if own.linkage_block:
        lines.append('}  // extern "C"')
    lines += [i.text.rstrip() for i in before]
    if own.linkage_block:
        lines.append('extern "C" {')
    lines += [definition.rstrip(), *(i.text.rstrip() for i in after)]
    lines += [f'#pragma pop_macro("{m}")' for m in reversed(macros)]
    return "\n".join(lines) + "\n"


def _told_apart(outside: str, parts: Parts) -> tuple[tuple[list[Item], list[Item]], dict[str, str]]:
    """The items that the file does not have already, and new names for those that it has otherwise."""
    squeezed = _squeezed(outside)
    taken = _identifiers(outside)
    renamed: dict[str, str] = {}
    kept: tuple[list[Item], list[Item]] = ([], [])
    for at, items in enumerate((parts.before, parts.after)):
        for item in items:
            plain = item.text.removeprefix("static ") if item.function else item.text
            if item.name and item.name in taken:
                if _squeezed(plain) in squeezed:
                    continue
                renamed[item.name] = f"{item.name}_tuned"
            kept[at].append(item)
    return kept, renamed


def _identifiers(text: str) -> set[str]:
    root = parse(text.encode(), "cuda")
    kinds = ("identifier", "type_identifier", "field_identifier")
    return {said(n) for n in walk(root) if n.type in kinds}


def _squeezed(text: str) -> str:
    bare = re.sub(r"//[^\n]*|/\*.*?\*/", " ", text, flags=re.S)
    return re.sub(r"\s+", "", bare)


def _replaced(text: str, names: Mapping[str, str]) -> str:
    """``text`` with whole names replaced, all at once."""
    if not names:
        return text
    pattern = "|".join(re.escape(n) for n in sorted(names, key=len, reverse=True) if n)
    return re.sub(rf"(?<![\w.])({pattern})(?!\w)", lambda m: names[m[1]], text) if pattern else text


def _attributes(head: str) -> str:
    return "".join(f"{head[a:b]} " for a, b in _attribute_spans(head))


def _without_attributes(head: str) -> str:
    for a, b in reversed(_attribute_spans(head)):
        head = head[:a].rstrip() + " " + head[b:].lstrip()
    return head


def _attribute_spans(head: str) -> list[tuple[int, int]]:
    """Where a head says launch bounds and the like: they go with the body that they were chosen for."""
    spans = []
    for m in _ATTRIBUTES.finditer(head):
        depth, at = 1, m.end()
        while at < len(head) and depth:
            depth += {"(": 1, ")": -1}.get(head[at], 0)
            at += 1
        spans.append((m.start(), at))
    return spans


def _markers(path: str, kernel: str, of: str, identity: str) -> tuple[str, str]:
    a, b = ("/* ", " */") if language(path) == "c" else ("// ", "")
    return f"{a}{BEGIN} {kernel}: {of}, {identity}{b}\n", f"{a}{END} {kernel}{b}\n"
