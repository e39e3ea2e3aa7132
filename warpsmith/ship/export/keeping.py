"""Exports on disk: each put in its place whole or not at all, listed in ``exports.json``, and taken back exactly.

The order: the new tree is made in a folder apart; what is about to happen is written down; the trees change places, at
once where the file system can; the list is written. Whoever holds the lock next finishes what a kill left, or removes
it. The tree before lies in ``.before``, which version control ignores.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from warpsmith.errors import BadInput
from warpsmith.model.base import Digest, Record, digest, digest_bytes
from warpsmith.ship.export.layouts import Format
from warpsmith.store.files import held, sync_folder, write_apart, write_atomic

LIST, INTENT, INCOMING, BEFORE = "exports.json", ".intent.json", ".incoming-", ".before"
GENERATIONS = 5
"""Trees before the present one that are kept of each export."""
_EXCHANGE, _HERE = 2, -100


class Generation(Record):
    """One state of an export."""

    number: int
    releases: tuple[str, ...]
    also: tuple[str, ...] = ()
    """Architectures that were compiled, not measured."""
    tree: Digest
    """Of every path and its content."""
    at: str


class Export(Record):
    """One export: its present state last, those before it first."""

    name: str
    kind: Format
    generations: tuple[Generation, ...]

    @property
    def now(self) -> Generation:
        """What lies in its place."""
        return self.generations[-1]

    @property
    def path(self) -> str:
        """Where it lies, below the folder of exports."""
        return f"{self.kind}/{self.name}"


class _Intent(Record):
    """What is about to happen: ``incoming`` takes the place, or nothing does where that is empty."""

    path: str
    incoming: str
    tree: str
    aside: str
    """Where the tree goes that lies there now; empty where there is none."""
    exports: tuple[Export, ...]
    """The whole list afterwards."""


class _List(Record):
    format: int = 1
    exports: tuple[Export, ...] = ()


class Keeper:
    """The folder of exports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def all(self) -> tuple[Export, ...]:
        """Every export, by path. Raises BadInput for a list that cannot be read."""
        path = self.folder / LIST
        try:
            return _List.model_validate_json(path.read_bytes()).exports
        except FileNotFoundError:
            return ()
        except (OSError, ValidationError) as error:
            said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
            raise BadInput(f"{path} cannot be read ({said}).", "Restore it from version control.") from None

    def find(self, name: str, kind: Format) -> Export | None:
        """The export of that name and format."""
        return next((e for e in self.all() if (e.name, e.kind) == (name, kind)), None)

    def place(self, export: Export) -> Path:
        """Where an export lies."""
        return self.folder / export.path

    def changed(self, export: Export) -> bool:
        """Whether what lies there is not what was put there."""
        return tree_of(self.place(export)) != export.now.tree

    def put(self, name: str, kind: Format, files: Mapping[str, bytes], made: Generation) -> Export:
        """Put a new generation in its place; ``made``'s number and tree are filled in. Raises BadInput, OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with held(self.folder):
            self._recover()
            before = self.find(name, kind)
            tree = digest({path: digest_bytes(content) for path, content in files.items()})
            number = before.now.number + 1 if before else 1
            kept = before.generations if before else ()
            place = self.folder / f"{kind}/{name}"
            if before is None and place.exists():
                raise BadInput(f"{place} is there, and no export made it.", "Move it away, or use another --name.")
            made = made.model_copy(update={"number": number, "tree": tree})
            export = Export(name=name, kind=kind, generations=(*kept, made)[-1 - GENERATIONS :])
            incoming = write_apart(self.folder, INCOMING, files)
            aside = f"{BEFORE}/{export.path}/{before.now.number}" if before else ""
            self._carry_out(
                _Intent(path=export.path, incoming=incoming.name, tree=tree, aside=aside, exports=self._with(export))
            )
            self._forget(export)
            return export

    def revert(self, name: str, kind: Format) -> Export | None:
        """Put the tree before back, or take the export away where there was none; what lies there then.

        Raises BadInput where there is no such export, or the tree before is not here.
        """
        with held(self.folder):
            self._recover()
            export = self.find(name, kind)
            if export is None:
                known = ", ".join(e.path for e in self.all()) or "none"
                raise BadInput(f"there is no export {kind}/{name}.", f"Exports: {known}.")
            aside = f"{BEFORE}/{export.path}/reverted"
            shutil.rmtree(self.folder / aside, ignore_errors=True)
            if len(export.generations) == 1:
                rest = tuple(e for e in self.all() if e.path != export.path)
                self._carry_out(_Intent(path=export.path, incoming="", tree="", aside=aside, exports=rest))
                return None
            last = export.generations[-2]
            kept = self.folder / BEFORE / export.path / str(last.number)
            if tree_of(kept) != last.tree:
                remedy = f"Export {' '.join(last.releases)} again, with --replace."
                raise BadInput(f"the tree before is not in {kept}, or was changed.", remedy)
            before = export.model_copy(update={"generations": export.generations[:-1]})
            incoming = Path(tempfile.mkdtemp(prefix=INCOMING, dir=self.folder))
            shutil.copytree(kept, incoming, dirs_exist_ok=True)
            self._carry_out(
                _Intent(
                    path=export.path, incoming=incoming.name, tree=last.tree, aside=aside, exports=self._with(before)
                )
            )
            shutil.rmtree(kept)
            return before

    def tidy(self) -> None:
        """Finish or remove what was interrupted."""
        if self.folder.is_dir():
            with held(self.folder):
                self._recover()

    def _with(self, export: Export) -> tuple[Export, ...]:
        others = [e for e in self.all() if e.path != export.path]
        return tuple(sorted([*others, export], key=lambda e: e.path))

    def _carry_out(self, intent: _Intent) -> None:
        write_atomic(self.folder / INTENT, intent.model_dump_json())
        self._finish(intent)

    def _finish(self, intent: _Intent) -> None:
        """Every step leaves a state from which the next call of this goes on."""
        place, incoming = self.folder / intent.path, self.folder / intent.incoming if intent.incoming else None
        aside = self.folder / intent.aside if intent.aside else None
        place.parent.mkdir(parents=True, exist_ok=True)
        if aside is not None:
            aside.parent.mkdir(parents=True, exist_ok=True)
            (self.folder / BEFORE / ".gitignore").write_text("*\n")
        arrived = incoming is not None and tree_of(place) == intent.tree and tree_of(incoming) != intent.tree
        if incoming is not None and not arrived and incoming.exists():
            if place.exists():
                _exchange(incoming, place, aside)
            else:
                os.rename(incoming, place)
        if incoming is None and place.exists() and aside is not None:
            os.rename(place, aside)
        if incoming is not None and incoming.exists() and aside is not None:
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(incoming, aside)
        sync_folder(place.parent)
        write_atomic(self.folder / LIST, _List(exports=intent.exports).model_dump_json(indent=1) + "\n")
        (self.folder / INTENT).unlink(missing_ok=True)

    def _recover(self) -> None:
        try:
            intent = _Intent.model_validate_json((self.folder / INTENT).read_bytes())
        except FileNotFoundError:
            intent = None
        except ValidationError as error:
            raise BadInput(
                f"{self.folder / INTENT} cannot be read.", f"Remove it ({error.errors()[0]['msg']})."
            ) from None
        if intent is not None:
            self._finish(intent)
        for left in self.folder.glob(f"{INCOMING}*"):
            shutil.rmtree(left)
        for left in (*self.folder.glob(f".{LIST}.*"), *self.folder.glob(f".{INTENT}.*")):
            left.unlink()

    def _forget(self, export: Export) -> None:
        """Remove trees that no generation names any more."""
        known = {str(g.number) for g in export.generations}
        folder = self.folder / BEFORE / export.path
        for left in folder.iterdir() if folder.is_dir() else ():
            if left.name not in known:
                shutil.rmtree(left)


def tree_of(folder: Path) -> str:
    """The identity of every path and content below a folder; what Python writes beside its sources does not count."""
    if not folder.is_dir():
        return ""
    paths = (p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return digest({str(p.relative_to(folder)): digest_bytes(p.read_bytes()) for p in paths})


def _exchange(a: Path, b: Path, aside: Path | None) -> None:
    """Two folders change places: at once, or by way of ``aside`` where the file system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is not None and renameat2(_HERE, os.fsencode(a), _HERE, os.fsencode(b), _EXCHANGE) == 0:
        return
    if renameat2 is not None and ctypes.get_errno() not in (errno.EINVAL, errno.ENOSYS, errno.EXDEV):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(b))
    assert aside is not None, "a tree that goes has somewhere to go"
    shutil.rmtree(aside, ignore_errors=True)
    os.rename(b, aside)
    os.rename(a, b)
