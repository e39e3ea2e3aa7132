"""Whatever is done to a file of a release or of the index, ``verify`` finds it. Seeded: a failure can be repeated."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.ship.things import Scripted, restore, shelved, snapshot
from warpsmith.surface.answers_ship import VerifyAnswer
from warpsmith.surface.verifying import run_verify

QUICK, ALL = 150, 2000
SEED = 20261121
SPECS = ("my/axpy@1.0.0", "my/axpy@1.1.0", "my/axpy@2.0.0")
Files = dict[str, bytes]


def verified(space: Scripted, release: str) -> VerifyAnswer:
    return run_verify(space, release, retest=False, hashes=True, gain=False)


def owner(path: str) -> str:
    """The release that a file below releases/ belongs to; any, for a file of the index."""
    parts = path.split("/")
    return f"my/axpy@{parts[2]}" if len(parts) > 3 else SPECS[0]


class Tamperer:
    """Changes one thing at random, and says what and of which release."""

    def __init__(self, folder: Path, now: Files, past: list[Files], rng: random.Random) -> None:
        self.folder, self.now, self.past, self.rng = folder, now, past, rng

    def any_file(self) -> str:
        """Half of the time one of the index, a manifest or a provenance: they are few."""
        few = [p for p in self.now if p.count("/") == 0 or p.endswith(("manifest.json", "provenance.json"))]
        return self.rng.choice(few if self.rng.random() < 0.5 else list(self.now))

    def write(self, path: str, content: bytes) -> None:
        target = self.folder / path
        target.unlink(missing_ok=True)
        target.write_bytes(content)

    def flip(self, path: str) -> str:
        content = bytearray(self.now[path])
        at = self.rng.randrange(len(content))
        content[at] ^= 1 << self.rng.randrange(8)
        self.write(path, bytes(content))
        return f"byte {at}"

    def delete(self, path: str) -> str:
        (self.folder / path).unlink()
        return "gone"

    def rename(self, path: str) -> str:
        new = (self.folder / path).with_name(self.rng.choice((f"{Path(path).name}.old", "x", f"_{Path(path).name}")))
        (self.folder / path).rename(new)
        return new.name

    def truncate(self, path: str) -> str:
        length = self.rng.randrange(len(self.now[path]))
        if path == "index.jsonl" and self.rng.random() < 0.5:  # at the end of a line: still a chain
            lines = self.now[path].splitlines(keepends=True)
            length = len(b"".join(lines[: self.rng.randrange(len(lines))]))
        self.write(path, self.now[path][:length])
        return f"to {length}"

    def swap(self, path: str) -> str:
        others = [p for p in self.now if p != path and self.now[p] != self.now[path]]
        other = self.rng.choice(others)
        self.write(path, self.now[other])
        self.write(other, self.now[path])
        return f"with {other}"

    def roll_back(self, path: str) -> str:
        """An earlier state of the index, or the file of the same name of another release; else all of it."""
        older = [f[path] for f in self.past if path in f and f[path] != self.now[path]]
        tail = path.split("/")[3:]
        if tail:
            same = ("/".join([*path.split("/")[:2], v, *tail]) for v in ("1.0.0", "1.1.0", "2.0.0"))
            older += [self.now[p] for p in same if p in self.now and self.now[p] != self.now[path]]
        if older:
            self.write(path, self.rng.choice(older))
            return "an earlier one"
        restore(self.folder, self.rng.choice(self.past))
        return "the whole folder"

    def link(self, path: str) -> str:
        (self.folder / path).unlink()
        elsewhere = self.folder.parent / "elsewhere"
        elsewhere.unlink(missing_ok=True)
        elsewhere.write_bytes(self.now[path])
        if self.rng.random() < 0.5 or path.count("/") == 0:
            (self.folder / path).symlink_to(elsewhere)
            return "a symbolic link to the same bytes"
        os.link(elsewhere, self.folder / path)
        return "a hard link to the same bytes"

    def add(self, path: str) -> str:
        self.write(str(Path(path).with_name("added")), b"more")
        return "added a file beside it"


OPERATIONS = ("flip", "delete", "rename", "truncate", "swap", "roll_back", "link", "add")


def trials(root: Path, count: int, seed: int) -> Counter[str]:
    space, _ = shelved(root)
    folder = root / "releases"
    now = snapshot(folder)
    first = now["index.jsonl"].splitlines(keepends=True)
    past = [{**_without(now, "2.0.0"), **_index(space, first[:2])}]
    past.append({**_without(past[0], "1.1.0"), **_index(space, first[:1])})
    rng = random.Random(seed)
    tamperer = Tamperer(folder, now, past, rng)
    done: Counter[str] = Counter()
    missed = []
    assert all(verified(space, spec).exit_status == 0 for spec in SPECS)
    for number in range(count):
        operation = rng.choice(OPERATIONS)
        path = tamperer.any_file()
        how = getattr(tamperer, operation)(path)
        if verified(space, owner(path)).exit_status == 0:
            missed.append(f"{number}: {operation} {path} {how}")
        done[operation] += 1
        restore(folder, now)
    assert missed == []
    assert all(verified(space, spec).exit_status == 0 for spec in SPECS)
    return done


def _without(files: Files, version: str) -> Files:
    return {p: c for p, c in files.items() if f"/{version}/" not in p}


def _index(space: Scripted, lines: list[bytes]) -> Files:
    from warpsmith.ship import index

    content = b"".join(lines)
    return {"index.jsonl": content, "index.json": index.derived(index.parse(content, "past"))}


def test_tampering_is_found(tmp_path: Path) -> None:
    assert set(trials(tmp_path, QUICK, SEED)) == set(OPERATIONS)


@pytest.mark.slow
def test_tampering_is_found_in_two_thousand_trials(tmp_path: Path) -> None:
    done = trials(tmp_path, ALL, SEED + 1)
    assert sum(done.values()) == ALL
    assert min(done.values()) > ALL / len(OPERATIONS) / 2


def test_a_consistent_rollback_of_everything_is_seen_by_this_machine(tmp_path: Path) -> None:
    space, _ = shelved(tmp_path)
    folder = tmp_path / "releases"
    now = snapshot(folder)
    first = now["index.jsonl"].splitlines(keepends=True)[:2]
    restore(folder, {**_without(now, "2.0.0"), **_index(space, first)})
    answer = verified(space, SPECS[0])
    assert {c.name for c in answer.index if c.result == "failed"} == {"index history"}
    (space.home / "releases-seen.json").unlink()
    assert verified(space, SPECS[0]).exit_status == 0, "a clone that never saw more cannot tell"


def test_a_rewritten_entry_does_not_say_what_the_manifest_says(tmp_path: Path) -> None:
    """An index that was forged whole, chain and all, still has to agree with the manifests."""
    from warpsmith.ship import index

    space, there = shelved(tmp_path)
    entries = list(there.entries())
    entries[-1] = entries[-1].model_copy(update={"speedup": 9.0, "entry": ""}).sealed()
    (there.folder / "index.jsonl").write_bytes(b"".join(e.line + b"\n" for e in entries))
    (there.folder / "index.json").write_bytes(index.derived(entries))
    (space.home / "releases-seen.json").unlink()
    answer = verified(space, SPECS[2])
    assert {c.name for c in answer.releases[0].checks if c.result == "failed"} == {"index entry"}


def test_each_check_names_its_remedy(tmp_path: Path) -> None:
    space, there = shelved(tmp_path)
    (there.place("my/axpy", "1.0.0") / "benchmark.json").unlink()
    answer = verified(space, "")
    bad = [c for r in answer.releases for c in r.checks if c.result == "failed"]
    assert [(c.name, "benchmark.json is missing" in c.detail) for c in bad] == [("files", True)]
    assert all(c.remedy for c in bad)
    assert [r.release for r in answer.releases] == list(SPECS)
