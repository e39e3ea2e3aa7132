"""What an MCP client can read without a call: tasks, histories, reports, and how to use the tool. Never measures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from warpsmith.errors import BadInput
from warpsmith.propose.agent import GUIDES
from warpsmith.store.folders import TASK_FILE
from warpsmith.surface import api
from warpsmith.surface.workspace import Workspace

SCHEME = "warpsmith://"
SKILL = GUIDES / "skill" / "SKILL.md"


@dataclass(frozen=True)
class Resource:
    """One thing to read, or a template of such."""

    uri: str
    name: str
    what: str
    mime: str = "text/markdown"


GUIDE = Resource(f"{SCHEME}guide", "guide", "how to make a kernel faster with these tools")
TEMPLATES = (
    Resource(f"{SCHEME}task/{{group}}/{{name}}", "task", "a task: its file, its oracle and the entry candidate"),
    Resource(
        f"{SCHEME}history/{{group}}/{{name}}/{{tag}}", "history", "what a campaign tried and found", "application/json"
    ),
    Resource(f"{SCHEME}report/{{group}}/{{name}}/{{tag}}", "report", "the report of a campaign"),
)


def listed() -> list[Resource]:
    """What there is now: every task of the project, and every campaign."""
    space = Workspace()
    found = [GUIDE]
    for path in sorted((space.root / "tasks").glob(f"*/*/{TASK_FILE}")):
        task = f"{path.parent.parent.name}/{path.parent.name}"
        found.append(Resource(f"{SCHEME}task/{task}", task, TEMPLATES[0].what))
        for tag in space.tags(task):
            for template in TEMPLATES[1:]:
                uri = f"{SCHEME}{template.name}/{task}/{tag}"
                found.append(Resource(uri, f"{template.name} of {task}, {tag}", template.what, template.mime))
    return found


def read(uri: str) -> tuple[str, str]:
    """The text of a resource, and its type. The tag may be left out. Raises BadInput for what is not there."""
    kind, *place = uri.removeprefix(SCHEME).split("/") if uri.startswith(SCHEME) else [""]
    task, tag = "/".join(place[:2]), (place[2:] or ["main"])[0]
    if kind == "guide" and not place:
        return SKILL.read_text(encoding="utf-8"), GUIDE.mime
    if kind == "task" and len(place) == 2:
        return _task(task), TEMPLATES[0].mime
    if kind == "history" and len(place) in (2, 3):
        return api.history(task, tag=tag).model_dump_json(indent=1), TEMPLATES[1].mime
    if kind == "report" and len(place) in (2, 3):
        return Path(api.report(task, tag=tag).markdown).read_text(encoding="utf-8"), TEMPLATES[2].mime
    known = ", ".join([GUIDE.uri, *(t.uri for t in TEMPLATES)])
    raise BadInput(f"there is no resource {uri!r}.", f"Known: {known}.")


def _task(name: str) -> str:
    """The files that say what is to be made faster, as Markdown."""
    space = Workspace()
    known = space.task(name)
    folder, head = known.loaded.folder, known.loaded.head
    files = [TASK_FILE, *([known.loaded.kernel.reference] if known.loaded.kernel else [])]
    files += [f"{head.entry}/candidate.toml", *(f"{head.entry}/{s.path}" for s in known.entry.sources)]
    parts = [f"# {head.name}: {head.title}", head.description]
    parts += [f"## {f}\n\n```\n{(folder / f).read_text(encoding='utf-8').rstrip()}\n```" for f in files]
    return "\n\n".join(p for p in parts if p) + "\n"
