"""``profile`` and ``explain`` of harness tasks: kept timelines, the notices beside them, and what is lacking."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.app.building import compiled
from tests.fakes import measured
from tests.profilers.test_nsys import export
from tests.profilers.tools import tool
from tests.propose.test_rhythm import timeline
from warpsmith.analyse.standing import standing
from warpsmith.errors import BadInput, ProfilerFailed
from warpsmith.model.base import short
from warpsmith.model.campaign import Budget, Finished, Opened
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Effort
from warpsmith.model.profile import Profile
from warpsmith.model.step import Explain, Measure, ProfileRequest
from warpsmith.profilers.tools import available
from warpsmith.store.history import History
from warpsmith.store.ledger import Ledger, LedgerBusy
from warpsmith.surface import api, cli
from warpsmith.surface.answers_profile import BucketsAnswer
from warpsmith.surface.campaigns import crew_for, open_campaign, proposer_at
from warpsmith.surface.profiling import Tool, profile_request
from warpsmith.surface.workspace import Workspace

COMMAND = """
kind = "command"
name = "own/rate"
title = "A command that says how fast it was"
hardware = "cpu"
command = ["sh", "-c", "echo {\\\\\\"rate\\\\\\": $RATE}"]
environment.RATE = "10"
metrics.rate = { unit = "1/s", direction = "maximize" }
objective = { metric = "rate", direction = "maximize" }
"""
SERVED = """
kind = "serving"
name = "own/served"
title = "A mock model"
hardware = "cpu"
server = { backend = "mock" }
scenarios = [{ name = "single", requests = 8, concurrency = 1 }]
objective = { metric = "single.tok_s", direction = "maximize" }
"""


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    for name, text in (("rate", COMMAND), ("served", SERVED)):
        folder = tmp_path / "tasks/own" / name
        folder.mkdir(parents=True)
        (folder / "task.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    return Workspace()


def overlay(rate: int) -> Candidate:
    return Candidate(toolchain="overlay", entry="command", sources=(), environment={"RATE": str(rate)})


def led(space: Workspace, task: str, *profiles: Profile | None) -> tuple[Candidate, ...]:
    """A campaign whose best went from the baseline over one candidate for each further profile; all of them."""
    known = space.task(task)
    c = open_campaign(space, known, space.target(known), "main", "none", Budget(rounds=0))
    every = (known.baseline, *(overlay(20 + i) for i in range(len(profiles) - 1)))
    times = {x.id: 0.8**i for i, x in enumerate(every)}
    with Ledger(space.ledger(task, "main")) as ledger:
        h = History() + ledger.append(Opened(campaign=c, candidates=every, at=0.0))
        for before, after in itertools.pairwise(every):
            step = Measure(candidate=after.id, rival=before.id, effort=Effort.confirm, round=0)
            e = measured(known.loaded.task, step, h, lambda x: times[x.id])
            h = h + ledger.append(Finished(step=step, outcome=e, seconds=1.0, at=0.0))
        for x, profile in zip(every, profiles, strict=True):
            if profile is not None:
                seen = profile.model_copy(update={"candidate": x.id, "workload": "harness"})
                step = Explain(candidate=x.id, round=0)
                h = h + ledger.append(Finished(step=step, outcome=seen, seconds=1.0, at=0.0))
    assert standing(h).leaders == tuple(x.id for x in every)
    return every


def explained(task: str, candidate: str = "best") -> BucketsAnswer:
    answer = api.explain(task, candidate)
    assert isinstance(answer, BucketsAnswer)
    return answer


def test_the_largest_places_stand_beside_those_of_the_best_before(
    space: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    base, first, second = led(
        space, "own/rate", timeline(attention=3, mlp=7), timeline(attention=6, mlp=4),
        timeline(attention=5.8, mlp=3, copy=0.2),
    )  # fmt: skip
    found = explained("own/rate")
    assert (found.exit_status, found.candidate, found.beside) == (0, second.id, first.id)
    assert [(b.name, round(b.share, 3), b.before) for b in found.buckets] == [
        ("attention", 0.644, 0.6), ("mlp", 0.333, 0.4), ("copy", 0.022, 0.0),
    ]  # fmt: skip
    assert found.unchanged
    assert any(said.startswith("SAME BUCKET") and "attention" in said for said in found.rhythm)
    assert cli.run(["explain", "own/rate"]) == 0
    said = capsys.readouterr().out
    assert "attention" in said and f"is what it was in {short(first.id)}" in said and "escalate: SAME BUCKET" in said
    other = explained("own/rate", short(first.id))
    assert (other.beside, other.unchanged, other.buckets[0].before) == (base.id, False, 0.3)
    alone = explained("own/rate", "baseline")
    assert (alone.beside, alone.unchanged, alone.buckets[0].name) == ("", False, "mlp")
    assert {b.before for b in alone.buckets} == {None}


def test_a_profile_by_another_tool_is_not_stood_beside(space: Workspace) -> None:
    counted = timeline(attention=9).model_copy(update={"tool": "valgrind 3.19"})
    base, _, _ = led(space, "own/rate", timeline(attention=3, mlp=7), counted, timeline(attention=6, mlp=4))
    assert explained("own/rate").beside == base.id


def test_without_a_profile_it_says_what_is_lacking_and_the_command(
    space: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a served model; and the notices of the campaign are there all the same."""
    led(space, "own/served", timeline(attention=1), timeline(attention=1), None)
    found = explained("own/served")
    assert (found.exit_status, found.profile, found.buckets) == (1, None, ())
    assert "not traced by itself" in found.lacking
    assert (
        "warpsmith profile own/served CANDIDATE -- warpsmith load own/served CANDIDATE --scenario single"
        in found.remedy
    )
    assert found.rhythm, "a setting leads, and that is said"
    assert cli.run(["explain", "own/served"]) == 1
    said = capsys.readouterr().out
    assert "no profile is kept, and none can be made here" in said and "escalate: DEFAULT" in said
    with pytest.raises(BadInput, match="not traced by itself"):
        api.profile("own/served", "best")
    with pytest.raises(BadInput, match="for programs"):
        api.profile("own/rate", tool="all")


