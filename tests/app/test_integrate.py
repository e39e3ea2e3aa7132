"""Integrating into a real C application: kept, rolled back, mended, interrupted."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from tests.app.products import SLOWER, binary, go, product, tree
from warpsmith.app.commands import MARK, Shell, leftovers
from warpsmith.app.integrate import Trouble
from warpsmith.app.journal import Entry, Journal
from warpsmith.app.loading import load_app
from warpsmith.app.neighbours import Neighbour, clear, neighbours
from warpsmith.app.outcomes import recover
from warpsmith.app.realrun import RunFailed, judge, value
from warpsmith.app.site import Site
from warpsmith.errors import BadInput
from warpsmith.judge.nvml import Gpu, Process
from warpsmith.model.app import FIXES, AppMetric
from warpsmith.surface.mending import ask_of, section_of

WRONG = ("+= a[r * K + k] * b[k * N + j]", "+= 2 * a[r * K + k] * b[k * N + j]")


def built(root: Path) -> str:
    """Build it as it is; the hash of the binary."""
    subprocess.run(["make", "-s"], cwd=root, check=True)
    return binary(root)


def without_task(root: Path) -> dict[str, tuple[str, int]]:
    """The tree without the task's folder, where tests put their candidates."""
    return {k: v for k, v in tree(root).items() if "task" not in k}


def entry(root: Path) -> str:
    return (root / "task/src/product.c").read_text()


def test_a_faster_candidate_is_kept_with_the_reports_of_both_sides(tmp_path: Path) -> None:
    root = product(tmp_path)
    before = tree(root)
    original = (root / "src/product.c").read_text()
    made = go(root)
    assert made.outcome == "kept", made.reason
    assert made.speedup is not None and made.low is not None and made.low > 1
    after = tree(root)
    assert {n for n in before if before[n] != after[n]} == {"src/product.c"} and before.keys() == after.keys()
    folder = Path(made.evidence)
    baseline, optimised = (json.loads((folder / f"{s}.json").read_text()) for s in ("baseline", "optimised"))
    assert len(baseline["samples"]["products"]) == len(optimised["samples"]["products"]) == 5
    assert optimised["artefacts"] == {"product": binary(root)} != baseline["artefacts"]
    assert subprocess.run(["make", "-q"], cwd=root, check=False).returncode == 0, "what is there is what is built"
    subprocess.run(["git", "apply", "-R", str(folder / "change.patch")], cwd=root, check=True)
    assert (root / "src/product.c").read_text() == original
    assert not (folder / "pending.json").exists()


@pytest.mark.slow
def test_a_second_candidate_replaces_the_first_between_its_marks(tmp_path: Path) -> None:
    root = product(tmp_path)
    made = go(root)
    assert made.outcome == "kept", made.reason
    first = (root / "src/product.c").read_text()
    go(root, entry(root).replace("some_rows", "a_few_rows"))
    second = (root / "src/product.c").read_text()
    assert first.count("warpsmith begin") == second.count("warpsmith begin") == 1
    assert second.count("void product(") == 1


@pytest.mark.parametrize(
    ("source", "why"),
    [(SLOWER, "in place it is slower"), ("wrong", "the check ended"), ("broken", "the build ended")],
)
def test_whatever_does_not_hold_is_rolled_back_and_rebuilt(tmp_path: Path, source: str, why: str) -> None:
    root = product(tmp_path)
    (root / "src/product.c").chmod(0o640)
    good = entry(root)
    source = {"wrong": good.replace(*WRONG), "broken": good.replace("lanes row", "lanes nonsense row")}.get(
        source, source
    )
    home = root.parent / "state"
    (root / "task/src/product.c").write_text(source)
    before, original = tree(root), built(root)
    made = go(root, source)
    assert made.outcome == "rolled_back" and why in made.reason, made.reason
    assert made.proved and made.rebuilt
    assert tree(root) == before
    assert binary(root) == original, "the binary is that of the restored source"
    assert not list(home.glob("apps/*/copy"))


def test_below_the_gate_nothing_is_built(tmp_path: Path) -> None:
    root = product(tmp_path, ('build = ["make", "-s"]', 'build = "touch was-built && make -s"'))
    made = go(root, gain=0.01)
    assert made.outcome == "short_circuit" and "1.0%" in made.reason
    assert not (root / "was-built").exists() and not (root / "product").exists()


def test_failures_are_mended_and_each_mending_is_in_the_report(tmp_path: Path) -> None:
    root = product(tmp_path)
    seen: list[Trouble] = []

    def fixer(trouble: Trouble) -> str:
        seen.append(trouble)
        if trouble.kind == "compile":
            return trouble.section.replace("lanes nonsense row", "lanes row")
        return trouble.section.replace("+= 2 * a", "+= a")

    made = go(root, entry(root).replace("lanes row", "lanes nonsense row").replace(*WRONG), fixer=fixer)
    assert made.outcome == "kept", made.reason
    assert [(m.kind, m.answered) for m in made.mended] == [("compile", True), ("verify", True)]
    assert "nonsense" in seen[0].said and "wrong by" in seen[1].said
    assert "void product" in seen[0].original and "src/product.h" in seen[0].context


