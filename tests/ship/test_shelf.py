"""The shelf: whole or nothing, one winner, nothing overwritten."""

from __future__ import annotations

import inspect
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.ship.things import TASK, Scripted, promote, restore, scripted, shelved, snapshot
from warpsmith.errors import BadInput
from warpsmith.model.release import MANIFEST, Manifest
from warpsmith.ship import index, provenance, seal
from warpsmith.ship.index import IndexBroken
from warpsmith.ship.shelf import INTENT, AlreadyReleased, Shelf
from warpsmith.surface import api, cli
from warpsmith.surface.listing import list_releases
from warpsmith.surface.shelves import shelf

DRIVER = Path(__file__).parent / "driver.py"
ROOT = Path(__file__).parents[2]
KILLS = 50
Release = tuple[Manifest, dict[str, bytes]]


def released(space: Scripted, version: str = "1.0.0") -> Release:
    """A release's manifest and files, taken off a shelf."""
    there = shelf(space)
    manifest = there.manifest(there.find(f"{TASK}@{version}"))
    folder = there.place(TASK, version)
    return manifest, {f.path: (folder / f.path).read_bytes() for f in manifest.files}


def unsigned(manifest: Manifest, raw: bytes) -> bytes:
    return provenance.envelope(manifest, raw, None)


def put(there: Shelf, release: Release, version: str) -> None:
    manifest, contents = release
    there.publish(manifest.model_copy(update={"version": version}), contents, unsigned)


def whole(there: Shelf) -> list[str]:
    """The versions that the index names, each of them proved to be whole."""
    entries = there.entries()
    for entry in entries:
        checks, _ = seal.check_release(there, entry)
        assert all(c.result == "passed" for c in checks), checks
    return [e.version for e in entries]


def sound(there: Shelf) -> None:
    """After the next promotion nothing is left of an interrupted one, and every check of the index passes."""
    assert not [p.name for p in there.folder.iterdir() if p.name.startswith(".")]
    assert all(c.result == "passed" for c in seal.check_index(there)), seal.check_index(there)


@pytest.fixture
def made(tmp_path: Path) -> tuple[Shelf, Release]:
    """An empty shelf, and a release to put on it."""
    space = scripted(tmp_path / "project")
    assert promote(space).released
    return Shelf(tmp_path / "releases", tmp_path / "seen.json", tmp_path / "store"), released(space)


def test_a_version_is_never_used_twice(made: tuple[Shelf, Release]) -> None:
    there, release = made
    put(there, release, "1")
    before = snapshot(there.folder)
    with pytest.raises(AlreadyReleased, match=r"my/axpy@1 exists"):
        put(there, release, "1")
    (there.folder / "my/axpy/2").mkdir()
    with pytest.raises(AlreadyReleased):
        put(there, release, "2")
    assert snapshot(there.folder) == before


def test_no_verb_changes_a_release(tmp_path: Path) -> None:
    """Every verb that knows of releases, over one that exists."""
    from warpsmith.surface.listing import hand_over
    from warpsmith.surface.regressing import run_regress
    from warpsmith.surface.rejecting import reject_candidate
    from warpsmith.surface.verifying import run_verify

    space, there = shelved(tmp_path)
    before = snapshot(there.folder)
    assert promote(space, "1.0.0").exit_status == 3
    run_verify(space, "", retest=False, hashes=True, gain=False)
    list_releases(space, "")
    for consumer in ("decision", "verification", "runtime"):
        hand_over(space, TASK, consumer, tmp_path / "handoffs", ())  # type: ignore[arg-type]
    run_regress(space, f"{TASK}@1.0.0", TASK, 0.02, tmp_path / "regression.json", "time")
    reject_candidate(space, space.task(TASK), "entry", "c", "w", (), "", "main")
    assert snapshot(there.folder) == before


SERVED = """
name = "my/served"
kind = "serving"
title = "nothing that would ever be started"
hardware = "cpu"
server = { url = "http://127.0.0.1:9" }
objective = { metric = "single.tok_s", direction = "maximize" }
scenarios = [{ name = "single", requests = 1, concurrency = 1 }]
"""


