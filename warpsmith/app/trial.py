"""The application A/B in alternating runs: its own kernel, and a candidate swapped in at launch.

Both sides run under the same injection library. Who begins a pair is balanced and drawn beforehand, and so is the
number of pairs. Outputs are compared run by run; what ends a trial early leaves a report all the same.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from warpsmith.analyse.compare import Effect, Verdict, effect, logs, margin
from warpsmith.app.commands import Ran, Shell, end_leftovers
from warpsmith.app.injection import Ask, SwapRule, environment
from warpsmith.app.log import Log, read_logs
from warpsmith.app.realrun import RunFailed, value
from warpsmith.app.running import App
from warpsmith.errors import BadInput
from warpsmith.model.app import AppMetric
from warpsmith.model.base import Record
from warpsmith.model.evaluation import Metric
from warpsmith.model.head import Direction

Side = Literal["original", "candidate"]
SIDES: tuple[Side, Side] = ("original", "candidate")
Outcome = Literal["measured", "wrong_output", "crashed", "timed_out", "not_swapped"]
OUTPUT = "output"


@dataclass(frozen=True)
class Wish:
    """How a trial is made."""

    pairs: int = 5
    metric: AppMetric = field(default_factory=AppMetric)
    check: str = ""
    """Command line that says by its exit status whether a run's outputs are right."""
    compare: tuple[Path, ...] = ()
    """Files that each run writes, and that must be the same for both sides; without either, standard output is."""
    limit_s: float = 600.0
    seed: str = ""


class OneRun(Record):
    """One run of one side."""

    side: Side
    status: int | None
    """None: ended by us after its time."""
    metric: float | None = None
    kernel_s: float = 0.0
    """Device time of the kernel, and of what stands for it."""
    launches: int = 0
    swapped: int = 0
    missed: int = 0
    """Launches that no rule fitted."""
    said: str = ""
    """The end of what it wrote, where something is wrong."""


class Compared(Record):
    """A paired number of both sides, with what it says."""

    name: str
    unit: str
    original: tuple[float, ...]
    candidate: tuple[float, ...]
    speedup: float
    low: float | None
    high: float | None
    verdict: Verdict


class Trial(Record):
    """What became of one candidate in one application."""

    format: Literal[1] = 1
    outcome: Outcome
    verdict: Verdict | None = None
    """Of the application's own metric; None where nothing was measured."""
    reason: str
    kernel: Compared | None = None
    application: Compared | None = None
    runs: tuple[OneRun, ...]
    rules: int
    covered: float
    """Share of the kernel's launches that are replaced."""
    notes: tuple[str, ...] = ()


class Ended(Exception):
    """The trial ends early. Never leaves this module."""

    def __init__(self, outcome: Outcome, reason: str) -> None:
        super().__init__(reason)
        self.outcome, self.reason = outcome, reason