def test_a_model_is_told_the_failure_and_its_last_fence_is_the_section(tmp_path: Path) -> None:
    root, asked = product(tmp_path), []

    def fixer(trouble: Trouble) -> str | None:
        asked.append(ask_of(trouble))
        return section_of(f"I see.\n```c\nold\n```\n```c\n{trouble.section.replace('+= 2 * a', '+= a')}```\nDone.")

    assert go(root, entry(root).replace(*WRONG), fixer=fixer).outcome == "kept"
    blocks = {b.name: b.text for b in asked[0].blocks}
    assert (
        asked[0].role == "fix" and "wrong by" in blocks["failure"] and "void product" in blocks["context src/product.h"]
    )
    assert section_of("no fence at all") is None


@pytest.mark.slow
def test_mending_ends_after_so_many_tries_of_a_kind(tmp_path: Path) -> None:
    root = product(tmp_path)
    before, tries = tree(root), 0

    def fixer(trouble: Trouble) -> str:
        nonlocal tries
        tries += 1
        return f"{trouble.section}\n#error still broken {trouble.attempt}\n"

    made = go(root, fixer=fixer, source=entry(root) + "\n#error broken\n")
    assert made.outcome == "rolled_back" and f"after {FIXES} fixes" in made.reason
    assert tries == FIXES == len(made.mended)
    # the candidate of the task is the test's own change
    before.pop("task/src/product.c")
    assert {k: v for k, v in tree(root).items() if k != "task/src/product.c"} == before


@pytest.mark.slow
def test_a_fixer_that_knows_nothing_ends_it(tmp_path: Path) -> None:
    root = product(tmp_path)
    made = go(root, fixer=lambda trouble: None, source=entry(root).replace(*WRONG))
    assert made.outcome == "rolled_back" and [m.answered for m in made.mended] == [False]


def test_what_builds_write_beside_is_put_back_and_named(tmp_path: Path) -> None:
    line = 'build = "date +%N > src/stamp.txt; echo new > made.txt; ln -sf app.toml link; make -s"'
    root = product(tmp_path, ('build = ["make", "-s"]', line))
    (root / "src/stamp.txt").write_text("mine\n")
    (root / "kept-link").symlink_to("Makefile")
    subprocess.run(["sh", "-c", "make -s && rm -f build/*"], cwd=root, check=True)
    made = go(root, SLOWER)
    assert made.outcome == "rolled_back" and made.proved
    assert any("src/stamp.txt" in n and "outputs" in n for n in made.notes), made.notes
    assert os.readlink(root / "kept-link") == "Makefile" and (root / "made.txt").read_text() == "new\n"


def test_an_application_that_fails_its_own_check_is_left_alone(tmp_path: Path) -> None:
    root = product(tmp_path, ("./product --check --size 65", "false && ./product --check --size 65"))
    before = tree(root)
    with pytest.raises(BadInput, match="fails its own check as it is"):
        go(root)
    assert tree(root) == before
    with Site(load_app(root), root.parent / "state") as site:
        assert site.stage == "closed" and recover(site) == ""


def test_a_run_without_its_metric_is_a_run_that_failed(tmp_path: Path) -> None:
    root = product(tmp_path)
    prints = entry(root).replace("#include <string.h>", "#include <string.h>\n#include <unistd.h>")
    ends = prints.replace("memset(c, 0", 'if (M == 160 && !access("now", F_OK)) _exit(3);\n    memset(c, 0')
    (root / "now").write_text("")
    before = tree(root)
    made = go(root, ends)
    assert made.outcome == "rolled_back" and made.proved
    assert "status" in made.reason
    assert {k: v for k, v in tree(root).items() if "task" not in k} == {
        k: v for k, v in before.items() if "task" not in k
    }


def test_interruption_by_hand_puts_the_tree_back_at_once(tmp_path: Path) -> None:
    root = product(tmp_path)
    original = built(root)
    before = tree(root)

    def stop(trouble: Trouble) -> str:
        assert tree(root) != before
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(root, entry(root).replace(*WRONG), fixer=stop)
    assert without_task(root) == {k: v for k, v in before.items() if "task" not in k}
    assert binary(root) == original


@pytest.fixture
def work() -> str:
    """A mark that no other test on this machine gives: what carries it is ended, wherever it comes from."""
    return uuid.uuid4().hex