def test_no_verb_writes_among_the_releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where it is told to: every output is refused that lies there, and every verb with one is here."""
    _, there = shelved(tmp_path)
    before = snapshot(there.folder)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(there.folder)
    served = tmp_path / "tasks/my/served/task.toml"
    served.parent.mkdir(parents=True)
    served.write_text(SERVED)
    commands = {
        "load": ("my/served",),
        "regress": (f"{TASK}@1.0.0", TASK),
        "handoff": (TASK, "--to", "runtime"),
        "history": (TASK, "--csv"),
        "export": (TASK,),
        "exports": (),
        "knowledge export": (),
        "observe": ("--", "true"),
        "intake": (),
    }
    with_output = {cli.spelled(v) for v in api.VERBS if "output" in inspect.signature(v).parameters}
    assert with_output <= set(commands)
    for verb, words in commands.items():
        for output in (f"releases/{TASK}/1.0.0/manifest.json", "releases", "link/index.jsonl"):
            at = words.index("--") if "--" in words else len(words)
            said = [*verb.split(), *words[:at], "--output", output, *words[at:]]
            assert cli.run(said) == 3, said
    assert snapshot(there.folder) == before


def test_contents_have_to_be_those_of_the_manifest(made: tuple[Shelf, Release]) -> None:
    there, (manifest, contents) = made
    for wrong in ({**contents, "more": b""}, {**contents, "benchmark.json": b"{}"}):
        with pytest.raises(BadInput):
            there.publish(manifest, wrong, unsigned)
    assert list(there.folder.iterdir()) == []


def test_nothing_is_appended_to_a_broken_index(made: tuple[Shelf, Release]) -> None:
    there, release = made
    put(there, release, "1")
    path = there.folder / index.INDEX
    good = path.read_bytes()
    for bad in (good[:-1], good[:-5], good.replace(b'"1"', b'"7"'), good + b"{}\n", good + good):
        path.write_bytes(bad)
        with pytest.raises(IndexBroken):
            put(there, release, "2")
        assert path.read_bytes() == bad, "it is left as it was"
    path.write_bytes(good)
    put(there, release, "2")
    assert whole(there) == ["1", "2"]


def test_releases_are_found_by_any_of_their_names(tmp_path: Path) -> None:
    _, there = shelved(tmp_path)
    for spec in (f"{TASK}@1.1.0", f"{TASK}/1.1.0", str(there.folder / TASK / "1.1.0"),
                 str(there.folder / TASK / "1.1.0" / MANIFEST)):  # fmt: skip
        assert there.find(spec).version == "1.1.0"
    assert there.find(TASK).version == "2.0.0"
    with pytest.raises(BadInput, match="no release"):
        there.find("my/axpy@9")


DURABLE = ("fsync", "rename", "replace", "write", "unlink", "mkdir", "chmod")
"""What changes the disk: a kill before any of them is a state that a kill at any moment can leave."""


def _dies(there: Shelf, release: Release, at: int) -> bool:
    """Whether a child that publishes dies before its ``at``-th change of the disk; False where it got to its end."""
    child = os.fork()
    if child == 0:
        count = [0]

        def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
            def before(*arguments: Any, **named: Any) -> Any:
                count[0] += 1
                if count[0] == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*arguments, **named)

            return before

        for name in DURABLE:
            setattr(os, name, deadly(getattr(os, name)))
        try:
            put(there, release, "2")
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_a_kill_before_any_change_of_the_disk_leaves_whole_or_nothing(made: tuple[Shelf, Release], every: int) -> None:
    there, release = made
    put(there, release, "1")
    start, seen = snapshot(there.folder), there.witness.read_bytes()
    outcomes = []
    for at in range(1, 1000, every):
        restore(there.folder, start)
        there.witness.write_bytes(seen)
        if not _dies(there, release, at):
            break
        assert whole(there) in (["1"], ["1", "2"]), f"after a kill at {at}"
        there.tidy()
        outcomes.append(tuple(whole(there)))
        sound(there)
        put(there, release, "3")
        assert whole(there) == [*outcomes[-1], "3"]
        sound(there)
    assert len(outcomes) > 40 / every, "hardly anything was tried"
    assert {*outcomes} == {("1",), ("1", "2")}
    assert outcomes == sorted(outcomes), "once it is whole, it stays"


def test_a_torn_line_is_mended_where_an_intent_explains_it(made: tuple[Shelf, Release]) -> None:
    there, release = made
    put(there, release, "1")
    put(there, release, "2")
    path = there.folder / index.INDEX
    last = there.entries()[-1]
    (there.folder / INTENT).write_bytes(last.line)
    path.write_bytes(path.read_bytes()[:-40])
    there.tidy()
    assert whole(there) == ["1", "2"]
    sound(there)


def start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(DRIVER), str(folder), *words], cwd=folder, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.mark.slow
def test_two_promotes_at_once(tmp_path: Path) -> None:
    """Of one version one wins; of several each gets its place; the chain is whole."""
    space = scripted(tmp_path)
    assert promote(space, "0.1").released
    running = [start(tmp_path, "publish", "1.0", "1.1", "1.2", "1.3", "1.4") for _ in range(4)]
    said = [r.communicate(timeout=60)[0].decode().split() for r in running]
    assert [r.returncode for r in running] == [0] * 4
    won = [version for words in said for version in words]
    assert sorted(won) == ["1.0", "1.1", "1.2", "1.3", "1.4"], "each version was released exactly once"
    assert sorted(whole(shelf(space))) == ["0.1", "1.0", "1.1", "1.2", "1.3", "1.4"]
    sound(shelf(space))


@pytest.mark.slow
def test_two_promotes_of_one_campaign_at_once(tmp_path: Path) -> None:
    space = scripted(tmp_path)
    assert promote(space, "0.1").released
    running = [start(tmp_path, "promote", "1.0") for _ in range(2)]
    for one in running:
        one.communicate(timeout=60)
    assert sorted(r.returncode for r in running) in ([0, 3], [0, 0])
    assert whole(shelf(space)) == ["0.1", "1.0"]


def time_of_a_promote(folder: Path) -> float:
    """Seconds from the first release to the second of a process that does nothing else."""
    child = start(folder, "promotes", "0.span.0", "0.span.1")
    assert child.stdout is not None
    told = [(child.stdout.readline(), time.monotonic()) for _ in range(3)]
    assert child.wait(60) == 0
    child.stdout.close()
    return told[2][1] - told[1][1]


def unfinished(there: Shelf) -> set[tuple[str, int]]:
    """What a promotion has laid down and not yet finished: names and times of change."""
    found = set()
    for path in there.folder.iterdir():
        with suppress(FileNotFoundError):  # it has just been finished
            if path.name.startswith("."):
                found.add((path.name, path.stat().st_mtime_ns))
    return found


def until_it_writes(there: Shelf) -> None:
    """A promotion writes for a small part of its time. What an earlier one left does not count."""
    left, until = unfinished(there), time.monotonic() + 60
    while not unfinished(there) - left:
        assert time.monotonic() < until, "nothing was written"


@pytest.mark.slow
def test_fifty_kills_at_random_moments_of_promote(tmp_path: Path) -> None:
    space = scripted(tmp_path)
    assert promote(space, "0").released
    rng = random.Random(20261121)
    there = shelf(space)
    interrupted, released_versions = 0, ["0"]
    span = time_of_a_promote(tmp_path)
    released_versions = whole(there)
    for number in range(KILLS):
        child = start(tmp_path, "promotes", *(f"{number}.{i}" for i in range(1000)))
        assert child.stdout is not None
        child.stdout.readline()  # it has begun
        if number % 2:
            until_it_writes(there)
            time.sleep(rng.uniform(0.0, span / 20))
        else:
            time.sleep(rng.uniform(0.0, 3 * span))
        child.kill()
        child.communicate()
        assert child.returncode == -signal.SIGKILL
        now = whole(there)
        assert now[: len(released_versions)] == released_versions, "what was there stays"
        released_versions = now
        interrupted += bool(unfinished(there))
    assert interrupted >= KILLS // 5, "hardly a kill fell into the middle"
    assert promote(space, "last").released
    assert whole(there)[-1] == "last"
    sound(there)
