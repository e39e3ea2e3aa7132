"""Logs written by the library's own code, however their process ended; and logs that are damaged."""

from __future__ import annotations

import gzip
import struct
import subprocess
from collections import Counter
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.app.building import built
from warpsmith.app.buckets import executions, kernels
from warpsmith.app.log import HEADER_BYTES, Log, decode, read_log, read_logs
from warpsmith.errors import BadReport
from warpsmith.model.launch import Buffer, How, Launch

NOWHERE = Path("a.launches")


def written(folder: Path, how: str, *more: int) -> tuple[int, list[Log]]:
    ran = subprocess.run((built("journal.cpp"), folder, how, *map(str, more)), check=False)
    return ran.returncode, read_logs(folder)


@lru_cache(maxsize=1)
def sample() -> bytes:
    with TemporaryDirectory() as folder:
        _, (log,) = written(Path(folder), "return", 3)
        return log.path.read_bytes()[: 1 << 14]


def test_every_field_comes_back(tmp_path: Path) -> None:
    status, (log,) = written(tmp_path, "return", 3)
    assert status == 0
    assert (log.launched, log.recording, log.finished, log.cut, log.dropped) == (3, True, True, False, 0)
    assert (log.exe, log.command, log.driver) == ("/bin/journal", ("journal", "of two words"), 13000)
    assert (log.notes, log.troubles) == (["a fact"], ["no good"])
    launch = log.launches[2]
    assert (launch.sequence, launch.grid, launch.block, launch.cluster) == (2, (2, 3, 4), (8, 4, 2), (1, 1, 1))
    assert (launch.function.symbol, launch.function.parameters) == ("_Z5scalePfif", ((0, 8), (8, 4), (12, 4)))
    assert launch.buffers == (Buffer(0, 0x7F0000001000, 4096),)
    assert (launch.pointer(launch.buffers[0]), launch.buffer(0), launch.buffer(1)) == (
        0x7F0000001010,
        launch.buffers[0],
        None,
    )
    assert launch.values[1:] == ((2).to_bytes(4, "little"), bytes.fromhex("0000003f"))
    assert (launch.how, launch.runs, launch.rule, launch.thread) == (How.kernel, True, None, 7)
    time = log.times[2]
    assert (time.symbol, time.correlation, time.seconds, time.grid) == ("_Z5scalePfif", 102, 5e-9, (2, 3, 4))


@pytest.mark.parametrize(("how", "ended"), [("kill", -9), ("_exit", 4)])
def test_what_was_stored_is_there_however_the_process_ends(tmp_path: Path, how: str, ended: int) -> None:
    status, (log,) = written(tmp_path, how, 500)
    assert status == ended
    assert (len(log.launches), len(log.times), log.finished, log.cut) == (500, 500, False, False)


def test_threads_write_whole_records(tmp_path: Path) -> None:
    _, (log,) = written(tmp_path, "threads", 4000)
    assert sorted(launch.sequence for launch in log.launches) == list(range(4000))
    assert {launch.thread for launch in log.launches} == {0, 1, 2, 3}


def test_a_forked_child_cannot_reach_the_log(tmp_path: Path) -> None:
    status, (log,) = written(tmp_path, "fork", 5)
    assert status == 0
    assert [launch.sequence for launch in log.launches] == list(range(6))


def test_what_does_not_fit_is_counted(tmp_path: Path) -> None:
    _, (log,) = written(tmp_path, "return", 8000, 1 << 20)
    assert log.launched == 8000
    assert 0 < len(log.launches) < 8000
    assert log.dropped == 16000 - len(log.launches) - len(log.times)
    assert log.path.stat().st_size == 1 << 20


@given(st.integers(0, HEADER_BYTES - 1))
@settings(max_examples=50, deadline=None)
def test_a_header_that_breaks_off_is_no_log(length: int) -> None:
    with pytest.raises(BadReport, match="not a log"):
        decode(sample()[:length], NOWHERE)


@given(st.integers(HEADER_BYTES, 6000))
@settings(max_examples=150, deadline=None)
def test_a_log_that_breaks_off_gives_its_whole_records(length: int) -> None:
    log, whole = decode(sample()[:length], NOWHERE), decode(sample(), NOWHERE)
    assert log.launches == whole.launches[: len(log.launches)]
    assert log.cut == (length < int.from_bytes(sample()[32:40], "little"))


