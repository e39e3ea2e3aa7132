"""A model's reply as a candidate: the memo, whole files in fences, and the manifest where it changes.

A reply is the files of a candidate's folder, so whatever can be said of a folder (tunables, launch plan, scratch,
flags) can be said in a reply, and the same reader checks it. Files that it leaves out are the parent's.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from warpsmith.errors import BadInput
from warpsmith.model.candidate import Candidate
from warpsmith.model.task import KernelTask
from warpsmith.store.blobs import Blobs
from warpsmith.store.folders import CANDIDATE_FILE, load_candidate

UNTAGGED = "[untagged]"
LONGEST_MEMO = 600
_OPENS = re.compile(r"^ {0,3}(?P<fence>`{3,}|~{3,})(?P<info>[^\n`]*)$")
_MEMO = re.compile(
    r"^(?:[*_#>\-\s]|memo:)*\[(?P<tag>[A-Za-z0-9][A-Za-z0-9_+./\-]{0,39})\][*_]*\s*(?P<said>\S.*)$", re.I
)
_NAMED = re.compile(r"(?:file|path|name|title)\s*[=:]\s*[\"'`]?([\w./\-]+)", re.IGNORECASE)
_PATH = re.compile(r"[`*\"'(\s#:]*([A-Za-z0-9_][\w./\-]*\.\w{1,5})[`*\"'):\s]*$")
_LANGUAGES = {
    "c": (".c", ".h"), "cpp": (".cpp", ".cu", ".cuh", ".h"), "c++": (".cpp", ".cu"), "cuda": (".cu", ".cuh"),
    "cu": (".cu",), "python": (".py",), "py": (".py",), "ptx": (".ptx",), "toml": (".toml",),
}  # fmt: skip


@dataclass
class Reply:
    """One candidate of a reply, before anything is checked."""

    memo: str = ""
    files: dict[str, str] = field(default_factory=dict)
    """By path below the candidate's folder."""
    nameless: list[tuple[str, str]] = field(default_factory=list)
    """Fenced blocks that do not say which file they are: language, text."""
    prose: str = ""
    """What stands outside of memo and fences."""
    cut: bool = False
    """It ends inside a fence."""


def parse(text: str, known: tuple[str, ...]) -> list[Reply]:
    """The candidates of a reply, in their order; each begins with its memo. ``known`` are the parent's files."""
    found = [Reply()]
    fence, path, language, lines, before = "", "", "", list[str](), ""
    for line in text.replace("\r\n", "\n").split("\n"):
        at = found[-1]
        if fence:
            stripped = line.strip()
            if stripped and not stripped.strip(fence[0]) and len(stripped) >= len(fence):
                _close(at, path, language, lines)
                fence, before = "", ""
            else:
                lines.append(line)
        elif opened := _OPENS.match(line):
            fence, lines = opened["fence"], []
            language = (opened["info"].split() or [""])[0].lower()
            path = _named(opened["info"], before, known)
        elif memo := _MEMO.match(line.strip()):
            if at.memo and (at.files or at.nameless):
                at = Reply()
                found.append(at)
            at.memo = at.memo or f"[{memo['tag'].lower()}] {memo['said'].strip(' *')}"[:LONGEST_MEMO]
        elif line.strip():
            before = line.strip()
            at.prose += line + "\n"
    if fence:
        _close(found[-1], path, language, lines)
        found[-1].cut = True
    return [_settled(one, known) for one in found if one.files or one.nameless or one.memo] or [Reply(prose=text)]


