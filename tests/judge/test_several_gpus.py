"""Where a machine has several GPUs: what a judge starts, however clean its environment, uses the one that is said."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from warpsmith.judge.forking import ForkServer
from warpsmith.judge.launching import device_environment, environment
from warpsmith.judge.nvml import gpus as gpus_of_the_driver
from warpsmith.profilers.tools import available
from warpsmith.sandbox.cell import Cell, Mechanism
from warpsmith.sandbox.process import start
from warpsmith.sandbox.view import drivers

ROOT = Path(__file__).parents[2]
PATHS = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
OWN = "6a7c1d3e00004f0080000123456789ab"
NAMED = "GPU-6a7c1d3e-0000-4f00-8000-0123456789ab"
PROGRAM = """
import ctypes, os

def main(arguments, descriptors):
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_char_p
    os.write(descriptors[0], getenv(b"CUDA_VISIBLE_DEVICES"))
"""
THROUGH_ALL = (
    "tests/judge/test_device_gpu.py::test_a_right_candidate_passes_with_times_and_facts",
    "tests/judge/test_gpuhost_gpu.py::test_it_passes_and_its_time_is_that_of_the_device_contract[torch]",
    "tests/judge/test_gpuhost_gpu.py::test_it_passes_and_its_time_is_that_of_the_device_contract[triton]",
    "tests/judge/test_sanitize_gpu.py::test_a_clean_kernel_passes_all",
    "tests/profilers/test_gpu.py::test_a_quick_profile_has_what_every_rule_needs_and_points_at_lines",
)
"""Between them: judge, launchers, workers and their fork-server, sanitizers and a profiler."""


@pytest.mark.parametrize("visible", [None, "0", "3,1", f"GPU-{'0' * 8}-0000-0000-0000-{'0' * 12}"])
def test_whatever_was_visible_a_child_sees_the_judges_own(monkeypatch: pytest.MonkeyPatch, visible: str | None) -> None:
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    for said in (device_environment(OWN), environment(OWN)):
        assert said["CUDA_VISIBLE_DEVICES"] == NAMED
        assert said["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_a_slice_of_a_gpu_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1")
    assert device_environment(OWN)["CUDA_VISIBLE_DEVICES"] == "MIG-1"


def test_a_profiler_does_not_widen_what_a_launcher_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARPSMITH_PROFILED", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    assert environment(OWN)["CUDA_VISIBLE_DEVICES"] == NAMED


def test_the_driver_in_a_forked_worker_sees_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver asks the C library, whose environment a fork inherits from its server."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    (tmp_path / "program.py").write_text(PROGRAM)
    server = ForkServer(tmp_path / "program.py", (), (), {"PATH": "/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": "2"})
    answers, other = os.pipe()
    cell = Cell(argv=("x",), environment={"PATH": "/usr/bin:/bin", **device_environment(OWN)}, keep=(other,))
    process = start(cell, Mechanism(frozenset({"limits"})), spawn=server.spawn)
    os.close(other)
    try:
        assert select.select([answers], [], [], 20.0)[0]
        assert os.read(answers, 100).decode() == NAMED
    finally:
        process.end()
        server.close()
        os.close(answers)


OTHER = NAMED.replace("6a7c1d3e", "7b7c1d3e")


@pytest.fixture
def machine(tmp_path: Path) -> tuple[Path, Path]:
    """What /dev and the kernel's list of GPUs look like with two of them."""
    for number, uuid in enumerate((OTHER, NAMED)):
        folder = tmp_path / "known" / f"0000:00:0{number}.0"
        folder.mkdir(parents=True)
        said = f"Model: \t\t NVIDIA H200\nGPU UUID: \t {uuid}\nBus Location: \t {folder.name}\n"
        (folder / "information").write_text(f"{said}Device Minor: \t {3 - number}\n")
    (tmp_path / "dev" / "nvidia-caps").mkdir(parents=True)
    for name in ("nvidia2", "nvidia3", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / "dev" / name).touch()
    return tmp_path / "dev", tmp_path / "known"


@pytest.mark.parametrize(
    ("visible", "own"), [(NAMED, {"nvidia2"}), (OTHER, {"nvidia3"}), ("", {"nvidia2", "nvidia3"}),
                         ("GPU-of-another-machine", {"nvidia2", "nvidia3"})]
)  # fmt: skip
def test_the_sandbox_shows_one_gpu(machine: tuple[Path, Path], visible: str, own: set[str]) -> None:
    assert {p.name for p in drivers(visible, *machine)} == {"nvidia-caps", "nvidiactl", "nvidia-uvm", *own}


def gpus() -> list[str]:
    """UUIDs of the GPUs that this process may use."""
    found = smi("--query-gpu=uuid", "--format=csv,noheader")
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return found
    named = [found[int(one)] if one.isdigit() else one for one in allowed.split(",") if one]
    return list(dict.fromkeys(named))


