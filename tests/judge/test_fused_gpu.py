"""Verifying by kernels of our own and by array functions comes to the same, on a GPU."""

from __future__ import annotations

from typing import Any

import pytest

from warpsmith.judge.fused import MOST_PIECES, FusedChanges, FusedMisses, Kernels
from warpsmith.judge.memory import GUARD, Memory, Piece
from warpsmith.judge.verify import verify
from warpsmith.model.target import Target
from warpsmith.model.task import RELATIVE_RMS_LIMIT, Argument, Dtype, Role

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]
SHAPES = [(1, 1), (1, 7), (5, 3), (1000, 1), (3, 100_003), (257, 1009), (1, 3 << 20), (400_000, 3)]
FLOATS = [Dtype.f64, Dtype.f32, Dtype.f16, Dtype.bf16]


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory, gpu_target: Target) -> Kernels:
    return Kernels(Memory(), gpu_target, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def fused(kernels: Kernels) -> FusedMisses:
    return FusedMisses(kernels)


def both(fused: FusedMisses, out: Any, ref: Any, dtype: Dtype) -> tuple[Any, Any]:
    numeric = fused.kernels.memory.numeric
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
    out = ref.to(fused.kernels.memory.numeric.dtype(dtype))
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


def test_the_worst_row_is_named(fused: FusedMisses) -> None:
    ref = fused.torch.randn((300_000, 16), dtype=fused.torch.float64, device="cuda")
    out = ref.to(fused.torch.float32)
    out[123_457] *= 1.5
    found = fused(out, ref, Dtype.f32, 1e-4, 1e-3)
    assert found is not None
    assert (found.row, found.worst) == (123_457, pytest.approx(0.5, rel=1e-5))


@pytest.mark.parametrize("size", [0, 1, 15, 16, 4099, (3 << 20) + 5])
@pytest.mark.parametrize("shift", [0, 1, 8])
def test_the_same_changes_are_seen(kernels: Kernels, size: int, shift: int) -> None:
    torch, changes = kernels.torch, FusedChanges(kernels)
    base = torch.full((3, size + 64), GUARD, dtype=torch.uint8, device="cuda")
    base[1:] = torch.randint(0, 256, (size + 64,), dtype=torch.uint8, device="cuda")
    guarded, mine, given = (row.data_ptr() + shift for row in base)
    pieces: list[Piece] = [(guarded, 0, size), (mine, given, size), (mine, 0, size)] * (1 + MOST_PIECES // 3)
    expected = kernels.memory.plain_changes(pieces)
    assert expected[:2] == [False, False] and changes(pieces) == expected
    for at in {0, size // 2, size - 1} if size else ():
        for row in (0, 1):
            base[row, shift + at] ^= 1
            expected = kernels.memory.plain_changes(pieces)
            assert expected[row] and changes(pieces) == expected
            base[row, shift + at] ^= 1
    base[0, shift + size] ^= 1  # beside it
    assert not changes(pieces)[0]
