"""Task and candidate folders: ``task.toml`` and ``candidate.toml`` read, checked, and turned into records.

Every complaint names the file and the field, says what was expected, and what to do.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, TypeAdapter, ValidationError

from warpsmith.errors import BadInput
from warpsmith.model.base import Name, Record, digest_bytes
from warpsmith.model.candidate import OVERLAY, Candidate, Launch, Scratch, SourceFile, TensorMap
from warpsmith.model.harness import HarnessTask
from warpsmith.model.head import TaskHead, Variable
from warpsmith.model.space import Space, Tunable
from warpsmith.model.task import AppTask, KernelTask, Role, Task, task_digest
from warpsmith.store.blobs import Blobs

TASK_FILE = "task.toml"
CANDIDATE_FILE = "candidate.toml"
FIXTURE_SUFFIX = ".fixture"
"""Of the file that names, by its digest, a source that is never committed."""
_TASK: TypeAdapter[Any] = TypeAdapter(Task)
_TAGS = {("kernel",), ("app",), ("command",), ("serving",)}
"""What pydantic puts before the field of a task: its kind."""


class _CandidateFile(Record):
    """The fields of ``candidate.toml``."""

    toolchain: str
    sources: tuple[str, ...] = ()
    entry: Name | None = None
    environment: dict[Variable, str] = Field(default_factory=dict)
    flags: tuple[str, ...] = ()
    memo: str = ""
    constraints: tuple[str, ...] = ()
    tunables: dict[Name, Tunable] = Field(default_factory=dict)
    launch: tuple[Launch, ...] = ()
    scratch: tuple[Scratch, ...] = ()
    tensor_map: tuple[TensorMap, ...] = ()


@dataclass(frozen=True)
class LoadedTask:
    """A task with its folder and its identity."""

    task: Any
    folder: Path
    digest: str

    @property
    def head(self) -> TaskHead:
        """What all kinds share."""
        assert isinstance(self.task, TaskHead)
        return self.task

    @property
    def kernel(self) -> KernelTask | None:
        """The task, where it is a kernel task."""
        return self.task if isinstance(self.task, KernelTask) else None


def find_task(name: str, root: Path, start: Path = Path()) -> Path:
    """The folder of a task named by its path from ``start`` or by ``group/name``. Raises :class:`BadInput`."""
    for folder in (start / name, root / "tasks" / name):
        if (folder / TASK_FILE).is_file():
            return folder.resolve()
    known = sorted(str(p.parent.relative_to(root / "tasks")) for p in (root / "tasks").glob(f"*/*/{TASK_FILE}"))
    raise BadInput(
        f"there is no task {name!r}: neither {name}/{TASK_FILE} nor tasks/{name}/{TASK_FILE} exists.",
        f"Tasks here: {', '.join(known) or 'none'}; 'warpsmith new {name}' makes one.",
    )


def load_task(folder: Path) -> LoadedTask:
    """Read a task's folder. Raises :class:`BadInput` naming the file and the field."""
    path = folder / TASK_FILE
    data = _read_toml(path)
    try:
        task = _TASK.validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        raise _complaint(path, error) from None
    files = {}
    if isinstance(task, KernelTask):
        _expect_file(folder / task.reference, path, "reference")
        files[task.reference] = digest_bytes((folder / task.reference).read_bytes())
    if isinstance(task, HarnessTask):
        _expect_folder(folder, path, task)
        files = workspace_digests(folder, task)
    else:
        for field in ("baseline", "entry"):
            _expect_file(folder / getattr(task, field) / CANDIDATE_FILE, path, field)
    for peer in task.peers:
        _expect_file(folder / peer / CANDIDATE_FILE, path, "peers")
    return LoadedTask(task, folder, task_digest(task, files))


def load_candidate(folder: Path, blobs: Blobs, task: TaskHead | None = None) -> Candidate:
    """Read a candidate's folder and keep its sources as blobs. Raises :class:`BadInput`."""
    path = folder / CANDIDATE_FILE
    if isinstance(task, HarnessTask) and not folder.exists():
        return _bare(task)
    data = _read_toml(path)
    try:
        said = _CandidateFile.model_validate_json(json.dumps(data, default=str), strict=True)
        own = Space(tunables=said.tunables, constraints=said.constraints)
        space = task.space if isinstance(task, HarnessTask) and not own.tunables else own
        sources = tuple(_source(folder, name, path, blobs) for name in said.sources)
        candidate = Candidate(
            toolchain=said.toolchain,
            entry=said.entry or _entry(said, path),
            sources=sources,
            flags=said.flags,
            environment=said.environment,
            parameters=space.defaults,
            launch=said.launch,
            scratch=said.scratch,
            tensor_map=said.tensor_map,
            space=space,
            memo=said.memo,
        )
    except ValidationError as error:
        raise _complaint(path, error) from None
    if isinstance(task, KernelTask):
        check_plan(candidate, task, str(path))
    if isinstance(task, HarnessTask):
        check_overlay(candidate, task, str(path))
    return candidate


def check_overlay(candidate: Candidate, task: HarnessTask, where: str) -> None:
    """Refuse what is no overlay on the mutable files of ``task``. Raises :class:`BadInput`."""
    if why := task.refuses(candidate):
        raise BadInput(f"{where}: {why}.", "docs/harness.md says what a candidate of such a task may change.")


def _entry(said: _CandidateFile, path: Path) -> str:
    if said.toolchain != OVERLAY:
        raise BadInput(f"{path}: entry: Field required.", "docs/tasks.md lists every key with its type.")
    return OVERLAY


