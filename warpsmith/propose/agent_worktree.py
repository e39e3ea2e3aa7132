"""A git worktree per agent: its branch, the candidate's folder in it, and what of it was changed. Owns every git call.

All that warpsmith puts beside the committed files lies in folders that ignore themselves, so that the tree stays clean,
and nothing outside of the worktree changes but git's own record of it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from warpsmith.errors import BadInput, Missing
from warpsmith.store.folders import TASK_FILE

OURS = ".warpsmith"
"""The worktree's folder for card, plan and rounds; it ignores itself."""
WORK = "candidate"
"""Folder inside the task's, where the agent works."""
_QUIET = ("-c", "core.hooksPath=/dev/null", "-c", "commit.gpgsign=false", "-c", "gc.auto=0")
_AUTHOR = ("-c", "user.name=warpsmith", "-c", "user.email=warpsmith@localhost")


@dataclass(frozen=True)
class Worktree:
    """A worktree that is there."""

    path: Path
    branch: str
    base: str
    """The commit that the branch began at."""
    start: str
    """The commit that holds the candidate to begin with; equal to ``base`` before it was put there."""
    task: str
    """The task's folder, relative to the top."""
    prefix: str = ""
    """Where the project lies in its repository; empty where it is the whole."""

    @property
    def folder(self) -> Path:
        """The project inside the worktree: where agents start."""
        return self.path / self.prefix

    @property
    def work(self) -> Path:
        """The candidate's folder."""
        return self.path / self.task / WORK

    @property
    def ours(self) -> Path:
        """Card, plan and rounds."""
        return self.folder / OURS / "agent"

    @property
    def candidate(self) -> str:
        """The candidate's folder as it is given to ``submit``, relative to :attr:`folder`."""
        return str(self.work.relative_to(self.folder))

    def head(self) -> str:
        """The commit that is checked out."""
        return git(self.path, "rev-parse", "HEAD").strip()

    def dirty(self) -> tuple[str, ...]:
        """Files that differ from the last commit, or that git does not know; sorted."""
        lines = git(self.path, "status", "--porcelain", "-z", "--untracked-files=all").split("\0")
        return tuple(sorted(line[3:] for line in lines if len(line) > 3))

    def changed(self, since: str) -> tuple[str, ...]:
        """Files that differ from the commit ``since``, committed or not; sorted."""
        committed = git(self.path, "diff", "--name-only", "-z", "--no-renames", since).split("\0")
        return tuple(sorted({*filter(None, committed), *self.dirty()}))

    def diff(self, since: str) -> str:
        """The changes of the candidate's folder since a commit, as a patch."""
        return git(self.path, "diff", "--no-color", "--no-ext-diff", since, "--", f"{self.task}/{WORK}")

    def outside(self, since: str) -> tuple[str, ...]:
        """Files that differ from ``since`` and are not the candidate's."""
        own = f"{self.task}/{WORK}/"
        return tuple(name for name in self.changed(since) if not name.startswith(own))

    def commit(self, message: str) -> str:
        """Commit whatever is in the candidate's folder, if it changed; returns the commit that is checked out then."""
        if (on := _try(self.path, "rev-parse", "--abbrev-ref", "HEAD")) != self.branch:
            raise BadInput(f"{self.path} is on {on}, not on {self.branch}.", f"Run 'git checkout {self.branch}' there.")
        return self._commit(f"{self.task}/{WORK}", message)

    def with_task(self, folder: Path) -> Worktree:
        """The worktree once the task in ``folder``, which its base lacks, is committed on its branch."""
        shutil.copytree(folder, self.path / self.task, dirs_exist_ok=True)
        base = self._commit(self.task, "warpsmith: the captured task")
        return Worktree(self.path, self.branch, base, base, self.task, self.prefix)

    def _commit(self, place: str, message: str) -> str:
        git(self.path, "add", "--all", "--force", "--", place)
        if git(self.path, "diff", "--cached", "--name-only").strip():
            git(self.path, *_AUTHOR, "commit", "--quiet", "--no-verify", "-m", message)
        return self.head()

    def reset(self, commit: str) -> None:
        """Put the tree back to ``commit``: later commits leave the branch, strange files go."""
        git(self.path, "checkout", "--quiet", "--force", self.branch)
        git(self.path, "reset", "--quiet", "--hard", commit)
        git(self.path, "clean", "--quiet", "-fd")


