"""The verbs capture and trial where there is no device, what they write, and a captured task under a sweep."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.app.capturing import TRANSPOSE, transposes
from tests.judge import apptask
from tests.projects import calibrate
from warpsmith.app.capturefiles import write_task
from warpsmith.app.capturesource import extract
from warpsmith.app.capturetask import Signature, TaskMaker
from warpsmith.app.fixtures import Fixtures
from warpsmith.app.loading import load_app
from warpsmith.app.probe import probe
from warpsmith.app.trial import OneRun, Trial
from warpsmith.model.campaign import Decided, Submitted
from warpsmith.model.task import AppTask
from warpsmith.store.folders import find_task
from warpsmith.store.ledger import Ledger, read_events
from warpsmith.surface import capturing, cli, trying
from warpsmith.surface.journey import Journey
from warpsmith.surface.releasing import task_files
from warpsmith.surface.workspace import Workspace

SOURCE = Path(__file__).parents[2] / "examples" / "apps" / "transpose" / "src" / "main.cu"


def captured(root: Path) -> AppTask:
    """A captured task of a device, in a project at ``root``."""
    (root / "tasks").mkdir()
    space = Workspace(root)
    fixtures = Fixtures(space.home)
    run = transposes(root)
    source = extract(SOURCE, TRANSPOSE, 4)
    maker = TaskMaker("captured/t", run.observed(), run.taken(), fixtures, Signature(source.names, source.types))
    task = write_task(root / "tasks" / "captured" / "t", maker.make(("app",)), maker, source)
    space.blobs.put(fixtures.get(task.original.image or ""))
    return task


def test_a_captured_task_is_known_whole(tmp_path: Path) -> None:
    task = captured(tmp_path)
    space = Workspace(tmp_path)
    known = capturing.known_of(space, str(find_task("captured/t", tmp_path)))
    assert known.loaded.task == task
    assert (known.baseline.toolchain, known.entry.toolchain) == ("cubin", "cuda")
    assert {r.workload for r in capturing.rows(task, {})} == {w.name for w in task.workloads}
    assert [r.gap for r in capturing.rows(task, {task.workloads[0].name: (2e-3,)})] == [2.0, None]


def test_what_is_private_is_named_in_a_release_and_not_taken_along(tmp_path: Path) -> None:
    captured(tmp_path)
    space = Workspace(tmp_path)
    known = space.task(str(tmp_path / "tasks" / "captured" / "t"))
    files = task_files(space, known)
    assert "baseline/original.cubin.fixture" in files
    assert not any(content.startswith(b"\x7fELF") for content in files.values())


def test_a_trial_needs_what_swaps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: object) -> None:
    monkeypatch.chdir(tmp_path)
    captured(tmp_path)
    if probe(Workspace(tmp_path).home / "cache").swap:
        pytest.skip("kernels can be swapped here")
    assert cli.run(["trial", "tasks/captured/t/src", "--json", "--", "/bin/true"]) == 4
    answer = json.loads(capfd.readouterr().out)  # type: ignore[attr-defined]
    assert "cannot be swapped" in answer["error"]
    assert "integrate" in answer["remedy"]


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        (("trial", "best", "--", "/bin/true"), 3),
        (("trial", "src", "--task", "captured/gather", "--", "/bin/true"), 3),
        (("trial", "src", "--pairs", "1", "--", "/bin/true"), 3),
        (("capture", "k", "--harness", "h.cu", "--", "/bin/true"), 3),
        (("capture", "k", "--top-k", "0", "--", "/bin/true"), 3),
        (("capture", "k"), 3),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...], status: int
) -> None:
    monkeypatch.chdir(tmp_path)
    apptask.make(tmp_path)
    assert cli.run(list(argv)) == status


@pytest.mark.parametrize(
    ("verdict", "outcome", "result", "status"),
    [
        ("faster", "measured", "accepted", 0), ("slower", "measured", "rejected", 1),
        ("same", "measured", "short_circuit", 2), (None, "crashed", "rejected", 1),
        (None, "not_swapped", "short_circuit", 2),
    ],
)  # fmt: skip
def test_the_outcome_is_in_the_ledger(
    tmp_path: Path, verdict: str | None, outcome: str, result: str, status: int
) -> None:
    known = apptask.make(tmp_path)
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.append(Submitted(candidate=known.entry, at=1.0))
    run = OneRun(side="candidate", status=0)
    said = {"outcome": outcome, "verdict": verdict, "reason": "so it is", "runs": (run,), "rules": 1, "covered": 1.0}
    made = Trial.model_validate(said)
    assert trying.status(made) == status
    assert trying._tell(path, known.entry, made, tmp_path) == str(path)
    event = read_events(path)[-1]
    assert isinstance(event, Decided)
    assert (event.decision, event.result, event.candidate) == ("trial", result, known.entry.id)


@pytest.mark.slow
def test_a_captured_task_is_optimised_by_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    apptask.make(tmp_path)
    calibrate(tmp_path)
    text = apptask.ORIGINAL.replace(
        "    for (int64_t i",
        "    for (int r = 0; r < WORK; ++r) { volatile float w = 0; for (int64_t i = 0; i < n; ++i) w += x[i]; }\n"
        "    for (int64_t i",
    )
    apptask.candidate(tmp_path, "src", text, "\n[tunables.WORK]\nvalues = [0, 2, 4]\ndefault = 4\n")
    apptask.candidate(tmp_path, "baseline", text.replace("WORK", "4"))
    assert cli.run(["optimize", "captured/gather", "--budget", "rounds=2"]) == 0
    h = Workspace(tmp_path).history("captured/gather", "main")
    from warpsmith.analyse.standing import standing

    assert h.candidates[standing(h).best].parameters == {"WORK": 0}


def test_the_road_knows_both_stages(tmp_path: Path) -> None:
    """An application on the processor: nothing to capture, nothing to swap; ``run`` says why and goes on."""
    (tmp_path / "k.c").write_text("void k(float *a) { a[0] = 1; }\n")
    (tmp_path / "app.toml").write_text(
        'name = "c"\nsource = "k.c"\nkernel = "k"\nbuild = "true"\nrun = "true"\nverify = "true"\nhardware = "cpu"\n'
    )
    journey = Journey(Workspace(tmp_path), load_app(tmp_path / "app.toml"))
    assert capturing.stage(journey).not_applicable({}) == "no launches were observed"
    assert trying.stage(journey).not_applicable({}) == "no stage gave a candidate"
    assert capturing.application_of(journey).argv[0].endswith("sh")
