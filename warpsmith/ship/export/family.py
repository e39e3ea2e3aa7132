"""A family: the releases of one operation for several architectures and shapes, read and checked whole.

Every reason against an export is found at once. Nothing of a release that was changed is read further.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from warpsmith.errors import BadInput, WarpsmithError
from warpsmith.model.base import Record, digest_bytes
from warpsmith.model.evaluation import Build
from warpsmith.model.release import IndexEntry, Manifest, Variant
from warpsmith.model.task import Argument, Dtype, KernelTask, Role
from warpsmith.ship.export import processors
from warpsmith.ship.export.guards import Row, boxes, contradictions, never_chosen, numbers, order
from warpsmith.ship.seal import check_index, check_release
from warpsmith.ship.shelf import Shelf
from warpsmith.store.folders import load_task

Reason = Literal[
    "unknown_release", "tampered", "not_a_kernel", "not_exportable", "no_measured_variant", "other_abi",
    "guards_contradict", "never_chosen", "architecture_unknown", "not_compiled", "bad_name", "installed_path",
    "dispatch_cost",
]  # fmt: skip
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
EXPORTABLE = ("c", "cuda", "ptx", "triton", "cute")
"""Toolchains whose artefact is a cubin or a library with a C entry; the others are bindings of their own."""
RESERVED = {
    "device", "device_type", "scratch", "scratch_bytes", "auto", "break", "case", "char", "const", "continue",
    "default", "do", "double", "else", "enum", "extern", "float", "for", "goto", "if", "inline", "int", "long",
    "register", "restrict", "return", "short", "signed", "sizeof", "static", "struct", "switch", "typedef", "union",
    "unsigned", "void", "volatile", "while", "class", "delete", "new", "operator", "private", "public", "template",
    "this", "throw", "bool", "true", "false", "try",
}  # fmt: skip
"""Names that a field of a C structure cannot have, or that ours have."""


class Against(Record):
    """One reason against an export."""

    reason: Reason
    message: str
    remedy: str


@dataclass(frozen=True)
class Member:
    """One row of the table with all that is generated from it."""

    row: Row
    manifest: Manifest
    entry: IndexEntry
    task: KernelTask
    build: Build
    artefact: bytes
    features: str = ""
    """Instruction sets that a processor needs, by the names of /proc/cpuinfo."""

    @property
    def is_host(self) -> bool:
        """Whether a processor runs it."""
        return self.row.hardware == "cpu"


@dataclass(frozen=True)
class Family:
    """Releases that can be exported together, their rows in the order of choice."""

    name: str
    members: tuple[Member, ...]
    notes: tuple[str, ...]

    @property
    def task(self) -> KernelTask:
        """Any task of the family: they agree in their arguments."""
        return self.members[0].task

    @property
    def tensors(self) -> tuple[Argument, ...]:
        """The tensors, in the order of the arguments."""
        return tuple(a for a in self.task.arguments if a.is_tensor)

    @property
    def scalars(self) -> tuple[Argument, ...]:
        """The numbers that are no axes."""
        return tuple(a for a in self.task.arguments if a.role is Role.scalar)

    @property
    def axes(self) -> tuple[str, ...]:
        """Every axis, in the order of the workloads."""
        return tuple(self.task.workloads[0].axes)

    @property
    def releases(self) -> tuple[Manifest, ...]:
        """Each release once, in the order of its first row."""
        return tuple({m.manifest.spec: m.manifest for m in self.members}.values())


Compile = Callable[[Manifest, KernelTask, str], tuple[bytes, Build]]
"""Builds a release's candidate for another architecture. Raises WarpsmithError."""


@dataclass
class Reading:
    """What was read so far."""

    shelf: Shelf
    keys: Path | None
    members: list[Member] = field(default_factory=list)
    against: list[Against] = field(default_factory=list)

    def say(self, reason: Reason, message: str, remedy: str) -> None:
        """Note a reason against."""
        self.against.append(Against(reason=reason, message=message, remedy=remedy))


