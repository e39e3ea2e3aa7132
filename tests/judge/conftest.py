"""The GPU, for the tests that need one."""

from __future__ import annotations

import pytest

from warpsmith.errors import Missing
from warpsmith.judge.machine import detect
from warpsmith.model.target import Target


@pytest.fixture(scope="session")
def gpu_target() -> Target:
    """The GPU; whatever asks for it is skipped where there is none."""
    try:
        return detect("cuda")
    except Missing as missing:
        pytest.skip(str(missing))
