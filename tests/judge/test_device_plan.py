"""Launch plans in numbers, and the judge's end of a launcher's pipes, without a device."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest

from warpsmith.errors import WarpsmithError
from warpsmith.judge.failures import CandidateFailed, WorkerLost
from warpsmith.judge.launching import LauncherProcess
from warpsmith.judge.plan import ConcreteLaunch, make_plan, scalar_bytes
from warpsmith.model.candidate import Candidate, Launch, Scratch, SourceFile
from warpsmith.model.evaluation import Status
from warpsmith.model.head import Workload
from warpsmith.model.target import Target
from warpsmith.model.task import Argument, Dtype, KernelTask, Role
from warpsmith.store.blobs import Blobs
from warpsmith.store.folders import load_candidate, load_task

ROOT = Path(__file__).parents[2]
TARGET = Target(
    hardware="cuda",
    device="none",
    architecture="sm_90a",
    facts={"SM_COUNT": 132, "SHARED_BYTES_PER_BLOCK": 232448},
)
TASK = KernelTask(
    name="fake/scale",
    title="scale",
    hardware="cuda",
    contract="device",
    arguments=(
        Argument(name="x", role=Role.input, dtype=Dtype.f32, shape=("N",)),
        Argument(name="y", role=Role.output, dtype=Dtype.f32, shape=("N",)),
        Argument(name="N", role=Role.axis),
        Argument(name="scale", role=Role.scalar, dtype=Dtype.f32, value=0.5),
    ),
    bytes="8 * N",
    workloads=(Workload(name="one", axes={"N": 1000}), Workload(name="two", axes={"N": 7}, scalars={"scale": 2.0})),
)


def candidate(scratch: tuple[Scratch, ...] = (), **launch: Any) -> Candidate:
    said: dict[str, Any] = {"kernel": "k", "grid": ("N", 1, 1), "block": (32, 1, 1), "arguments": ("x", "y"), **launch}
    return Candidate(
        toolchain="cuda",
        entry="k",
        sources=(SourceFile(path="k.cu", content="0" * 64),),
        parameters={"WIDTH": 4},
        launch=(Launch(**said),),
        scratch=scratch,
    )


def test_expressions_become_numbers_and_scalars_bytes() -> None:
    made = candidate(
        grid=("min(SM_COUNT, ceil_div(N, WIDTH))", "WIDTH", "2 if scale > 1 else 1"),
        block=("32 * WIDTH", 1, 1),
        shared_bytes="4 * WIDTH",
        arguments=("x", "partial", "y", "N", "scale"),
        scratch=(Scratch(name="partial", bytes="8 * N"),),
    )
    one, two = (make_plan(TASK, workload, made, TARGET) for workload in TASK.workloads)
    scalars = (struct.pack("<q", 1000), struct.pack("<f", 0.5))
    assert one.launches == (ConcreteLaunch("k", (132, 4, 1), (128, 1, 1), 16, ("x", "partial", "y", *scalars)),)
    assert one.scratch == {"partial": 8000}
    assert two.launches[0].grid == (2, 4, 2)
    assert two.launches[0].said()["arguments"][-1] == {"bytes": struct.pack("<f", 2.0).hex()}


def test_the_shipped_plans_are_possible(tmp_path: Path) -> None:
    loaded = load_task(ROOT / "tasks/cuda/rmsnorm")
    made = load_candidate(loaded.folder / "src", Blobs(tmp_path), loaded.head)
    for point in made.space.points():
        for workload in loaded.task.workloads:
            make_plan(loaded.task, workload, made.at(point, ""), TARGET)


@pytest.mark.parametrize(
    ("launch", "said"),
    [
        ({"grid": ("N - 1000", 1, 1)}, "the grid (0, 1, 1) is out of range"),
        ({"grid": (1, 65536, 1)}, "the grid (1, 65536, 1) is out of range"),
        ({"grid": ("2 ** 31", 1, 1)}, "out of range"),
        ({"block": (1025, 1, 1)}, "the block (1025, 1, 1) is out of range"),
        ({"block": (32, 64, 1)}, "has more than 1024 threads"),
        ({"block": (1, 1, 65)}, "out of range"),
        ({"shared_bytes": 232449}, "232449 bytes of dynamic shared memory are out of range (0 to 232448)"),
        ({"shared_bytes": "-1"}, "out of range"),
        ({"grid": ("N // 0", 1, 1)}, "launch plan on workload 'one': the expression 'N // 0' fails"),
        ({"grid": ("N / 3", 1, 1)}, "a whole number was expected"),
        ({"grid": ("ROWS", 1, 1)}, "the name 'ROWS' is not known here"),
        ({"arguments": ("x", "z")}, "the argument 'z' is neither the task's nor a scratch buffer"),
        ({"scratch": (Scratch(name="t", bytes="-N"),)}, "the scratch buffer 't' has -1000 bytes"),
    ],
)
def test_impossible_plans_are_the_candidates_doing(launch: dict[str, Any], said: str) -> None:
    with pytest.raises(CandidateFailed) as raised:
        make_plan(TASK, TASK.workloads[0], candidate(**launch), TARGET)
    assert raised.value.status is Status.crashed
    assert said in raised.value.detail


def test_a_plan_without_a_launch() -> None:
    with pytest.raises(CandidateFailed, match="there is no launch"):
        make_plan(TASK, TASK.workloads[0], candidate().model_copy(update={"launch": ()}), TARGET)


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        (Dtype.f64, 1.5, struct.pack("<d", 1.5)),
        (Dtype.f16, 1.5, b"\x00\x3e"),
        (Dtype.bf16, 1.0, b"\x80\x3f"),
        (Dtype.bf16, 1.00390625, b"\x80\x3f"),  # halfway, to even
        (Dtype.bf16, 1.01171875, b"\x82\x3f"),  # halfway, to even
        (Dtype.bf16, float("inf"), b"\x80\x7f"),
        (Dtype.i8, -3.0, b"\xfd"),
        (Dtype.u8, 255.0, b"\xff"),
        (Dtype.i32, -1.0, b"\xff" * 4),
    ],
)
def test_scalars_are_laid_out_as_c_does(dtype: Dtype, value: float, expected: bytes) -> None:
    assert scalar_bytes(dtype, value) == expected


@pytest.mark.parametrize(("dtype", "value"), [(Dtype.u8, 256.0), (Dtype.i32, 0.5), (Dtype.i64, float("nan"))])
def test_scalars_that_do_not_fit_are_the_tasks_fault(dtype: Dtype, value: float) -> None:
    with pytest.raises(WarpsmithError, match="does not fit"):
        scalar_bytes(dtype, value)


def process(tmp_path: Path, body: str) -> LauncherProcess:
    """A launcher whose program is ``body``: ``say`` answers, ``listen`` reads a message."""
    program = tmp_path / "program.py"
    program.write_text(
        "import json, os, signal, sys, time\n"
        "commands, answers = os.fdopen(int(sys.argv[1])), int(sys.argv[2])\n"
        "say = lambda text: os.write(answers, (text + '\\n').encode())\n"
        "listen = commands.readline\n"
        "config = json.loads(listen())\n" + body
    )
    return LauncherProcess({"uuid": "0" * 32}, program)


def test_an_answer_comes_back_and_the_process_is_reaped(tmp_path: Path) -> None:
    said = "{'measured': {'seconds': 0.25, 'disturbed': 'x'}}"
    launcher = process(tmp_path, f"listen(); say(json.dumps({said})); listen()")
    assert launcher.measured({"do": "call"}, 20.0, "here") == (0.25, "x")
    launcher.stop()
    launcher.stop()


MEASURED = "say(json.dumps({{'measured': {{'seconds': {}, 'disturbed': ''}}}})); listen()"
ILLEGAL = 'say(json.dumps({"error": "CUDA_ERROR_ILLEGAL_ADDRESS", "stage": "call"}))'


@pytest.mark.parametrize(
    ("body", "timeout_s", "status", "said"),
    [
        ("listen()", 0.3, Status.timed_out, "no answer within 0.3 s here"),
        ('say(json.dumps({"refused": "too many"})); listen()', 20.0, Status.crashed, "launch plan: too many"),
        ('say(json.dumps({"cheated": "it wrote there"})); listen()', 20.0, Status.cheated, "it wrote there here"),
        (f"print('oh', flush=True); {ILLEGAL}", 20.0, Status.crashed, "ILLEGAL_ADDRESS here; it printed: oh"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", 20.0, Status.crashed, "SIGSEGV here"),
        (
            "signal.signal(signal.SIGXFSZ, signal.SIG_DFL); os.kill(os.getpid(), signal.SIGXFSZ)",
            20.0,
            Status.crashed,
            "printed or wrote more than",
        ),
    ],
)
def test_what_is_the_candidates_doing(tmp_path: Path, body: str, timeout_s: float, status: Status, said: str) -> None:
    launcher = process(tmp_path, body)
    with pytest.raises(CandidateFailed) as raised:
        launcher.wait("ready", timeout_s, "here")
    assert raised.value.status is status
    assert said in raised.value.detail
    launcher.stop()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed from outside"),
        ("sys.exit('no module')", "exit status 1 here; it printed: no module"),
        ("say('nonsense'); listen()", "no answer that can be read"),
        ("say('{}'); listen()", "no answer that can be read"),
        ('say(json.dumps({"doubtful": "it does not agree"})); listen()', "it does not agree here"),
        ("say('[' * 100000); listen()", "no answer that can be read"),
        (MEASURED.format("0.0"), "measured {'seconds': 0.0"),
        (MEASURED.format("float('nan')"), "measured {'seconds': nan"),
        (MEASURED.format("'1'"), "measured {'seconds': '1'"),
        ('say(\'{"error": "CUDA_ERROR_NO_DEVICE", "stage": "start"}\'); listen()', "failed at start"),
        ('say(\'{"error": "CUDA_ERROR_ECC_UNCORRECTABLE", "stage": "call"}\'); listen()', "ECC_UNCORRECTABLE"),
    ],
)
def test_what_is_nobodys_doing(tmp_path: Path, body: str, said: str) -> None:
    launcher = process(tmp_path, "listen()\n" + body)
    with pytest.raises(WorkerLost, match=said):
        launcher.measured({"do": "call"}, 20.0, "here")
    launcher.stop()


def test_a_launcher_that_ended_between_calls(tmp_path: Path) -> None:
    launcher = process(tmp_path, "say('{\"ready\": {}}')")
    assert launcher.wait("ready", 20.0, "here") == {}
    os.waitid(os.P_PID, launcher._child.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(WorkerLost, match="exit status 0"):
        launcher.measured({"do": "call"}, 20.0, "here")


def test_nothing_of_ours_reaches_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "1")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/somewhere")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    launcher = process(tmp_path, "say(json.dumps({'ready': dict(os.environ)})); listen()")
    seen = launcher.wait("ready", 20.0, "here")
    launcher.stop()
    assert "SECRET" not in seen
    assert seen["LD_LIBRARY_PATH"] == "/somewhere"
    assert seen["CUDA_VISIBLE_DEVICES"] == "GPU-00000000-0000-0000-0000-000000000000"


class TestEmptyShapes:
    """A launch of no blocks is left out where a tensor is empty, and refused where none is."""

    EMPTY = Workload(name="empty", axes={"N": 0})

    def test_nothing_is_launched(self) -> None:
        made = make_plan(TASK, self.EMPTY, candidate(grid=("ceil_div(N, 256)", 1, 1)), TARGET)
        assert made.launches == ()

    def test_what_has_blocks_still_runs(self) -> None:
        shape: dict[str, Any] = {"block": (32, 1, 1), "arguments": ("x", "y")}
        none = Launch(kernel="k", grid=("N", 1, 1), **shape)
        one = Launch(kernel="rest", grid=(1, 1, 1), **shape)
        both = candidate().model_copy(update={"launch": (none, one)})
        assert [launch.kernel for launch in make_plan(TASK, self.EMPTY, both, TARGET).launches] == ["rest"]

    def test_a_full_workload_needs_its_blocks(self) -> None:
        with pytest.raises(CandidateFailed, match="out of range"):
            make_plan(TASK, TASK.workloads[0], candidate(grid=("N - 1000", 1, 1)), TARGET)
