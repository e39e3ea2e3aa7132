"""The GPU pin: what the driver tells, which GPU is chosen, and that whatever is started sees that one and no other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import COMMAND, TARGET
from tests.machines import H200, MIB, SLICES, UUIDS, driver, gpu, machine, piece, posing
from warpsmith.errors import BadInput, Missing
from warpsmith.judge.__main__ import carry_out
from warpsmith.judge.nvml import Gpu, Process, gpus
from warpsmith.judge.pin import CHOSEN, ORDER, VISIBLE, choose, must_see, named, visible
from warpsmith.judge.workspaces import environment
from warpsmith.model.app import App
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Effort
from warpsmith.model.harness import CommandTask
from warpsmith.model.step import Fault, Measure, Request
from warpsmith.surface import cli, integrating
from warpsmith.surface.gpus import pin_checks, settle, write_pin
from warpsmith.surface.workspace import Workspace

FOUR = tuple(Gpu(str(n), uuid, H200, 143771 * MIB, 100 * MIB) for n, uuid in enumerate(UUIDS))
BUSY = (Process(7, "trainer"),)
Put = Callable[..., Path]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return driver(tmp_path_factory.mktemp("driver"))


@pytest.fixture
def put(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    for name in (VISIBLE, ORDER, CHOSEN, "WARPSMITH_GPU"):
        monkeypatch.setenv(name, "set, so that it is put back")
        monkeypatch.delenv(name)
    return posing(library, tmp_path / "machine", monkeypatch)


def space(tmp_path: Path, text: str = "") -> Workspace:
    (tmp_path / "warpsmith.toml").write_text(text)
    return Workspace(tmp_path)


def test_the_driver_tells_of_gpus_slices_and_who_computes(put: Put) -> None:
    many = ",".join(str(100000 + n) for n in range(40))
    put(
        gpu(UUIDS[0], 1000, f"{os.getpid()}"), gpu(UUIDS[1], mode="1", pids="9"), piece(SLICES[0]),
        piece(SLICES[1], "9"), gpu(""), gpu(UUIDS[2], mode="-", pids=many),
    )  # fmt: skip
    found = gpus()
    assert [g.index for g in found] == ["0", "1", "1:0", "1:1", "2", "3"]
    assert [g.uuid for g in found] == [UUIDS[0], UUIDS[1], *SLICES, "", UUIDS[2]]
    assert (found[0].name, found[0].free_bytes, found[0].memory_bytes) == (H200, 1000 * MIB, 143771 * MIB)
    assert found[0].processes == (Process(os.getpid(), Path("/proc/self/comm").read_text().strip(), 1 << 30),)
    assert [bool(g.unusable) for g in found] == [False, True, False, False, True, False]
    assert found[3].processes and not found[2].processes
    assert len(found[5].processes or ()) == 40


@pytest.mark.parametrize(
    ("changes", "wanted", "why"),
    [
        ({}, 0, "chosen of 4: nobody computes on it, 0.1 GiB free"),
        ({0: {"processes": BUSY}}, 1, "nobody computes"),
        ({2: {"free_bytes": 101 * MIB}}, 2, "nobody computes"),
        ({2: {"free_bytes": 101 * MIB, "processes": BUSY}}, 0, "nobody computes"),
        ({n: {"processes": BUSY} for n in range(4)}, 0, "none is free; trainer (pid 7) computes on it too"),
        ({0: {"processes": None}}, 1, "nobody computes"),
        ({0: {"unusable": "it is divided"}}, 1, "chosen of 3"),
    ],
)
def test_a_free_one_is_chosen(changes: dict[int, dict[str, Any]], wanted: int, why: str) -> None:
    found = [Gpu(**{**vars(g), **changes.get(n, {})}) for n, g in enumerate(FOUR)]
    chosen = choose(found, "", "warpsmith.toml", {})
    assert chosen is not None and chosen.uuid == UUIDS[wanted]
    assert why in chosen.said and chosen.worth_saying


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        (None, [0, 1, 2, 3]), ("", []), ("-1", []), ("2", [2]), ("3,1", [3, 1]), ("1,9,2", [1]), (UUIDS[3], [3]),
        (f"GPU-2,{UUIDS[0]}", [1, 0]), ("GPU-nobody", []),
    ],
)  # fmt: skip
def test_what_is_visible_is_what_cuda_would_see(said: str | None, seen: list[int]) -> None:
    given = {} if said is None else {VISIBLE: said}
    assert [g.uuid for g in visible(FOUR, given)] == [UUIDS[n] for n in seen]
    chosen = choose(FOUR, "", "", given)
    assert (chosen and chosen.uuid) == (UUIDS[min(seen)] if seen else None)


def test_indices_among_different_gpus_need_an_order() -> None:
    mixed = (FOUR[0], Gpu("1", UUIDS[1], "NVIDIA L4"))
    with pytest.raises(BadInput, match="only CUDA knows"):
        visible(mixed, {VISIBLE: "0"})
    assert [g.uuid for g in visible(mixed, {VISIBLE: "0", ORDER: "PCI_BUS_ID"})] == [UUIDS[0]]


def test_a_pin_is_a_uuid_that_is_here_visible_and_whole(put: Put) -> None:
    put(gpu(UUIDS[0]), gpu(UUIDS[1], mode="1"), piece(SLICES[0]), gpu(UUIDS[2], pids="9"))
    found = gpus()
    pinned = choose(found, SLICES[0], "warpsmith.toml", {})
    assert pinned is not None and pinned.said == f"GPU {SLICES[0]} ({H200} MIG 1g.18gb): pinned by warpsmith.toml"
    assert not pinned.worth_saying
    busy = choose(found, UUIDS[2], "WARPSMITH_GPU", {})
    assert busy is not None and busy.worth_saying and "pid 9" in busy.said
    with pytest.raises(Missing, match="which this machine lacks") as caught:
        choose(found, UUIDS[3], "warpsmith.toml", {})
    assert all(uuid in str(caught.value) for uuid in (UUIDS[3], UUIDS[0], SLICES[0], UUIDS[2]))
    with pytest.raises(Missing, match="hides it"):
        choose(found, UUIDS[0], "warpsmith.toml", {VISIBLE: UUIDS[2]})
    with pytest.raises(BadInput, match="divided into slices"):
        choose(found, UUIDS[1], "warpsmith.toml", {})
    with pytest.raises(BadInput, match="is no UUID"):
        choose(found, "0", "warpsmith.toml", {})
    assert named(found, "1:0").uuid == SLICES[0] and named(found, "GPU-1").uuid == UUIDS[0]
    with pytest.raises(Missing, match="fits several"):
        named((FOUR[0], Gpu("9", "GPU-11x", H200)), "GPU-11")


def test_settling_says_who_it_is_and_lasts(
    put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(gpu(UUIDS[0], pids="9"), gpu(UUIDS[1]))
    here = space(tmp_path)
    settle(here.settings)
    assert (os.environ[VISIBLE], os.environ[ORDER]) == (UUIDS[1], "PCI_BUS_ID")
    said = capsys.readouterr().err
    assert said == f"warpsmith: {os.environ[CHOSEN]}\n" and "chosen of 2" in said
    put(gpu(UUIDS[0]), gpu(UUIDS[1], pids="9"))
    settle(here.settings)
    assert os.environ[VISIBLE] == UUIDS[1] and not capsys.readouterr().err
    inherited = (here.session("x").environment or {}, integrating.environment(here))
    assert all(e[VISIBLE] == UUIDS[1] and e[CHOSEN] == os.environ[CHOSEN] for e in inherited)
    with pytest.raises(Missing, match=f"{VISIBLE}={UUIDS[1]} hides it"):
        settle(space(tmp_path, f'gpu = "{UUIDS[0]}"').settings)
    assert [(c.works, c.detail) for c in pin_checks(here.settings)] == [(True, os.environ[CHOSEN])]
    monkeypatch.delenv(VISIBLE)
    monkeypatch.setenv("WARPSMITH_GPU", UUIDS[0])
    settle(space(tmp_path, f'gpu = "{UUIDS[1]}"').settings)
    assert os.environ[VISIBLE] == UUIDS[0] and "pinned by WARPSMITH_GPU" in os.environ[CHOSEN]


def test_a_machine_without_a_driver_needs_none_but_for_a_pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver() -> tuple[Gpu, ...]:
        raise OSError("libnvidia-ml.so.1: cannot open shared object file")

    monkeypatch.delenv(VISIBLE, raising=False)
    settle(space(tmp_path).settings, look=no_driver)
    pinned = space(tmp_path, f'gpu = "{UUIDS[0]}"').settings
    settle(pinned, needed=False, look=no_driver)
    assert VISIBLE not in os.environ
    with pytest.raises(Missing, match=f"warpsmith.toml names {UUIDS[0]}, and this machine has no GPU"):
        settle(pinned, look=no_driver)
    assert [c.works for c in pin_checks(pinned, no_driver)] == [False]


def test_selecting_leaves_the_rest_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "warpsmith.toml"
    before = '# ours\nseed = 3  # odd\n\n[models]\nfix = "openai:m"  # gpu = "no"\n'
    path.write_text(before)
    write_pin(path, UUIDS[0])
    assert path.read_text() == before.replace("# odd\n", f'# odd\ngpu = "{UUIDS[0]}"\n')
    assert Workspace(tmp_path).settings.gpu == UUIDS[0]
    write_pin(path, UUIDS[1])
    assert path.read_text().count("gpu = ") == 2 and Workspace(tmp_path).settings.gpu == UUIDS[1]
    write_pin(path, "")
    assert path.read_text() == before
    path.write_text("seed = \n")
    with pytest.raises(BadInput, match="not TOML"):
        write_pin(path, UUIDS[0])
    assert path.read_text() == "seed = \n"
    write_pin(tmp_path / "new.toml", UUIDS[0])
    assert (tmp_path / "new.toml").read_text() == f'gpu = "{UUIDS[0]}"\n'


CUDA = TARGET.model_copy(
    update={"hardware": "cuda", "device": H200, "uuid": UUIDS[0].removeprefix("GPU-").replace("-", "")}
)


def test_a_step_that_sees_another_gpu_fails_with_both_names(
    put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(gpu(UUIDS[0]), gpu(UUIDS[1], name="NVIDIA H100"))
    monkeypatch.setenv(VISIBLE, UUIDS[1])
    task = CommandTask.model_validate({**COMMAND.model_dump(), "hardware": "cuda"})
    overlay = Candidate(toolchain="overlay", entry="command", sources=())
    step = Measure(candidate=overlay.id, rival=overlay.id, effort=Effort.check, round=0)
    request = Request(
        step=step, task=task, task_digest="0" * 64, candidate=overlay, rival=overlay, target=CUDA, timeout_s=1,
        limit_s=1, cache="", fixtures="",
    )  # fmt: skip
    (tmp_path / "request.json").write_text(request.model_dump_json())
    fault = carry_out(tmp_path).outcome
    assert isinstance(fault, Fault)
    assert f"the target is {UUIDS[0]} ({H200})" in fault.detail
    assert f"the judge sees {UUIDS[1]} (NVIDIA H100)" in fault.detail


def test_evidence_says_how_its_gpu_was_come_by() -> None:
    given = {VISIBLE: UUIDS[0], CHOSEN: "GPU ...: pinned by warpsmith.toml"}
    assert must_see(CUDA, lambda: FOUR, given) == ("GPU ...: pinned by warpsmith.toml",)
    assert must_see(CUDA, lambda: FOUR, {}) == ()
    assert must_see(TARGET, lambda: FOUR, given) == ()
    sliced = CUDA.model_copy(update={"uuid": SLICES[0].removeprefix("MIG-").replace("-", "")})
    assert must_see(sliced, lambda: FOUR, {VISIBLE: SLICES[0]}) == ()


def test_nobody_but_the_pin_names_the_gpu_of_a_harness() -> None:
    sly = Candidate(toolchain="overlay", entry="command", sources=(), parameters={VISIBLE: 3})
    task = CommandTask.model_validate({**COMMAND.model_dump(), "hardware": "cuda"})
    assert environment(task, sly, CUDA, caller={})[VISIBLE] == UUIDS[0]
    wrong: tuple[Callable[[], object], ...] = (
        lambda: Candidate(toolchain="overlay", entry="command", sources=(), environment={VISIBLE: "3"}),
        lambda: CommandTask.model_validate({**COMMAND.model_dump(), "environment": {ORDER: "FASTEST_FIRST"}}),
        lambda: CommandTask.model_validate({**COMMAND.model_dump(), "passes": [VISIBLE]}),
        lambda: App.model_validate({"name": "a", "source": "a.cu", "kernel": "k", "environment": {VISIBLE: "3"}}),
    )
    for make in wrong:
        with pytest.raises(ValueError, match="is said by the GPU pin"):
            make()


def test_the_command_line_lists_and_selects(
    put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(gpu(UUIDS[0], pids="9"), gpu(UUIDS[1]), gpu(UUIDS[2]))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "warpsmith.toml").write_text("seed = 3\n")
    assert cli.run(["gpu", "select", "9"]) == Missing.exit_status
    assert cli.run(["gpu", "select", "2"]) == 0
    assert (tmp_path / "warpsmith.toml").read_text() == f'seed = 3\ngpu = "{UUIDS[2]}"\n'
    capsys.readouterr()
    assert cli.run(["gpu", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [g["used"] for g in listed["gpus"]] == ["", "", "pinned by warpsmith.toml"]
    assert (listed["pin"], listed["by"]) == (UUIDS[2], "warpsmith.toml")
    assert [p["pid"] for p in listed["gpus"][0]["processes"]] == [9]
    assert cli.run(["gpu", "list"]) == 0
    shown = capsys.readouterr().out
    assert "(pid 9)" in shown and "139.8 GiB" in shown
    assert VISIBLE not in os.environ, "looking chooses nothing"


def test_what_exec_runs_takes_the_place_of_the_program(library: Path, tmp_path: Path) -> None:
    machine(tmp_path / "machine", gpu(UUIDS[0], pids="9"), gpu(UUIDS[1]))
    own = {k: v for k, v in os.environ.items() if k not in (VISIBLE, ORDER, CHOSEN, "WARPSMITH_GPU")}
    own |= {"LD_LIBRARY_PATH": str(library), "FAKE_MACHINE": str(tmp_path / "machine")}
    command = (sys.executable, "-m", "warpsmith.surface.cli", "gpu", "exec", "--", "sh", "-c")
    for script, status in (("echo $CUDA_VISIBLE_DEVICES $CUDA_DEVICE_ORDER; exit 7", 7), ("kill -TERM $$", -15)):
        ran = subprocess.run((*command, script), cwd=tmp_path, env=own, capture_output=True, text=True, check=False)
        assert ran.returncode == status, ran.stderr
        assert ran.stdout == (f"{UUIDS[1]} PCI_BUS_ID\n" if status == 7 else "")
        assert "chosen of 2: nobody computes on it" in ran.stderr
