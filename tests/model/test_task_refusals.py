"""What a task refuses by itself, before any file is read."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tests.fakes import KERNEL
from warpsmith.model.task import Argument, Dtype, KernelTask, Role


@pytest.mark.parametrize("peers", [("peers/a", "other/a"), ("peers/baseline",), ("best",)])
def test_a_peer_has_a_name_of_its_own(peers: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match="must be unique"):
        KernelTask.model_validate({**KERNEL.model_dump(), "peers": peers})


@pytest.mark.parametrize("dtype", [None, Dtype.f16, Dtype.bf16])
def test_a_scalar_has_a_type_of_c(dtype: Dtype | None) -> None:
    with pytest.raises(ValidationError, match="a scalar's dtype is one of"):
        Argument(name="alpha", role=Role.scalar, dtype=dtype, value=1.0)
