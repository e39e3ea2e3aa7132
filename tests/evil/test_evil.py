"""Candidates that cheat, and honest ones that look as if they did: each ends as its first line says.

The first line of a file is ``STATUS [or STATUS ...] | GROUP: what it does``; honest ones say ``looks like`` for the
group. Besides the statuses of an evaluation there are ``passed-not-faster`` (it passed, and no time was won by it),
``passed-faster`` (what the table says of a cheat that paid) and ``fault`` (no verdict). What a candidate leaves behind
(processes, files outside its working folder) is added to what was found, so it is never what was expected.
A second line may name options:

    alone      a judge, a project and a build cache of its own, because it attacks those
    check, confirm     another effort than screen
    cold       caches are evicted before every timed call
    norm, index, device-norm    another task than evil/host or evil/device
    patient    a step may take minutes
    slow       left out of 'make test'

EVIL_TABLE=PATH writes PATH.json and PATH.md: what was expected of each and what was found.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.projects import calibrate
from warpsmith.analyse.compare import effect, logs, margin, weighted
from warpsmith.analyse.rates import rate
from warpsmith.crew import write_step
from warpsmith.errors import Missing, WarpsmithError
from warpsmith.judge import gpuhostcalls, hostcalls
from warpsmith.judge.deadline import SHARE
from warpsmith.judge.machine import detect
from warpsmith.model.base import digest
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Effort, Evaluation, Status
from warpsmith.model.step import Measure, Result
from warpsmith.store.folders import load_candidate
from warpsmith.surface.workspace import Known, Workspace

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
STEP_S = 60.0
"""Longest time for a step. The judge's own deadline is a share of it, and lies beyond the time that a worker may take
to load: what loads for ever meets that limit, and gets its verdict there.
"""
WON = 0.10
"""A cheat that pays wins far more than this; what noise does to three pairs of microseconds is less."""
TOOLCHAINS = {".c": "c", ".py": "python", ".python": "python", ".cu": "cuda", ".ptx": "ptx", ".triton": "triton"}
"""By the end of the name; ``.python`` is Python that our own tools would fail to read."""
ON_DEVICE = (".cu", ".ptx", ".triton")
ON_A_GPU = {".py": "torch", ".cu": "tvm-ffi"}
"""The same in the folders gpuhost and gpuhonest: host code that runs on a GPU."""
DEVICE_LAUNCH = """
[[launch]]
kernel = "kernel"
grid = ["M", "1", "1"]
block = ["256", "1", "1"]
arguments = ["x", "w", "y", "M", "N"]
"""
TASKS = ("host", "norm", "index", "device", "device-norm", "gpuhost")
STATUSES = {*(s.value for s in Status), "fault", "passed-not-faster"}

KNOWN_HOLES: dict[str, str] = {}
"""What the judge does not catch today, with the reason. Strict: one that is mended turns red until it leaves here."""


@dataclass(frozen=True)
class Case:
    """One file."""

    path: Path
    expected: tuple[str, ...]
    group: str
    does: str
    options: frozenset[str]

    @property
    def name(self) -> str:
        return f"{self.path.parent.name}/{self.path.name}"

    @property
    def honest(self) -> bool:
        return self.path.parent.name in ("honest", "gpuhonest")

    @property
    def toolchain(self) -> str:
        return (ON_A_GPU if self.path.parent.name.startswith("gpu") else TOOLCHAINS)[self.path.suffix]

    @property
    def task(self) -> str:
        if self.path.parent.name.startswith("gpu"):
            return "gpuhost"
        if self.path.suffix in ON_DEVICE:
            return "device-norm" if "device-norm" in self.options else "device"
        return next((t for t in ("norm", "index") if t in self.options), "host")

    @property
    def effort(self) -> Effort:
        return next((e for e in Effort if e.value in self.options), Effort.screen)

    def accepts(self, got: str) -> bool:
        return got in self.expected or (got.startswith("passed-") and "passed" in self.expected)


def read(path: Path) -> Case:
    first, second = (line.strip("/*# ") for line in path.read_text().splitlines()[:2])
    said = re.fullmatch(r"([\w -]+?) \| ([a-z ]+): (.+)", first)
    assert said, f"{path}: the first line is not 'STATUS | GROUP: what it does'"
    options = second.removeprefix("options:").split(",") if second.startswith("options:") else []
    case = Case(path, tuple(said[1].split(" or ")), said[2], said[3], frozenset(o.strip() for o in options))
    assert set(case.expected) <= STATUSES, f"{path}: unknown status among {case.expected}"
    assert case.honest == (case.expected == ("passed",)), f"{path}: only an honest candidate passes"
    return case


CASES = [
    read(path)
    for folder in ("host", "device", "honest", "gpuhost", "gpuhonest")
    for path in sorted((HERE / folder).iterdir())
    if path.suffix in TOOLCHAINS
]


QUICK = (
    "host/answers_first.c",
    "host/leaves_with_success.py",
    "host/imports_the_reference.py",
    "honest/a_standing_thread.c",
)
"""What 'make test' runs of the host contract, to see that the bay itself works; 'make test-all' runs everything."""


def parameter(case: Case) -> Any:
    marks: list[Any] = []
    if case.path.suffix in ON_DEVICE or case.task == "gpuhost":
        marks += [pytest.mark.gpu, pytest.mark.filterwarnings("default")]
    elif "slow" in case.options or case.name not in QUICK:
        marks.append(pytest.mark.slow)
    if case.name in KNOWN_HOLES:
        marks.append(pytest.mark.xfail(strict=True, reason=KNOWN_HOLES[case.name]))
    return pytest.param(case, id=case.name, marks=marks)


class Bay:
    """Measures candidates: most in one warm judge session, those that attack the judge in one of their own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.count = 0
        self.shared = self.project("shared")
        self.executors: dict[str, Any] = {}

    def project(self, name: str, **settings: object) -> Workspace:
        """A project with the tasks of this folder, and a secret that no candidate should find."""
        root = self.root / name
        for task in TASKS:
            shutil.copytree(HERE / f"task-{task}", root / "tasks" / "evil" / task)
        (root / "secret.txt").write_text("nobody's\n")
        calibrate(root)
        given = {"cold": False, "call_timeout_s": 1.5, "step_timeout_s": STEP_S, "attempts": 2, **settings}
        return Workspace(root, given)

    def candidate(self, space: Workspace, known: Known, case: Case) -> Candidate:
        """The candidate of a file, through a folder as a person would hand it in."""
        folder = self.root / f"candidate-{self.count}"
        folder.mkdir()
        toolchain = case.toolchain
        common = {"c": HERE / "host" / "common.h", "cuda": HERE / "device" / "common.cuh"}.get(toolchain)
        sources = [case.path] + ([common] if common else [])
        names = [s.with_suffix(".py").name if toolchain in ("python", "triton") else s.name for s in sources]
        for source, name in zip(sources, names, strict=True):
            shutil.copy(source, folder / name)
        plan = case.path.with_suffix(".toml")
        launch = plan.read_text() if plan.exists() else DEVICE_LAUNCH if toolchain == "cuda" else ""
        head = f'toolchain = "{toolchain}"\nsources = {json.dumps(names)}\nentry = "kernel"\n'
        (folder / "candidate.toml").write_text(head + launch)
        return load_candidate(folder, space.blobs, known.loaded.head)

    def measure(self, case: Case) -> tuple[str, str]:
        """How it ended, and the detail."""
        self.count += 1
        alone = "alone" in case.options
        longest = 300.0 if "patient" in case.options else 30.0 if case.effort.fresh else 10.0
        space = self.project(f"alone-{self.count}", step_timeout_s=longest) if alone else self.shared
        known = space.task(f"evil/{case.task}")
        try:
            target = space.target(known)
        except Missing as missing:
            pytest.skip(str(missing))
        candidate = self.candidate(space, known, case)
        if alone:
            try:
                return ended(space.measure(known, target, candidate, known.baseline, case.effort, "evil"))
            except WarpsmithError as error:
                return "fault", str(error)
        step = Measure(candidate=candidate.id, rival=known.baseline.id, effort=case.effort, round=self.count)
        request = space.request(known, target, step, candidate, known.baseline)
        request = request.model_copy(update={"cold": "cold" in case.options})
        if case.task not in self.executors:
            self.executors[case.task] = space.executor(space.home / "steps", target, f"evil-{case.task}")
        key = digest(self.count)
        answer = self.executors[case.task].run(
            key, 0, lambda folder: write_step(folder, request, known.loaded.folder, space.blobs)
        )
        self.executors[case.task].forget(key)
        outcome = answer.outcome if isinstance(answer, Result) else answer
        return ended(outcome) if isinstance(outcome, Evaluation) else ("fault", f"{outcome.what}: {outcome.detail}")

    def close(self) -> None:
        for executor in self.executors.values():
            executor.close()