@dataclass
class Bench:
    """One application with one candidate."""

    app: App
    library: Path
    symbol: str
    entries: frozenset[str]
    """Kernels of the candidate."""
    rules: tuple[SwapRule, ...]
    wish: Wish
    mark: str
    tell: Callable[[str], None] = lambda text: None
    notes: list[str] = field(default_factory=list)
    runs: list[OneRun] = field(default_factory=list)
    _right: dict[str, str] = field(default_factory=dict)

    def trial(self, covered: float) -> Trial:
        """Carry the pairs out. Raises BadInput where the application itself fails, or cannot be compared."""
        try:
            self._rehearse()
            self._pairs()
        except Ended as ended:
            return self._report(ended.outcome, ended.reason, covered)
        finally:
            end_leftovers(self.mark)
        return self._judged(covered)

    def _rehearse(self) -> None:
        """One run of each side that counts for nothing but its outputs: what is cold the first time is nobody's."""
        first = self._run("original")
        again = self._run("original")
        for ran in (first, again):
            if ran.status != 0:
                raise BadInput(f"the application itself ends with status {ran.status}: {ran.said[-600:]}", "Mend it.")
        if not first.launches:
            raise BadInput(f"the application launches no {self.symbol}.", "Name the application it was captured from.")
        self.runs.clear()
        tried = self._run("candidate")
        self._must_be_well(tried)
        self.runs.clear()

    def _pairs(self) -> None:
        begins = [SIDES[i % 2] for i in range(self.wish.pairs)]
        random.Random(self.wish.seed or None).shuffle(begins)
        for number, first in enumerate(begins, 1):
            for side in (first, *(s for s in SIDES if s != first)):
                self._must_be_well(self._run(side))
            self.tell(f"pair {number} of {self.wish.pairs}")

    def _must_be_well(self, ran: OneRun) -> None:
        """Raises Ended for a run of the candidate that failed, and BadInput for one of the original."""
        if ran.side == "original":
            if ran.status != 0:
                raise BadInput(f"the application itself ends with status {ran.status}: {ran.said[-600:]}", "Mend it.")
            return
        if ran.status is None:
            raise Ended("timed_out", f"with the candidate the application did not end in {self.wish.limit_s:g} s")
        if ran.status:
            how = f"by signal {-ran.status}" if ran.status < 0 else f"with status {ran.status}"
            raise Ended("crashed", f"with the candidate the application ends {how}: {ran.said[-600:].strip()}")
        if not ran.swapped:
            raise Ended("not_swapped", ran.said or "no launch of the kernel was replaced")

    def _run(self, side: Side) -> OneRun:
        """One run, its log read and its outputs compared."""
        with tempfile.TemporaryDirectory(prefix="warpsmith-trial-") as place:
            folder = Path(place)
            swaps = self.rules if side == "candidate" else ()
            ask = Ask(folder, only=(self.symbol,), swaps=swaps)
            variables = environment(self.library, ask, self.app.environment)
            for path in self.wish.compare:
                self._path(path).unlink(missing_ok=True)  # what an earlier run left must not stand for this one's
            ran = Shell(self.app.folder, variables, self.mark).run(self.app.argv, self.wish.limit_s)
            made = self._told(side, ran, read_logs(folder))
            self.runs.append(made)
            if ran.well:
                self._compare(side, ran, folder)
        return made

    def _told(self, side: Side, ran: Ran, logs: Sequence[Log]) -> OneRun:
        mine = (self.symbol, *(self.entries if side == "candidate" else ()))
        seconds = sum(t.seconds for log in logs for t in log.times if t.symbol in mine)
        failures = [s.message for log in logs for s in log.swaps if s.result]
        said = "; ".join(dict.fromkeys(failures)) if failures and ran.well else "" if ran.well else ran.said
        number: float | None = None
        if ran.well:
            try:
                number = value(self.wish.metric, ran)
            except RunFailed as error:
                if side == "original":
                    raise BadInput(
                        f"the application as it is: {error.message}", "See --regex and --json-path."
                    ) from None
                said = error.message
        return OneRun(
            side=side, status=ran.status, metric=number, kernel_s=seconds,
            launches=sum(1 for log in logs for x in log.launches if x.function.symbol == self.symbol),
            swapped=sum(sum(log.hits) for log in logs), missed=sum(log.missed for log in logs), said=said[-1500:],
        )  # fmt: skip

    def _compare(self, side: Side, ran: Ran, folder: Path) -> None:
        """Outputs beside those of the first run of the original. Raises Ended, BadInput."""
        if self.wish.check:
            output = folder / OUTPUT
            output.write_text(ran.output)
            more = {"WARPSMITH_OUTPUT": str(output), "WARPSMITH_SIDE": side}
            checked = Shell(self.app.folder, self.app.environment, self.mark).run(
                self.wish.check, self.wish.limit_s, more
            )
            if not checked.well:
                if side == "original":
                    raise BadInput(f"--check fails on the application as it is: {checked.said[-600:]}", "Mend it.")
                raise Ended("wrong_output", f"--check ends with status {checked.status}: {checked.said[-600:].strip()}")
        for name, digest in self._outputs(ran).items():
            before = self._right.setdefault(name, digest)
            if before == digest:
                continue
            if side == "original":
                raise BadInput(
                    f"{name} differs from run to run of the application as it is.",
                    "Give --check, a command that says whether outputs are right.",
                )
            raise Ended("wrong_output", f"{name} is not what the application gives with its own kernel")

    def _outputs(self, ran: Ran) -> dict[str, str]:
        """What must be the same, by name."""
        found = {}
        for path in self.wish.compare:
            place = self._path(path)
            found[str(path)] = hashlib.sha256(place.read_bytes()).hexdigest() if place.is_file() else "absent"
        if not self.wish.compare and not self.wish.check:
            found["standard output"] = hashlib.sha256(ran.output.encode()).hexdigest()
        return found

    def _path(self, path: Path) -> Path:
        return path if path.is_absolute() else self.app.folder / path

    def _judged(self, covered: float) -> Trial:
        """What the pairs say."""
        least = margin(0.0)
        numbers = {s: [r for r in self.runs if r.side == s] for s in SIDES}
        lost = next((r for r in numbers["candidate"] if r.metric is None), None)
        if lost is not None:
            return self._report("wrong_output", lost.said, covered)
        metric = self.wish.metric
        numbers_of = {s: tuple(r.metric or 0.0 for r in ran) for s, ran in numbers.items()}
        application = _compared(Metric(
            name=metric.name, unit=metric.unit, direction=metric.direction, candidate=numbers_of["candidate"],
            rival=numbers_of["original"],
        ), least)  # fmt: skip
        times = {s: tuple(r.kernel_s for r in ran) for s, ran in numbers.items()}
        kernel = None
        if all(t > 0 for side in times.values() for t in side):
            kernel = _compared(Metric(
                name="kernel", unit="s", direction=Direction.minimize, candidate=times["candidate"],
                rival=times["original"],
            ), least)  # fmt: skip
        else:
            self.notes.append("device times were not complete, so the kernel's own time is not compared")
        missed = max(r.missed for r in numbers["candidate"])
        if missed:
            self.notes.append(f"{missed} launches a run kept the original: their configuration was not recorded before")
        said = f"the application is {application.verdict} with the candidate ({application.speedup:.3f}x)"
        if kernel is not None:
            said += f"; the kernel's device time is {kernel.verdict} ({kernel.speedup:.3f}x)"
        made = self._report("measured", said, covered)
        return made.model_copy(update={"verdict": application.verdict, "kernel": kernel, "application": application})

    def _report(self, outcome: Outcome, reason: str, covered: float) -> Trial:
        return Trial(
            outcome=outcome, reason=reason, runs=tuple(self.runs), rules=len(self.rules), covered=covered,
            notes=tuple(self.notes),
        )  # fmt: skip


