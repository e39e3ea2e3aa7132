"""Hand-off: what one kind of consumer needs of a release, as one JSON file; and the hook that others are told by.

A consumer reads the index and manifests only (:mod:`warpsmith.ship.pins`); a hand-off is a view of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from warpsmith.model.base import Digest, Record
from warpsmith.model.release import MANIFEST, FileRole, Gain, IndexEntry, Manifest, ReleasedFile, Variant

Consumer = Literal["decision", "verification", "runtime"]
ROLES: dict[Consumer, tuple[FileRole, ...]] = {
    "decision": (),
    "verification": ("benchmark", "profile", "report", "source", "task"),
    "runtime": ("artefact",),
}
"""The files that each kind of consumer is handed."""


class HandOff(Record):
    """A release as handed to one kind of consumer."""

    format: Literal[1] = 1
    consumer: Consumer
    name: str
    version: str
    at: str
    manifest: str
    """Its path, relative to the folder of releases."""
    manifest_sha256: Digest
    index_head: Digest
    """The state of the index that it was handed off from."""
    gain: Gain
    ratios: dict[str, Gain]
    """By workload."""
    trade_offs: tuple[str, ...]
    notes: str
    stale: tuple[str, ...] = ()
    signer: str
    parent: str = ""
    files: tuple[ReleasedFile, ...]
    """Their paths are relative to the manifest's folder, or in the evidence store by hash."""
    variants: tuple[Variant, ...] = ()


class Hook(Protocol):
    """Told of every hand-off once its file is on disk; notifications are one. It must not raise."""

    def __call__(self, handed: HandOff) -> None:
        """Take note of it."""


def hand_off(
    consumer: Consumer, manifest: Manifest, entry: IndexEntry, head: str, stale: Sequence[str] = ()
) -> HandOff:
    """The hand-off of a release, for one kind of consumer."""
    return HandOff(
        consumer=consumer,
        name=manifest.name,
        version=manifest.version,
        at=manifest.at,
        manifest=f"{manifest.name}/{manifest.version}/{MANIFEST}",
        manifest_sha256=entry.manifest,
        index_head=head,
        gain=manifest.gain,
        ratios={w.name: w.gain for w in manifest.workloads},
        trade_offs=manifest.trade_offs,
        notes=manifest.notes,
        stale=tuple(stale),
        signer=manifest.signer,
        parent=manifest.parent.version if manifest.parent else "",
        files=tuple(f for f in manifest.files if f.role in ROLES[consumer]),
        variants=manifest.variants if consumer == "runtime" else (),
    )
