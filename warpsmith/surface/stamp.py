"""The ``new`` verb: a task folder from a template, complete and runnable."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from warpsmith.errors import BadInput

if TYPE_CHECKING:
    from warpsmith.surface import answers

Kind = Literal["kernel", "app", "command", "serving"]

TEMPLATES = Path(__file__).parent / "templates"
PLACE = "__TASK__"
"""What the task's name replaces in every file of a template; others stand beside it (``Subject.places``)."""
ANY = "any"
"""The hardware in the name of a template that all templates of its kind begin with."""


def new(
    name: str,
    *,
    kind: Kind = "kernel",
    hardware: str = "cpu",
    model: str = "",
    model_path: Path | None = None,
    model_slug: str = "",
    hardware_slug: str = "",
) -> answers.NewAnswer:
    """Stamp a task folder from a template, complete and runnable.

    Args:
        name: The task's name, as group/name; the folder becomes tasks/group/name.
        kind: What is to be optimised.
        hardware: Where it runs: cpu (C) or cuda (CUDA C++).
        model: Serving: the name under which the model is served; by default that of its snapshot.
        model_path: Serving: folder of a model snapshot; without one, a small model with random weights.
        model_slug: Serving: short name of the model, in labels and run tags.
        hardware_slug: Serving: short name of the hardware, in labels and run tags.
    """
    from warpsmith.surface.answers import NewAnswer
    from warpsmith.surface.subject import only_serving, subject
    from warpsmith.surface.workspace import Workspace

    space = Workspace()
    checked(space.root / "tasks", name, kind, hardware)
    asked = (model, model_path, hardware, model_slug, hardware_slug)
    places = subject(*asked).places if kind == "serving" else only_serving(kind, *asked)
    folder, files = stamp(space.root / "tasks", name, kind, hardware, places)
    return NewAnswer(task=name, folder=str(folder), files=files)


def stamp(
    tasks: Path, name: str, kind: str, hardware: str, places: Mapping[str, str] | None = None
) -> tuple[Path, tuple[str, ...]]:
    """Make ``tasks/<name>``; returns the folder and its files. Raises BadInput and changes nothing where it cannot."""
    folder, template = checked(tasks, name, kind, hardware)
    said = {PLACE: name, **(places or {})}
    sources = _files(TEMPLATES / f"{kind}-{ANY}") | _files(template)
    written = []
    for relative, path in sorted(sources.items()):
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text()
        for place, value in said.items():
            text = text.replace(place, value)
        target.write_text(text)
        written.append(relative)
    return folder, tuple(written)


def checked(tasks: Path, name: str, kind: str, hardware: str) -> tuple[Path, Path]:
    """The folder to be made and its template. Raises BadInput where there is no such template, or the folder exists."""
    if not re.fullmatch(r"[a-z0-9_\-]+/[a-z0-9_\-]+", name):
        raise BadInput(f"{name!r} is no task name.", "Use group/name in small letters, digits, '-' and '_'.")
    template = TEMPLATES / f"{kind}-{hardware}"
    if hardware == ANY or not template.is_dir():
        stamped = (p.name for p in TEMPLATES.iterdir() if p.is_dir() and not p.name.endswith(f"-{ANY}"))
        known = ", ".join(sorted(n.replace("-", " on ") for n in stamped if "-" in n))
        captured = "'warpsmith capture' makes them from a running application. " if kind == "app" else ""
        raise BadInput(f"there is no template for {kind} tasks on {hardware}.", f"{captured}There are: {known}.")
    folder = tasks / name
    if folder.exists():
        raise BadInput(f"{folder} exists already.", "Choose another name, or remove it.")
    return folder, template


def _files(template: Path) -> dict[str, Path]:
    """The files of a template by the path that they are written to."""
    found = {}
    for path in template.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            relative = path.relative_to(template)
            kept = relative.with_suffix("") if path.suffix == ".template" else relative
            found[kept.as_posix()] = path
    return found