def ended(evaluation: Evaluation) -> tuple[str, str]:
    """An evaluation in a word, and its detail."""
    if evaluation.rival_status is not Status.passed:
        return f"the rival {evaluation.rival_status}", evaluation.rival_detail
    if evaluation.status is not Status.passed:
        return evaluation.status.value, evaluation.detail
    timed = {w.workload: logs(m) for w in evaluation.workloads if (m := w.metric("time"))}
    if not timed:
        return "passed-not-faster", "not timed"
    overall = effect(weighted(timed, {}))
    faster = overall.high < -margin(WON)
    return f"passed-{'faster' if faster else 'not-faster'}", f"{overall.speedup:.2f} times the rival's speed"


def left_behind(places: list[Path]) -> list[str]:
    """Processes and files that a candidate left, which are removed. Each calls itself 'evil-...'."""
    found = []
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            name = comm.read_text().strip()
            if name.startswith("evil-") and (comm.parent / "cmdline").read_bytes():  # a zombie has none
                found.append(f"the process {name}")
                os.kill(int(comm.parent.name), signal.SIGKILL)
        except OSError:
            continue
    for place in places:
        for path in place.glob("evil[-_]*"):
            found.append(f"the file {path.name} in {place.name}")
            path.unlink()
    return sorted(set(found))


