"""Temporary prints of launch scalars, for when launches cannot be watched: written into the host function that launches
the kernel, built, run, read, and taken out again, whatever happens.

C, C++ and CUDA print every scalar parameter of the function when it is entered, and what each launch in it is given:
grid, block and the arguments that can be read twice without harm. Rust prints the parameters of the adapter that calls
the kernel through FFI. What is printed are lines of standard error that begin with :data:`SAYS`.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from warpsmith.app.grammar import Language, language, parse, said, walk
from warpsmith.app.outcomes import recover
from warpsmith.app.sections import Section, find, normal, wanted
from warpsmith.app.site import Site
from warpsmith.errors import BadInput
from warpsmith.model.base import Record, digest, short
from warpsmith.model.observed import ScalarSeen

if TYPE_CHECKING:
    from tree_sitter import Node

SAYS = "warpsmith-launch "
_INTEGERS = ("char", "signed char", "unsigned char", "short", "unsigned short", "int", "unsigned int", "long",
             "unsigned long", "bool", "_Bool")  # fmt: skip
_FLOATS = ("float", "double")
_RUST_SCALARS = re.compile(
    r"^([iu](8|16|32|64|128|size)|f32|f64|bool|c_(u?(int|long|short|char)|float|double|size_t))$"
)
TEXT = "warpsmith_text"
_HELPER = """#include <cstdio>
#include <string>
#include <type_traits>
template <typename T> typename std::enable_if<std::is_arithmetic<T>::value, std::string>::type warpsmith_text(T x) {
    char text[64];
    if (std::is_integral<T>::value && sizeof(T) == 8) std::snprintf(text, sizeof text, "%lld", (long long)x);
    else std::snprintf(text, sizeof text, "%.17g", (double)x);
    return text;
}
template <typename T> std::string warpsmith_text(T *) { return "pointer"; }
template <typename T> typename std::enable_if<!std::is_arithmetic<T>::value, std::string>::type
warpsmith_text(const T &x) {
    std::string text;
    char two[3];
    for (size_t i = 0; i < sizeof x; ++i) {
        std::snprintf(two, sizeof two, "%02x", reinterpret_cast<const unsigned char *>(&x)[i]);
        text += two;
    }
    return text;
}
"""
_PURE = {"dim3", "sizeof", "min", "max", "size_t", "int", "long", "unsigned", "float", "double", "uint3"}
"""What may be called in an argument that is evaluated once more."""


class Printed(Record):
    """What one place said, over a run."""

    place: str
    """``enter FUNCTION`` or ``launch KERNEL``."""
    values: dict[str, str]
    times: int


def observe_prints(site: Site) -> tuple[Printed, ...]:
    """Put prints into the wrapper that app.toml names, build, run, and take them out; the tree is then as it was.

    Raises BadInput where there is no such function, or the application does not build or run with them.
    """
    app = site.app
    recover(site)
    if not app.wrapper:
        raise BadInput(
            f"{site.described.file}: wrapper is missing.", "Name the host function that launches the kernel."
        )
    name = app.wrapper_source or app.source
    text = (site.root / name).read_text(encoding="utf-8")
    changed = with_prints(text, name, app.wrapper, app.kernel)
    site.begin(short(digest([app.name, str(site.root), "prints", time.time_ns()])), f"prints in {app.wrapper}")
    try:
        site.normalise()
        site.save()
        site.write(name, changed)
        ran = site.build()
        if not ran.well:
            raise BadInput(
                f"{name} does not build with prints in {app.wrapper}:\n{ran.said}", "It was taken out again."
            )
        ran = site.shell.run(app.run, app.limits.run_s)
        if not ran.well:
            raise BadInput(f"the run with prints ended with status {ran.status}:\n{ran.said}", "They were taken out.")
        return read(ran.errors.splitlines())
    finally:
        if site.stage == "changed":
            site.undo("the prints were taken out")
        elif site.stage == "begun":
            site.give_up("no print was put in")


def with_prints(text: str, path: str, wrapper: str, kernel: str) -> str:
    """``text`` with prints in the function ``wrapper``, and before its launches of ``kernel``. Raises BadInput."""
    section = find(text, path, wanted(wrapper))
    of = language(path)
    content = text.encode()
    inserts = [(section.body_span[0] + 1, _enter(section, of))]
    if of == "cuda":
        inserts += _launches(content, section, wanted(kernel).name)
    for at, line in sorted(inserts, reverse=True):
        content = content[:at] + line.encode() + content[at:]
    prelude = {"rust": "", "c": "#include <stdio.h>\n", "cuda": _HELPER}[of]
    return prelude + content.decode()


def read(lines: Iterable[str]) -> tuple[Printed, ...]:
    """What the lines of a run say; other lines are passed over, and so is what a kill cut off."""
    counted: Counter[tuple[str, str]] = Counter()
    for line in lines:
        at = line.find(SAYS)
        if at < 0:
            continue
        try:
            place, values = json.loads(line[at + len(SAYS) :])
            counted[(str(place), json.dumps({str(k): str(v) for k, v in values.items()}))] += 1
        except (ValueError, TypeError, AttributeError):
            continue
    return tuple(
        Printed(place=place, values=json.loads(values), times=times) for (place, values), times in counted.most_common()
    )


def scalars(printed: Iterable[Printed], place: str) -> tuple[ScalarSeen, ...]:
    """The scalars of one place, as observations keep them: the most frequent value, how often, and the range."""
    mine = [p for p in printed if p.place == place]
    total = sum(p.times for p in mine)
    found = []
    for index, name in enumerate(dict.fromkeys(n for p in mine for n in p.values)):
        counted: Counter[str] = Counter()
        for p in mine:
            if name in p.values:
                counted[p.values[name]] += p.times
        value, times = counted.most_common(1)[0]
        seen = [n for n in map(_number, counted) if not isinstance(n, str)]
        found.append(
            ScalarSeen(
                index=index, type="", value=_number(value), share=times / total, distinct=len(counted),
                low=min(seen) if len(seen) == len(counted) else None,
                high=max(seen) if len(seen) == len(counted) else None,
            )
        )  # fmt: skip
    return tuple(found)


def _enter(section: Section, of: Language) -> str:
    """The print of a function's scalar parameters, as the first statement of its body."""
    place = f"enter {section.name}"
    if of == "rust":
        named = [p.name for p in section.parameters if _RUST_SCALARS.match(p.type)]
        shown = ",".join(f'\\"{n}\\":\\"{{}}\\"' for n in named)
        given = "".join(f", {n}" for n in named)
        return f'\n    eprintln!("{SAYS}[\\"{place}\\",{{{{{shown}}}}}]"{given});'
    if of == "cuda":
        # whether one of them is a pointer is for the compiler to see
        return _line(place, [(p.name, "%s", f"{TEXT}({p.name}).c_str()") for p in section.parameters if p.name])
    formed = [(p.name, _form(p.name, p.type)) for p in section.parameters if p.name]
    return _line(place, [(name, *form) for name, form in formed if form is not None])


