"""Command tasks: any command that prints one JSON document, judged in pairs. Real processes, real gcc."""

from __future__ import annotations

import json
import os
import re
import shlex
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from warpsmith.campaign import Watcher
from warpsmith.crew import write_step
from warpsmith.errors import BadInput
from warpsmith.judge.__main__ import carry_out
from warpsmith.judge.command import clear
from warpsmith.judge.documents import NOTHING, document, expect, metrics, place
from warpsmith.judge.failures import CandidateFailed
from warpsmith.judge.runs import mechanism
from warpsmith.model.base import digest_bytes
from warpsmith.model.campaign import Event, Finished
from warpsmith.model.candidate import OVERLAY, Candidate, SourceFile
from warpsmith.model.evaluation import Effort, Evaluation, Status, Trust
from warpsmith.model.harness import CommandTask
from warpsmith.model.step import Fault, Measure
from warpsmith.propose.llm.asking import NoKey
from warpsmith.store.blobs import Blobs
from warpsmith.store.folders import load_candidate, load_task
from warpsmith.store.history import History
from warpsmith.surface import api
from warpsmith.surface.answers_profile import BucketsAnswer
from warpsmith.surface.workspace import Known, Workspace

REPORT = 'echo noise; printf \'{"seconds": %s, "ok": true}\' "${TAKES:-2.5}"'

HANGS = "echo half; sleep LONG & sleep LONG"


def toml(**keys: Any) -> str:
    """Keys as TOML, whose values JSON happens to write the same way but for tables."""

    def said(value: Any) -> str:
        if isinstance(value, dict):
            return "{ " + ", ".join(f'"{k}" = {said(v)}' for k, v in value.items()) + " }"
        if isinstance(value, list):
            return f"[{', '.join(map(said, value))}]"
        return json.dumps(value)

    return "".join(f"{k} = {said(v)}\n" for k, v in keys.items())


class Bay:
    """A project with one command task, measured in this process."""

    def __init__(self, root: Path, script: str = REPORT, **keys: Any) -> None:
        self.root = root
        self.folder = root / "tasks" / "my" / "task"
        (self.folder / "workspace").mkdir(parents=True)
        (self.folder / "workspace" / "bench.sh").write_text(f"{script}\n")
        said = {
            "name": "my/task", "kind": "command", "title": "t", "hardware": "cpu", "workspace": "workspace",
            "command": ["sh", "bench.sh"], "metrics": {"seconds": {"unit": "s", "direction": "minimize"}},
            "objective": {"metric": "seconds"}, "timeout_s": 30.0,
        } | keys  # fmt: skip
        (self.folder / "task.toml").write_text(toml(**said))
        self.space = Workspace(root)
        self.steps = 0

    @property
    def known(self) -> Known:
        return self.space.task("my/task")

    def overlay(self, files: dict[str, str] | None = None, **environment: str) -> Candidate:
        """A candidate with these files and variables."""
        sources = {p: self.space.blobs.put(text.encode()) for p, text in (files or {}).items()}
        parts = tuple(SourceFile(path=p, content=c) for p, c in sources.items())
        return Candidate(toolchain=OVERLAY, entry=OVERLAY, sources=parts, environment=environment)

    def outcome(self, effort: Effort = Effort.check, candidate: Candidate | None = None) -> Evaluation | Fault:
        """What the judge finds of a candidate beside the baseline."""
        known = self.known
        candidate = candidate or known.baseline
        step = Measure(candidate=candidate.id, rival=known.baseline.id, effort=effort, round=0)
        request = self.space.request(known, self.space.target(known), step, candidate, known.baseline)
        self.steps += 1
        step_folder = self.root / "steps" / str(self.steps)
        write_step(step_folder, request, known.loaded.folder, self.space.blobs)
        found = carry_out(step_folder).outcome
        assert isinstance(found, Evaluation | Fault)
        return found

    def judged(self, effort: Effort = Effort.check, candidate: Candidate | None = None) -> Evaluation:
        found = self.outcome(effort, candidate)
        assert isinstance(found, Evaluation), found
        return found

    def kept(self, name: str = "runs.jsonl") -> list[dict[str, Any]]:
        text = (self.root / "steps" / str(self.steps) / "kept" / name).read_text()
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def bay(tmp_path: Path) -> Callable[..., Bay]:
    return lambda script=REPORT, **keys: Bay(tmp_path, script, **keys)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1}', {"a": 1}),
        ('warming up\n{"a": 1}\n', {"a": 1}),
        ('{"a": 1}\n{"a": 2}', {"a": 2}),
        ('log {x}\n{\n "a": {"b": [1, 2]}\n}\n', {"a": {"b": [1, 2]}}),
        ("[\n{},\n{}\n]", [{}, {}]),
        ('{not json}\n[1]', [1]),
        ("", None), ("3", None), ("null", None), ('{"a": 1} done', None), ("{" * 100_000, None), ("[" * 100_000, None),
    ],
)  # fmt: skip
def test_the_document_is_the_whole_output_or_its_end(text: str, found: Any) -> None:
    if found is not None:
        assert document(text) == found
        return
    with pytest.raises(ValueError, match="no JSON document"):
        document(text)