def test_a_program_that_is_named_with_a_task_is_its_candidates_profile(
    space: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept with the candidate and in the ledger, where the rhythm reads it; it takes nothing of the budget."""
    export(tmp_path / "made.sqlite", [("attention", 0, 6000), ("mlp", 7000, 11000)])
    body = f"case $all in *--type=sqlite*) cp {tmp_path / 'made.sqlite'} $report ;; *) touch $report.nsys-rep ;; esac"
    tool(tmp_path / "bin", "nsys", body)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    program = ("/bin/echo", "loads the model")
    *_, first, second = led(space, "own/served", None, timeline(attention=7, mlp=3), None)
    before = space.history("own/served", "main")
    with Ledger(space.ledger("own/served", "main")), pytest.raises(LedgerBusy):
        api.profile("own/served", "best", application=program)
    made = api.profile("own/served", "best", application=program)
    assert made.candidate == second.id and made.profile is not None and len(made.reports) == 1
    assert "nothing vouches that it ran this candidate" in made.profile.conditions[-1]
    h = space.history("own/served", "main")
    assert h.profiles[second.id] == made.profile and h.seconds == before.seconds and h.evaluations == before.evaluations
    found = explained("own/served")
    assert (found.profile, found.beside) == (made.profile, first.id)
    assert [(b.name, round(b.share, 9), b.before) for b in found.buckets] == [
        ("attention", 0.6, 0.7), ("mlp", 0.4, 0.3),
    ]  # fmt: skip
    assert not found.unchanged, "it shrank by ten points"
    named = api.profile("own/served", "baseline", application=program, tag="none yet")
    assert explained("own/served", "baseline").profile == named.profile, "without a campaign it is kept too"
    assert set(h.profiles) == set(space.history("own/served", "main").profiles)


@pytest.mark.slow
def test_the_command_itself_is_traced_in_the_copy_that_an_overlay_makes(
    space: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what stands for nsys: it runs in the sandbox of any run, and sees the variables of the candidate."""
    export(tmp_path / "made.sqlite", [("attention", 0, 1000)])
    body = f"""
    case $all in
        *--type=sqlite*) cp {tmp_path / "made.sqlite"} $report ;;
        *) echo "rate $RATE in $(pwd): $all" > $report.nsys-rep ;;
    esac
    """
    tool(tmp_path / "bin", "nsys", body)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    (tmp_path / "faster").mkdir()
    (tmp_path / "faster/candidate.toml").write_text(
        'toolchain = "overlay"\nentry = "command"\n[environment]\nRATE = "20"\n'
    )
    made = api.profile("own/rate", "faster", tool="nsys")
    report = Path(made.reports[0]).read_text()
    assert report.startswith("rate 20 in ") and "sides/a" in report and "sh -c echo" in report
    assert made.profile is not None and "its document was not verified" in " ".join(made.profile.conditions)
    assert [b.name for b in explained("own/rate", "faster").buckets] == ["attention"]
    tool(tmp_path / "bin", "nsys", "exit 7")
    with pytest.raises(ProfilerFailed, match="ended with status 7"):
        api.profile("own/rate", "baseline", tool="nsys")
    with pytest.raises(ProfilerFailed, match="counts one kernel"):
        api.profile("own/rate", tool="ncu")


WORK = r"""
#include <stdio.h>
#include <stdlib.h>
static __attribute__((noinline)) void spin(long steps)
{
    volatile long sum = 0;
    for (long i = 0; i < steps; i++)
        sum += i;
}
int main(void)
{
    spin(1000 * atol(getenv("STEPS")));
    printf("{\"rate\": %d}\n", 10);
}
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_a_command_on_the_processor_is_counted_by_function(space: Workspace, tmp_path: Path) -> None:
    source = tmp_path / "work.c"
    source.write_text(WORK)
    subprocess.run(["gcc", "-O1", str(source), "-o", str(tmp_path / "work")], check=True)
    text = COMMAND.split("command =")[0] + f'command = ["{tmp_path / "work"}"]\n'
    rest = COMMAND[COMMAND.index("metrics.rate") :]
    (tmp_path / "tasks/own/rate/task.toml").write_text(f'{text}environment.STEPS = "100"\n{rest}')
    found = explained("own/rate", "baseline")
    assert found.exit_status == 0 and found.profile is not None and found.profile.tool.startswith("valgrind")
    assert found.buckets[0].name == "spin" and found.buckets[0].share > 0.5
    assert explained("own/rate", "baseline").profile == found.profile, "it is kept"


def stepped(space: Workspace, task: str, tool: Tool | None = None) -> tuple[bool, Profile]:
    """Whether a campaign explains its leaders, and an Explain step of the baseline by its crew, in a session."""
    known = space.task(task)
    target = space.target(known)
    opened = open_campaign(space, known, target, "main", "sweep", Budget(rounds=0))
    crew = crew_for(space, known, opened, proposer_at("sweep", None))
    if tool is not None:

        def profile_for(step: Explain, candidate: Candidate) -> ProfileRequest:
            return profile_request(space, known, target, step, candidate, tool=tool)

        crew.profile_for = profile_for
    step = Explain(candidate=known.baseline.id, round=0)
    try:
        crew.submit(step, History(candidates={known.baseline.id: known.baseline}))
        finished = crew.next()
        assert finished is not None and isinstance(finished.outcome, Profile), finished
    finally:
        crew.close()
    assert all(space.blobs.path(report).is_file() for report in finished.outcome.reports)
    return opened.explain, finished.outcome


def test_a_step_of_a_campaign_traces_the_command(
    space: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what stands for nsys. On a processor a campaign does not ask for it by itself."""
    export(tmp_path / "made.sqlite", [("attention", 0, 1000)])
    exports = f"*--type=sqlite*) cp {tmp_path / 'made.sqlite'} $report ;;"
    body = f"case $all in {exports} *) echo $all > $report.nsys-rep ;; esac"
    tool(tmp_path / "bin", "nsys", body)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    asks, found = stepped(space, "own/rate", tool="nsys")
    assert not asks and found.timeline is not None
    assert [a.name for a in found.timeline.activities] == ["attention"]
    (report,) = found.reports
    assert b"sh -c echo" in space.blobs.get(report)


ON_DEVICE = r"""
#include <cstdio>
__global__ void scale(float *x, int n) { int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) x[i] *= 2.0f; }
int main()
{
    const int n = 1 << 22;
    float *x;
    cudaMalloc(&x, n * sizeof(float));
    for (int i = 0; i < 50; i++)
        scale<<<n / 256, 256>>>(x, n);
    std::printf("{\"rate\": %d}\n", cudaDeviceSynchronize() ? 0 : 10);
}
"""


@pytest.mark.gpu
@pytest.mark.skipif(not available("nsys"), reason="nsys is not here")
def test_a_campaign_of_a_command_on_a_gpu_traces_its_leaders(space: Workspace, tmp_path: Path) -> None:
    """Its step, that is: the timeline is that of the command's own kernels."""
    (tmp_path / "onto.cu").write_text(ON_DEVICE)
    folder = tmp_path / "tasks/own/device"
    folder.mkdir()
    text = COMMAND.replace("own/rate", "own/device").replace('"cpu"', '"cuda"').split("command =")[0]
    rest = COMMAND[COMMAND.index("metrics.rate") :]
    (folder / "task.toml").write_text(f'{text}command = ["{compiled(tmp_path / "onto.cu")}"]\n{rest}')
    asks, found = stepped(space, "own/device")
    assert asks and found.timeline is not None
    first = found.timeline.activities[0]
    assert (first.kind, first.name, first.count) == ("kernel", "scale", 50)
