"""The ``new`` verb: a task folder from a template, complete and runnable."""

from __future__ import annotations

import re
from pathlib import Path

from warpsmith.errors import BadInput

TEMPLATES = Path(__file__).parent / "templates"
PLACE = "__TASK__"
"""What the task's name replaces in every file of a template."""


def stamp(tasks: Path, name: str, kind: str, hardware: str) -> tuple[Path, tuple[str, ...]]:
    """Make ``tasks/<name>``; returns the folder and its files. Raises BadInput and changes nothing where it cannot."""
    if not re.fullmatch(r"[a-z0-9_\-]+/[a-z0-9_\-]+", name):
        raise BadInput(f"{name!r} is no task name.", "Use group/name in small letters, digits, '-' and '_'.")
    template = TEMPLATES / f"{kind}-{hardware}"
    if not template.is_dir():
        known = ", ".join(sorted(p.name.replace("-", " on ") for p in TEMPLATES.iterdir() if p.is_dir()))
        raise BadInput(f"there is no template for a {kind} task on {hardware}.", f"There are: {known}.")
    folder = tasks / name
    if folder.exists():
        raise BadInput(f"{folder} exists already.", "Choose another name, or remove it.")
    written = []
    for path in sorted(p for p in template.rglob("*") if p.is_file()):
        relative = path.relative_to(template)
        target = folder / relative.with_suffix("") if path.suffix == ".template" else folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(path.read_text().replace(PLACE, name))
        written.append(str(target.relative_to(folder)))
    return folder, tuple(written)
