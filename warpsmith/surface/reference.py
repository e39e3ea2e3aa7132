"""The reference page of the command line, made from the verbs: ``docs/cli.md`` is this text, and a test holds
them together.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from docstring_parser import parse

from warpsmith.surface import api
from warpsmith.surface.cli import HIDDEN, SPELLED, spelled

PAGE = Path(__file__).parent / "templates" / "cli.md"
"""The parts that no verb knows: exit statuses, streams, where things lie."""
PLACE = "__VERBS__"


def reference() -> str:
    """The whole page as Markdown."""
    return PAGE.read_text().replace(PLACE, "\n".join(_verb(v) for v in api.VERBS))


def _verb(verb: Callable[..., Any]) -> str:
    said = parse(inspect.getdoc(verb) or "")
    told = {p.arg_name: p.description or "" for p in said.params}
    parameters = [p for n, p in inspect.signature(verb).parameters.items() if n not in HIDDEN]
    lines = [f"### `warpsmith {spelled(verb)}`", "", (said.short_description or "").strip(), ""]
    if said.long_description:
        lines += [said.long_description.strip(), ""]
    lines += ["| argument | type | default | meaning |", "|---|---|---|---|"]
    lines += [_row(p, told.get(p.name, ""), verb.__globals__) for p in parameters]
    lines += ["| `--json` | flag | off | Print one JSON document on standard output. |", ""]
    return "\n".join(lines)


def _row(parameter: inspect.Parameter, meaning: str, known: dict[str, Any]) -> str:
    """``known`` are the names of the verb's module, where choices are spelled out."""
    kind = str(parameter.annotation).removesuffix(" | None")
    if isinstance(choices := getattr(known.get(kind), "__args__", None), tuple):
        kind = " or ".join(choices)
    spelled = SPELLED.get(parameter.name, (f"--{parameter.name.replace('_', '-')}",))[0]
    if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
        name, default = f"`{parameter.name.upper()}...`", "none"
    elif parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
        name = f"`{parameter.name.upper()}`"
        default = "required" if parameter.default is inspect.Parameter.empty else _default(parameter.default)
    else:
        name = f"`{spelled}`"
        needed = parameter.default is inspect.Parameter.empty
        default = "required" if needed else "off" if parameter.default is False else _default(parameter.default)
    shown = "flag" if kind == "bool" else kind.replace(" | None", "").replace("|", "or")
    return f"| {name} | {shown} | {default} | {' '.join(meaning.split())} |"


def _default(value: object) -> str:
    return "none" if value in (None, "", ()) else f"`{value}`"
