"""Skills: what to do about each rule, as files; the catalogue of one-liners, and the few that a diagnosis calls for.

Owns how a skill is laid out (``style.md``) and the check of it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from itertools import zip_longest
from pathlib import Path

from warpsmith.analyse.rules import AT_THE_ROOF, rules
from warpsmith.knowledge.frontmatter import first, split
from warpsmith.model.base import Record
from warpsmith.model.metrics import METRICS
from warpsmith.model.profile import Diagnosis

FOLDER = Path(__file__).parent
SKILLS = FOLDER / "skills"
GLOSSARY = FOLDER / "glossary.md"
LONGEST, LONGEST_TITLE = 2000, 90
"""Characters of a whole skill, and of its title."""
LOADED = 5
"""Skills whose full text goes with a diagnosis."""
SECTIONS = ("Signal", "Root causes", "Fixes", "Anti-patterns", "Confirm")
ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
HEAD = ("id", "title", "architectures", "metrics")


class Skill(Record):
    """What an engineer needs in the minute after a rule fired."""

    id: str
    """The rule's."""
    title: str
    architectures: tuple[str, ...]
    metrics: tuple[str, ...]
    """Keys of the metric table that the skill tells to read."""
    body: str
    """Markdown, with the sections of ``SECTIONS``."""

    @property
    def line(self) -> str:
        """What the catalogue shows."""
        return f"{self.id}: {self.title}"

    @property
    def full(self) -> str:
        """The whole skill as a prompt or a reader takes it."""
        return f"# {self.line}\n\n{self.body.strip()}\n"


class Loaded(Record):
    """The knowledge that goes with some diagnoses."""

    skills: tuple[Skill, ...]
    """In full, the most pressing first."""
    catalogue: tuple[str, ...]
    """One line for each of the others."""


def parse(text: str) -> Skill:
    """A skill from its file, whatever its faults: :func:`problems` names those."""
    head, body = split(text)
    return Skill(
        id=first(head, "id"),
        title=first(head, "title"),
        architectures=_listed(head.get("architectures", ())),
        metrics=_listed(head.get("metrics", ())),
        body=body,
    )


def load_skills(folder: Path = SKILLS) -> dict[str, Skill]:
    """Every skill by id, in the order of the ids."""
    return {s.id: s for s in (parse(p.read_text(encoding="utf-8")) for p in sorted(folder.glob("*.md")))}


def catalogue(skills: Mapping[str, Skill]) -> tuple[str, ...]:
    """One line per skill: what every prompt can afford."""
    return tuple(skill.line for skill in skills.values())


def load_for(diagnoses: Iterable[Diagnosis], skills: Mapping[str, Skill], limit: int = LOADED) -> Loaded:
    """The full skills of the first ``limit`` rules: those of the next edits, then causes, then symptoms, each in the
    order of the findings, the kernels taking turns.
    """
    given = tuple(diagnoses)
    called = [d.edit.rule for d in given]
    for symptoms in (False, True):
        columns = ([f.rule for f in d.findings if bool(f.cause) is symptoms] for d in given)
        called += [r for row in zip_longest(*columns) for r in row if r]
    chosen = [r for r in dict.fromkeys(called) if r in skills][:limit]
    rest = tuple(s.line for i, s in skills.items() if i not in chosen)
    return Loaded(skills=tuple(skills[r] for r in chosen), catalogue=rest)


def rule_ids() -> tuple[str, ...]:
    """Every rule that a skill belongs to: those that can fire, and the advice that stands at the roof."""
    return (*rules(), AT_THE_ROOF)


def check(folder: Path = SKILLS) -> tuple[str, ...]:
    """Everything that is wrong with the skills of a folder; empty where nothing is."""
    paths, fire = sorted(folder.glob("*.md")), rule_ids()
    known = {p.stem for p in paths}
    found = [f"{p.name}: {said}" for p in paths for said in problems(p, fire, known)]
    return (*found, *(f"rule {r}: no skill" for r in sorted(set(fire) - known)))


def problems(path: Path, fire: Collection[str], skills: Collection[str]) -> list[str]:
    """What is wrong with one skill file (its layout is the style guide's)."""
    try:
        text = path.read_bytes().decode("ascii")
    except UnicodeDecodeError as error:
        return [f"not ASCII at byte {error.start}"]
    skill, (head, body) = parse(text), split(text)
    said = [f"the head lacks {key}" for key in HEAD if not head.get(key)]
    said += [f"the head has an unknown key {key}" for key in head if key not in HEAD]
    if len(text) > LONGEST:
        said.append(f"{len(text)} characters, at most {LONGEST}")
    if len(skill.title) > LONGEST_TITLE:
        said.append(f"the title has {len(skill.title)} characters, at most {LONGEST_TITLE}")
    if skill.id != path.stem:
        said.append(f"the id is {skill.id!r}, the file's name {path.stem!r}")
    if skill.id not in fire:
        said.append(f"there is no rule {skill.id!r}")
    said += [f"unknown architecture {a!r}" for a in skill.architectures if a not in ARCHITECTURES]
    said += [f"unknown metric {m!r}" for m in skill.metrics if m not in METRICS]
    return said + _section_problems(body, skills)


def _section_problems(body: str, skills: Collection[str]) -> list[str]:
    parts = re.split(r"^## (.*)$", body, flags=re.MULTILINE)
    names, texts = tuple(parts[1::2]), parts[2::2]
    said = [] if names == SECTIONS else [f"the sections are {', '.join(names)}; wanted: {', '.join(SECTIONS)}"]
    said += [f"section {n} is empty" for n, t in zip(names, texts, strict=True) if not t.strip()]
    for name, text in zip(names, texts, strict=True):
        if name in ("Signal", "Confirm"):
            words = re.findall(r"`([a-z0-9]+(?:_[a-z0-9]+)*)`", text)
            said += [f"{name}: {w!r} is no metric and no skill" for w in words if w not in METRICS and w not in skills]
    return said


def glossary() -> dict[str, str]:
    """Term to meaning."""
    lines = re.findall(r"^- \*\*(.+?)\*\*: (.+)$", GLOSSARY.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(lines)


def _listed(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part.strip() for value in values for part in value.split(",") if part.strip())
