"""Sessions and executors with scripted children: results, deaths, silence, and one device at a time."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from warpsmith.execute.local import LocalExecutor, Session, read_result
from warpsmith.model.profile import Profile
from warpsmith.model.step import Fault, Result

KEY = "a" * 64
RESULT = Result(outcome=Profile(candidate="0" * 64, tool="scripted"), seconds=1.5)
LOOP = """
import os, subprocess, sys, time
from pathlib import Path
RESULT = {result!r}
print("started", file=sys.stderr, flush=True)
for line in sys.stdin:
    folder = Path(line.rstrip("\\n"))
    with (folder / "ran").open("a") as ran:
        ran.write(f"{{os.getpid()}}\\n")
{body}
"""
ANSWER = """
    (folder / "result.json").write_text(RESULT)
    print("done", flush=True)
"""


@pytest.fixture(autouse=True)
def _locks_in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Device locks lie in the machine's temporary folder; these tests leave nothing there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[list[Session]]:
    made: list[Session] = []
    yield made
    for session in made:
        session.close()


class Scripted:
    """Sessions of a child whose answer to a folder is ``body``."""

    def __init__(self, tmp_path: Path, made: list[Session]) -> None:
        self.tmp_path = tmp_path
        self.made = made

    def __call__(self, body: str, environment: dict[str, str] | None = None) -> Session:
        script = LOOP.format(result=RESULT.model_dump_json(), body=body)
        session = Session((sys.executable, "-c", script), self.tmp_path / "logs/judge.log", environment)
        self.made.append(session)
        return session

    def folder(self, name: str = "step") -> Path:
        path = self.tmp_path / name
        path.mkdir()
        return path


@pytest.fixture
def scripted(tmp_path: Path, sessions: list[Session]) -> Scripted:
    return Scripted(tmp_path, sessions)


def ran_by(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "ran").read_text().split()]


def gone(process: int) -> bool:
    """Whether it ended, within 30 s; a zombie has."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


def fault(found: Result | Fault) -> Fault:
    assert isinstance(found, Fault), found
    return found


def test_a_result_comes_back_and_the_session_stays_warm(scripted: Scripted) -> None:
    session = scripted(ANSWER)
    one, two = scripted.folder("one"), scripted.folder("two")
    assert session.run(one, 60) == RESULT
    assert session.run(two, 60) == RESULT
    assert ran_by(one) == ran_by(two), "one process did both"


def test_what_a_session_says_before_it_is_done_is_told(tmp_path: Path, sessions: list[Session]) -> None:
    body = '    print("pair 1\\npa", end="", flush=True); time.sleep(0.2); print("ir 2", flush=True)\n'
    script = LOOP.format(result=RESULT.model_dump_json(), body=body + ANSWER)
    told: list[str] = []
    sessions.append(Session((sys.executable, "-c", script), tmp_path / "log", tell=told.append))
    (tmp_path / "step").mkdir()
    assert sessions[0].run(tmp_path / "step", 60) == RESULT
    assert told == ["pair 1", "pair 2"]


def test_nothing_is_started_before_it_is_needed(scripted: Scripted, tmp_path: Path) -> None:
    session = scripted(ANSWER)
    session.close()
    assert not (tmp_path / "logs").exists()


def test_a_session_that_dies_is_a_fault_with_its_last_words(scripted: Scripted) -> None:
    session = scripted("    sys.exit('the device fell off')")
    found = fault(session.run(scripted.folder(), 60))
    assert "died" in found.what
    assert "the device fell off" in found.detail


def test_the_next_step_gets_a_new_session(scripted: Scripted) -> None:
    body = "    if folder.name == 'bad': os.kill(os.getpid(), 9)\n" + ANSWER
    session = scripted(body)
    bad, good = scripted.folder("bad"), scripted.folder("good")
    assert "died" in fault(session.run(bad, 60)).what
    assert session.run(good, 60) == RESULT
    assert ran_by(bad) != ran_by(good)


def test_a_session_that_died_between_steps_costs_none(scripted: Scripted) -> None:
    session = scripted(ANSWER)
    one, two = scripted.folder("one"), scripted.folder("two")
    session.run(one, 60)
    os.kill(ran_by(one)[0], signal.SIGKILL)
    assert gone(ran_by(one)[0])
    assert session.run(two, 60) == RESULT


