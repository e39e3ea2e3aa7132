"""What the judge looks at beyond the workloads: hidden shapes, tight alignment, the baseline's errors, admission.

Real gcc and real processes, through the whole judge.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.projects import calibrate, project
from warpsmith.errors import BadInput, CampaignError
from warpsmith.model.campaign import Budget
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Effort, Evaluation, Status
from warpsmith.surface.campaigns import run_campaign
from warpsmith.surface.workspace import Known, Workspace

HEAD = "#include <math.h>\n#include <stdint.h>\n#include <string.h>\n"
AXPY = "void kernel(const float *x, const float *y0, float *y, int64_t n, float alpha)"
RIGHT = "for (int64_t i = 0; i < n; i++) y[i] = alpha * x[i] + y0[i];"
ROWS = """
name = "my/rows"
kind = "kernel"
title = "y = x times the sum of its row"
hardware = "cpu"
contract = "host"
bytes = "8 * M * N"

[[arguments]]
name = "x"
role = "input"
dtype = "f32"
shape = ["M", "N"]

[[arguments]]
name = "y"
role = "output"
dtype = "f32"
shape = ["M", "N"]

[[arguments]]
name = "M"
role = "axis"

[[arguments]]
name = "N"
role = "axis"

[[workloads]]
name = "only"
axes = { M = 256, N = 512 }
"""
ROWS_C = """void kernel(const float *x, float *y, int64_t M, int64_t N) {
    for (int64_t i = 0; i < M; i++)
        for (int64_t j = 0; j < N; j++) { const float t = x[i * N + j]; y[i * N + j] = BODY; }
}"""
SMOOTH = "t / (1.0f + t * t)"


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return project(tmp_path_factory.mktemp("project"), call_timeout_s=5.0)


def variant(space: Workspace, known: Known, text: str) -> Candidate:
    source = known.baseline.sources[0]
    stored = space.blobs.put((HEAD + text).encode())
    return known.baseline.model_copy(update={"sources": (source.model_copy(update={"content": stored}),)})


def judged(space: Workspace, body: str, effort: Effort = Effort.check) -> Evaluation:
    known = space.task("my/axpy")
    candidate = variant(space, known, f"{AXPY} {{ {body} }}")
    rival = candidate if effort is Effort.check else known.baseline
    return space.measure(known, space.target(known), candidate, rival, effort, name="hidden")


def rows_task(space: Workspace, reference: str, body: str, extra: str = "", name: str = "rows") -> Known:
    """A task of rows whose baseline computes ``body`` of each element ``t``."""
    folder = space.root / "tasks" / "my" / name
    for place in ("baseline", "src"):
        (folder / place).mkdir(parents=True, exist_ok=True)
        (folder / place / "candidate.toml").write_text('toolchain = "c"\nsources = ["k.c"]\nentry = "kernel"\n')
        (folder / place / "k.c").write_text(HEAD + ROWS_C.replace("BODY", body))
    text = ROWS.replace("my/rows", f"my/{name}").replace('bytes = "8 * M * N"\n', f'bytes = "8 * M * N"\n{extra}\n')
    (folder / "task.toml").write_text(text)
    (folder / "reference.py").write_text(f"def reference(xp, x):\n    return {reference}\n")
    return space.task(f"my/{name}")


QUICK = ("the workloads only", "no tail for primes")


class TestHiddenShapes:
    def test_a_right_candidate_passes_and_the_evidence_names_them(self, space: Workspace) -> None:
        found = judged(space, RIGHT)
        assert found.passed, found.detail
        (beyond,) = [c for c in found.conditions if c.startswith("verified beyond the workloads: ")]
        assert "aligned to 64 bytes only; empty: N=0; least: N=1; prime: N=" in beyond

    SHAPES = {
        "the workloads only": (
            "if (n != 65536 && n != 1003) return; " + RIGHT, Status.wrong_values, "'hidden, least: N=1'",
        ),
        "nothing beyond the largest": (
            "for (int64_t i = 0; i < (n < 65536 ? n : 65536); i++) y[i] = alpha * x[i] + y0[i];",
            Status.wrong_values, "'hidden, beyond: N=",
        ),
        "at least one element": (
            "y[0] = alpha * x[0] + y0[0]; for (int64_t i = 1; i < n; i++) y[i] = alpha * x[i] + y0[i];",
            Status.wrong_values, "'hidden, empty: N=0': it wrote out of bounds of 'y'",
        ),
        "a division by the extent": (
            "volatile int64_t q = 7 / n; (void)q; " + RIGHT, Status.crashed, "'hidden, empty: N=0'",
        ),
        "no tail for primes": (
            "if (n == 65536 || n == 1003 || n < 2 || n % 2 == 0) { REST } else { n--; REST }".replace("REST", RIGHT),
            Status.wrong_values, "'hidden, ",
        ),
    }  # fmt: skip

    @pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in SHAPES])
    def test_a_candidate_for_the_workloads_alone_is_wrong(self, space: Workspace, name: str) -> None:
        body, status, said = self.SHAPES[name]
        found = judged(space, body)
        assert found.status is status, found.detail
        assert said in found.detail
        assert [w.status for w in found.workloads] == [Status.passed] * 2, "the task's own workloads were right"

    @pytest.mark.slow
    def test_a_screen_does_not_look_and_proof_does(self, space: Workspace) -> None:
        body = self.SHAPES["the workloads only"][0]
        assert judged(space, body, Effort.screen).passed
        found = judged(space, body, Effort.confirm)
        assert found.status is Status.wrong_values
        assert not any(w.metrics for w in found.workloads), "nothing was timed"


class TestAlignment:
    def test_a_page_may_not_be_relied_on(self, space: Workspace) -> None:
        found = judged(space, "x = (const float *)((uintptr_t)x & ~(uintptr_t)4095); " + RIGHT)
        assert found.status is Status.wrong_values
        assert "aligned to 64 bytes only" in found.detail

    def test_what_is_declared_may(self, space: Workspace) -> None:
        found = judged(space, "if ((uintptr_t)x % 64 || (uintptr_t)y0 % 64 || (uintptr_t)y % 64) return; " + RIGHT)
        assert found.passed, found.detail

    @pytest.mark.slow
    @pytest.mark.skipif("sys.platform != 'linux' or __import__('platform').machine() != 'x86_64'")
    def test_aligned_vector_loads_crash(self, space: Workspace) -> None:
        known = rows_task(space, "x / (1 + x * x)", SMOOTH, "alignment = 4", "tight")
        text = """typedef float v4 __attribute__((vector_size(16)));
        void kernel(const float *x, float *y, int64_t M, int64_t N) {
            int64_t i = 0;
            for (; i + 4 <= M * N; i += 4) { volatile v4 t = *(const v4 *)(x + i); v4 u = t; *(v4 *)(y + i) = u / (1.0f + u * u); }
            for (; i < M * N; i++) y[i] = x[i] / (1.0f + x[i] * x[i]);
        }"""  # noqa: E501
        candidate = variant(space, known, text)
        found = space.measure(known, space.target(known), candidate, candidate, Effort.check, name="hidden")
        assert found.status is Status.crashed
        assert "aligned to 4 bytes only': SIG" in found.detail


class TestTwiceTheBaseline:
    CUT = "({ uint32_t b; float r = BODY; memcpy(&b, &r, 4); b &= ~15u; memcpy(&r, &b, 4); r; })"

    def measured(self, space: Workspace, body: str, effort: Effort, rival: str | None = None) -> Evaluation:
        known = rows_task(space, "x / (1 + x * x)", SMOOTH, name="precise")
        candidate = variant(space, known, ROWS_C.replace("BODY", body))
        other = known.baseline if rival is None else variant(space, known, ROWS_C.replace("BODY", rival))
        return space.measure(known, space.target(known), candidate, other, effort, name="hidden")

    @pytest.mark.parametrize("effort", [Effort.screen, pytest.param(Effort.check, marks=pytest.mark.slow)])
    def test_bits_dropped_within_the_limit_are_seen(self, space: Workspace, effort: Effort) -> None:
        found = self.measured(space, self.CUT.replace("BODY", SMOOTH), effort)
        assert found.status is Status.wrong_values
        assert "y: less precise than twice the baseline" in found.detail
        (error,) = found.workloads[0].errors
        assert error.relative_rms < error.limit / 5, "the limit of the dtype alone would let it pass"
        assert error.baseline is not None and error.baseline.share > 1

    @pytest.mark.slow
    def test_other_roundings_are_not(self, space: Workspace) -> None:
        found = self.measured(space, "(float)(1.0 / (1.0 + (double)t * t)) * t", Effort.check)
        assert found.passed, found.detail
        (error,) = found.workloads[0].errors
        assert error.baseline is not None
        assert 0 < error.baseline.share <= 1
        assert error.baseline.baseline_rms > 0

    @pytest.mark.slow
    def test_the_baseline_is_a_third_side_where_it_is_neither(self, space: Workspace) -> None:
        rival = f"{SMOOTH} + 0.0f"
        assert self.measured(space, f"0.0f + {SMOOTH}", Effort.screen, rival).passed
        found = self.measured(space, self.CUT.replace("BODY", SMOOTH), Effort.screen, rival)
        assert "less precise than twice the baseline" in found.detail

    @pytest.mark.slow
    def test_precision_for_untimed_calls_only_does_not_pay(self, space: Workspace) -> None:
        """Cheap from the tenth call on: at a screen beside the baseline every timed call is compared."""
        text = ROWS_C.replace("BODY", "calls > 9 ? " + self.CUT.replace("BODY", SMOOTH) + " : " + SMOOTH)
        text = "static int calls;\n" + text.replace("int64_t N) {", "int64_t N) { calls++;")
        known = rows_task(space, "x / (1 + x * x)", SMOOTH, name="precise")
        candidate = variant(space, known, text)
        found = space.measure(known, space.target(known), candidate, known.baseline, Effort.screen, name="hidden")
        assert found.status is Status.wrong_values
        assert "limit 2.38e-07, timed" in found.detail

    def test_without_a_baseline_the_evidence_says_so(self, space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
        request: Callable[..., object] = space.request

        def without(*arguments: object, **options: object) -> object:
            return request(*arguments, **options).model_copy(update={"baseline": None})  # type: ignore[attr-defined]

        monkeypatch.setattr(space, "request", without)
        found = judged(space, RIGHT)
        assert "the rule of twice the baseline's error was not applied" in found.conditions


class TestFaultsOfTheTask:
    def test_a_weak_task_is_refused_at_check(self, space: Workspace) -> None:
        known = rows_task(space, "x * 0.0 + 3.0", "t * 0.0f + 3.0f", name="weak")
        with pytest.raises(BadInput, match=r"the task is at fault: workload 'only': a constant, the mean"):
            space.measure(known, space.target(known), known.entry, known.entry, Effort.check, name="hidden")

    def test_a_weak_task_ends_a_campaign_at_once(self, space: Workspace) -> None:
        known = rows_task(space, "x", "t", name="copy")
        calibrate(space.root)
        with pytest.raises(CampaignError, match=r"the input 'x' passed through would pass as 'y'"):
            run_campaign(space, known, "main", Budget(rounds=1))
        h = space.history("my/copy", "main")
        assert [len(reasons) for reasons in h.faults.values()] == [1], "a fault of the task is not tried again"

    def test_a_baseline_for_the_workloads_alone_is_no_baseline(self, space: Workspace) -> None:
        extra = "shapes = { M = { min = 0, max = 512 }, N = { max = 1024 } }"
        known = rows_task(space, "x / (1 + x * x)", f"N == 512 ? {SMOOTH} : 0.0f", extra, "narrow")
        calibrate(space.root)
        with pytest.raises(CampaignError, match=r"the baseline fails its own task: .*'hidden, "):
            run_campaign(space, known, "main", Budget(rounds=1))

    @pytest.mark.slow
    def test_nonfinite_outputs_are_refused_where_the_task_says_so(self, space: Workspace) -> None:
        known = rows_task(
            space, "1.0 / xp.where(x > 2.0, x * 0, x)", "1.0f / (t > 2.0f ? t * 0.0f : t)", name="infinite"
        )
        found = space.measure(known, space.target(known), known.entry, known.entry, Effort.check, name="hidden")
        assert found.passed, found.detail
        extra = 'nonfinite = "refuse"'
        known = rows_task(
            space, "1.0 / xp.where(x > 2.0, x * 0, x)", "1.0f / (t > 2.0f ? t * 0.0f : t)", extra, "finite"
        )
        with pytest.raises(BadInput, match=r"y holds NaN or infinity on workload 'only'"):
            space.measure(known, space.target(known), known.entry, known.entry, Effort.check, name="hidden")

    @pytest.mark.slow
    def test_nan_inputs_reach_a_task_that_asks_for_them(self, space: Workspace) -> None:
        clean = "fminf(fmaxf(t, -1e30f), 1e30f) / (1.0f + t * t)"  # loses NaN and Inf
        known = rows_task(space, "x / (1 + x * x)", SMOOTH, name="calm")
        candidate = variant(space, known, ROWS_C.replace("BODY", clean))
        found = space.measure(known, space.target(known), candidate, candidate, Effort.check, name="hidden")
        assert found.passed, found.detail
        known = rows_task(space, "x / (1 + x * x)", SMOOTH, 'families = ["standard", "nonfinite"]', "storm")
        found = space.measure(known, space.target(known), candidate, candidate, Effort.check, name="hidden")
        assert found.status is Status.wrong_values
        assert "miss a NaN or Inf of the oracle" in found.detail

    @pytest.mark.parametrize(
        ("extra", "said"),
        [
            ('families = ["norml"]', r"families: unknown families \['norml'\]; known: standard, normal"),
            ('families = ["nonfinite"]\nnonfinite = "refuse"', "makes no sense with nonfinite"),
            ('nonfinite = "ignore"', "nonfinite: Input should be 'match' or 'refuse'"),
            ("alignment = 48", "alignment: the alignment must be a power of two"),
            ("alignment = 2", "less than the 4 bytes of an element"),
            ("alignment = 8192", "less than or equal to 4096"),
            ("shapes = { Q = { max = 4 } }", "shapes names axes that it lacks"),
            ("shapes = { M = { max = 4, step = 2 } }", "shapes.M.step: unknown key"),
        ],
    )
    def test_what_task_toml_may_not_say(self, space: Workspace, extra: str, said: str) -> None:
        with pytest.raises(BadInput, match=said) as refused:
            rows_task(space, "x", "t", extra, "refused")
        assert "task.toml" in refused.value.message
