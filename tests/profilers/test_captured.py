"""Campaigns of captured kernels profile their leaders, and what was seen reaches whoever writes the next candidate."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from tests.app.building import EXAMPLES
from tests.app.test_capture_gpu import asked, program, put, said
from tests.app.test_capture_verbs import captured
from tests.fakes import FakeCrew
from tests.judge import apptask
from tests.machines import no_gpu
from tests.profilers.tools import tool
from tests.propose.test_llm_proposer import Scripted, block
from tests.surface.test_harness_profiles import COMMAND, SERVED
from warpsmith.analyse.standing import standing
from warpsmith.app.fixtures import Fixtures
from warpsmith.campaign import optimize
from warpsmith.crew import write_step
from warpsmith.model.base import short
from warpsmith.model.campaign import Budget
from warpsmith.model.candidate import Candidate
from warpsmith.model.profile import Bottleneck, KernelProfile, Profile
from warpsmith.model.step import Explain, Outcome, ProfileRequest, Propose, Step
from warpsmith.model.target import Calibration, Target
from warpsmith.model.task import AppTask
from warpsmith.profilers.tools import available
from warpsmith.propose.llm.proposer import Llm
from warpsmith.store.files import write_atomic
from warpsmith.store.history import History
from warpsmith.store.ledger import Ledger
from warpsmith.surface import api
from warpsmith.surface.answers import ExplainAnswer
from warpsmith.surface.campaigns import open_campaign, place_for
from warpsmith.surface.profiling import explains, profile_request
from warpsmith.surface.stamp import stamp
from warpsmith.surface.workspace import Known, Workspace

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/bottlenecks/transpose_naive.json").read_text())
"""The very kernel of the example, as ncu counted it on an H200."""
H200 = Target.model_validate(GOLDEN["target"])


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A captured transpose in a project on a calibrated device, where something is named ncu and something nsys."""
    captured(tmp_path)
    for name in ("ncu", "nsys"):
        tool(tmp_path / "bin", name, "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    made = Workspace(tmp_path)
    calibrated(made, H200, 0.0)
    return made


def calibrated(space: Workspace, target: Target, noise_floor: float) -> None:
    """Make a device count as calibrated: measuring one takes many seconds."""
    known = Calibration(
        target=target.key, noise_floor=noise_floor, comparisons=1, copy_bytes_per_s={}, flops_per_s=5e13, at=time.time()
    )
    write_atomic(space.home / "devices" / f"{target.key[:16]}.json", known.model_dump_json())


class Crew(FakeCrew):
    """Larger tiles are faster up to 32, all of them than the original; every profile is the recorded one."""

    def __init__(self, known: Known) -> None:
        super().__init__(known.loaded.head, time_of=self.seconds)

    @staticmethod
    def seconds(c: Candidate) -> float:
        return 0.5 + 0.01 * abs(32 - c.parameters["TUNE_TILE"]) if c.parameters else 1.0

    def _outcome(self, step: Step, history: History) -> Outcome:
        if not isinstance(step, Explain):
            return super()._outcome(step, history)
        kernel = KernelProfile.model_validate(GOLDEN["profile"])
        return Profile(candidate=step.candidate, tool="ncu 2025.3.1", target=H200.key, kernels=(kernel,))


def run(space: Workspace) -> tuple[Known, History]:
    """A whole sweep of the captured task."""
    known = space.task("captured/t")
    opened = open_campaign(space, known, H200, "main", "sweep", Budget(rounds=2))
    with Ledger(space.ledger("captured/t", "main")) as ledger:
        return known, optimize(opened, Crew(known), ledger, known.all)


def test_who_profiles_its_leaders(space: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stamp(tmp_path / "tasks", "own/cuda", "kernel", "cuda")
    stamp(tmp_path / "tasks", "own/cpu", "kernel", "cpu")
    apptask.make(tmp_path)
    texts = {"rate": COMMAND, "gpurate": COMMAND.replace("own/rate", "own/gpurate").replace('"cpu"', '"cuda"')}
    for name, text in {**texts, "served": SERVED.replace('"cpu"', '"cuda"')}.items():
        (tmp_path / "tasks/own" / name).mkdir()
        (tmp_path / "tasks/own" / name / "task.toml").write_text(text)
    every = {
        "captured/t": "ncu", "own/cuda": "ncu", "own/gpurate": "nsys",
        "captured/gather": "", "own/cpu": "", "own/rate": "", "own/served": "",
    }  # fmt: skip
    assert {name: explains(space.task(name)) for name in every} == {name: bool(by) for name, by in every.items()}
    for gone in ("ncu", "nsys"):
        bare = tmp_path / f"without-{gone}"
        tool(bare, "nsys" if gone == "ncu" else "ncu", "exit 1")
        monkeypatch.setenv("PATH", f"{bare}:/bin")
        assert not any(explains(space.task(name)) for name, by in every.items() if by == gone)
        assert all(explains(space.task(name)) for name, by in every.items() if by not in ("", gone))


def test_every_leader_of_a_captured_kernel_is_profiled_and_the_model_reads_it(space: Workspace) -> None:
    known, h = run(space)
    s = standing(h)
    assert h.candidates[s.best].parameters == {"TUNE_TILE": 32} and known.baseline.toolchain == "cubin"
    assert list(h.profiles) == list(s.leaders[1:]) and len(h.profiles) > 1
    asker = Scripted(lambda ask: "no kernel today")
    place = place_for(space, known, H200, asker)
    assert place is not None
    Llm(place).propose(Propose(round=len(h.rounds), parent=s.best, count=1), h)
    findings, skills = (block(asker.asked[0], name) for name in ("findings", "skills"))
    assert "next edit by uncoalesced_stores" in findings and "transpose_naive: memory_bound" in findings, findings
    assert "uncoalesced_stores" in skills


@pytest.mark.skipif(not no_gpu(), reason="this machine would profile anew: what is shown is that it need not")
def test_the_verb_that_agents_run_explains_it_without_the_device(space: Workspace) -> None:
    _, h = run(space)
    told = api.explain("captured/t")
    assert isinstance(told, ExplainAnswer)
    assert told.reused and told.candidate == standing(h).best
    assert told.diagnoses[0].because and told.edit.gain > 0 and told.skills
    _, page = _report(space)
    assert "What limits it" in page and told.edit.rule in page and short(told.candidate) in page


def _report(space: Workspace) -> tuple[str, str]:
    from warpsmith.surface.reporting import write_report

    html, markdown = write_report(space, space.task("captured/t"), "main")
    return Path(html).read_text(), Path(markdown).read_text()


def test_a_step_brings_all_that_its_profile_needs(space: Workspace, tmp_path: Path) -> None:
    """The original, which runs beside it, and where the captured contents lie."""
    known = space.task("captured/t")
    step = Explain(candidate=known.entry.id, round=0)
    request = profile_request(space, known, H200, step, known.entry)
    write_step(tmp_path / "step", request, known.loaded.folder, space.blobs)
    read = ProfileRequest.model_validate_json((tmp_path / "step/request.json").read_bytes())
    assert read.tool == "ncu" and isinstance(read.task, AppTask) and read.baseline == known.baseline
    assert Path(read.fixtures) == space.home / "fixtures" and not Fixtures(space.home).lacking(read.task.fixtures)
    assert (tmp_path / "step/baseline" / known.baseline.sources[0].path).is_file()
    assert (tmp_path / "step/candidate" / known.entry.sources[0].path).is_file()


IDLING = '    if (IDLE) asm volatile("nanosleep.u32 %0;" ::"r"(IDLE));\n'
TUNABLES = "\n[tunables.IDLE]\nvalues = [0, 20000]\ndefault = 20000\n"
"""The entry wastes its time, so that the best is a candidate of the sweep."""


@pytest.mark.gpu
@pytest.mark.timeout(300)
@pytest.mark.skipif(not available("ncu"), reason="ncu is not here")
def test_a_campaign_of_a_captured_kernel_names_what_limits_its_leaders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tasks").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WARPSMITH_HOME", raising=False)
    space = Workspace()
    calibrated(space, space.target_of("cuda"), 0.005)
    source = EXAMPLES / "transpose" / "src" / "main.cu"
    status, found = asked("capture", "tiles::transpose", "--name", "e", "--source", source, app=program(20))
    assert status == 0, said(found)
    entry = tmp_path / "tasks/captured/e/src"
    shutil.rmtree(entry)
    put(entry, "tiled", IDLING)
    manifest = (entry / "candidate.toml").read_text()
    fixed = manifest.replace("values = [4, 8, 16]", "values = [8]")
    assert fixed != manifest
    (entry / "candidate.toml").write_text(fixed.replace("\n[[launch]]", f"{TUNABLES}\n[[launch]]"))
    status, answer = asked("optimize", "captured/e", "--budget", "rounds=1")
    assert "view" in answer, said(answer)
    h = space.history("captured/e", "main")
    s = standing(h)
    best = h.candidates[s.best]
    assert best.parameters == {"ROWS": 8, "IDLE": 0} and h.origins[best.id] == "round 0", said(answer)
    assert set(s.leaders[1:]) <= set(h.profiles), (h.unexplained, h.faults)
    (kernel,) = h.profiles[best.id].kernels
    assert kernel.kernel == "tiled" and not kernel.missing
    assert any(line.file == "kernel.cu" and line.text for line in kernel.lines)
    assert answer["view"]["limits"]["candidate"] == best.id
    status, told = asked("explain", "captured/e")
    assert status in (0, 2) and told["reused"] and told["candidate"] == best.id, said(told)
    (made,) = told["diagnoses"]
    print(f"{h.seconds:.0f} s: {made['bottleneck']}: {made['because']} Next edit by {told['edit']['rule']}.")
    assert made["bottleneck"] in {b.value for b in Bottleneck} and made["roofs"] and made["because"], said(told)
