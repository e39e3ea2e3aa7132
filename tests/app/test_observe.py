"""Applications without CUDA, how runs end, and what is kept of them."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.app.building import built, shared
from tests.app.test_buckets import executions, kernels, launch, log, timed
from warpsmith.app import observe as observing
from warpsmith.app.buckets import Choice
from warpsmith.app.observe import Wish, keep, observation, reusable
from warpsmith.app.running import App, Ended, app, run
from warpsmith.errors import BadInput
from warpsmith.surface import cli

USUAL = Choice()


def test_exit_status_and_streams_stay_the_applications(tmp_path: Path) -> None:
    said = app((str(built("plain.c")), "a b", "7"), tmp_path)
    with open(tmp_path / "out", "w+") as out:
        assert run(said, said.environment, stdout=out.fileno()).status == 7
        out.seek(0)
        assert out.read() == "[a b]\n[7]\n"
    aborting = app((str(built("plain.c")), "abort"), tmp_path)
    assert run(aborting, said.environment, stdout=-3).status == -signal.SIGABRT


def test_time_is_up_for_the_whole_group(tmp_path: Path) -> None:
    said = app((str(built("plain.c")), "sleep"), tmp_path)
    ended = run(said, said.environment, limit_s=0.3, stdout=-3)
    assert ended.status is None
    name = said.program.name
    deadline = time.monotonic() + 30
    while (left := _running(name)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def _running(name: str) -> list[str]:
    """Processes that run this very program, zombies left out."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(entry / "exe") == str(built("plain.c")) and name:
                found.append(entry.name)
        except OSError:
            continue
    return found


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing is no program"):
        app(("./nothing",), tmp_path)
    with pytest.raises(BadInput, match="no program is named"):
        app((), tmp_path)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".warpsmith").mkdir()
    (tmp_path / ".warpsmith" / "cache").symlink_to(shared("cache"))  # the library is built once
    return tmp_path


def observed(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, object], str]:
    status = cli.run(["observe", "--json", *words])
    out, err = capfd.readouterr()
    return status, json.loads(out), err


def test_an_application_without_cuda_is_said_to_be_one(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status, answer, err = observed(capfd, "--", str(built("plain.c")), "hello")
    run_facts = answer["observation"]["run"]  # type: ignore[index]
    assert status == 2
    assert run_facts["status"] == 0
    assert "the application made no use of CUDA" in run_facts["conditions"]
    assert err == "[hello]\n"


def test_an_application_that_fails_is_said_to(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status, answer, _ = observed(capfd, "--", str(built("plain.c")), "x", "9")
    assert status == 1
    assert answer["observation"]["run"]["status"] == 9  # type: ignore[index]


@pytest.mark.parametrize("words", [("--for", "0"), ("--top", "0"), ("--ratio", "1"), ("--cover", "2"), ()])
def test_what_cannot_be_asked_is_refused(project: Path, words: tuple[str, ...]) -> None:
    behind = ("--", "/bin/true") if words else ()
    assert cli.run(["observe", *words, *behind]) == 3


def kept(folder: Path, status: int = 0) -> tuple[App, Path]:
    """An application that names its kernel, and an observation of it."""
    folder.mkdir(exist_ok=True)
    program = folder / "app"
    program.write_bytes(b"#!/bin/sh\n# _Z5scalePfif\n")
    program.chmod(0o755)
    said = app((str(program), "--size", "3"), folder)
    logs = [log([launch(i) for i in range(4)], [timed(i) for i in range(4)])]
    ran = [e for one in logs for e in executions(one)]
    found = observation(said, "2026-01-01T00:00:00Z", Ended(status, 1.0), ran, logs, USUAL)
    into = observing.folder_of(said, folder / ".warpsmith")
    keep(found, into, said)
    assert found.kernels == kernels(ran)
    return said, into


def test_what_is_kept_is_used_again_while_nothing_changes(tmp_path: Path) -> None:
    said, folder = kept(tmp_path)
    (path,) = folder.iterdir()
    assert path.name.startswith("scale-")
    assert path.name.endswith(".observed.json")
    found, why = reusable(said, folder, USUAL)
    assert found is not None
    assert found.kernels[0].launches == 4
    assert why.endswith("nothing changed since")
    seen = observing.observe(said, tmp_path / ".warpsmith", Wish())
    assert (seen.reused, seen.observation) == (why, found)


def test_another_command_and_another_choice_are_not_what_is_kept(tmp_path: Path) -> None:
    said, folder = kept(tmp_path)
    assert reusable(app((*said.argv, "more"), tmp_path), folder, USUAL)[0] is None
    assert reusable(said, folder, Choice(top=3))[0] is None
    assert observing.folder_of(app((*said.argv, "more"), tmp_path), tmp_path) != observing.folder_of(said, tmp_path)


def test_a_changed_binary_is_said_where_the_signature_holds(tmp_path: Path) -> None:
    said, folder = kept(tmp_path)
    said.program.write_bytes(b"#!/bin/sh\n# _Z5scalePfif and more\n")
    found, why = reusable(said, folder, USUAL)
    assert found is not None
    assert f"{said.program} changed since, and the kernels' signatures hold" in why


def test_a_changed_signature_is_observed_again(tmp_path: Path) -> None:
    said, folder = kept(tmp_path)
    said.program.write_bytes(b"#!/bin/sh\n# _Z5scalePdid\n")
    found, why = reusable(said, folder, USUAL)
    assert found is None
    assert "scale(float*, int, float) is not to be found there" in why


def test_a_run_that_failed_is_not_used_again(tmp_path: Path) -> None:
    said, folder = kept(tmp_path, status=3)
    assert reusable(said, folder, USUAL) == (None, "the run that was kept did not end well")


def test_files_of_two_runs_are_no_observation(tmp_path: Path) -> None:
    said, folder = kept(tmp_path)
    (path,) = folder.iterdir()
    other = path.with_name("other.observed.json")
    other.write_text(path.read_text().replace("2026-01-01", "2026-02-02"))
    assert reusable(said, folder, USUAL)[0] is None
    other.write_text("{")
    assert reusable(said, folder, USUAL)[0] is not None


def test_conditions_count_what_is_lost() -> None:
    one = log([launch(1), launch(2), launch(3, result=700)], [timed(1)], dropped=4, cut=True)
    said = observing.conditions([one], Ended(None, 2.0))
    assert said == (
        "ended by us after 2.0 s",
        "1 launches have no device time, and are left out",
        "1 launches were refused by the driver",
        "4 records did not fit into the log",
        "1 logs break off",
    )


def test_text_for_people(tmp_path: Path) -> None:
    from rich.console import Console

    from warpsmith.surface import render, render_app  # noqa: F401
    from warpsmith.surface.answers_app import ObserveAnswer

    said, folder = kept(tmp_path)
    found, why = reusable(said, folder, USUAL)
    out = io.StringIO()
    render.render(ObserveAnswer(observation=found, folder=str(folder), reused=why), Console(file=out, width=160))
    assert "int 100, float 0.5" in out.getvalue()
    assert "not run again" in out.getvalue()