def test_a_result_that_was_left_before_dying_counts(scripted: Scripted) -> None:
    session = scripted(ANSWER.replace('print("done", flush=True)', "os._exit(3)"))
    assert session.run(scripted.folder(), 60) == RESULT


TREE = """
    children = [subprocess.Popen(["sleep", "60"]) for _ in range(2)]
    (folder / "children").write_text(" ".join(str(c.pid) for c in children))
"""


def test_silence_is_a_fault_and_the_whole_group_ends(scripted: Scripted) -> None:
    body = "    if folder.name == 'silent':\n" + TREE.replace("    ", "        ") + "        time.sleep(60)\n" + ANSWER
    session = scripted(body)
    warm, silent = scripted.folder("warm"), scripted.folder("silent")
    assert session.run(warm, 60) == RESULT
    found = fault(session.run(silent, 4.0))
    assert found.what == "the step took longer than 4 s"
    assert "started" in found.detail
    family = ran_by(silent) + [int(p) for p in (silent / "children").read_text().split()]
    assert len(family) == 3
    assert all(gone(p) for p in family)


def test_noise_without_a_line_is_silence(scripted: Scripted) -> None:
    body = "    for _ in range(600):\n        print('.', end='', flush=True); time.sleep(0.1)"
    assert "longer" in fault(scripted(body).run(scripted.folder(), 0.8)).what


@pytest.mark.parametrize("garbage", ["", "{}", "not json", '{"outcome": {"kind": "evaluation"}, "seconds": 1}', "null"])
def test_a_result_that_is_none_is_a_fault(scripted: Scripted, garbage: str) -> None:
    folder = scripted.folder()
    found = fault(scripted(ANSWER.replace("RESULT", repr(garbage))).run(folder, 60))
    assert "no result" in found.what, "it did not die"
    assert all(gone(p) for p in ran_by(folder)), "and it is not asked again"


def test_an_answer_without_a_result_is_a_fault(scripted: Scripted) -> None:
    assert "no result" in fault(scripted("    print('done', flush=True)").run(scripted.folder(), 60)).what


def test_what_cannot_be_started_is_a_fault(tmp_path: Path) -> None:
    found = fault(Session(("/no/such/judge",), tmp_path / "log").run(tmp_path, 60))
    assert "could not be started" in found.what
    assert "/no/such/judge" in found.detail


def test_it_is_told_its_parent_and_given_the_environment(scripted: Scripted) -> None:
    body = "    (folder / 'said').write_text(repr((os.environ['PARENT_PID'], os.environ.get('MINE'))))\n" + ANSWER
    folder = scripted.folder()
    session = scripted(body, {**os.environ, "MINE": "yes"})
    assert session.run(folder, 60) == RESULT
    assert (folder / "said").read_text() == repr((str(os.getpid()), "yes"))


def test_closing_ends_the_group_and_may_be_repeated(scripted: Scripted) -> None:
    folder = scripted.folder()
    session = scripted(TREE + ANSWER)
    assert session.run(folder, 60) == RESULT
    for _ in range(3):
        session.close()
    family = ran_by(folder) + [int(p) for p in (folder / "children").read_text().split()]
    assert all(gone(p) for p in family)
    again = scripted.folder("again")
    assert session.run(again, 60) == RESULT, "a closed session starts anew"


def test_closing_after_it_died_is_safe(scripted: Scripted) -> None:
    folder = scripted.folder()
    session = scripted(ANSWER)
    session.run(folder, 60)
    os.kill(ran_by(folder)[0], signal.SIGKILL)
    session.close()
    session.close()


def test_the_log_keeps_the_words_of_all_sessions(scripted: Scripted, tmp_path: Path) -> None:
    session = scripted(ANSWER)
    for name in ("one", "two"):
        session.run(scripted.folder(name), 10)
        session.close()
    assert (tmp_path / "logs/judge.log").read_text() == "started\n" * 2


# --- executors


def executor(tmp_path: Path, session: Session, device: str = "here", timeout_s: float = 10) -> LocalExecutor:
    return LocalExecutor(tmp_path / "steps", session, device, timeout_s)


def nothing(folder: Path) -> None:
    """What a step needs that needs nothing."""


def test_a_step_is_prepared_before_it_runs(scripted: Scripted, tmp_path: Path) -> None:
    body = "    assert (folder / 'request.json').read_text() == 'asked'\n" + ANSWER
    runner = executor(tmp_path, scripted(body))
    assert runner.run(KEY, 2, lambda f: (f / "request.json").write_text("asked") and None) == RESULT
    assert [p.name for p in (tmp_path / "steps").iterdir()] == [f"{KEY[:32]}-2"]
    runner.close()
    runner.close()