def _bare(task: HarnessTask) -> Candidate:
    """The workspace as it is: what baseline and entry are where they have no folder."""
    space = task.space
    return Candidate(toolchain=OVERLAY, entry=OVERLAY, sources=(), parameters=space.defaults, space=space)


def _expect_folder(folder: Path, manifest: Path, task: HarnessTask) -> None:
    root = folder / task.workspace
    if not root.is_dir():
        raise BadInput(f"{manifest}: workspace: {root} is no folder.", "Create it, or name another path.")
    if task.workspace and folder.resolve().is_relative_to(root.resolve()):
        raise BadInput(f"{manifest}: workspace: {root} holds the task itself.", "Put its files into a folder apart.")


def workspace_digests(folder: Path, task: HarnessTask) -> dict[str, str]:
    """The digests of the workspace's files, by path in it; none where the task in ``folder`` has no workspace."""
    if not task.workspace:
        return {}
    root = folder / task.workspace
    return {p.relative_to(root).as_posix(): digest_bytes(p.read_bytes()) for p in workspace_files(root)}


def workspace_files(root: Path) -> list[Path]:
    """The files of a workspace: all but what builds and interpreters leave behind, and version control."""
    passed = {".git", "__pycache__", ".pytest_cache"}
    return sorted(p for p in root.rglob("*") if p.is_file() and not passed & set(p.relative_to(root).parts))


def check_plan(candidate: Candidate, task: KernelTask, where: str) -> None:
    """Refuse a launch plan that cannot belong to ``task``. Raises :class:`BadInput`."""
    if task.contract == "device" and not candidate.launch:
        raise BadInput(f"{where}: the device contract needs a [[launch]].", "State kernel, grid, block and arguments.")
    if task.contract == "host" and candidate.launch:
        raise BadInput(f"{where}: the host contract takes no [[launch]].", "Remove it; the entry is called directly.")
    buffers = {a.name for a in task.arguments if a.is_tensor} | {s.name for s in candidate.scratch}
    for made in candidate.tensor_map:
        if made.of not in buffers:
            raise BadInput(
                f"{where}: the tensor map {made.name!r} is of {made.of!r}, which is no buffer.",
                f"Buffers: {', '.join(sorted(buffers))}.",
            )
    described = {m.name: m.of for m in candidate.tensor_map}
    known = {a.name for a in task.arguments} | buffers | set(described)
    outputs = {a.name for a in task.arguments if a.role is Role.output}
    if isinstance(task, AppTask) and task.parameters:  # what it writes lies behind its own parameters
        known, outputs = {p.name for p in task.parameters} | set(described) | buffers, set()
    for launch in candidate.launch:
        if unknown := [a for a in launch.arguments if a not in known]:
            raise BadInput(
                f"{where}: launch of {launch.kernel!r} passes unknown arguments {unknown}.",
                f"Known: {', '.join(sorted(known))}.",
            )
    passed = {described.get(a, a) for launch in candidate.launch for a in launch.arguments}
    if candidate.launch and not outputs <= passed:
        raise BadInput(f"{where}: no launch receives the outputs {sorted(outputs)}.", "Pass every output to a kernel.")


def _source(folder: Path, name: str, manifest: Path, blobs: Blobs) -> SourceFile:
    try:
        source = SourceFile(path=name, content=digest_bytes(b""))
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise BadInput(f"{manifest}: sources: {name!r}: {said}.", "Name files inside the candidate's folder.") from None
    path = folder / name
    if not path.is_file() and (kept := _fixture(folder / f"{name}{FIXTURE_SUFFIX}", blobs)) is not None:
        return source.model_copy(update={"content": kept})
    if not path.is_file():
        raise BadInput(f"{manifest}: sources: {path} does not exist.", "Name files relative to the candidate's folder.")
    return source.model_copy(update={"content": blobs.put(path.read_bytes())})


def _fixture(pointer: Path, blobs: Blobs) -> str | None:
    """The digest of a source that is a fixture, which a file beside the others names; None where there is no such file.
    Raises BadInput where the fixture is not on this machine.
    """
    if not pointer.is_file():
        return None
    named = pointer.read_text(encoding="utf-8").strip()
    if len(named) != 64 or not blobs.path(named).is_file():
        raise BadInput(
            f"{pointer}: the fixture {named[:12]} is not on this machine.",
            "Capture again, or copy .warpsmith/blobs and .warpsmith/fixtures from where it was captured.",
        )
    return named


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file.", f"A folder needs a {path.name}; see docs/tasks.md.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not TOML: {error}.", "Mend the syntax at that place.") from None


def _expect_file(path: Path, manifest: Path, field: str) -> None:
    if not path.is_file():
        raise BadInput(f"{manifest}: {field}: {path} does not exist.", "Create it, or name another path.")


def _complaint(path: Path, error: ValidationError) -> BadInput:
    """One line per field: where, what was expected, what was given."""
    lines = []
    for issue in error.errors():
        loc = issue["loc"][1:] if issue["loc"][:1] in _TAGS else issue["loc"]
        field = ".".join(str(part) for part in loc)
        message = issue["msg"].removeprefix("Value error, ")
        if issue["type"] == "extra_forbidden":
            message = "unknown key"
        given = issue.get("input")
        said = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
        lines.append(f"{field}: {message}{said}" if field else f"{message}{said}")
    return BadInput(f"{path}: " + "; ".join(lines) + ".", "docs/tasks.md lists every key with its type.")
