"""The command line against its page, its weight, and interruption."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.projects import project
from warpsmith.analyse.standing import standing
from warpsmith.errors import BadInput, CampaignError, Missing, WarpsmithError
from warpsmith.model.campaign import Budget
from warpsmith.store.history import fold
from warpsmith.store.ledger import read_events, writer
from warpsmith.surface import api, cli
from warpsmith.surface.campaigns import run_campaign
from warpsmith.surface.reference import reference

ROOT = Path(__file__).parent.parent.parent
PROGRAM = Path(sys.executable).parent / "warpsmith"


def test_the_page_is_what_the_program_does() -> None:
    assert (ROOT / "docs/cli.md").read_text() == reference(), "run 'make docs'"


def test_every_verb_and_flag_of_the_program_is_on_the_page() -> None:
    page = (ROOT / "docs/cli.md").read_text()
    app = cli.build_app()
    for verb in api.VERBS:
        assert f"### `warpsmith {cli.spelled(verb)}`" in page
        command = app
        for word in cli.spelled(verb).split():
            command = command[word]
        arguments = command.assemble_argument_collection()
        for argument in arguments:
            shown = [n if n.startswith("--") else n.upper() for n in argument.names]
            shown += [n.removeprefix("--").upper() for n in argument.names]
            assert any(f"`{n}`" in page or f"`{n}...`" in page for n in shown), argument.names


def test_every_verb_can_be_asked_for_by_programs() -> None:
    assert set(api.__all__) == {verb.__name__ for verb in api.VERBS} | {"VERBS", "passed_sanitizers"}


@pytest.mark.parametrize(
    ("asked", "status"), [(("new", "my/one"), 0), (("new", "my/one", "--json"), 0), (("show", "nothing", "--json"), 3)]
)
def test_whoever_reads_may_stop_early(tmp_path: Path, asked: tuple[str, ...], status: int) -> None:
    (tmp_path / "tasks").mkdir()
    reader, writing = os.pipe()
    os.close(reader)
    ran = subprocess.run(
        [PROGRAM, *asked], cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert (ran.returncode, "broken pipe" in ran.stderr.lower()) == (status, False), ran.stderr


def test_exit_statuses_of_the_page_are_those_of_the_program() -> None:
    page = (ROOT / "docs/cli.md").read_text()
    used = {BadInput.exit_status, Missing.exit_status, WarpsmithError.exit_status, CampaignError.exit_status}
    used |= {cli.USAGE, cli.BUG, cli.INTERRUPTED, 0, 1, 2}
    for status in used:
        assert f"\n| {status} | " in page


HEAVY = (
    "torch", "anthropic", "openai", "optuna", "scipy", "numpy", "jinja2", "fastapi", "sqlalchemy", "pydantic",
    "tree_sitter",
)  # fmt: skip


@pytest.mark.parametrize("statement", ["import warpsmith", "import warpsmith.surface.cli as c; c.build_app()"])
def test_importing_is_light(statement: str) -> None:
    told = f"{statement}; import sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_imports_nothing_heavy() -> None:
    told = (
        "import sys, warpsmith.surface.cli as c; c.run(['--help']);"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert all(cli.spelled(verb).split()[0] in done.stdout for verb in api.VERBS)


def _campaign(root: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(PROGRAM), "optimize", "my/axpy", "--budget", "rounds=2", "--batch", "2"],
        cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ctrl-c", "stop"])
def test_an_interrupted_campaign_is_whole_and_resumes(how: str, tmp_path: Path) -> None:
    space = project(tmp_path, batch=2)
    ledger = space.ledger("my/axpy", "main")
    running = _campaign(tmp_path)
    while len(read_events(ledger)) < 6:
        assert running.poll() is None, running.stderr and running.stderr.read()
        time.sleep(0.05)
    judges = subprocess.run(["pgrep", "-P", str(running.pid)], capture_output=True, text=True, check=False)
    if how == "stop":
        assert writer(ledger) == running.pid
        stopped = subprocess.run([str(PROGRAM), "stop", "my/axpy"], cwd=tmp_path, check=False, capture_output=True)
        assert stopped.returncode == 0
    else:
        os.kill(running.pid, signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130, errors
    assert "Traceback" not in errors
    for judge in judges.stdout.split():
        assert not Path(f"/proc/{judge}").exists(), "the judge outlived the campaign"
    before = read_events(ledger)
    h = run_campaign(space, space.task("my/axpy"), "main", Budget(rounds=1))
    assert read_events(ledger)[: len(before)] == before
    assert not standing(h).untried
    assert fold(read_events(ledger)).opened == 2