def read(
    shelf: Shelf, asked: Sequence[str], name: str, keys: Path | None, before: Sequence[str] = (),
    also: Sequence[str] = (), compile_for: Compile | None = None,
) -> tuple[Family | None, tuple[Against, ...]]:  # fmt: skip
    """The family of the releases ``asked`` for and those exported ``before``, or every reason against exporting it.

    A release that was exported before goes where one of its own name that is asked for covers all of it. ``also`` are
    architectures for which ``compile_for`` makes variants that are compiled, not measured.
    """
    reading = Reading(shelf, keys)
    for check in check_index(shelf):
        if check.result == "failed":
            reading.say("tampered", f"{check.name}: {check.detail}.", check.remedy)
    if not NAME.fullmatch(name) or name in RESERVED:
        reading.say("bad_name", f"{name!r} cannot be the name of an export.", "Use --name, as a C identifier.")
    for spec in dict.fromkeys((*before, *asked)):
        _release(reading, spec, also, compile_for)
    _agree(reading)
    notes = _replace(reading, before, asked)
    rows = order([m.row for m in reading.members])
    for a, b in contradictions(rows):
        message = f"{a.release} and {b.release} cover the same shapes over different baselines."
        reading.say("guards_contradict", message, "Export them under two names, or measure them beside one baseline.")
    shadowed = never_chosen(rows)
    for at, first in shadowed.items():
        if rows[at].release not in {r.release for i, r in enumerate(rows) if i not in shadowed}:
            message = f"{rows[at].release} would never be chosen: {first.release} covers all of it with a larger gain."
            reading.say("never_chosen", message, "Leave it out, or use --replace to start afresh with it.")
    if reading.against:
        return None, tuple(reading.against)
    by_row = {id(m.row): m for m in reading.members}
    kept = tuple(by_row[id(row)] for at, row in enumerate(rows) if at not in shadowed)
    return Family(name=name, members=kept, notes=notes), ()


def _release(reading: Reading, spec: str, also: Sequence[str], compile_for: Compile | None) -> None:
    shelf = reading.shelf
    try:
        entry = shelf.find(spec)
    except BadInput as error:
        reading.say("unknown_release", error.message, error.remedy)
        return
    checks, manifest = check_release(shelf, entry, reading.keys)
    broken = [c for c in checks if c.result == "failed"]
    for check in broken:
        reading.say("tampered", f"{entry.spec}: {check.name}: {check.detail}.", check.remedy)
    if broken or manifest is None:
        return
    folder = shelf.place(entry.name, entry.version)
    task = load_task(folder / "task").kernel
    if task is None:
        reading.say("not_a_kernel", f"{entry.spec} is of a task that is no kernel.", "Export kernels.")
        return
    toolchain = manifest.candidate.toolchain
    if toolchain not in EXPORTABLE:
        message = f"{entry.spec}: a {toolchain} candidate brings a binding of its own."
        reading.say("not_exportable", message, f"Export releases of: {', '.join(EXPORTABLE)}.")
        return
    if taken := sorted({a.name for a in task.arguments} & RESERVED):
        message = f"{entry.spec}: arguments of these names cannot be exported: {', '.join(taken)}."
        reading.say("not_exportable", message, "Rename them in the task.")
        return
    for variant in manifest.variants:
        content = (folder / variant.artefact).read_bytes()
        _member(reading, entry, manifest, task, variant, content, manifest.build)
    if not any(v.proof == "measured" for v in manifest.variants):
        reading.say("no_measured_variant", f"{entry.spec} has no measured variant.", "Promote it on its hardware.")
    if also and manifest.hardware == "cpu":
        message = f"{entry.spec} is for processors, and these are compiled where they are promoted."
        reading.say("not_compiled", message, "Leave --also out.")
    elif compile_for is not None:
        for architecture in also:
            _compiled(reading, entry, manifest, task, architecture, compile_for)