def recorded(app: App, library: Path, symbol: str, limit_s: float, mark: str) -> Log:
    """One run of the application as it is, every launch of ``symbol`` recorded: the process that made the most.

    Raises BadInput where it fails, or never launches the kernel.
    """
    with tempfile.TemporaryDirectory(prefix="warpsmith-trial-") as place:
        variables = environment(library, Ask(Path(place), times=False, only=(symbol,)), app.environment)
        ran = Shell(app.folder, variables, mark).run(app.argv, limit_s)
        logs = read_logs(Path(place))
    if not ran.well:
        raise BadInput(f"the application itself ends with status {ran.status}: {ran.said[-600:]}", "Mend it.")
    if not any(x.function.symbol == symbol for log in logs for x in log.launches):
        raise BadInput(f"the application launches no {symbol}.", "Name the application it was captured from.")
    most = max(logs, key=lambda log: len(log.launches))
    most.launches = [x for log in logs for x in log.launches]
    return most


def kept_image(binary: Path, folder: Path) -> Path:
    """A copy of a candidate's binary where the application can read it."""
    folder.mkdir(parents=True, exist_ok=True)
    image = folder / "candidate.cubin"
    shutil.copyfile(binary, image)
    image.chmod(0o644)
    return image


def metric_of(regex: str, path: str, unit: str, *, higher: bool) -> AppMetric:
    """The application's own number, as the flags name it. Raises BadInput."""
    if regex and path:
        raise BadInput("--regex and --json-path are two metrics.", "Give one.")
    direction = Direction.maximize if higher else Direction.minimize
    try:
        if regex:
            return AppMetric(name="metric", source="regex", find=regex, unit=unit or "1", direction=direction)
        if path:
            return AppMetric(name="metric", source="json", find=path, unit=unit or "1", direction=direction)
        return AppMetric(direction=direction)
    except ValueError as error:
        raise BadInput(f"--regex or --json-path: {error}") from None


def _compared(metric: Metric, least: float) -> Compared:
    found = effect(logs(metric))
    low, high = found.interval
    return Compared(
        name=metric.name,
        unit=metric.unit,
        original=metric.rival,
        candidate=metric.candidate,
        speedup=found.speedup,
        low=low if low > 0 else None,
        high=high if high < float("inf") else None,
        verdict=_verdict(found, least),
    )


def _verdict(found: Effect, least: float) -> Verdict:
    if found.low > least:
        return Verdict.slower
    if found.high < -least:
        return Verdict.faster
    return Verdict.same if found.low > -least and found.high < least else Verdict.ambiguous