def test_places_are_keys_and_indices_with_dots_between() -> None:
    said = {"runs": [{"s": 1.5}], "a.b": {"c": 2}, "x": {"y": None}}
    assert place(said, "runs.0.s") == 1.5
    assert place(said, "a.b") == {"c": 2}
    assert place(said, "x.y") is None
    assert all(place(said, p) is NOTHING for p in ("runs.1.s", "runs.-1", "runs.s", "x.y.z", "", "runs.0.s.t"))


def task(**keys: Any) -> CommandTask:
    said = {"name": "a/b", "kind": "command", "title": "t", "hardware": "cpu", "command": ["x"],
            "metrics": {"m": {"unit": "s", "direction": "minimize"}}, "objective": {"metric": "m"}}  # fmt: skip
    return CommandTask.model_validate_json(json.dumps(said | keys))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({}, "no metric m"), ({"n": 1}, "it has n"), ({"m": "1"}, "no number"), ({"m": True}, "no number"),
        ({"m": None}, "no number"), ({"m": 0}, "0.0"), ({"m": -1.0}, "-1.0"), ({"m": float("nan")}, "nan"),
        ({"m": float("inf")}, "inf"), ({"m": 10**400}, "inf"), ([{"m": 1}], "no metric m"),
    ],
)  # fmt: skip
def test_a_metric_that_is_no_finite_number_above_zero_is_refused(said: Any, why: str) -> None:
    with pytest.raises(CandidateFailed) as failed:
        metrics(task(), said)
    assert failed.value.status is Status.bad_report
    assert why in failed.value.detail


@pytest.mark.parametrize(
    ("said", "right"),
    [({"n": 1}, True), ({"n": 1.0}, True), ({"n": True}, False), ({"n": "1"}, False), ({}, False), ({"n": 2}, False)],
)
def test_what_is_expected_must_be_there_exactly(said: dict[str, Any], right: bool) -> None:
    wanted = task(expect={"n": 1})
    if right:
        expect(wanted, said)
        return
    with pytest.raises(CandidateFailed) as failed:
        expect(wanted, said)
    assert failed.value.status is Status.wrong_values


