"""Fetch the read-only references of ``upstream.toml``, each at exactly its commit.

    python workspace/scripts/fetch_upstream.py [NAME ...] [--into FOLDER] [--manifest FILE] [--list]

Each lands in FOLDER/NAME (``upstream/`` of the task by default, which git ignores), without write permission. What is
there already and is the same stays; what is there and differs is never touched: the exit status is 1, and nothing of
that name is fetched.
"""

import argparse
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

WORKSPACE = Path(__file__).resolve().parent.parent


class Refused(Exception):
    """Something that is not done; the message says why and what to do."""


def read(manifest: Path) -> dict[str, dict[str, str]]:
    """The references by name. Raises Refused naming what is wrong with an entry."""
    try:
        entries = tomllib.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise Refused(f"{manifest}: {error}") from None
    for name, entry in entries.items():
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise Refused(f"{manifest}: {name!r} cannot name a folder")
        if not isinstance(entry, dict) or not isinstance(entry.get("url"), str):
            raise Refused(f"{manifest}: [{name}] has no url")
        if not re.fullmatch(r"(https://|file://|ssh://|/).+", entry["url"]):
            raise Refused(f"{manifest}: [{name}] url {entry['url']!r}: use https, ssh, file, or an absolute path")
        if not re.fullmatch(r"[0-9a-f]{40}", str(entry.get("commit"))):
            raise Refused(f"{manifest}: [{name}] commit {entry.get('commit')!r}: give all 40 digits of a commit")
    return entries


def git(folder: Path, *words: str) -> str:
    """What git prints. Raises Refused with its words."""
    asked = [
        "git",
        "-c",
        "protocol.ext.allow=never",
        "-c",
        "advice.detachedHead=false",
        "-c",
        "core.hooksPath=/dev/null",
    ]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment |= {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
    done = subprocess.run([*asked, *words], cwd=folder, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise Refused(f"git {words[0]} ended with status {done.returncode}: {done.stderr.strip()}")
    return done.stdout.strip()


def fetch(name: str, entry: dict[str, str], into: Path) -> str:
    """Bring one here, or find that it is here; what was done. Raises Refused."""
    target = into / name
    if target.exists() or target.is_symlink():
        return same(target, entry)
    into.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=into))
    try:
        git(partial, "init", "--quiet")
        git(partial, "remote", "add", "origin", entry["url"])
        try:
            git(partial, "fetch", "--quiet", "--depth", "1", "origin", entry["commit"])
        except Refused:  # a server that gives no single commits
            git(partial, "fetch", "--quiet", "origin")
        git(partial, "checkout", "--quiet", "--detach", entry["commit"])
        if git(partial, "rev-parse", "HEAD") != entry["commit"]:
            raise Refused(f"{name}: {entry['url']} gave another commit than {entry['commit']}")
        partial.rename(target)
    finally:
        if partial.exists():
            shutil.rmtree(partial)
    lock(target)
    return f"{name}: fetched {entry['commit'][:12]} into {target}, read-only"


def same(target: Path, entry: dict[str, str]) -> str:
    """Say that ``target`` is what the manifest wants. Raises Refused, and changes nothing, where it is not."""
    remedy = "it was left alone; remove it to fetch anew"
    if target.is_symlink() or not (target / ".git").is_dir():
        raise Refused(f"{target} is there and is no clone; {remedy}")
    head, url = git(target, "rev-parse", "HEAD"), git(target, "remote", "get-url", "origin")
    if (head, url) != (entry["commit"], entry["url"]):
        raise Refused(f"{target} is {url} at {head[:12]}, not {entry['url']} at {entry['commit'][:12]}; {remedy}")
    if changed := git(target, "-c", "core.fileMode=false", "status", "--porcelain"):
        raise Refused(f"{target} was changed ({changed.splitlines()[0].strip()}, ...); {remedy}")
    lock(target)
    return f"{target.name}: {head[:12]} is there already"


def lock(target: Path) -> None:
    """Take the write permission from everybody, files first."""
    writing = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
    for folder, _, files in os.walk(target, topdown=False):
        for path in (*(Path(folder) / f for f in files), Path(folder)):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & ~writing)


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; all where none is given")
    parser.add_argument("--into", type=Path, default=WORKSPACE.parent / "upstream")
    parser.add_argument("--manifest", type=Path, default=WORKSPACE / "upstream.toml")
    parser.add_argument("--list", action="store_true", help="say what the manifest has, and fetch nothing")
    asked = parser.parse_args()
    failed = 0
    try:
        entries = read(asked.manifest)
        if unknown := [name for name in asked.names if name not in entries]:
            raise Refused(f"{asked.manifest} has no {', '.join(unknown)}; it has {', '.join(entries)}")
    except Refused as reason:
        print(reason, file=sys.stderr)
        return 1
    for name, entry in entries.items():
        if asked.names and name not in asked.names:
            continue
        if asked.list:
            print(f"{name}: {entry['url']} at {entry['commit']}")
            continue
        try:
            print(fetch(name, entry, asked.into))
        except Refused as reason:
            print(f"{name}: {reason}", file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
