"""The poison: NaN whatever is drawn, never twice the same, and no integer that can be counted on."""

from __future__ import annotations

import numpy as np
import pytest

from warpsmith.judge.arena import Arena
from warpsmith.judge.numeric import NumpyNumeric
from warpsmith.judge.poison import poison, signed
from warpsmith.model.head import Workload
from warpsmith.model.task import Argument, Dtype, KernelTask, Role


def drawn(dtype: Dtype, count: int = 400) -> np.ndarray:
    return np.array([poison(dtype) for _ in range(count)], f"u{dtype.itemsize}")


@pytest.mark.parametrize("dtype", [Dtype.f64, Dtype.f32, Dtype.f16])
def test_floats_are_nan_of_either_sign_and_many_payloads(dtype: Dtype) -> None:
    bits = drawn(dtype)
    values = bits.view(f"f{dtype.itemsize}")
    assert np.isnan(values).all()
    assert {bool(s) for s in np.signbit(values)} == {True, False}
    assert len(set(bits.tolist())) > 200


def test_bf16_is_nan_as_the_upper_half_of_a_float() -> None:
    assert np.isnan((drawn(Dtype.bf16).astype("u4") << 16).view("f4")).all()


@pytest.mark.parametrize("dtype", [Dtype.i64, Dtype.i32, Dtype.i8, Dtype.u8])
def test_integers_are_spread_over_their_range(dtype: Dtype) -> None:
    bits = drawn(dtype)
    assert (bits == 2 ** (8 * dtype.itemsize) - 1).mean() < 0.05, "what was -1 always is no answer any more"
    high = bits >> (8 * dtype.itemsize - 1)
    assert 0.3 < high.mean() < 0.7


@pytest.mark.parametrize("dtype", list(Dtype))
def test_signed_keeps_the_bits(dtype: Dtype) -> None:
    for _ in range(50):
        bits = poison(dtype)
        value = signed(bits, dtype.itemsize)
        assert value % 2 ** (8 * dtype.itemsize) == bits
        assert -(2 ** (8 * dtype.itemsize - 1)) <= value < 2 ** (8 * dtype.itemsize - 1)


@pytest.mark.parametrize("shift", [0, 2, 4, 8])
@pytest.mark.parametrize("dtype", [Dtype.i32, Dtype.u8, Dtype.f16, Dtype.f64])
def test_an_arena_holds_another_poison_for_every_call_and_tensor(dtype: Dtype, shift: int) -> None:
    outputs = tuple(Argument(name=n, role=Role.output, dtype=dtype, shape=("N",)) for n in ("a", "b"))
    task = KernelTask(
        name="my/t", title="t", hardware="cpu", contract="host", arguments=outputs, bytes=1,
        workloads=(Workload(name="w", axes={"N": 33}),),
    )  # fmt: skip
    arena = Arena(task, task.workloads[0], NumpyNumeric(), shift)
    seen = set()
    for _ in range(20):
        arena.reveal({})
        arena.check({}, NumpyNumeric())
        for name in ("a", "b"):
            values = {bytes(v) for v in arena.views[name].view(f"V{dtype.itemsize}").tolist()}
            assert len(values) == 1
            seen |= values
    assert len(seen) > 20, "forty fills, forty draws"
    arena.close()