@pytest.mark.parametrize(
    ("script", "keys", "status", "said"),
    [
        ("exit 3", {}, Status.crashed, "ended with exit status 3"),
        ("echo broken >&2; kill -SEGV $$", {}, Status.crashed, "SIGSEGV"),
        (HANGS, {"timeout_s": 1.0}, Status.timed_out, "within 1 s; stdout ends 'half'"),
        ("echo all is well", {}, Status.bad_report, "printed no JSON document; stdout ends 'all is well'"),
        (":", {}, Status.bad_report, "it printed nothing"),
        ("yes", {}, Status.crashed, "more than 16 MiB"),
        (REPORT, {"expect": {"ok": False}}, Status.wrong_values, "ok is true, which must be false"),
        (REPORT, {"environment": {"TAKES": "NaN"}}, Status.bad_report, "seconds is nan"),
        (REPORT, {"command": ["./no-such-program"]}, Status.crashed, "exit status 127"),
        (REPORT, {"prepare": ["sh", "-c", "echo no rule >&2; exit 2"]}, Status.build_failed, "no rule"),
    ],
)  # fmt: skip
def test_each_way_to_fail_has_its_name(
    bay: Callable[..., Bay], script: str, keys: dict[str, Any], status: Status, said: str
) -> None:
    seconds = f"4711.{os.getpid()}"  # nobody else sleeps as long
    found = bay(script.replace("LONG", seconds), **keys).judged()
    assert (found.status, found.trust) == (status, Trust.harness_reported)
    assert said.replace("false", "False") in found.detail
    assert not any(w.metrics for w in found.workloads)
    deadline = time.monotonic() + 30
    while any(seconds in line for line in commands()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(seconds in line for line in commands()), "what the run started was left behind"


def commands() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


def test_samples_are_what_was_printed_and_say_whose_word_it_is(bay: Callable[..., Bay]) -> None:
    made = bay()
    found = made.judged(Effort.screen, made.overlay(TAKES="1.25"))
    (metric,) = found.workloads[0].metrics
    assert (metric.candidate, metric.rival, metric.unit) == ((1.25,) * 3, (2.5,) * 3, "s")
    assert found.trust is Trust.harness_reported
    assert any("sh bench.sh" in c for c in found.conditions)
    assert set(found.kept) == {"runs.jsonl"}
    runs = made.kept()
    assert [r["side"] for r in runs].count("rival") == [r["side"] for r in runs].count("candidate") == 4
    text = (made.root / "steps" / "1" / "kept" / "runs.jsonl").read_bytes()
    assert found.kept["runs.jsonl"] == digest_bytes(text)


@pytest.mark.slow
def test_repeats_count_by_their_median(bay: Callable[..., Bay]) -> None:
    made = bay('printf \'{"seconds": %s}\' "$(shuf -n 1 -i 1-1000)"', repeats=3)
    (metric,) = made.judged(Effort.screen).workloads[0].metrics
    for side, samples in (("candidate", metric.candidate), ("rival", metric.rival)):
        printed = [json.loads(r["stdout"])["seconds"] for r in made.kept() if r["side"] == side][1:]
        assert samples == tuple(statistics.median(printed[i : i + 3]) for i in (0, 3, 6))


def test_a_run_sees_what_is_allowed_and_nothing_else(bay: Callable[..., Bay], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "secret")
    monkeypatch.setenv("WANTED", "from outside")
    monkeypatch.setenv("TZ", "UTC")
    made = bay(
        f'env; {REPORT}; [ "$N" = 3 ] && [ "$1" = "n=3" ] && [ "$BLOCK" = 8 ]',
        passes=["WANTED"],
        environment={"MODE": "task", "LEVEL": "task"},
        tunables={"BLOCK": {"values": [4, 8], "default": 8}},
        command=["sh", "bench.sh", "n={N}"],
        workloads=[{"name": "w", "axes": {"N": 3}}],
    )
    candidate = made.known.entry.model_copy(update={"environment": {"LEVEL": "candidate", "N": "9"}})
    found = made.judged(Effort.check, candidate)
    assert found.status is Status.passed, found.detail
    seen = dict(line.partition("=")[::2] for line in made.kept()[-1]["stdout"].splitlines() if "=" in line)
    assert {k: seen.get(k) for k in ("MODE", "LEVEL", "WANTED", "BLOCK", "N", "TZ")} == {
        "MODE": "task", "LEVEL": "candidate", "WANTED": "from outside", "BLOCK": "8", "N": "3", "TZ": "UTC",
    }  # fmt: skip
    assert "SOME_API_KEY" not in seen
    allowed = {"PATH", "HOME", "LANG", "TZ", "WANTED", "MODE", "LEVEL", "BLOCK", "N"}
    assert set(seen) - allowed <= {"PWD", "SHLVL", "_", "OLDPWD"}  # of the shells themselves


def test_nothing_that_a_run_writes_reaches_the_origin_the_rival_or_the_next_run(bay: Callable[..., Bay]) -> None:
    made = bay(
        "sh work.sh; [ ! -e left ] || exit 9; echo x > left; mkdir -m 0 locked; echo x > /tmp/left;"
        f" echo evil > bench.sh; {REPORT}",
        mutable=["work.sh"],
    )
    workspace = made.folder / "workspace"
    (workspace / "work.sh").write_text(":\n")
    rival = made.root / "steps" / "1" / "sides" / "b" / "bench.sh"
    evil = (
        f"for f in {shlex.quote(str(workspace))}/bench.sh {shlex.quote(str(rival))}; do echo 'exit 7' > $f; done\n:\n"
    )
    before = {p.name: p.read_bytes() for p in workspace.iterdir()}
    found = made.judged(Effort.screen, made.overlay({"work.sh": evil}))
    if "files" not in mechanism().layers:
        assert any("LACKING" in c and "files" in c for c in found.conditions)
        pytest.skip("no layer keeps a run from the files of its user here, and the conditions say so")
    assert found.passed, found.detail + found.rival_detail
    assert {p.name: p.read_bytes() for p in workspace.iterdir()} == before
    refused = [r["stderr"] for r in made.kept() if r["side"] == "candidate"]
    assert all(text.count("bench.sh") == 2 for text in refused), refused


def test_an_overlay_goes_over_mutable_files_only(bay: Callable[..., Bay]) -> None:
    made = bay(mutable=["lib/*"])
    with pytest.raises(BadInput, match=r"bench\.sh cannot be changed"):
        candidate_folder(made, {"bench.sh": "exit 0"})
    assert made.judged(candidate=made.overlay({"bench.sh": "exit 0"})).status is Status.cheated
    assert made.judged(candidate=made.overlay(LD_PRELOAD="x.so")).status is Status.cheated
    (made.folder / "workspace" / "lib" / "sub").mkdir(parents=True)
    (made.folder / "workspace" / "lib" / "sub" / "old.h").write_text("")
    assert made.judged(candidate=made.overlay({"lib/new.h": ""})).passed
    found = made.judged(candidate=made.overlay({"lib/sub": ""}))
    assert (found.status, "lib/sub" in found.detail) == (Status.build_failed, True)


def candidate_folder(made: Bay, files: dict[str, str]) -> Candidate:
    folder = made.root / "handed-in"
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "candidate.toml").write_text(toml(toolchain=OVERLAY, sources=list(files)))
    return made.space.candidate(made.known, str(folder), "main")