def _form(expression: str, type_: str) -> tuple[str, str] | None:
    """How C prints a scalar of that type, and as what; None for what is no scalar."""
    bare = normal(type_).removeprefix("const ").strip()
    if bare in _FLOATS:
        return "%.17g", f"(double)({expression})"
    return ("%lld", f"(long long)({expression})") if bare in _INTEGERS else None


def _line(place: str, values: list[tuple[str, str, str]]) -> str:
    """One statement that prints name, form and expression of each value, as one write: threads do not mix."""
    shown = ",".join(f'\\"{_quoted(name)}\\":\\"{form}\\"' for name, form, _ in values)
    given = "".join(f", {expression}" for _, _, expression in values)
    return f' {{ fprintf(stderr, "{SAYS}[\\"{place}\\",{{{shown}}}]\\n"{given}); }}'


def _launches(content: bytes, section: Section, kernel: str) -> list[tuple[int, str]]:
    """A print before every statement that launches the kernel, in braces with it: it may be the body of an ``if``."""
    found = []
    for node in walk(parse(content, "cuda")):
        if node.type != "call_expression" or not section.start <= node.start_byte < section.end:
            continue
        angles = next((c for c in node.children if c.type == "kernel_call_syntax"), None)
        bare = said(node.child_by_field_name("function")).partition("<")[0].rpartition("::")[2].strip()
        if angles is None or bare != kernel:
            continue
        statement = node
        while statement.parent is not None and statement.type != "expression_statement":
            statement = statement.parent
        if statement.type != "expression_statement":
            continue
        given = [c for c in angles.named_children if c.type != "comment"]
        values = [v for name, c in zip(("grid", "block"), given, strict=False) for v in _extents(name, c)]
        listed = node.child_by_field_name("arguments")
        passed = [c for c in (listed.named_children if listed else ()) if c.type != "comment"]
        values += [(f"{i}", "%s", f"{TEXT}({said(c)}).c_str()") for i, c in enumerate(passed) if _pure(c)]
        line = f"{{{_line(f'launch {kernel}', values)} "
        found += [(statement.start_byte, line), (statement.end_byte, " }")]
    return found


def _extents(name: str, node: Node) -> list[tuple[str, str, str]]:
    if not _pure(node):
        return []
    return [(f"{name}.{a}", "%lld", f"(long long)dim3({said(node)}).{a}") for a in "xyz"]


def _pure(node: Node) -> bool:
    """Whether an expression may be evaluated once more."""
    for one in walk(node):
        if one.type in ("assignment_expression", "update_expression", "new_expression", "lambda_expression"):
            return False
        if one.type == "call_expression" and said(one.child_by_field_name("function")) not in _PURE:
            return False
    return True


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _number(text: str) -> int | float | str:
    try:
        return int(text)
    except ValueError:
        try:
            value = float(text)
        except ValueError:
            return text
    return value if abs(value) < float("inf") and value == value else text
