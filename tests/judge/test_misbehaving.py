"""Candidates that misbehave: each ends in its named status, and the campaign goes on. Real gcc, real processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.projects import project
from warpsmith.analyse.standing import standing
from warpsmith.model.campaign import Budget
from warpsmith.model.evaluation import Effort, Evaluation, Status
from warpsmith.surface.campaigns import run_campaign
from warpsmith.surface.stamp import stamp
from warpsmith.surface.submission import submit_candidate
from warpsmith.surface.workspace import Workspace

HEAD = "#include <stdint.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n"
SIGNATURE = "void kernel(const float *x, const float *y0, float *y, int64_t n, float alpha)"
RIGHT = "for (int64_t i = 0; i < n; i++) y[i] = alpha * x[i] + y0[i];"

BODIES: dict[str, tuple[str, Status, str]] = {
    "does not compile": ("y[0] = nonsense;", Status.build_failed, "nonsense"),
    "wrong values": ("for (int64_t i = 0; i < n; i++) y[i] = alpha * x[i];", Status.wrong_values, "relative RMS"),
    "one wrong element": (RIGHT + " y[n / 2] += 1.0f;", Status.wrong_values, "y: "),
    "one element left out": (
        "for (int64_t i = 0; i < n - 1; i++) y[i] = alpha * x[i] + y0[i];", Status.wrong_values, ""),
    "nothing written": ("(void)y;", Status.wrong_values, ""),
    "writes after the end": (RIGHT + " y[n] = 1.0f;", Status.wrong_values, "out of bounds of 'y'"),
    "writes before the start": (RIGHT + " y[-1] = 1.0f;", Status.wrong_values, "out of bounds of 'y'"),
    "writes far out of bounds": ("y[n * 4096 + (1LL << 34)] = 1.0f;", Status.crashed, "SIG"),
    "changes its input": (RIGHT + " ((float *)x)[0] = 0.0f;", Status.cheated, "input 'x'"),
    "null pointer": ("*(volatile float *)0 = 1.0f;", Status.crashed, "SIGSEGV"),
    "aborts": ("abort();", Status.crashed, "SIGABRT"),
    "exits with success": (RIGHT + " exit(0);", Status.crashed, "exit status 0"),
    "exits at once": (RIGHT + " _exit(7);", Status.crashed, "exit status 7"),
    "sleeps for ever": (RIGHT + " sleep(100000);", Status.timed_out, "no answer within"),
    "spins for ever": ("for (volatile int i = 0;; i++) {}", Status.timed_out, "no answer within"),
    "prints a gigabyte": (
        "static char b[1 << 20]; memset(b, 65, sizeof b); for (int i = 0; i < 1024; i++) { "
        "fwrite(b, 1, sizeof b, stdout); "
        "fflush(stdout); } " + RIGHT, Status.crashed, "more than 16 MiB"),
    "takes all memory": (
        "for (;;) { volatile char *p = malloc(1 << 30); if (!p) abort(); p[0] = 1; }", Status.crashed, "SIGABRT"),
    "counts its calls": (
        "static int calls; calls++; " + RIGHT + " y[0] += (calls % 2) * 1e-6f * y[0];", Status.nondeterministic, "y"),
    "forges the answer": (RIGHT.replace("+ y0[i]", "") + ' (void)!write(4, "D", 1); (void)!write(5, "D", 1);'
                          ' (void)!write(6, "D", 1); _exit(0);', Status.crashed, ""),
}  # fmt: skip


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return project(tmp_path_factory.mktemp("project"), call_timeout_s=1.0)


def judged(space: Workspace, body: str, folder: Path, effort: Effort = Effort.screen) -> Evaluation:
    known = space.task("my/axpy")
    source = folder / "kernel.c"
    source.write_text(f"{HEAD}{SIGNATURE}\n{{\n{body}\n}}\n")
    candidate = known.baseline.model_copy(
        update={
            "sources": (known.baseline.sources[0].model_copy(update={"content": space.blobs.put(source.read_bytes())}),)
        }
    )
    return space.measure(known, space.target(known), candidate, known.baseline, effort, name="test")


SOME = {
    "does not compile", "wrong values", "writes after the end", "changes its input", "null pointer",
    "exits with success", "spins for ever", "counts its calls", "forges the answer",
}  # fmt: skip
"""One of each kind; the others are as slow."""


@pytest.mark.parametrize("name", [n if n in SOME else pytest.param(n, marks=pytest.mark.slow) for n in BODIES])
def test_misbehaviour_has_a_name(name: str, space: Workspace, tmp_path: Path) -> None:
    body, status, detail = BODIES[name]
    evaluation = judged(space, body, tmp_path)
    assert evaluation.status is status, evaluation.detail
    assert detail in evaluation.detail
    assert not any(w.metrics for w in evaluation.workloads)


def test_an_honest_candidate_passes(space: Workspace, tmp_path: Path) -> None:
    evaluation = judged(space, RIGHT, tmp_path)
    assert evaluation.passed, evaluation.detail
    assert all(len(w.metrics[0].candidate) == 3 for w in evaluation.workloads)


def test_a_rival_that_fails_is_blamed_itself(space: Workspace, tmp_path: Path) -> None:
    known = space.task("my/axpy")
    wrong = space.blobs.put(f"{HEAD}{SIGNATURE} {{ (void)y; }}".encode())
    rival = known.baseline.model_copy(
        update={"sources": (known.baseline.sources[0].model_copy(update={"content": wrong}),)}
    )
    evaluation = space.measure(known, space.target(known), known.baseline, rival, Effort.screen, name="test")
    assert evaluation.rival_status is Status.wrong_values
    assert not evaluation.passed


@pytest.mark.slow
def test_the_campaign_goes_on(space: Workspace, tmp_path: Path) -> None:
    """Every kind of misbehaviour is handed in; each keeps its status, and the sweep still ends with a
    measured space.
    """
    known = space.task("my/axpy")
    seen = {}
    for name in ("does not compile", "writes after the end", "null pointer", "exits with success", "spins for ever"):
        body, status, _ = BODIES[name]
        source = tmp_path / "kernel.c"
        source.write_text(f"{HEAD}{SIGNATURE}\n{{\n{body}\n}}\n")
        answer = submit_candidate(space, known, (str(source),), name, (), "main", "test")
        assert (answer.row.status, answer.exit_status) == (status.value, 1)
        seen[answer.row.id] = status.value
    h = run_campaign(space, known, "main", Budget(rounds=1))
    s = standing(h)
    assert {i: s.failed[i].partition(":")[0] for i in seen} == seen
    assert len(h.rounds) == 1
    assert set(h.rounds[0].candidates) <= set(s.estimates) | set(s.failed)


def test_a_reference_that_fails_is_named(space: Workspace, tmp_path: Path) -> None:
    from warpsmith.errors import WarpsmithError

    stamp(space.root / "tasks", "my/broken", "kernel", "cpu")
    (space.root / "tasks/my/broken/reference.py").write_text("def reference(xp, x):\n    return x[:-1]\n")
    known = space.task("my/broken")
    with pytest.raises(WarpsmithError, match=r"reference\.py: y has shape"):
        space.measure(known, space.target(known), known.baseline, known.baseline, Effort.check, name="test")
