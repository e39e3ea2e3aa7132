"""The injection library in real applications on a real device."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.app.building import EXAMPLES, PROGRAMS, compiled, shared
from warpsmith.app.buckets import Execution, executions
from warpsmith.app.injection import Ask, Capture, SwapRule, counting, environment
from warpsmith.app.library import counter, library
from warpsmith.app.log import Log, read_logs
from warpsmith.app.observe import overhead
from warpsmith.app.probe import probe
from warpsmith.app.running import app
from warpsmith.app.symbols import decode, is_pointer, parts, scalar_type
from warpsmith.model.launch import Launch
from warpsmith.model.observed import KernelObservation
from warpsmith.surface import cli

pytestmark = pytest.mark.gpu
TRANSPOSE = "_ZN5tiles9transposeIfLi16EEEvPKT_PS1_NS_5ShapeEf"
SUMS = "_ZN5tiles12partial_sumsIfLi256EEEvPKT_PS1_l"
SCALE = "_Z5scalePfif"
Seen = tuple[str, tuple[int, ...], tuple[int, ...], tuple[float, ...]]


def transpose() -> Path:
    return compiled(EXAMPLES / "transpose" / "src" / "main.cu")


def graph() -> Path:
    return compiled(EXAMPLES / "graph" / "graph.cu")


def launches() -> Path:
    return compiled(EXAMPLES / "launches" / "launches.cu")


def lives() -> Path:
    return compiled(PROGRAMS / "lives.cu")


def faster() -> Path:
    return compiled(PROGRAMS / "faster.cu", "-cubin")


def plain(*argv: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False)


def watched(folder: Path, *argv: object, **ask: object) -> tuple[subprocess.CompletedProcess[str], list[Log]]:
    folder.mkdir(exist_ok=True)
    variables = environment(library(shared("cache")), Ask(folder, **ask), os.environ)  # type: ignore[arg-type]
    ran = subprocess.run([str(a) for a in argv], env=variables, capture_output=True, text=True, check=False)
    return ran, read_logs(folder)


def counted(folder: Path, *argv: object) -> tuple[subprocess.CompletedProcess[str], list[Log]]:
    variables = counting(counter(shared("cache")), folder, os.environ)
    ran = subprocess.run([str(a) for a in argv], env=variables, capture_output=True, text=True, check=False)
    return ran, read_logs(folder)


def scalars(launch: Launch) -> tuple[float, ...]:
    """As the example applications print them: structs by their members, which are integers."""
    found: list[float] = []
    types = parts(launch.function.symbol).types or ()
    assert len(types) == len(launch.values)
    for type_, content in zip(types, launch.values, strict=True):
        if is_pointer(type_):
            continue
        if scalar_type(type_):
            found.append(float(decode(scalar_type(type_), content)))
        else:
            found += struct.unpack(f"<{len(content) // 4}i", content)
    return tuple(found)


def printed(stderr: str) -> list[tuple[Seen, int]]:
    """``launch NAME grid X Y Z block X Y Z [runs N] scalars A B``."""
    found = []
    for line in stderr.splitlines():
        words = line.split()
        if words[:1] != ["launch"]:
            continue
        assert (words[2], words[6]) == ("grid", "block")
        runs = int(words[words.index("runs") + 1]) if "runs" in words else 1
        numbers = [float(w) for w in words[words.index("scalars") + 1 :]]
        # what was a float is printed with nine digits
        exact = [struct.unpack("<f", struct.pack("<f", n))[0] for n in numbers]
        found.append(((words[1], tuple(map(int, words[3:6])), tuple(map(int, words[7:10])), tuple(exact)), runs))
    return found


def name(symbol: str) -> str:
    return parts(symbol).name.partition("<")[0].rpartition("::")[2]


def test_every_launch_is_what_the_application_says(tmp_path: Path) -> None:
    ran, (log,) = watched(tmp_path, transpose(), "--repeat", 3, "--debug")
    assert (ran.returncode, ran.stdout) == (0, plain(transpose(), "--repeat", 3).stdout)
    said = [one for one, _ in printed(ran.stderr)]
    assert said
    assert [(name(x.function.symbol), x.grid, x.block, scalars(x)) for x in log.launches] == said
    assert log.launched == len(said) == len(log.times)
    assert all(x.runs for x in log.launches)
    pair = next(x for x in log.launches if x.function.symbol == TRANSPOSE)
    assert [b.size for b in pair.buffers] == [4096 * 4096 * 4] * 2


def test_every_execution_of_a_graph_is_found(tmp_path: Path) -> None:
    ran, (log,) = watched(tmp_path, graph(), 5, "--debug")
    assert (ran.returncode, ran.stdout) == (0, plain(graph(), 5).stdout)
    said: Counter[Seen] = Counter()
    for one, runs in printed(ran.stderr):
        said[one] += runs
    found = executions(log)
    assert all(e.launch is not None for e in found)
    assert Counter(seen(e) for e in found) == said
    assert log.graph_launched == 5 + 3
    assert {(e.cluster, e.launch.cooperative) for e in found if e.launch} == {
        ((1, 1, 1), False), ((2, 1, 1), False), ((1, 1, 1), True),
    }  # fmt: skip
    assert len({x.stream for x in log.launches}) >= 3


def seen(execution: Execution) -> Seen:
    assert execution.launch is not None
    return name(execution.symbol), execution.grid, execution.block, scalars(execution.launch)


def test_threads(tmp_path: Path) -> None:
    ran, (log,) = watched(tmp_path, launches(), 4000, 4)
    assert ran.stdout == plain(launches(), 4000, 4).stdout
    assert len(log.launches) == len(log.times) == log.launched == 4001
    assert len({x.thread for x in log.launches}) == 5
    assert sum(int(scalars(x)[0]) for x in log.launches) == int(ran.stdout.split()[-1])


@pytest.mark.parametrize(
    "end", ["return", "_exit", "abort", "kill", "segv", "fork", "fork-before", "exec", "slow_exit"]
)
def test_the_log_is_usable_however_a_process_ends(tmp_path: Path, end: str) -> None:
    before = plain(lives(), end)
    ran, logs = watched(tmp_path, lives(), end)
    assert (ran.returncode, ran.stdout) == (before.returncode, before.stdout)
    assert [log.launched for log in logs] == {"fork": [2], "exec": [1, 1]}.get(end, [1])
    for log in logs:
        assert [x.grid for x in log.launches] == [(1, 1, 1)] * log.launched
        assert not log.troubles
        if end == "slow_exit" or log.finished:
            assert len(log.times) == log.launched
    assert logs[-1].finished == (end in ("return", "fork", "fork-before", "exec"))
    assert before.returncode == {
        "_exit": 3, "abort": -signal.SIGABRT, "kill": -signal.SIGKILL, "segv": -signal.SIGSEGV, "fork": 11,
        "fork-before": 4, "slow_exit": 5,
    }.get(end, 0)  # fmt: skip


def test_a_kernel_is_replaced_with_a_geometry_of_its_own(tmp_path: Path) -> None:
    shapes = {(256, 256, 1): (128, 128, 1), (188, 63, 1): (94, 32, 1)}
    rules = tuple(
        SwapRule(TRANSPOSE, faster(), "tiled_transpose", grid, (16, 16, 1), new, (32, 8, 1), 0)
        for grid, new in shapes.items()
    )
    ran, (log,) = watched(tmp_path, transpose(), "--repeat", 4, swaps=rules)
    assert (ran.returncode, ran.stdout) == (0, plain(transpose(), "--repeat", 4).stdout)
    assert log.hits[:3] == (4, 4, 0)
    assert log.missed == 4
    replaced = [t for t in log.times if t.symbol == "tiled_transpose"]
    assert Counter((t.grid, t.block) for t in replaced) == {((*new[:2], 1), (32, 8, 1)): 4 for new in shapes.values()}
    assert [s.result for s in log.swaps] == [0, 0]


def test_a_kernel_is_replaced_in_graphs_and_a_wrong_one_shows(tmp_path: Path) -> None:
    before = plain(graph())
    ran, (log,) = watched(
        tmp_path / "right", graph(), swaps=(SwapRule(SCALE, faster(), "slow_scale", new_grid=(3, 1, 1)),)
    )
    assert ran.stdout == before.stdout
    assert Counter(t.grid for t in log.times if t.symbol == "slow_scale") == {(3, 1, 1): 10}
    ran, _ = watched(tmp_path / "wrong", graph(), swaps=(SwapRule(SCALE, faster(), "wrong_scale"),))
    assert ran.returncode == 0
    assert ran.stdout != before.stdout


def test_a_rule_that_cannot_be_followed_changes_nothing(tmp_path: Path) -> None:
    ran, (log,) = watched(tmp_path, graph(), swaps=(SwapRule(SCALE, faster(), "nothing"),))
    assert ran.stdout == plain(graph()).stdout
    assert log.swaps[0].message == "the image has no kernel nothing"
    assert log.hits[0] == 0


def test_conditions_on_parameters_choose_launches(tmp_path: Path) -> None:
    rule = SwapRule(
        TRANSPOSE, faster(), "tiled_transpose", new_grid=(128, 128, 1), new_block=(32, 8, 1), shared_bytes=0,
        where=((16, struct.pack("<ii", 4096, 4096)),),
    )  # fmt: skip
    ran, (log,) = watched(tmp_path, transpose(), "--repeat", 2, swaps=(rule,))
    assert ran.stdout == plain(transpose(), "--repeat", 2).stdout
    assert (log.hits[0], log.missed) == (2, 4)


def test_what_a_launch_reads_and_writes_is_kept(tmp_path: Path) -> None:
    wanted = (Capture(TRANSPOSE, 1, (188, 63, 1)), Capture(SUMS, 0, (1, 1, 1)))
    ran, (log,) = watched(tmp_path, transpose(), "--repeat", 2, captures=wanted)
    assert ran.stdout == plain(transpose(), "--repeat", 2).stdout
    first, second = sorted(
        {s.sequence for s in log.snapshots}, key=lambda q: log.launches[q].function.symbol == TRANSPOSE
    )
    launch = log.launches[second]
    assert (launch.grid, scalars(launch)) == ((188, 63, 1), (1000.0, 3000.0, 1.5))
    held = {(s.offset, s.after): s for s in log.snapshots if s.sequence == second}
    assert {k: s.changed for k, s in held.items()} == {
        (0, False): False,
        (8, False): False,
        (0, True): False,
        (8, True): True,
    }
    content = {k: (tmp_path / s.file).read_bytes() for k, s in held.items()}
    assert all(len(c) == 4096 * 4096 * 4 and held[k].whole for k, c in content.items())
    matrix = struct.unpack_from("<3000f", content[0, False], 4 * 3000 * 7)
    column = [struct.unpack_from("<f", content[8, True], 4 * (1000 * x + 7))[0] for x in range(3000)]
    exact = [1.5 * v for v in matrix]  # as binary64 holds it; the kernel rounds it to binary32
    assert column == list(struct.unpack("<3000f", struct.pack("<3000f", *exact)))
    assert content[0, True] == content[0, False]
    images = {i.sequence: (tmp_path / i.file).read_bytes() for i in log.images}
    assert set(images) == {first, second}
    assert all(image[:4] == b"\x7fELF" and TRANSPOSE.encode() in image for image in images.values())


def test_large_buffers_are_cut_and_said_to_be(tmp_path: Path) -> None:
    ran, (log,) = watched(
        tmp_path, transpose(), "--repeat", 1, captures=(Capture(TRANSPOSE, 0),), buffer_limit_bytes=4096
    )
    assert ran.returncode == 0
    assert [(s.bytes, s.whole) for s in log.snapshots] == [(4096, False)] * 4


def test_several_processes_have_their_own_logs(tmp_path: Path) -> None:
    both = f"{transpose()} --repeat 2 & {graph()} 5 & wait"
    ran, logs = watched(tmp_path, "/bin/sh", "-c", both)
    assert ran.returncode == 0
    assert {(Path(log.exe).name, log.launched, log.finished) for log in logs} == {
        (transpose().name, 18, True), (graph().name, 6, True),
    }  # fmt: skip
    assert len({log.pid for log in logs}) == 2


def test_counting_alone_counts(tmp_path: Path) -> None:
    ran, (log,) = counted(tmp_path, graph(), 5)
    assert (ran.returncode, ran.stdout) == (0, plain(graph(), 5).stdout)
    assert (log.launched, log.graph_launched, log.launches, log.recording) == (2 + 2 + 1 + 1, 8, [], False)


@pytest.mark.parametrize("end", ["return", "_exit", "kill", "fork", "fork-before", "exec", "slow_exit"])
def test_the_counter_counts_however_a_process_ends(tmp_path: Path, end: str) -> None:
    before = plain(lives(), end)
    ran, logs = counted(tmp_path, lives(), end)
    assert (ran.returncode, ran.stdout) == (before.returncode, before.stdout)
    assert [log.launched for log in logs] == {"fork": [2], "exec": [1, 1]}.get(end, [1])


@pytest.mark.parametrize("program", ["torch-layers/infer.py", "triton-softmax/softmax.py"])
def test_the_counter_counts_what_is_recorded_of_a_framework(tmp_path: Path, program: str) -> None:
    argv = (sys.executable, EXAMPLES / program, "--repeat", 2)
    numbers = []
    for name, look in (("recorded", watched), ("counted", counted)):
        (tmp_path / name).mkdir()
        ran, logs = look(tmp_path / name, *argv)
        assert ran.returncode == 0, ran.stderr
        numbers.append((sum(log.launched for log in logs), sum(log.graph_launched for log in logs)))
    assert numbers[0] == numbers[1] > (0, 0)


def test_only_what_is_named_is_recorded(tmp_path: Path) -> None:
    _, (log,) = watched(tmp_path, transpose(), "--repeat", 2, only=(SUMS,))
    assert {x.function.symbol for x in log.launches} == {SUMS} == {t.symbol for t in log.times}
    assert log.launched == 18


def test_a_bounded_log_counts_what_it_dropped(tmp_path: Path) -> None:
    ran, (log,) = watched(tmp_path, launches(), 20000, limit_bytes=1 << 20)
    assert ran.returncode == 0
    assert log.launched == 20001
    assert log.dropped > 0
    assert log.path.stat().st_size == 1 << 20


def test_the_verb_keeps_one_file_per_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: object) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["observe", "--output", "seen", "--", str(transpose()), "--repeat", "5"]) == 0
    kept = [KernelObservation.model_validate_json(p.read_bytes()) for p in Path("seen").iterdir()]
    assert {k.kernel.symbol for k in kept} == {TRANSPOSE, SUMS}
    assert all(k.found_in == (str(transpose()),) for k in kept)
    one = next(k.kernel for k in kept if k.kernel.symbol == TRANSPOSE)
    assert sum(c.launches for c in one.configurations) <= one.launches == 15
    assert cli.run(["observe", "--output", "seen", "--", str(transpose()), "--repeat", "5"]) == 0
    assert "not run again" in capfd.readouterr().out  # type: ignore[attr-defined]


def test_overhead_is_measured_and_outputs_are_the_same(tmp_path: Path) -> None:
    found = overhead(app((str(launches()), "20000"), tmp_path), tmp_path, None, runs=2)
    assert [(o.way, o.launches, o.same) for o in found] == [
        ("plain", 0, True), ("counted", 20001, True), ("recorded", 20001, True),
    ]  # fmt: skip


def test_this_machine_can_be_watched_and_swapped_on() -> None:
    found = probe(shared("cache"))
    assert found.watch, found.watch_said
    assert found.swap, found.swap_said


@pytest.mark.skipif(shutil.which("nsys") is None, reason="nsys is not on PATH")
def test_where_injection_is_refused_a_profiler_sees_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_INJECTION64_PATH", "/opt/other.so")
    status = cli.run(["observe", "--json", "--", str(transpose()), "--repeat", "2"])
    answer = json.loads(capfd.readouterr().out)
    if status == 4:
        pytest.skip(answer["error"])
    assert status == 0
    assert answer["observation"]["run"]["source"] in ("nsys", "ncu")
    assert {k["symbol"] for k in answer["observation"]["kernels"]} == {TRANSPOSE, SUMS}
    assert "another tool is attached" in answer["observation"]["run"]["conditions"][0]