@given(st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 255)), min_size=1, max_size=8))
@settings(max_examples=300, deadline=None)
def test_a_damaged_log_fails_clearly_or_is_read(changes: list[tuple[int, int]]) -> None:
    content = bytearray(sample())
    for at, value in changes:
        content[at] = value
    failed = ""
    try:
        decode(bytes(content), NOWHERE)
    except BadReport as error:
        failed = error.message
    assert failed == "" or failed.startswith("a.launches: ")


@given(st.binary(max_size=9000))
@settings(max_examples=100, deadline=None)
def test_foreign_files_are_refused(content: bytes) -> None:
    with pytest.raises(BadReport, match="not a log"):
        decode(content, NOWHERE)


def test_another_version_is_refused() -> None:
    content = bytearray(sample())
    content[8] = 2
    with pytest.raises(BadReport, match="format 2, and 1 is read here"):
        decode(bytes(content), NOWHERE)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadReport, match=r"nothing\.launches: cannot be read"):
        read_log(tmp_path / "nothing.launches")


def golden(name: str) -> Log:
    """A log of an H200: ``transpose --repeat 2``, ``graph 5``, ``transpose`` with three captures, ``lives kill``."""
    path = Path(__file__).parents[1] / "golden" / "observed" / f"{name}.launches.gz"
    return decode(gzip.decompress(path.read_bytes()), path)


def test_a_log_of_a_real_application() -> None:
    log = golden("transpose")
    assert (log.driver, log.devices, log.finished, log.troubles) == (13000, {0: "NVIDIA H200"}, True, [])
    assert len(log.launches) == len(log.times) == log.launched == 18
    kernels_seen = kernels(executions(log))
    assert [k.name for k in kernels_seen] == [
        "void tiles::transpose<float, 16>(float const*, float*, tiles::Shape, float)",
        "void tiles::partial_sums<float, 256>(float const*, float*, long)",
    ]
    first = kernels_seen[0].configurations[0]
    assert (first.grid, first.block, first.launches) == ((256, 256, 1), (16, 16, 1), 2)
    shape, scale = first.scalars
    assert (shape.type, shape.value) == ("tiles::Shape", "0010000000100000")
    assert (scale.type, scale.low, scale.high) == ("float", 1.0, 1.5)
    assert [b.most_bytes for b in first.buffers] == [1 << 26, 1 << 26]


def test_a_log_of_graphs() -> None:
    """Each execution has its node's arguments: 5 runs of a captured graph, 1 and 2 of one that was changed."""
    log = golden("graph")
    seen = Counter(
        (e.symbol, decode_float(e.launch), e.by_graph, e.launch.how.name) for e in executions(log) if e.launch
    )
    assert seen == {
        ("_Z5scalePfif", 1.0, False, "kernel"): 1, ("_Z5scalePfif", 1.5, False, "kernel"): 1,
        ("_Z3addPfPKfid", 0.125, True, "kernel"): 5, ("_Z5scalePfif", 0.5, True, "kernel"): 5,
        ("_Z5scalePfif", 2.0, True, "node_added"): 1, ("_Z5scalePfif", 0.25, True, "exec_node_set"): 2,
        ("_Z3addPfPKfid", 3.0, False, "extended"): 1, ("_Z6settlePfi", 0.0, False, "cooperative"): 1,
    }  # fmt: skip
    assert {x.cluster for x in log.launches} == {(1, 1, 1), (2, 1, 1)}
    assert [x.cooperative for x in log.launches].count(True) == 1


def decode_float(launch: Launch) -> float:
    last = launch.values[-1]
    return 0.0 if len(launch.values) == 2 else float(struct.unpack("<f" if len(last) == 4 else "<d", last)[0])


def test_a_log_of_captures() -> None:
    log = golden("capture")
    assert len(log.snapshots) == 12
    assert [s.offset for s in log.snapshots if s.changed] == [8, 8, 8]
    assert all(s.whole and s.file.endswith(f"-{s.bytes}.bin") for s in log.snapshots)
    unchanged = [s for s in log.snapshots if s.after and not s.changed]
    before = {(s.sequence, s.offset): s.file for s in log.snapshots if not s.after}
    assert all(before[s.sequence, s.offset] == s.file for s in unchanged)
    assert {i.candidates for i in log.images} == {1}


def test_a_log_of_a_process_that_was_killed() -> None:
    log = golden("kill")
    assert (log.launched, len(log.launches), log.finished, log.cut) == (1, 1, False, False)
