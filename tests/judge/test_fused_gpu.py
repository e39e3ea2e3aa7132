"""Verifying by kernels of our own and by array functions comes to the same, on a GPU."""

from __future__ import annotations

from typing import Any

import pytest

from warpsmith.errors import Missing
from warpsmith.judge.fused import FusedMisses
from warpsmith.judge.machine import detect
from warpsmith.judge.memory import Memory
from warpsmith.judge.verify import verify
from warpsmith.model.task import RELATIVE_RMS_LIMIT, Argument, Dtype, Role

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]
SHAPES = [(1, 1), (1, 7), (5, 3), (1000, 1), (3, 100_003), (257, 1009), (1, 3 << 20)]
FLOATS = [Dtype.f64, Dtype.f32, Dtype.f16, Dtype.bf16]


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> FusedMisses:
    try:
        target = detect("cuda")
    except Missing as missing:
        pytest.skip(str(missing))
    return FusedMisses(Memory(), target, tmp_path_factory.mktemp("cache"))


def both(fused: FusedMisses, out: Any, ref: Any, dtype: Dtype) -> tuple[Any, Any]:
    numeric = fused.memory.numeric
    argument = Argument(name="y", role=Role.output, dtype=dtype, shape=("N",))
    held, found = numeric.misses, []
    limit = RELATIVE_RMS_LIMIT.get(dtype.value)
    try:
        for way in (None, fused):
            numeric.misses = way
            found.append(verify(out, ref, argument, numeric, limit))
    finally:
        numeric.misses = held
    return found[0], found[1]


def damage(out: Any, how: str, limit: float) -> None:
    """Break storage so that it is wrong, nearly wrong, or not wrong at all."""
    flat = out.reshape(-1)
    match how:
        case "one element":
            flat[len(flat) // 2] += 1
        case "nan":
            flat[-1] = float("nan")
        case "infinity":
            flat[0] = float("inf")
        case "scaled":
            out *= 1 + 3 * limit
        case "just within":
            out *= 1 + 0.3 * limit
        case "zeros":
            out.zero_()


@pytest.mark.parametrize("how", ["right", "one element", "nan", "infinity", "scaled", "just within", "zeros"])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_verdict(fused: FusedMisses, shape: tuple[int, int], dtype: Dtype, how: str) -> None:
    torch = fused.torch
    ref = torch.randn(shape, dtype=torch.float64, device="cuda") * torch.logspace(
        -3, 3, shape[0], dtype=torch.float64, device="cuda"
    ).reshape(-1, 1)
    out = ref.to(fused.memory.numeric.dtype(dtype))
    damage(out, how, RELATIVE_RMS_LIMIT[dtype.value])
    plain, quick = both(fused, out, ref, dtype)
    assert bool(plain.wrong) == bool(quick.wrong)
    for name in ("relative_rms", "worst_row", "limit", "matched"):
        assert getattr(quick.error, name) == pytest.approx(getattr(plain.error, name), rel=1e-9, abs=1e-15), name


@pytest.mark.parametrize("how", ["right", "one element"])
def test_an_oracle_of_zeros(fused: FusedMisses, how: str) -> None:
    ref = fused.torch.zeros((4, 9), dtype=fused.torch.float64, device="cuda")
    out = ref.to(fused.torch.float32)
    damage(out, how, 1e-5)
    plain, quick = both(fused, out, ref, Dtype.f32)
    assert (plain.error, plain.wrong) == (quick.error, quick.wrong)
    assert bool(quick.wrong) == (how != "right")


def test_nan_and_infinity_of_the_oracle_are_matched_all_the_same(fused: FusedMisses) -> None:
    ref = fused.torch.randn((64, 33), dtype=fused.torch.float64, device="cuda")
    ref[3, 4], ref[5, 6] = float("nan"), float("inf")
    out = ref.to(fused.torch.float32)
    plain, quick = both(fused, out, ref, Dtype.f32)
    assert plain.wrong == quick.wrong == ""
    out[3, 4] = 0
    plain, quick = both(fused, out, ref, Dtype.f32)
    assert plain.wrong == quick.wrong != ""


def test_an_oracle_that_is_not_contiguous(fused: FusedMisses) -> None:
    ref = fused.torch.randn((70, 50), dtype=fused.torch.float64, device="cuda").T
    out = ref.to(fused.torch.float32).contiguous()
    plain, quick = both(fused, out, ref, Dtype.f32)
    assert plain.wrong == quick.wrong == ""
    assert quick.error.relative_rms == pytest.approx(plain.error.relative_rms, rel=1e-9)
