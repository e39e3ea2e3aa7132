"""Hidden inputs: shapes and types as the task says, contents never twice, and the same from the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from warpsmith.errors import BadInput
from warpsmith.judge.bound import BaselineBound
from warpsmith.judge.host import HostBench
from warpsmith.judge.inputs import FAMILIES, OPTIONAL, SPREAD, HiddenInputs
from warpsmith.judge.numeric import NumpyNumeric
from warpsmith.model.base import digest_bytes
from warpsmith.model.candidate import Candidate, SourceFile
from warpsmith.model.evaluation import TensorError
from warpsmith.model.head import Workload
from warpsmith.model.target import Target
from warpsmith.model.task import Argument, Dtype, KernelTask, Role
from warpsmith.toolchains.cache import build

NUMERIC = NumpyNumeric()
WHOLE = [Dtype.i64, Dtype.i32, Dtype.i8, Dtype.u8]


def task(dtype: Dtype = Dtype.f32) -> KernelTask:
    return KernelTask(
        name="fake/two",
        title="two",
        hardware="cpu",
        contract="host",
        arguments=(
            Argument(name="a", role=Role.input, dtype=dtype, shape=("M", "N")),
            Argument(name="b", role=Role.input, dtype=Dtype.f64, shape=("N", 2, "M // 2")),
            Argument(name="y", role=Role.output, dtype=Dtype.f32, shape=("M",)),
            Argument(name="alpha", role=Role.scalar, dtype=Dtype.f32, value=1.0),
        ),
        bytes="4 * M * N",
        workloads=(
            Workload(name="small", axes={"M": 4, "N": 3}),
            Workload(name="large", axes={"M": 60, "N": 50}),
            Workload(name="empty", axes={"M": 0, "N": 3}),
        ),
    )


def inputs(dtype: Dtype = Dtype.f32, seed: int = 1) -> HiddenInputs:
    return HiddenInputs(task(dtype), NUMERIC, seed)


SMALL, LARGE, EMPTY = task().workloads


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [Dtype.f64, Dtype.f32, Dtype.f16, *WHOLE])
def test_shapes_and_types_are_those_of_the_task(dtype: Dtype, family: str) -> None:
    drawer = inputs(dtype)
    for workload in task().workloads:
        drawn = drawer.draw(workload, family)
        m, n = workload.axes["M"], workload.axes["N"]
        assert list(drawn) == ["a", "b"], "inputs only"
        assert drawn["a"].shape == (m, n)
        assert drawn["b"].shape == (n, 2, m // 2)
        assert drawn["a"].dtype == NUMERIC.dtype(dtype)
        assert drawn["b"].dtype == np.float64
        assert all(np.isfinite(x).all() for x in drawn.values())
        assert all(x.flags.c_contiguous for x in drawn.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_no_two_draws_are_equal(family: str) -> None:
    drawer = inputs()
    seen = set()
    for _ in range(200):
        drawn = drawer.draw(LARGE, family)
        seen |= {drawn["a"].tobytes(), drawn["b"].tobytes()}
    assert len(seen) == 400


def test_tensors_of_one_draw_differ() -> None:
    arguments = tuple(
        Argument(name=n, role=r, dtype=Dtype.f32, shape=("N",))
        for n, r in (("a", Role.input), ("b", Role.input), ("y", Role.output))
    )
    twin = task().model_copy(update={"arguments": arguments, "workloads": (LARGE,)})
    drawn = HiddenInputs(twin, NUMERIC, 1).draw(LARGE)
    assert not np.array_equal(drawn["a"], drawn["b"])


def test_a_seed_gives_the_same_inputs_and_another_gives_others() -> None:
    one, two, other = inputs(seed=5), inputs(seed=5), inputs(seed=6)
    for family in ("normal", "outliers", "normal"):
        a, b, c = (x.draw(LARGE, family)["a"] for x in (one, two, other))
        assert np.array_equal(a, b)
        assert not np.array_equal(a, c)


@pytest.mark.parametrize("dtype", WHOLE)
@pytest.mark.parametrize("family", FAMILIES)
def test_integers_are_small(dtype: Dtype, family: str) -> None:
    """Small enough that sums of products stay exact; never a negative number in an unsigned tensor."""
    drawn = inputs(dtype).draw(LARGE, family)["a"].astype(np.int64)
    assert drawn.min() >= (0 if dtype is Dtype.u8 else -8)
    assert drawn.max() <= 8


@pytest.mark.parametrize("dtype", WHOLE)
def test_integers_vary(dtype: Dtype) -> None:
    drawer = inputs(dtype)
    seen = np.concatenate([drawer.draw(LARGE)["a"].ravel() for _ in range(20)])
    assert len(np.unique(seen)) >= 8


def drawn(family: str) -> np.ndarray:
    """Many values of a family, in float64."""
    drawer = inputs()
    return np.concatenate([drawer.draw(LARGE, family)["a"].ravel() for _ in range(40)]).astype(np.float64)


class TestFamilies:
    """Each attacks something else, so each must look like what it says."""

    def test_normal(self) -> None:
        drawer = inputs()
        scales = {round(float(np.log2(drawer.draw(LARGE)["a"].std()))) for _ in range(60)}
        assert scales == {-2, -1, 0, 1, 2}, "at a random power-of-two scale"
        assert abs(drawn("normal").mean()) < 0.1

    def test_offset(self) -> None:
        x = drawn("offset")
        assert x.mean() == pytest.approx(2.0, abs=0.05)
        assert x.std() == pytest.approx(0.25, abs=0.02)

    def test_positive(self) -> None:
        x = drawn("positive")
        assert x.min() >= 0.0
        assert x.max() <= 1.0
        assert x.mean() == pytest.approx(0.5, abs=0.05)

    def test_outliers(self) -> None:
        x = np.abs(drawn("outliers"))
        assert x.max() > 100
        assert np.median(x) < 1
        assert 0.002 < (x > 100).mean() < 0.05

    def test_integers(self) -> None:
        x = drawn("integers")
        assert np.array_equal(x, np.round(x))
        assert len(np.unique(x)) > 8

    def test_large_and_tiny(self) -> None:
        assert drawn("large").std() == pytest.approx(1024, rel=0.05)
        assert drawn("tiny").std() == pytest.approx(2.0**-10, rel=0.05)

    def test_they_are_distinct(self) -> None:
        one = {f: inputs().draw(LARGE, f)["a"].tobytes() for f in FAMILIES}
        assert len(set(one.values())) == len(FAMILIES), "from equal seeds, too"


def test_half_precision_holds_every_family() -> None:
    drawer = inputs(Dtype.f16)
    for family in FAMILIES:
        assert np.abs(drawer.draw(LARGE, family)["a"].astype(np.float64)).max() < 65504


def test_the_pool_is_longer_than_any_tensor() -> None:
    drawer = inputs()
    assert len(drawer.pool) == 60 * 50 + SPREAD
    assert drawer.draw(EMPTY)["a"].size == 0


def test_a_task_without_inputs() -> None:
    output = task().arguments[2]
    alone = task().model_copy(update={"arguments": (output,)})
    assert HiddenInputs(alone, NUMERIC, 1).draw(SMALL) == {}


def test_bf16_is_not_for_the_cpu() -> None:
    with pytest.raises(BadInput, match="bf16"):
        inputs(Dtype.bf16).draw(SMALL)


SCALARS = {"f64": ("double", 1.5), "f32": ("float", 2.5), "i64": ("int64_t", 2.0**40), "i32": ("int32_t", -3.0)}
SCALARS |= {"i8": ("int8_t", -7.0), "u8": ("uint8_t", 200.0)}


def test_every_argument_reaches_c_as_what_it_is(tmp_path: Path) -> None:
    """Tensors, axes, and scalars of every type, in the order of the task."""
    arguments = [
        Argument(name="x", role=Role.input, dtype=Dtype.f32, shape=("N",)),
        Argument(name="N", role=Role.axis),
        *(Argument(name=d, role=Role.scalar, dtype=Dtype(d), value=v) for d, (_, v) in SCALARS.items()),
        Argument(name="y", role=Role.output, dtype=Dtype.f64, shape=("N + 6",)),
    ]
    workload = Workload(name="w", axes={"N": 3}, scalars={"f32": 0.25})
    said = task().model_copy(update={"arguments": tuple(arguments), "bytes": 8, "workloads": (workload,)})
    kinds = ", ".join(f"{kind} {name}" for name, (kind, _) in SCALARS.items())
    body = "for (int64_t i = 0; i < n; i++) y[i] = x[i];" + "".join(f" y[n++] = {name};" for name in SCALARS)
    text = f"#include <stdint.h>\nvoid k(const float *x, int64_t n, {kinds}, double *y) {{ {body} }}\n"
    (tmp_path / "k.c").write_text(text)
    source = SourceFile(path="k.c", content=digest_bytes(text.encode()))
    candidate = Candidate(toolchain="c", entry="k", sources=(source,))
    target = Target(hardware="cpu", device="this", architecture="native")
    cache = tmp_path / "cache"
    bench = HostBench(said, target, tmp_path / "scratch", cache, cold=False, timeout_s=10.0)
    runner = bench.start(candidate, build(candidate, tmp_path, target, "release", cache), tmp_path)
    try:
        runner.restart()
        x = np.array([1.0, 2.0, 3.0], np.float32)
        assert runner.call(0, {"x": x}, timed=False) > 0
        wanted = [1.0, 2.0, 3.0] + [0.25 if d == "f32" else v for d, (_, v) in SCALARS.items()]
        assert runner.outputs(0)["y"].tolist() == wanted
    finally:
        runner.close()
        bench.close()


def test_cancellation_nearly_undoes_each_row() -> None:
    x = inputs().draw(LARGE, "cancellation")["a"].astype(np.float64)
    half = x.shape[1] // 2
    left = x[:, :half] + x[:, half : 2 * half]
    assert np.sqrt((left**2).mean()) < 0.4 * np.sqrt((x**2).mean())
    assert np.abs(left).max() > 0


def test_sparse_is_mostly_exact_zeros() -> None:
    x = drawn("sparse")
    assert 0.8 < (x == 0).mean() < 0.95
    assert np.abs(x[x != 0]).min() >= 1.5


@pytest.mark.parametrize(("dtype", "octaves"), [(Dtype.f64, 20), (Dtype.f32, 20), (Dtype.f16, 8)])
def test_extremes_span_many_powers_of_two_and_no_denormals(dtype: Dtype, octaves: int) -> None:
    drawer = inputs(dtype)
    x = np.concatenate([drawer.draw(LARGE, "extremes")["a"].ravel() for _ in range(40)]).astype(np.float64)
    assert np.abs(x).min() >= np.finfo(NUMERIC.dtype(dtype)).tiny
    assert np.abs(x).min() < 2.0 ** (1 - octaves)
    assert np.abs(x).max() > 2.0 ** (octaves - 1)
    assert 0.4 < (x > 0).mean() < 0.6


def test_nonfinite_comes_only_where_it_is_asked_for() -> None:
    assert "nonfinite" not in task().drawn
    asked = task().model_copy(update={"families": ("standard", "nonfinite")})
    assert asked.drawn == (*FAMILIES, *OPTIONAL)
    x = drawn("nonfinite")
    for found in (np.isnan(x), np.isposinf(x), np.isneginf(x)):
        assert 1e-4 < found.mean() < 2e-3
    whole = inputs(Dtype.i32).draw(LARGE, "nonfinite")["a"]
    assert np.abs(whole).max() <= 8


def test_the_pool_reaches_hidden_workloads() -> None:
    larger = Workload(name="larger", axes={"M": 600, "N": 70})
    drawer = HiddenInputs(task(), NUMERIC, 1, (LARGE, larger))
    assert drawer.draw(larger)["a"].shape == (600, 70)


LONG = Workload(name="long", axes={"M": 8, "N": 1 << 16})
TIMED = task().model_copy(update={"workloads": (LONG,), "arguments": tuple(
    a for a in task().arguments if a.name != "b"
)})  # fmt: skip


class TestTimed:
    """Inputs of timed calls are normal, and planted so that no part of a row stands for the whole."""

    @pytest.mark.parametrize("dtype", [Dtype.f64, Dtype.f32, Dtype.f16, *WHOLE])
    def test_they_are_as_the_task_says(self, dtype: Dtype) -> None:
        drawer = inputs(dtype)
        for workload in task().workloads * 20:
            drawn = drawer.draw_timed(workload)
            m, n = workload.axes["M"], workload.axes["N"]
            assert drawn["a"].shape == (m, n)
            assert drawn["b"].shape == (n, 2, m // 2)
            assert drawn["a"].dtype == NUMERIC.dtype(dtype)
            assert all(np.isfinite(x).all() for x in drawn.values())
            if not dtype.is_float:
                whole = drawn["a"].astype(np.int64)
                assert np.all(np.abs(whole) <= 8)
                assert dtype is not Dtype.u8 or np.all(whole >= 0)

    def test_no_two_are_equal(self) -> None:
        drawer = inputs()
        assert len({drawer.draw_timed(LARGE)["a"].tobytes() for _ in range(200)}) == 200

    def test_a_seed_gives_the_same(self) -> None:
        one, two = inputs(seed=5), inputs(seed=5)
        assert all(np.array_equal(one.draw_timed(LARGE)["a"], two.draw_timed(LARGE)["a"]) for _ in range(9))

    @pytest.mark.parametrize("part", [slice(None, None, 2), slice(None, None, 16), slice(0, 1 << 15)])
    def test_no_part_of_a_row_tells_its_size(self, part: slice) -> None:
        """In most draws some row's mean square differs from that of a part by more than any tolerance allows."""
        drawer = HiddenInputs(TIMED, NUMERIC, 1)
        missed = []
        for _ in range(30):
            square = drawer.draw_timed(LONG)["a"].astype(np.float64) ** 2
            missed.append(np.abs(square[:, part].mean(axis=1) / square.mean(axis=1) - 1).max())
        assert np.median(missed) > 0.2

    def test_rows_look_normal_where_nothing_was_planted(self) -> None:
        """So a look at most of the elements does not tell that a call is timed, nor which rows are not as they seem."""
        drawer = HiddenInputs(TIMED, NUMERIC, 1)
        for _ in range(30):
            x = np.sort(np.abs(drawer.draw_timed(LONG)["a"].astype(np.float64)), axis=1)
            ratio = x[:, int(0.95 * x.shape[1])] / np.maximum(x[:, x.shape[1] // 2], 1e-30)
            assert np.median(ratio) == pytest.approx(2.906, abs=0.15)  # of 95 % and 50 % of a normal distribution

    def test_rows_of_other_families_come_now_and_then(self) -> None:
        drawer = HiddenInputs(TIMED, NUMERIC, 1)
        seen = 0
        for _ in range(60):
            x = np.sort(np.abs(drawer.draw_timed(LONG)["a"].astype(np.float64)), axis=1)
            ratio = x[:, int(0.95 * x.shape[1])] / np.maximum(x[:, x.shape[1] // 2], 1e-30)
            seen += bool(np.any(np.abs(ratio - 2.906) > 0.2))
        assert 3 <= seen <= 40

    def test_they_are_no_larger_than_what_a_task_takes_anyway(self) -> None:
        names = tuple(f for f in FAMILIES if f in ("normal", "offset", "positive"))
        mild = HiddenInputs(TIMED.model_copy(update={"families": names}), NUMERIC, 1)
        assert max(float(np.abs(mild.draw_timed(LONG)["a"]).max()) for _ in range(40)) < 24
        names = (*names, "outliers")
        rough = HiddenInputs(TIMED.model_copy(update={"families": names}), NUMERIC, 1)
        assert 100 < max(float(np.abs(rough.draw_timed(LONG)["a"]).max()) for _ in range(40)) < 400

    def test_honest_orders_of_summing_stay_within_twice_the_baseline(self) -> None:
        """Few rows, whose errors are pooled: two ways to sum in float32 that are as good as each other."""
        drawer = HiddenInputs(TIMED, NUMERIC, 3)
        output = Argument(name="y", role=Role.output, dtype=Dtype.f32, shape=("M",))
        for _ in range(6):
            bound, worst = BaselineBound(output, (8,)), TensorError(
                tensor="y", relative_rms=0, worst_row=0, limit=1e-5, matched=1
            )  # fmt: skip
            for _ in range(22):
                square = drawer.draw_timed(LONG)["a"] ** 2
                exact = square.astype(np.float64).sum(axis=1)
                orders = (square.reshape(8, 256, -1), square.reshape(8, -1, 256).swapaxes(1, 2))
                errors = [e.cumsum(axis=2, dtype=np.float32)[..., -1].cumsum(axis=1)[:, -1] for e in orders]
                relative = [float(np.sqrt(((e - exact) ** 2).sum() / (exact**2).sum())) for e in errors]
                mine, theirs = (worst.model_copy(update={"relative_rms": r}) for r in relative)
                assert bound.see("timed", mine, theirs, pooled=True) == ""
            assert bound.end(worst) == ""