def test_an_artefact_of_other_sources_is_built_anew_before_anything_is_measured(tmp_path: Path, work: str) -> None:
    root = product(tmp_path)
    home = tmp_path / "state"
    with Site(load_app(root), home) as site:
        site.begin(work, "")
        assert site.normalise() and not site.normalise()
        source = root / "src/main.c"
        old = source.stat()
        source.write_text(source.read_text().replace("seconds %.6f", "seconds %.7f"))
        os.utime(source, ns=(old.st_atime_ns, old.st_mtime_ns))  # as old as it was, and yet another text
        (root / "build/main.o").unlink()
        assert site.normalise()
        (root / "product").write_bytes(b"something else")
        assert site.normalise()
        site.give_up("")


def test_two_commands_never_work_on_one_application(tmp_path: Path) -> None:
    root = product(tmp_path)
    with Site(load_app(root), tmp_path / "state"), pytest.raises(BadInput, match="another warpsmith process"):
        Site(load_app(root), tmp_path / "state")


def test_what_a_build_leaves_running_is_ended(tmp_path: Path) -> None:
    line = 'build = "setsid sleep 300 >/dev/null 2>&1 & make -s"'
    root = product(tmp_path, ('build = ["make", "-s"]', line))
    made = go(root)
    assert made.outcome == "kept" and leftovers(made.id) == ()


def test_a_command_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path, work: str) -> None:
    ran = Shell(tmp_path, dict(os.environ), work).run("sleep 300 & sleep 300", 0.2)
    assert ran.status is None and "ended after" in ran.said
    assert leftovers(work) == ()


def test_a_foreign_process_on_the_device_is_named_and_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"/usr/bin/trainer \(pid 4711\)"):
        clear("me", lambda: [Neighbour(4711, "/usr/bin/trainer", "H200")])
    root = product(tmp_path)
    before = tree(root)
    with pytest.raises(BadInput, match="computes on the GPU"):
        go(root, hygiene=lambda mark: clear(mark, lambda: [Neighbour(1, "init", "H200")]))
    assert tree(root) == before


def test_only_those_on_a_gpu_that_is_visible_to_us_are_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [Gpu(str(n), f"GPU-{n}", "H200", processes=(Process(40 + n, "trainer"),)) for n in range(2)]
    monkeypatch.setattr("warpsmith.app.neighbours.gpus", lambda: there)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [n.pid for n in neighbours()] == [40, 41]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1")
    assert [n.pid for n in neighbours()] == [41]


def test_our_own_leftovers_on_the_device_are_ended(work: str) -> None:
    left = subprocess.Popen(["sleep", "300"], env={**os.environ, MARK: work})
    while not leftovers(work):
        time.sleep(0.01)
    assert clear("now", lambda: [Neighbour(left.pid, "sleep", "H200")]) == (
        f"1 processes of the work {work} were ended",
    )
    assert left.wait(10) == -9


def test_a_line_of_the_journal_that_was_being_written_does_not_count(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(Entry(phase="begun", work="a", at=0))
    with journal.path.open("ab") as file:
        file.write(b'{"phase":"saved","wor')
    assert [e.phase for e in journal.open_work()] == ["begun"]
    journal.append(Entry(phase="closed", work="a", at=0))
    assert journal.open_work() == () and len(journal.entries()) == 2


def test_metrics_are_read_from_output(tmp_path: Path, work: str) -> None:
    said = Shell(tmp_path, dict(os.environ), work).run('echo t 1.5; echo t 2.5; echo \'{"times": [{"ms": 7}]}\'', 5)
    assert value(AppMetric(name="t", source="regex", find=r"^t ([0-9.]+)$"), said) == 2.5
    assert value(AppMetric(name="t", source="json", find="times.0.ms"), said) == 7
    assert value(AppMetric(), said) == said.seconds
    for wrong in ("times.1.ms", "times.0", "nothing"):
        with pytest.raises(RunFailed, match="finds no number"):
            value(AppMetric(name="t", source="json", find=wrong), said)


def test_a_gain_that_costs_another_metric_is_not_kept(tmp_path: Path) -> None:
    root = product(tmp_path)
    app = load_app(root).app
    pairs = (1.0, 1.01, 0.99, 1.0)
    better, worse = tuple(p * 0.5 for p in pairs), tuple(p * 1.2 for p in pairs)
    both = judge(
        app, {"baseline": {"products": pairs, "wall": pairs}, "optimised": {"products": better, "wall": worse}}
    )
    assert both.gain > 0.4 and both.worse == ("wall",) and not both.reaches(0.02)
    noisy = {"products": (0.2, 1.9, 0.3, 1.4), "wall": pairs}
    assert not judge(app, {"baseline": {"products": pairs, "wall": pairs}, "optimised": noisy}).reaches(0.02)
    slight = {"products": tuple(p * 0.99 for p in pairs), "wall": tuple(p * 0.99 for p in pairs)}
    found = judge(app, {"baseline": {"products": pairs, "wall": pairs}, "optimised": slight})
    assert found.verdict == "faster" and not found.reaches(0.02)