def _compiled(
    reading: Reading, entry: IndexEntry, manifest: Manifest, task: KernelTask, architecture: str, compile_for: Compile
) -> None:
    """A variant for an architecture that nobody measured."""
    if any(v.guard.architecture == architecture for v in manifest.variants):
        return
    try:
        content, build = compile_for(manifest, task, architecture)
    except WarpsmithError as error:
        message = f"{entry.spec} for {architecture}: {error.message}"
        reading.say("not_compiled", message, error.remedy or "Leave the architecture out.")
        return
    first = manifest.variants[0]
    variant = Variant(
        candidate=first.candidate,
        artefact=first.artefact,
        binary=digest_bytes(content),
        guard=first.guard.model_copy(update={"architecture": architecture}),
        proof="compiled, not measured",
    )
    _member(reading, entry, manifest, task, variant, content, build)


def _member(
    reading: Reading, entry: IndexEntry, manifest: Manifest, task: KernelTask, variant: Variant, content: bytes,
    build: Build,
) -> None:  # fmt: skip
    guard, measured = variant.guard, variant.proof == "measured"
    features = ""
    if guard.hardware == "cpu":
        try:
            features = processors.features(guard.architecture)
        except WarpsmithError as error:
            reading.say("architecture_unknown", f"{entry.spec}: {error.message}", error.remedy)
            return
    stated = {a.name: a.value for a in task.arguments if a.role is Role.scalar}
    row = Row(
        release=entry.spec,
        name=entry.name,
        hardware=guard.hardware,
        architecture=guard.architecture,
        dtypes=dict(guard.dtypes),
        boxes=boxes(manifest.workloads, task.shapes, guard),
        scalars=numbers(manifest.workloads, stated),
        alignment=guard.alignment,
        layout=guard.layout,
        proof=variant.proof,
        gain=manifest.gain if measured else None,
        baseline=manifest.baseline_id,
        candidate=variant.candidate,
        artefact=digest_bytes(content),
    )
    reading.members.append(Member(row, manifest, entry, task, build, content, features))


def _replace(reading: Reading, before: Sequence[str], asked: Sequence[str]) -> tuple[str, ...]:
    """Drop the rows that were exported before and that a release of the same name covers now; says which."""
    new = [m.row for m in reading.members if m.row.release in asked]
    notes: dict[str, None] = {}
    for member in [m for m in reading.members if m.row.release in before and m.row.release not in asked]:
        by = next((r for r in new if r.name == member.row.name and r.holds(member.row)), None)
        if by is not None:
            reading.members.remove(member)
            notes[f"{by.release} replaces {member.row.release} for {member.row.architecture}"] = None
    return tuple(notes)


def _agree(reading: Reading) -> None:
    """Every member takes the arguments of the first; element types may differ, they are in the guard."""
    if not reading.members:
        return
    first = reading.members[0]
    for member in {m.row.release: m for m in reading.members}.values():
        if differs := _differs(first.task, member.task):
            message = f"{member.row.release} and {first.row.release} have other arguments: {differs}."
            reading.say("other_abi", message, "Export them under two names.")


def _differs(a: KernelTask, b: KernelTask) -> str:
    def said(task: KernelTask) -> list[tuple[str, str, tuple[str | int, ...] | None, Dtype | None]]:
        return [(x.name, x.role.value, x.shape, None if x.is_tensor else x.element) for x in task.arguments]

    mine, other = said(a), said(b)
    if [x[0] for x in mine] != [x[0] for x in other]:
        return f"{', '.join(x[0] for x in other)} instead of {', '.join(x[0] for x in mine)}"
    if wrong := [x[0] for x, y in zip(mine, other, strict=True) if x != y]:
        return f"{', '.join(wrong)} is not the same"
    if set(a.workloads[0].axes) != set(b.workloads[0].axes):
        return "the axes are not the same"
    return ""