def prepare(
    project: Path, task: Path, worktrees: Path, run: str, base: str = "", *, captured: bool = False
) -> Worktree:
    """A worktree for the run, on a branch ``warpsmith/RUN`` that begins at ``base``; that of before where it is.

    A ``captured`` task, which was written a moment ago, is committed on that branch where the base lacks it.

    Raises BadInput where the project is in no git repository, the base is unknown or lacks the task, or the run's name
    is taken by something else; Missing where there is no git.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_\-]{0,63}", run):
        raise BadInput(f"--run: {run!r} cannot name a run.", "Use letters, digits, '_' and '-'.")
    top = _top(project)
    inside = task.resolve().relative_to(top).as_posix()
    prefix = "" if project.resolve() == top else project.resolve().relative_to(top).as_posix()
    commit = _commit(top, base or "HEAD", project)
    held = _try(top, "cat-file", "-e", f"{commit}:{inside}/{TASK_FILE}") is not None
    if not held and not captured:
        raise BadInput(
            f"{base or 'the current commit'} does not hold {inside}/{TASK_FILE}.",
            "Commit the task first, or name a branch that holds it with --base.",
        )
    path, branch = worktrees.resolve() / run, f"warpsmith/{run}"
    if path.exists():
        return _again(path, branch, inside, prefix)
    git(top, "worktree", "prune")
    known = _try(top, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}")
    path.parent.mkdir(parents=True, exist_ok=True)
    made = [str(path), branch] if known else ["-b", branch, str(path), commit]
    git(top, "worktree", "add", "--quiet", *made)
    tree = Worktree(path, branch, commit, commit, inside, prefix)
    _ignoring_itself(tree.folder / OURS)
    if not held:
        tree = tree.with_task(task)
    _note(tree)
    return tree


def begun(tree: Worktree) -> Worktree:
    """The worktree once the candidate that its agent begins at is committed."""
    started = Worktree(tree.path, tree.branch, tree.base, tree.commit("warpsmith: begin here"), tree.task, tree.prefix)
    _note(started)
    return started


def place(tree: Worktree, source: Path, *targets: str) -> None:
    """Copy a folder to places in the worktree where nothing is yet; each ignores itself."""
    for target in targets:
        there = tree.folder / target
        if not there.exists():
            shutil.copytree(source, there, ignore=shutil.ignore_patterns("__pycache__"))
            _ignoring_itself(there)


def git(folder: Path, *arguments: str) -> str:
    """What git says. Raises BadInput with git's own words where it refuses, Missing where there is no git."""
    done = _run(folder, *arguments)
    if done.returncode:
        raise BadInput(f"git {arguments[0]}: {done.stderr.strip() or done.stdout.strip()}.", f"See it in {folder}.")
    return done.stdout


def _try(folder: Path, *arguments: str) -> str | None:
    done = _run(folder, *arguments)
    return done.stdout.strip() if done.returncode == 0 else None


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        return subprocess.run(
            ["git", *_QUIET, *arguments], cwd=folder, capture_output=True, text=True, check=False,
            env={**environment, "LC_ALL": "C"}, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except FileNotFoundError:
        raise Missing("there is no git.", "Install git.") from None


def _top(project: Path) -> Path:
    top = _try(project, "rev-parse", "--show-toplevel")
    if top is None:
        raise BadInput(f"{project} is in no git repository.", "Run 'git init', commit the tasks, then try again.")
    return Path(top).resolve()


def _commit(top: Path, base: str, project: Path) -> str:
    found = _try(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{base}^{{commit}}")
    if found is None:
        known = ", ".join(git(top, "branch", "--format=%(refname:short)").split()) or "none"
        raise BadInput(f"--base: {base!r} names no commit of {project} (branches: {known}).", "Name one that exists.")
    return found


def _again(path: Path, branch: str, inside: str, prefix: str) -> Worktree:
    """The run's worktree of before."""
    if (_try(path, "rev-parse", "--abbrev-ref", "HEAD") or "") != branch:
        raise BadInput(f"{path} is there, and is no worktree of {branch}.", "Choose another --run, or move it away.")
    noted = path / prefix / OURS / "agent" / "commits"
    base, start = noted.read_text().split() if noted.is_file() else [_try(path, "rev-parse", "HEAD") or ""] * 2
    tree = Worktree(path, branch, base, start, inside, prefix)
    if noted.is_file() and (path / inside / TASK_FILE).is_file():
        return tree
    raise BadInput(f"{path} lacks what an earlier start put there.", "Choose another --run, or remove the worktree.")


def _note(tree: Worktree) -> None:
    tree.ours.mkdir(parents=True, exist_ok=True)
    (tree.ours / "commits").write_text(f"{tree.base}\n{tree.start}\n")


def _ignoring_itself(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
