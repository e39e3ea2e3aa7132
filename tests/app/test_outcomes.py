"""What a ledger learns of integrations: each outcome once, wherever the command that knew it was killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.app.products import binary, candidate, go, product, tree
from tests.app.released import LEDGER, released
from warpsmith.app import integrate as integrating
from warpsmith.app import outcomes
from warpsmith.app.integrate import Trouble
from warpsmith.app.journal import Journal
from warpsmith.app.loading import load_app
from warpsmith.app.site import Site
from warpsmith.model.campaign import Decided, Event, Submitted
from warpsmith.store.blobs import Blobs
from warpsmith.store.ledger import Ledger, read_events

PROGRAM = Path(sys.executable).parent / "warpsmith"
KILLED = 99
Kill = Callable[[pytest.MonkeyPatch], None]


def decided(ledger: Path) -> list[tuple[str, str]]:
    return [(e.decision, e.result) for e in read_events(ledger) if isinstance(e, Decided)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The application, and a ledger beside it that knows its candidate."""
    root = product(tmp_path)
    made, _ = candidate(root, Blobs(tmp_path / "state/blobs"))
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        ledger.append(Submitted(candidate=made, at=1.0))
    return root


def died(root: Path, kill: Kill) -> None:
    """Integrate and tell in a process that ends without a word where ``kill`` says."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            patch = pytest.MonkeyPatch()
            kill(patch)
            said: Callable[[str], None] = lambda text: os._exit(KILLED) if text == os.environ.get("KILL") else None  # noqa: E731
            go(root, ledger=root.parent / "ledger.jsonl", tell=said)
            with Site(load_app(root), root.parent / "state") as site:
                outcomes.tell(site)
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == KILLED


def at(owner: object, name: str, *, after: bool = False) -> Kill:
    """Killed where ``owner.name`` is called, or when it is about to return."""

    def kill(patch: pytest.MonkeyPatch) -> None:
        real = getattr(owner, name)

        def ended(*arguments: object, **more: object) -> None:
            if after:
                real(*arguments, **more)
            os._exit(KILLED)

        patch.setattr(owner, name, ended)

    return kill


def when_told(text: str) -> Kill:
    """Killed where that is said."""
    return lambda patch: patch.setenv("KILL", text)


MOMENTS = {
    "nothing changed": (when_told("built as it is"), []),
    "building": (when_told("building with the candidate"), ["rolled_back"]),
    "measuring": (when_told("pair 2 of 5"), ["rolled_back"]),
    "not yet kept": (at(Site, "keep"), ["rolled_back"]),
    "kept": (at(Site, "_finish_keeping"), ["deployed"]),
    "no report": (at(integrating, "settle"), ["deployed"]),
    "untold": (at(outcomes, "tell"), ["deployed"]),
    "told": (at(outcomes, "_write", after=True), ["deployed"]),
}
QUICK = {"building", "told"}


@pytest.mark.parametrize(
    ("kill", "events"),
    [pytest.param(*said, id=n, marks=() if n in QUICK else pytest.mark.slow) for n, said in MOMENTS.items()],
)
def test_the_next_command_tells_what_became_of_it_once(root: Path, kill: Kill, events: list[str]) -> None:
    subprocess.run(["make", "-s"], cwd=root, check=True)
    before, original, ledger = tree(root), binary(root), root.parent / "ledger.jsonl"
    died(root, kill)
    for _ in range(2):
        with Site(load_app(root), root.parent / "state") as site:
            outcomes.recover(site)
            outcomes.tell(site)
        assert decided(ledger) == [("integrate", result) for result in events]
    as_it_was = "deployed" not in events
    assert (tree(root) == before) is as_it_was
    assert (binary(root) == original) is as_it_was
    folders = list((root.parent / "state/apps").glob("*/evidence/*"))
    assert len(folders) == len(events), "what changed nothing left nothing"
    for folder in folders:
        report = json.loads((folder / "integration.json").read_text())
        assert report["outcome"] == ("rolled_back" if as_it_was else "kept")
        assert not as_it_was or (report["proved"] and report["rebuilt"])
        assert not {p.name for p in folder.iterdir()} & {"pending.json", "untold.json"}


@pytest.mark.slow
def test_an_interruption_by_hand_is_an_outcome_too(root: Path) -> None:
    ledger = root.parent / "ledger.jsonl"
    source = (root / "task/src/product.c").read_text().replace("lanes row", "lanes nonsense row")

    def stop(trouble: Trouble) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(root, source, fixer=stop, ledger=ledger)
    with Site(load_app(root), root.parent / "state") as site:
        with Ledger(ledger), pytest.raises(Exception, match="another warpsmith process"):
            outcomes.tell(site)  # somebody writes it: told later
        assert outcomes.tell(site) == (str(ledger),) and outcomes.tell(site) == ()
    event = read_events(ledger)[-1]
    assert isinstance(event, Decided) and event.result == "rolled_back" and "KeyboardInterrupt" in event.reason
    assert Path(event.evidence[0]).is_dir()


@pytest.mark.slow
def test_a_killed_integrate_is_told_by_whatever_command_comes_next(tmp_path: Path) -> None:
    root = released(tmp_path)
    ledger = root / LEDGER
    told = (str(PROGRAM), "integrate", "--app", "app.toml", "--json")
    subprocess.run(["make", "-s"], cwd=root, check=True)
    assert subprocess.run((*told, "--recover"), cwd=root, capture_output=True, check=False).returncode == 0
    running = subprocess.Popen((*told, "entry"), cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while True:
        pages = list(root.glob(".warpsmith/apps/*/journal.jsonl"))
        if pages and "changing" in {e.phase for e in Journal(pages[0]).open_work()}:
            break
        assert running.poll() is None
        time.sleep(0.002)
    running.kill()
    running.wait()

    def outcomes_told() -> list[Event]:
        return [e for e in read_events(ledger) if isinstance(e, Decided) and e.decision == "integrate"]

    assert outcomes_told() == []
    answer = json.loads(subprocess.run((*told, "--recover"), cwd=root, capture_output=True, check=True).stdout)
    assert "rolled back" in answer["recovered"] and answer["ledger"] == str(ledger)
    assert [e.result for e in outcomes_told()] == ["rolled_back"]  # type: ignore[union-attr]
    done = subprocess.run((*told, "entry"), cwd=root, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
    assert [e.result for e in outcomes_told()] == ["rolled_back", "deployed"]  # type: ignore[union-attr]
