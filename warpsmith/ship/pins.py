"""For consumers: pin a release by its hash, and resolve the pin to an artefact whose every byte was checked.

Reads the index and manifests of a folder of releases, and nothing else of a project.
"""

from __future__ import annotations

from pathlib import Path

from warpsmith.errors import BadInput
from warpsmith.model.base import Digest, Record, digest_bytes
from warpsmith.model.release import IndexEntry, Manifest, ReleaseName, ReleaseVersion, Variant
from warpsmith.ship.shelf import Shelf


class Pin(Record):
    """What a consumer writes down, in a file of its own."""

    name: ReleaseName
    version: ReleaseVersion
    manifest: Digest


class Pinned(Record):
    """A pin, resolved."""

    pin: Pin
    manifest: Manifest
    variant: Variant
    artefact: str
    """Path of the file, whose hash is the manifest's."""


def pin(releases: Path, spec: str) -> Pin:
    """Pin ``group/name@version``, or the latest of ``group/name``. Raises BadInput."""
    shelf = _shelf(releases)
    entry = shelf.find(spec)
    shelf.manifest(entry)
    return Pin(name=entry.name, version=entry.version, manifest=entry.manifest)


def resolve(releases: Path, wanted: Pin, architecture: str | None = None) -> Pinned:
    """The measured artefact of a pin; of this architecture, where one is named.

    Raises BadInput where the release is gone, is not the one that was pinned, was changed, or has no such variant.
    """
    shelf = _shelf(releases)
    entry = _entry(shelf, wanted)
    manifest = shelf.manifest(entry)
    found = [v for v in manifest.variants if v.proof == "measured" and architecture in (None, v.guard.architecture)]
    if not found:
        has = ", ".join(f"{v.guard.architecture} ({v.proof})" for v in manifest.variants)
        raise BadInput(f"{manifest.spec} has no measured variant for {architecture}.", f"It has: {has}.")
    path = shelf.place(entry.name, entry.version) / found[0].artefact
    said = next(f for f in manifest.files if f.path == found[0].artefact)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}.", "Restore the release.") from None
    if digest_bytes(content) != said.sha256:
        raise BadInput(f"{path} was changed.", "Restore the release, and run 'warpsmith verify'.")
    return Pinned(pin=wanted, manifest=manifest, variant=found[0], artefact=str(path))


def _entry(shelf: Shelf, wanted: Pin) -> IndexEntry:
    entry = shelf.find(f"{wanted.name}@{wanted.version}")
    if entry.manifest != wanted.manifest:
        raise BadInput(f"{entry.spec} is not the release that was pinned.", "Pin it anew, once you know why.")
    return entry


def _shelf(releases: Path) -> Shelf:
    nowhere = releases / ".none"
    return Shelf(releases, nowhere, nowhere)
