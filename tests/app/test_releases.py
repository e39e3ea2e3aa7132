"""A release, integrated into the application that it is for; and refused where it is for another."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.app.products import product, tree
from tests.app.released import LEDGER, SPEC, TASK, released
from tests.projects import calibrate
from warpsmith.model.campaign import Decided
from warpsmith.store.ledger import read_events
from warpsmith.surface import cli

PROGRAM = Path(sys.executable).parent / "warpsmith"


@pytest.fixture(scope="module")
def shelved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Promoted once; never changed."""
    return released(tmp_path_factory.mktemp("released"))


@pytest.fixture
def root(shelved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that project, as the current folder."""
    made = Path(shutil.copytree(shelved, tmp_path / "app"))
    monkeypatch.chdir(made)
    return made


def own(root: Path) -> dict[str, tuple[str, int]]:
    """The application's tree, without what the project keeps."""
    return {name: said for name, said in tree(root).items() if not name.startswith(".warpsmith/")}


def asked(capfd: pytest.CaptureFixture[str], *argv: str) -> tuple[int, dict[str, Any]]:
    capfd.readouterr()
    status = cli.run([*argv])
    return status, json.loads(capfd.readouterr().out)


def integrated(capfd: pytest.CaptureFixture[str], *more: str, spec: str = SPEC) -> tuple[int, dict[str, Any]]:
    return asked(capfd, "integrate", spec, "--app", "app.toml", "--json", *more)


def test_a_release_is_integrated_also_where_nothing_but_the_release_is_known(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(root / ".warpsmith/blobs")  # as in a clone: the sources lie in the release alone
    before = own(root)
    status, answer = integrated(capfd)
    assert status == 0, answer
    assert answer["integration"]["outcome"] == "kept" and answer["integration"]["of"] == SPEC
    assert SPEC in (root / "src/product.c").read_text()
    after = own(root)
    assert {n for n in before if before[n] != after[n]} == {"src/product.c"}
    ledger = root / LEDGER
    assert [(d.decision, d.result) for d in read_events(ledger) if isinstance(d, Decided)][-1:] == [
        ("integrate", "deployed")
    ]
    assert answer["ledger"] == str(ledger)

    # a clone of the application alone, without task and ledger: the release brings both
    shutil.rmtree(root / ".warpsmith")
    shutil.rmtree(root / "task")
    page = root / "app.toml"
    page.write_text(page.read_text().replace('task = "task"', f'task = "{TASK}"'))
    status, answer = integrated(capfd)
    assert status in (0, 1) and answer["integration"]["of"] == SPEC, "kept or not: it is there already, so no faster"
    assert answer["ledger"] == ""


def test_below_its_own_gate_a_release_builds_nothing(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    page = root / "app.toml"
    page.write_text(page.read_text().replace("pairs = 5", "pairs = 5\nmin_gain = 0.4"))
    status, answer = integrated(capfd)
    assert status == 2 and "saves 33.3%" in answer["integration"]["reason"]
    assert not (root / "product").exists()


OTHER = ('name = "apps/c-product"', 'name = "apps/other"')


@pytest.mark.parametrize(
    ("file", "change", "more", "why"),
    [
        ("app.toml", ('hardware = "cpu"', 'hardware = "cuda"'), (), "is for cpu, and the kernel of c-product runs on"),
        (
            "task/task.toml",
            OTHER,
            (),
            "is of the task apps/c-product, and the kernel of c-product is tuned by apps/oth",
        ),
        ("task/task.toml", OTHER, ("--task", "task"), "is of the task apps/c-product"),
        ("src/product.h", ("", ""), ("apps/c-product@2.0.0",), "2.0.0"),
        ("src/product.c", ("int64_t K)", "int64_t K, int64_t more)"), (), "takes other parameters than product"),
        ("app.toml", ('"224" = 0.8\n"96x160x224" = 0.2', '"other" = 1.0'), (), "none of which is a workload"),
    ],
)
def test_a_release_that_does_not_fit_is_refused_and_nothing_is_touched(
    root: Path, capfd: pytest.CaptureFixture[str], file: str, change: tuple[str, str], more: tuple[str, ...], why: str
) -> None:
    path = root / file
    path.write_text(path.read_text().replace(*change))
    before = own(root)
    other = {"spec": more[0]} if more and "@" in more[0] else {}
    status, answer = integrated(capfd, *(() if other else more), **other)
    assert status == 3 and why in answer["error"], answer
    assert own(root) == before and not (root / "product").exists()


def test_a_trial_of_a_release_needs_a_captured_task(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status, answer = asked(capfd, "trial", SPEC, "--json", "--", "/bin/true")
    assert status == 3 and "was not captured" in answer["error"] and "integrate" in answer["remedy"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="a release needs callgrind's reports")
def test_from_campaign_to_release_to_application(tmp_path: Path) -> None:
    """The real judge throughout: nothing here is scripted."""
    root = product(tmp_path)
    calibrate(root)
    page = root / "task/task.toml"
    small = (
        page.read_text().replace("M = 224, N = 224, K = 224", "M = 96, N = 96, K = 96").replace("max = 256", "max = 80")
    )
    page.write_text(small.replace("M = 96, N = 160, K = 224", "M = 64, N = 80, K = 96"))

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([str(PROGRAM), *words], cwd=root, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    assert run("optimize", "task", "--budget", "rounds=0").returncode == 0
    done = run("promote", "task", "1.0.0", "--json")
    assert done.returncode == 0, done.stdout
    done = run("integrate", SPEC, "--app", "app.toml", "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 0, answer
    assert answer["integration"]["of"] == SPEC and answer["integration"]["low"] > 1
    assert run("verify", TASK, "--hashes").returncode == 0
    ledger = root / LEDGER
    decided = [(d.decision, d.result) for d in read_events(ledger) if isinstance(d, Decided)]
    assert decided == [("promote", "accepted"), ("integrate", "deployed")]