def smi(*arguments: str) -> list[str]:
    """Lines of what the driver's program says; none where it is not here or refuses."""
    if shutil.which("nvidia-smi") is None:
        return []
    ran = subprocess.run(("nvidia-smi", *arguments), capture_output=True, text=True, check=False)
    return ran.stdout.splitlines() if ran.returncode == 0 else []


def family(process: int) -> Iterator[int]:
    """A process and all below it."""
    yield process
    for task in Path(f"/proc/{process}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from family(int(child))


@pytest.mark.parametrize("test", THROUGH_ALL)
def test_what_is_watched_on_two_gpus_exists(test: str) -> None:
    path, _, name = test.partition("::")
    assert f"\ndef {name.partition('[')[0]}(" in (ROOT / path).read_text()


@pytest.mark.gpu
@pytest.mark.timeout(400)
def test_all_that_a_judge_starts_is_on_its_gpu(tmp_path: Path) -> None:
    visible = gpus()
    if len(visible) < 2:
        pytest.skip(f"GPUs visible: {len(visible)}, and this needs two")
    if not available("ncu"):
        pytest.skip("ncu is not here, and one of the tests that are watched needs it")
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": visible[1]}
    command = (sys.executable, "-m", "pytest", "-rs", "-m", "gpu", "-p", "no:cacheprovider", *THROUGH_ALL)
    with (tmp_path / "said").open("wb") as log:
        child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    ours: set[int] = set()
    seen: set[tuple[int, str]] = set()
    until = time.monotonic() + 300
    while child.poll() is None and time.monotonic() < until:
        try:
            ours.update(family(child.pid))
        except (FileNotFoundError, ProcessLookupError):  # one that has ended meanwhile
            continue
        for line in smi("--query-compute-apps=pid,gpu_uuid", "--format=csv,noheader"):
            pid, _, gpu = line.partition(", ")
            seen.add((int(pid), gpu))
        time.sleep(0.02)
    child.kill()
    child.wait()
    said = (tmp_path / "said").read_text(errors="replace")
    assert child.returncode == 0 and f"{len(THROUGH_ALL)} passed" in said, said
    used = {(pid, gpu) for pid, gpu in seen if pid in ours}
    if not used:
        pytest.skip(f"the driver names processes by numbers that are not known here, if any: {len(seen)} were seen")
    assert {gpu for _, gpu in used} == {visible[1]}
    assert len(used) >= 10, "the judge, launchers, workers, and what ran under tools"


@pytest.mark.gpu
def test_the_drivers_library_says_what_its_program_says() -> None:
    said = smi("--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits")
    if not said:
        pytest.skip("nvidia-smi says nothing here")
    found = [g for g in gpus_of_the_driver() if ":" not in g.index]
    assert [f"{g.index}, {g.uuid}, {g.name}, {g.memory_bytes >> 20}" for g in found] == said
    assert all(g.processes is not None for g in found)


@pytest.mark.gpu
@pytest.mark.parametrize("last", [False, True])
def test_a_command_sees_the_pinned_gpu_and_no_other(last: bool, tmp_path: Path) -> None:
    seen = gpus()
    if not seen:
        pytest.skip("no GPU is visible")
    pinned = seen[-1 if last else 0]
    asks = (
        "from cuda.bindings import driver as cu; cu.cuInit(0); print(cu.cuDeviceGetCount()[1],"
        " bytes(cu.cuDeviceGetUuid(cu.cuDeviceGet(0)[1])[1].bytes).hex())"
    )
    environment = {**os.environ, "WARPSMITH_GPU": pinned, "PYTHONPATH": PATHS}
    command = (sys.executable, "-m", "warpsmith.surface.cli", "gpu", "exec", "--", sys.executable, "-c", asks)
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.stdout.split() == ["1", pinned.removeprefix("GPU-").replace("-", "")], ran.stderr


@pytest.mark.gpu
def test_the_target_of_a_task_is_the_pinned_gpu(tmp_path: Path) -> None:
    seen = gpus()
    if not seen:
        pytest.skip("no GPU is visible")
    asks = (
        "from warpsmith.surface.workspace import Workspace; import os;"
        " t = Workspace().target_of('cuda'); print(t.uuid, os.environ['WARPSMITH_CHOSEN'], sep='|')"
    )
    environment = {**os.environ, "WARPSMITH_GPU": seen[-1], "PYTHONPATH": PATHS}
    ran = subprocess.run(
        (sys.executable, "-c", asks), cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    uuid, _, said = ran.stdout.strip().partition("|")
    assert uuid == seen[-1].removeprefix("GPU-").replace("-", ""), ran.stderr
    assert said.startswith(f"GPU {seen[-1]} (") and "pinned by WARPSMITH_GPU" in said