def test_a_workspace_that_changed_since_the_task_was_read_is_refused(bay: Callable[..., Bay]) -> None:
    made = bay()
    known = made.known
    (made.folder / "workspace" / "bench.sh").write_text("exit 0\n")
    step = Measure(candidate=known.baseline.id, rival=known.baseline.id, effort=Effort.check, round=0)
    request = made.space.request(known, made.space.target(known), step, known.baseline, known.baseline)
    with pytest.raises(BadInput, match="have changed"):
        write_step(made.root / "step", request, known.loaded.folder, made.space.blobs)


def test_the_rival_that_fails_is_not_the_candidates_doing(bay: Callable[..., Bay]) -> None:
    made = bay(f'[ "$GOOD" ] || exit 4; {REPORT}')
    found = made.judged(Effort.screen, made.overlay(GOOD="1"))
    assert (found.rival_status, found.passed) == (Status.crashed, False)
    assert "the rival failed" in found.detail


def test_folders_of_any_mode_are_removed(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_text("")
    os.chmod(tmp_path / "a" / "b", 0)
    clear(tmp_path / "a")
    assert not (tmp_path / "a").exists()


BENCHMARK = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    long block = atol(getenv("BLOCK")), total = 0;
    char *buffer = malloc(block);
    int zeros = open("/dev/zero", O_RDONLY);
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    while (total < 4 << 20) total += read(zeros, buffer, block);
    clock_gettime(CLOCK_MONOTONIC, &b);
    double seconds = b.tv_sec - a.tv_sec + 1e-9 * (b.tv_nsec - a.tv_nsec);
    printf("read %ld bytes\n{\"total\": %ld, \"mb_per_s\": %.6f}\n", total, total, 1e-6 * total / seconds);
    return 0;
}
"""
"""An existing benchmark: how fast bytes are read, by the size of what is read at once."""
TEN_LINES = """name = "cpu/reading"
kind = "command"
title = "Reading in blocks"
hardware = "cpu"
prepare = ["gcc", "-O2", "{source}", "-o", "bench"]
command = ["./bench"]
metrics = {{ mb_per_s = {{ unit = "MB/s", direction = "maximize" }} }}
expect = {{ total = 4194304 }}
objective = {{ metric = "mb_per_s", direction = "maximize" }}
tunables = {{ BLOCK = {{ values = [16, 256, 4096], default = 16 }} }}
"""


def wrapped(root: Path, elsewhere: Path) -> None:
    """A project that wraps the benchmark, which lies elsewhere."""
    elsewhere.mkdir()
    (elsewhere / "reading.c").write_text(BENCHMARK)
    folder = root / "tasks" / "cpu" / "reading"
    folder.mkdir(parents=True)
    text = TEN_LINES.format(source=elsewhere / "reading.c")
    assert len(text.splitlines()) == 10
    (folder / "task.toml").write_text(text)


def test_a_command_task_wraps_an_existing_c_benchmark_in_ten_lines(tmp_path: Path) -> None:
    wrapped(tmp_path / "project", tmp_path / "elsewhere")
    space = Workspace(tmp_path / "project")
    known = space.task("cpu/reading")
    fast = known.entry.at({"BLOCK": 4096}, "larger")
    step = Measure(candidate=fast.id, rival=known.baseline.id, effort=Effort.screen, round=0)
    request = space.request(known, space.target(known), step, fast, known.baseline)
    write_step(tmp_path / "step", request, known.loaded.folder, space.blobs)
    found = carry_out(tmp_path / "step").outcome
    assert isinstance(found, Evaluation)
    assert found.passed, found.detail
    metric = found.workloads[0].metric("mb_per_s")
    assert metric is not None
    assert all(mine > 2 * other for mine, other in zip(metric.candidate, metric.rival, strict=True))
    kept = (tmp_path / "step" / "kept" / "runs.jsonl").read_text().splitlines()
    assert {json.loads(line)["of"] for line in kept} == {"prepare", "default"}


def test_the_page_shows_a_task_that_loads(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "harness.md").read_text()
    made, overlay = re.findall(r"```toml\n# [^\n]*\n(.*?)```", page, re.DOTALL)
    assert len(made.splitlines()) == 10
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "task.toml").write_text(made)
    (tmp_path / "candidate.toml").write_text(overlay)
    (tmp_path / "transpose.c").write_text("")
    assert isinstance(load_task(tmp_path / "task").task, CommandTask)
    assert load_candidate(tmp_path, Blobs(tmp_path / "blobs")).environment == {"OMP_NUM_THREADS": "4"}
    assert all(
        f"`{s}`" in page for s in ("build_failed", "crashed", "timed_out", "bad_report", "wrong_values", "cheated")
    )


def interrupting(_: Workspace) -> Watcher:
    """Ends the campaign, as Ctrl-C would, once three measurements are in the ledger."""

    def watch(event: Event, h: History) -> None:
        if isinstance(event, Finished) and h.measured == 3:
            raise KeyboardInterrupt

    return watch


@pytest.mark.slow
def test_a_campaign_finds_the_best_block_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "project"
    wrapped(root, tmp_path / "elsewhere")
    monkeypatch.chdir(root)
    with pytest.raises(KeyboardInterrupt):
        api.optimize("cpu/reading", watch=interrupting)
    lines = (root / ".warpsmith/campaigns/cpu/reading/main/ledger.jsonl").read_text().splitlines()
    ended = api.optimize("cpu/reading")
    after = (root / ".warpsmith/campaigns/cpu/reading/main/ledger.jsonl").read_text().splitlines()
    assert after[: len(lines)] == lines, "a resume only appends"
    finished = [json.loads(line) for line in after[:-1] if '"finished"' in line]
    assert len({json.dumps(f.get("step"), sort_keys=True) for f in finished}) == len(finished), "nothing is done twice"
    assert ended.view.best_parameters == {"BLOCK": 4096}
    assert (ended.exit_status, ended.view.verdict, ended.view.trust) == (0, "faster", "harness_reported")
    again = api.optimize("cpu/reading")
    assert again.view.measured == ended.view.measured, "nothing is measured twice"
    report = Path(ended.report).read_text()
    markdown = Path(ended.report).with_suffix(".md").read_text()
    for text in (report, markdown):
        assert "harness_reported" in text
        assert "mb_per_s" in text
        assert "more is better" in text
    row = next(r for r in api.history("cpu/reading").rows if r.id == ended.view.best)
    assert (row.trust, row.parameters) == ("harness_reported", {"BLOCK": 4096})
    handed = api.submit("cpu/reading", set_=("BLOCK=256",), env=("LEVEL=2",), memo="smaller")
    assert handed.row.environment == {"LEVEL": "2"}
    difference = api.diff(ended.view.best, handed.row.id)
    assert difference.parameters == {"BLOCK": (4096, 256)}
    assert difference.fields["environment"] == ({}, {"LEVEL": "2"})
    with pytest.raises(BadInput, match="only kernel tasks can be released"):
        api.promote("cpu/reading", version="1.0.0", candidate="best")
    with pytest.raises(NoKey):
        api.optimize("cpu/reading", proposer="llm")
    found = api.explain("cpu/reading")
    assert isinstance(found, BucketsAnswer)
    assert (found.profile is None) == bool(found.lacking), "where the time goes, or what is lacking"


@pytest.mark.slow
def test_the_template_is_a_real_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tasks").mkdir()
    monkeypatch.chdir(tmp_path)
    made = api.new("my/transpose", kind="command")
    assert "workspace/bench.c" in made.files
    answer = api.check("my/transpose")
    assert answer.exit_status == 0, answer.evaluation.detail
    source = Path(made.folder) / "workspace" / "transpose.c"
    wrong = tmp_path / "transpose.c"
    wrong.write_text(source.read_text().replace("= x[i * n + j]", "= x[i * n + j] + (i == j)"))
    row = api.submit("my/transpose", str(wrong), memo="wrong").row
    assert (row.status, row.memo) == ("wrong_values", "wrong")
    wrong.write_text("this is no C\n")
    assert api.submit("my/transpose", str(wrong), memo="broken").row.status == "build_failed"
