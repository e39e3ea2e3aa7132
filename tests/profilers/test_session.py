"""The session: which steps are measured and which are profiled, by what their requests say."""

from __future__ import annotations

from pathlib import Path

import pytest

from warpsmith import session
from warpsmith.judge.failures import Kills
from warpsmith.model.step import Fault, Result

MEASURED = Result(outcome=Fault(what="measured"), seconds=0.0)


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        ('{"step": {"kind": "measure"}}', "measured"),
        ('{"step": {"kind": "explain"}}', "the step could not be read or set up"),
        ("not json", "measured"),
        ("[]", "measured"),
        (None, "measured"),
    ],
)
def test_steps_go_to_who_carries_them_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_: str | None, what: str
) -> None:
    monkeypatch.setattr(session, "measure", lambda folder, kills, tell: MEASURED)
    if request_ is not None:
        (tmp_path / "request.json").write_text(request_)
    outcome = session.answer(tmp_path, Kills()).outcome
    assert isinstance(outcome, Fault) and outcome.what == what