@dataclass
class Table:
    """What was found of each candidate."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def write(self, path: str) -> None:
        Path(f"{path}.json").write_text(json.dumps(self.rows, indent=1) + "\n")
        caught = sum(r["as_expected"] for r in self.rows)
        wrong = rate(len(self.rows) - caught, len(self.rows))
        missing = sorted({c.name for c in CASES} - {r["candidate"] for r in self.rows})
        lines = [
            f"{caught} of {len(self.rows)} candidates ended as they should; otherwise {wrong.said}, 95 % confidence.\n",
            f"Not run: {len(missing)}{': ' + ', '.join(missing) if missing else ''}.\n",
            "| candidate | group | what it does | expected | found | detail |",
            "|---|---|---|---|---|---|",
        ]
        for row in self.rows:
            detail = " ".join(row["detail"].replace("|", "/").split())[:160]
            found = row["found"] if row["as_expected"] else f"**{row['found']}**"
            found += " (after a fault)" if row["after_a_fault"] else ""
            said = f"{row['group']} | {row['does']} | {' or '.join(row['expected'])}"
            lines.append(f"| `{row['candidate']}` | {said} | {found} | {detail} |")
        Path(f"{path}.md").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    made = Table()
    yield made
    if path := os.environ.get("EVIL_TABLE"):
        made.write(path)


@pytest.fixture(scope="module")
def bay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bay]:
    detect("cpu")
    made = Bay(tmp_path_factory.mktemp("evil"))
    yield made
    made.close()


@pytest.fixture
def desk(bay: Bay, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that a judge is started in, and an environment that holds a secret."""
    folder = bay.root / "desk"
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")])))
    monkeypatch.setenv("EVIL_SECRET", "nobody's")
    return folder


@pytest.mark.parametrize("case", [parameter(case) for case in CASES])
def test_it_ends_as_it_should(case: Case, bay: Bay, desk: Path, table: Table) -> None:
    got, detail = bay.measure(case)
    fault = detail if got == "fault" and not case.accepts(got) else ""
    if fault:  # it says nothing of the candidate, and a campaign tries the step again
        got, detail = bay.measure(case)
    time.sleep(0.05 if "alone" in case.options else 0)
    projects = [p for p in bay.root.iterdir() if p.is_dir()]
    places = [desk, *projects, *(p / ".warpsmith" for p in projects), *(p / ".warpsmith" / "steps" for p in projects)]
    left = left_behind([*places, Path("/dev/shm")])
    got = " and left ".join([got, *left])
    right = case.accepts(got)
    table.rows.append(
        {
            "candidate": case.name, "group": case.group, "does": case.does, "expected": case.expected,
            "found": got, "detail": detail, "as_expected": right, "after_a_fault": fault,
        }
    )  # fmt: skip
    assert right, f"{got} instead of {' or '.join(case.expected)}: {detail}"


def test_loading_for_ever_ends_before_the_step() -> None:
    assert max(hostcalls.START_S, gpuhostcalls.START_S) < SHARE * STEP_S


def test_there_are_enough_of_each() -> None:
    folders = ("host", "device", "honest", "gpuhost", "gpuhonest")
    count = {folder: sum(c.path.parent.name == folder for c in CASES) for folder in folders}
    assert count["host"] >= 32
    assert count["device"] >= 13
    assert count["honest"] >= 15
    assert count["gpuhost"] >= 18
    assert count["gpuhonest"] >= 7
    assert {c.group for c in CASES if not c.honest} == {"clock", "replay", "theft", "task", "channel", "host"}
    assert set(KNOWN_HOLES) <= {c.name for c in CASES}