def candidate(reply: Reply, parent: Candidate, blobs: Blobs, task: KernelTask) -> Candidate:
    """The candidate that a reply describes, with its sources kept. Raises BadInput for the model to read."""
    texts = blobs.texts(parent)
    files = {**texts, CANDIDATE_FILE: manifest(parent), **{p: ended(t) for p, t in reply.files.items()}}
    safe(files)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for path, text in files.items():
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8")
        try:
            given = load_candidate(folder, blobs, task)
        except BadInput as error:
            raise BadInput(str(error).replace(f"{folder}/", "")) from None
    if given.entry != parent.entry:
        raise BadInput(f"{CANDIDATE_FILE}: entry: it must stay {parent.entry!r}.")
    if given.toolchain != parent.toolchain and task.contract == "host":
        raise BadInput(f"{CANDIDATE_FILE}: toolchain: it must stay {parent.toolchain!r} under the host contract.")
    if unused := sorted(set(reply.files) - {CANDIDATE_FILE} - {s.path for s in given.sources}):
        raise BadInput(f"{CANDIDATE_FILE}: sources: {unused} were given and are not listed there.")
    return given.model_copy(update={"memo": reply.memo or UNTAGGED, "parent": parent.id})


def safe(paths: Iterable[str]) -> None:
    """Raises BadInput for a path that leads out of the candidate's folder."""
    for path in paths:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_./\-]*", path) or ".." in path.split("/"):
            raise BadInput(f"{path!r} is no path inside the candidate's folder.")


def manifest(candidate: Candidate) -> str:
    """``candidate.toml`` of a candidate: its present point becomes the default."""
    lines = [
        f"toolchain = {toml(candidate.toolchain)}",
        f"sources = {toml([s.path for s in candidate.sources])}",
        f"entry = {toml(candidate.entry)}",
        f"flags = {toml(list(candidate.flags))}",
    ]
    if candidate.space.constraints:
        lines += ["constraints = [", *(f"    {toml(c)}," for c in candidate.space.constraints), "]"]
    if candidate.space.tunables:
        lines += ["", "[tunables]"]
    for name, tunable in candidate.space.tunables.items():
        now = candidate.parameters.get(name, tunable.default)
        doc = f", doc = {toml(tunable.doc)}" if tunable.doc else ""
        lines.append(f"{name} = {{ values = {toml(list(tunable.values))}, default = {now}{doc} }}")
    for table, records in (
        ("launch", candidate.launch),
        ("scratch", candidate.scratch),
        ("tensor_map", candidate.tensor_map),
    ):
        for record in records:
            said = record.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
            lines += ["", f"[[{table}]]", *(f"{key} = {toml(value)}" for key, value in said.items())]
    return "\n".join(lines) + "\n"


def toml(value: object) -> str:
    """A value as TOML has it."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(v) for v in value) + "]"
    return json.dumps(value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_\-]+", key) else json.dumps(key)


def _close(reply: Reply, path: str, language: str, lines: list[str]) -> None:
    text = "\n".join(lines) + "\n"
    if path:
        reply.files[path] = text
    elif language not in ("text", "txt", "diff", "patch", "console", "bash", "sh", "output"):
        reply.nameless.append((language, text))


def _named(info: str, before: str, known: tuple[str, ...]) -> str:
    """Which file a fence opens: by its own words, or by the line before it."""
    if found := _NAMED.search(info):
        return found[1].removeprefix("./")
    words = [w.strip("`\"'").removeprefix("./") for w in info.replace(":", " ").split()]
    if named := [w for w in words if w in known or "." in w]:
        return named[0]
    if found := _NAMED.search(before) or _PATH.search(before):
        path = found[1].removeprefix("./")
        return path if path in known or path == CANDIDATE_FILE or before.count(" ") < 6 else ""
    return ""


def _settled(reply: Reply, known: tuple[str, ...]) -> Reply:
    """Nameless blocks get the one name that fits."""
    for language, text in [*reply.nameless]:
        suffixes = _LANGUAGES.get(language, ())
        fitting = [
            p
            for p in dict.fromkeys((*known, CANDIDATE_FILE))
            if p not in reply.files and (not suffixes or p.endswith(suffixes))
        ]
        fitting = [p for p in fitting if (p == CANDIDATE_FILE) == _is_manifest(text)]
        if len(fitting) == 1:
            reply.files[fitting[0]] = text
            reply.nameless.remove((language, text))
    return reply


def _is_manifest(text: str) -> bool:
    return bool(re.search(r"^(toolchain|sources|entry)\s*=", text, re.MULTILINE))


def ended(text: str) -> str:
    """With one line end behind the last line."""
    return text.rstrip() + "\n"
