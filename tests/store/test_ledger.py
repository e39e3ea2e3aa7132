"""The ledger against torn lines, damage, second writers, killed writers and full disks."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes import BASELINE, ENTRY, KERNEL, campaign, ledger_path
from warpsmith.errors import LedgerError
from warpsmith.model.campaign import Decided, Event, Opened, Submitted
from warpsmith.store import ledger
from warpsmith.store.ledger import Ledger, LedgerBusy, read_events, writer

EVENTS: list[Event] = [
    Opened(campaign=campaign(KERNEL), candidates=(BASELINE, ENTRY), at=1.0),
    Submitted(candidate=ENTRY, by="a person", at=2.0),
    Decided(candidate=ENTRY.id, decision="reject", result="rejected", reason="zu gro\u00df \u2028 \u00e4", at=3.0),
]
HOLDER = """
import sys, time
from pathlib import Path
from warpsmith.store.ledger import Ledger
with Ledger(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_elsewhere(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that writes this ledger until its input ends."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None and child.stdout is not None
    try:
        assert child.stdout.readline() == "held\n"
        yield child
    finally:
        child.stdin.close()
        child.wait(10)
        child.stdout.close()


def written(path: Path, events: list[Event]) -> bytes:
    with Ledger(path) as writing:
        for event in events:
            writing.append(event)
    return path.read_bytes()


def test_what_was_appended_is_read(tmp_path: Path) -> None:
    path = ledger_path(tmp_path)
    assert read_events(path) == []
    written(path, EVENTS[:2])
    assert written(path, EVENTS[2:]).count(b"\n") == len(EVENTS)
    assert read_events(path) == EVENTS


def test_a_torn_last_line_is_passed_over_then_put_aside(tmp_path: Path) -> None:
    """Cut at every byte of the last line."""
    path = ledger_path(tmp_path)
    whole = written(path, EVENTS)
    start = whole.rstrip(b"\n").rfind(b"\n") + 1
    torn = path.with_suffix(".torn")
    for cut in range(start, len(whole)):
        path.write_bytes(whole[:cut])
        assert read_events(path) == EVENTS[:-1]
        assert path.read_bytes() == whole[:cut], "a reader changes nothing"
        torn.unlink(missing_ok=True)
        with Ledger(path) as writing:
            assert writing.events() == EVENTS[:-1]
            assert path.read_bytes() == whole[:start]
            if cut > start:
                assert torn.read_bytes() == whole[start:cut] + b"\n"
            else:
                assert not torn.exists()
            writing.append(EVENTS[-1])
        assert path.read_bytes() == whole


def test_torn_lines_gather(tmp_path: Path) -> None:
    path = ledger_path(tmp_path)
    for piece in (b"one", b"two"):
        with path.open("ab") as file:
            file.write(piece)
        Ledger(path).__exit__()
    assert path.with_suffix(".torn").read_bytes() == b"one\ntwo\n"
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    ("number", "damage"),
    [
        (1, lambda line: line[: len(line) // 2]),
        (2, lambda line: b""),
        (2, lambda line: line.replace(b'"submitted"', b'"submited"')),
        (2, lambda line: b"\xff" + line),
        (3, lambda line: b"null"),
        (3, lambda line: line.replace(b'"at":', b'"when":')),
    ],
)
def test_damage_elsewhere_is_named_and_left_alone(tmp_path: Path, number: int, damage) -> None:
    path = ledger_path(tmp_path)
    lines = written(path, EVENTS).split(b"\n")
    lines[number - 1] = damage(lines[number - 1])
    path.write_bytes(b"\n".join(lines))
    before = path.read_bytes()
    with pytest.raises(LedgerError) as caught:
        read_events(path)
    assert caught.value.message.startswith(f"{path}:{number}: ")
    assert caught.value.remedy
    with Ledger(path) as writing, pytest.raises(LedgerError):
        writing.events()
    assert path.read_bytes() == before
    assert not path.with_suffix(".torn").exists()


def test_a_second_writer_is_refused_and_the_first_one_named(tmp_path: Path) -> None:
    path = ledger_path(tmp_path)
    assert writer(path) is None
    with held_elsewhere(path) as child:
        assert writer(path) == child.pid
        with pytest.raises(LedgerBusy) as caught:
            Ledger(path)
        assert str(path) in caught.value.message
        assert "stop" in caught.value.remedy
        assert writer(path) == child.pid, "the refused one left no trace"
    assert writer(path) is None
    Ledger(path).__exit__()


def test_a_killed_writer_holds_nothing(tmp_path: Path) -> None:
    path = ledger_path(tmp_path)
    with held_elsewhere(path) as child:
        os.kill(child.pid, signal.SIGKILL)
        child.wait(10)
        assert writer(path) is None
        written(path, EVENTS[:1])
    assert read_events(path) == EVENTS[:1]


def test_the_writer_is_this_process(tmp_path: Path) -> None:
    path = ledger_path(tmp_path)
    with Ledger(path):
        assert writer(path) == os.getpid()
    assert writer(path) is None


def test_asking_who_writes_keeps_no_writer_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To ask is to hold the lock, shared, for some microseconds: a writer that comes just then waits a moment."""
    path = ledger_path(tmp_path)
    Ledger(path).__exit__()
    asking = os.open(path.with_suffix(".lock"), os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    monkeypatch.setattr(ledger.time, "sleep", lambda seconds: os.close(asking))
    with Ledger(path):
        assert writer(path) == os.getpid()


FULL_DISK = """
import resource, sys
from pathlib import Path
from warpsmith.store.ledger import Ledger, read_events
from tests.store.test_ledger import EVENTS
path, room = Path(sys.argv[1]), int(sys.argv[2])
with Ledger(path) as ledger:
    ledger.append(EVENTS[0])
    size = path.stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, resource.RLIM_INFINITY))
    try:
        ledger.append(EVENTS[1])
    except OSError:
        pass
    else:
        sys.exit("the disk took it")
    if path.stat().st_size != size or ledger.events() != EVENTS[:1]:
        sys.exit("a part of the line was left")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    ledger.append(EVENTS[2])
if read_events(path) != [EVENTS[0], EVENTS[2]]:
    sys.exit("the ledger did not go on")
"""


@pytest.mark.parametrize("room", [0, 1, 100])
def test_a_disk_that_fills_up_leaves_no_part_of_a_line(tmp_path: Path, room: int) -> None:
    path = ledger_path(tmp_path)
    ran = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path), str(room)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert not path.with_suffix(".torn").exists()
