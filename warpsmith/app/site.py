"""Working on an application's source so that nothing can be lost: lock, journal, copy, change, and the way back.

A *work* is one change of a tree: an integration, or temporary prints. It is begun, the tree is copied, then changed,
and at the end it is kept or undone. Whatever stops it at whatever moment, :meth:`Site.recover` of the next one undoes
it, or finishes keeping it where that was decided. The order on disk is the whole of the argument: the copy is on disk
before ``saved`` is, ``saved`` before the first change, and ``kept`` only once tree and artefacts are as they stay.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from hashlib import file_digest
from pathlib import Path
from typing import Literal, Self

from warpsmith.app.commands import Ran, Shell, end_leftovers
from warpsmith.app.journal import Entry, Journal, Phase
from warpsmith.app.loading import Described
from warpsmith.app.tree import Tree
from warpsmith.errors import BadInput, WarpsmithError
from warpsmith.model.app import AppFile
from warpsmith.model.base import digest, short
from warpsmith.store.files import write_atomic

Side = Literal["baseline", "optimised"]
COPY, BUILT = "copy", "built.json"


class Undone(WarpsmithError):
    """The tree could not be put back as it was: exit status 5, with the place of the copy."""


class Site:
    """One application under the lock of its state folder. Use as a context manager. Raises BadInput while another
    process works on it.
    """

    def __init__(self, described: Described, home: Path, environment: Mapping[str, str] | None = None) -> None:
        self.described = described
        self.app = described.app
        self.root = described.root
        self.folder = home / "apps" / f"{self.app.name}-{short(digest(str(self.root)))}"
        self.journal = Journal(self.folder / "journal.jsonl")
        self.tree = Tree(self.root, (*self.app.outputs, *self.app.artefacts), (home,))
        self.work = ""
        self.notes: list[str] = []
        self._files: tuple[AppFile, ...] = ()
        self._own = dict(os.environ if environment is None else environment)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise BadInput(f"another warpsmith process works on {self.root}.", "Wait until it has ended.") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)

    @property
    def set_variables(self) -> dict[str, str]:
        """What commands of the application find in their environment beside the user's own."""
        said = dict(self.app.environment)
        if self.app.library_paths:
            before = said.get("LD_LIBRARY_PATH", self._own.get("LD_LIBRARY_PATH", ""))
            paths = [str(self.root / p) for p in self.app.library_paths]  # an absolute one stays as it is
            said["LD_LIBRARY_PATH"] = ":".join(filter(None, (*paths, before)))
        return said

    @property
    def shell(self) -> Shell:
        """Where its commands run, marked as of the work under way."""
        return Shell(self.root, {**self._own, **self.set_variables}, self.work)

    def build(self) -> Ran:
        """The application's own build command."""
        return self.shell.run(self.app.build, self.app.limits.build_s)

    def begin(self, work: str, what: str) -> None:
        """Begin a work; its id marks every process."""
        self.work = work
        self.notes = []
        self.journal.path.unlink(missing_ok=True)  # every work in it is closed
        self._say("begun", what)

    def normalise(self) -> bool:
        """Build where the artefacts are not known to be of these very sources; returns whether it built.

        Raises BadInput where the application does not build as it is.
        """
        if self._built() == self._state():
            return False
        self._say("building")
        ran = self.build()
        if not ran.well:
            raise BadInput(
                f"{self.app.name} does not build as it is (status {ran.status}):\n{ran.said}",
                "Nothing was changed; mend the build, or the build command in app.toml.",
            )
        self._check_artefacts()
        self._remember()
        return True

    def save(self) -> None:
        """Copy the tree; from the return on it may be changed."""
        shutil.rmtree(self.folder / COPY, ignore_errors=True)
        self._files = self.tree.save(self.folder / COPY)
        self._say("saved", files=self._files)
        self._say("changing")

    def write(self, name: str, text: str) -> None:
        """Change a file of the tree, keeping its permission bits."""
        path = self.root / name
        mode = path.stat().st_mode & 0o7777
        write_atomic(path, text)
        path.chmod(mode)
        self.tree.touch([name])

    def keep_side(self, side: Side) -> dict[str, str]:
        """Put a copy of what a run uses (artefacts, else the edited files) aside; returns their digests by path."""
        self._check_artefacts()
        for name in self._run_by():
            kept = self.folder / side / name
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.root / name, kept)
        return {name: _sha(self.folder / side / name) for name in self._run_by()}

    def put_side(self, side: Side) -> None:
        """Put in its place what :meth:`keep_side` put aside, each file at once."""
        for name in self._run_by():
            shutil.copy2(self.folder / side / name, self._aside(name))
            os.replace(self._aside(name), self.root / name)
            self.tree.touch([name])

    def keep(self, why: str) -> None:
        """The change stays."""
        os.sync()
        self._say("kept", why)
        self._finish_keeping()

    def undo(self, why: str, *, interrupted: bool = False) -> tuple[str, ...]:
        """Put the tree back, build it, and prove that no byte differs; returns the paths that were put back.

        Raises Undone where the tree cannot be put back; where only the build fails, ``notes`` says so.
        """
        ended = end_leftovers(self.work)
        if ended:
            self.notes.append(f"{len(ended)} processes that were left behind were ended")
        self._say("restoring", why)
        for name in self._run_by():  # of a process that died between the two steps of put_side
            self._aside(name).unlink(missing_ok=True)
        put_back = self.tree.restore(self._files, self.folder / COPY)
        if interrupted:  # half-written objects may be newer than their sources
            self.tree.touch([f.path for f in self._files])
        (self.folder / BUILT).unlink(missing_ok=True)
        ran = self.build()
        if not ran.well:
            self.notes.append(f"the restored tree does not build (status {ran.status}): {ran.said[-500:]}")
        if also := self.tree.restore(self._files, self.folder / COPY):
            shown = ", ".join(also[:5]) + (f" and {len(also) - 5} more" if len(also) > 5 else "")
            self.notes.append(f"the build also writes {shown}: name that under outputs")
        if wrong := self.tree.differs(self._files):
            raise Undone(
                f"{self.root}: {', '.join(wrong[:5])} could not be put back.",
                f"The tree as it was lies in {self.folder / COPY}, by hash; {self.journal.path} names the files.",
            )
        if ran.well:
            self._remember()
        self._close(why)
        return put_back

    def recover(self) -> str:
        """Finish what an earlier process left; returns what was done, or nothing where nothing was left."""
        left = self.journal.open_work()
        if not left:
            return ""
        self.work = left[0].work
        end_leftovers(self.work)
        phases = {e.phase for e in left}
        saved = next((e for e in left if e.phase == "saved"), None)
        if "kept" in phases:
            self._finish_keeping()
            return "what an interrupted command had decided to keep was kept"
        if saved is None:  # only the application's own build can have been under way
            if "building" in phases:
                self.tree.touch([f.path for f in self.tree.scan()])
                (self.folder / BUILT).unlink(missing_ok=True)
            self._close("interrupted before anything was changed")
            return "an interrupted command had changed nothing"
        self._files = saved.files
        put_back = self.undo("interrupted", interrupted=True)
        return f"an interrupted command was rolled back: {', '.join(put_back) or 'no file'} put back, and rebuilt"

    def give_up(self, why: str) -> None:
        """End a work that changed nothing."""
        end_leftovers(self.work)
        self._close(why)

    @property
    def stage(self) -> Literal["closed", "begun", "changed", "kept"]:
        """How far the work under way has come: ``changed`` must be kept or undone, ``kept`` must not be undone."""
        phases = {e.phase for e in self.journal.open_work()}
        if not phases:
            return "closed"
        return "kept" if "kept" in phases else "changed" if "saved" in phases else "begun"

    def _finish_keeping(self) -> None:
        end_leftovers(self.work)
        self._remember()
        self._close("kept")

    def _close(self, why: str) -> None:
        self._say("closed", why)
        for side in ("baseline", "optimised", COPY):
            shutil.rmtree(self.folder / side, ignore_errors=True)

    def _say(self, phase: Phase, what: str = "", files: Iterable[AppFile] = ()) -> None:
        self.journal.append(Entry(phase=phase, work=self.work, at=time.time(), what=what, files=tuple(files)))

    def _run_by(self) -> tuple[str, ...]:
        return self.app.artefacts or self.app.edited

    def _aside(self, name: str) -> Path:
        path = self.root / name
        return path.with_name(f".{path.name}.{self.work}")

    def _check_artefacts(self) -> None:
        for name in self.app.artefacts:
            if not (self.root / name).is_file():
                raise BadInput(
                    f"artefacts: the build makes no file {name}.", "Name what the build makes and a run uses."
                )

    def _state(self) -> dict[str, object]:
        made = {n: _sha(self.root / n) for n in self.app.artefacts if (self.root / n).is_file()}
        tree = digest([f.model_dump(mode="json") for f in self.tree.scan()])
        return {"tree": tree, "build": self.app.build, "artefacts": made, "all": len(made) == len(self.app.artefacts)}

    def _built(self) -> object:
        """What is known to be built of what; never equal to a state that lacks an artefact."""
        with suppress(OSError, ValueError):
            said = json.loads((self.folder / BUILT).read_text())
            if isinstance(said, dict) and said.get("all"):
                return {**said, "build": tuple(said["build"]) if isinstance(said["build"], list) else said["build"]}
        return None

    def _remember(self) -> None:
        write_atomic(self.folder / BUILT, json.dumps(self._state()))


def _sha(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
