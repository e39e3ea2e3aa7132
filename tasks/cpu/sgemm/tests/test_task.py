"""The task's own test: baseline and entry build and are right."""

from pathlib import Path

import pytest

from warpsmith.surface import api


@pytest.mark.slow
@pytest.mark.parametrize("candidate", ["baseline", "entry"])
def test_candidate_is_right(candidate: str) -> None:
    answer = api.check(str(Path(__file__).parent.parent), candidate)
    assert answer.exit_status == 0, answer.evaluation.detail