def left_behind(tmp_path: Path, text: str, attempt: int = 0) -> None:
    folder = tmp_path / "steps" / f"{KEY[:32]}-{attempt}"
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(text)


def test_a_result_that_was_left_behind_is_taken_as_it_is(scripted: Scripted, tmp_path: Path) -> None:
    other = RESULT.model_copy(update={"seconds": 99.0})
    left_behind(tmp_path, other.model_dump_json())
    prepared: list[Path] = []
    runner = executor(tmp_path, scripted("    sys.exit(1)"))
    assert runner.run(KEY, 1, prepared.append) == other
    assert prepared == []
    assert not (tmp_path / "logs").exists(), "no session was started"


@pytest.mark.parametrize("left", [Result(outcome=Fault(what="host lost"), seconds=0).model_dump_json(), "half of a re"])
def test_a_fault_that_was_left_behind_is_not(scripted: Scripted, tmp_path: Path, left: str) -> None:
    left_behind(tmp_path, left)
    assert executor(tmp_path, scripted(ANSWER)).run(KEY, 1, nothing) == RESULT
    assert ran_by(tmp_path / "steps" / f"{KEY[:32]}-1")


def test_another_step_has_nothing_to_do_with_it(scripted: Scripted, tmp_path: Path) -> None:
    left_behind(tmp_path, RESULT.model_copy(update={"seconds": 99.0}).model_dump_json())
    assert executor(tmp_path, scripted(ANSWER)).run("b" * 64, 0, nothing) == RESULT


def test_forgetting_removes_all_attempts_of_that_step_only(scripted: Scripted, tmp_path: Path) -> None:
    left_behind(tmp_path, "x", 0)
    left_behind(tmp_path, "x", 1)
    other = tmp_path / "steps" / ("b" * 32 + "-0")
    other.mkdir()
    executor(tmp_path, scripted(ANSWER)).forget(KEY)
    assert list((tmp_path / "steps").iterdir()) == [other]


def test_read_result_of_nothing(tmp_path: Path) -> None:
    assert read_result(tmp_path) is None


RIVAL = """
import sys, tempfile, time
from pathlib import Path
from warpsmith.execute.local import LocalExecutor, Session
folder, device, script = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
tempfile.tempdir = str(folder.parent)
(folder / "ready").touch()
while len(list(folder.parent.glob("*/ready"))) < 2:
    time.sleep(0.005)
runner = LocalExecutor(folder, Session((sys.executable, "-c", script), folder / "log"), device, 20)
for i in range(4):
    runner.run(str(i) * 64, 0, lambda f: None)
runner.close()
"""
WORK = """
    began = time.monotonic_ns()
    time.sleep(0.1)
    with open({times!r}, "a") as times:
        times.write(f"{{began}} {{time.monotonic_ns()}}\\n")
"""


def spans(tmp_path: Path, devices: tuple[str, str]) -> list[tuple[int, int]]:
    """When each step of two executors in two processes ran, in order."""
    times = tmp_path / f"times-{devices[1]}"
    script = LOOP.format(result=RESULT.model_dump_json(), body=WORK.format(times=str(times)) + ANSWER)
    rivals = []
    for number, device in enumerate(devices):
        folder = tmp_path / f"{number}-{devices[1]}"
        folder.mkdir()
        rivals.append(subprocess.Popen([sys.executable, "-c", RIVAL, str(folder), device, script]))
    assert [r.wait(30) for r in rivals] == [0, 0]
    found = [tuple(int(x) for x in line.split()) for line in times.read_text().splitlines()]
    assert len(found) == 8
    return sorted((began, ended) for began, ended in found)


def overlaps(found: list[tuple[int, int]]) -> int:
    return sum(ended > began for (_, ended), (began, _) in itertools.pairwise(found))


def test_two_executors_on_one_device_never_overlap(tmp_path: Path) -> None:
    assert overlaps(spans(tmp_path, ("gpu-0", "gpu-0"))) == 0


def test_two_devices_work_side_by_side(tmp_path: Path) -> None:
    """And the test above could see an overlap."""
    assert overlaps(spans(tmp_path, ("gpu-0", "gpu-1"))) > 0
