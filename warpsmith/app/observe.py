"""Watching a run of an application: which way works here, what was seen, and the files that keep it.

The injection library is the way; where it is refused, a profiler's trace gives geometry and times (traced.py). What was
kept is used again while the kernels' signatures hold.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from statistics import median
from typing import IO

from pydantic import ValidationError

from warpsmith.app import traced
from warpsmith.app.buckets import USUAL, Choice, Execution, executions, kernels
from warpsmith.app.injection import Ask, counting, environment
from warpsmith.app.library import counter, library
from warpsmith.app.log import Log, read_logs
from warpsmith.app.probe import probe
from warpsmith.app.running import App, Ended, binaries, run
from warpsmith.app.symbols import file_name
from warpsmith.errors import BadInput, BuildFailed, Missing, WarpsmithError
from warpsmith.judge.pin import chosen_as
from warpsmith.model.base import Record, digest, short
from warpsmith.model.observed import SUFFIX, KernelObservation, Observation, RunFacts
from warpsmith.store.files import write_atomic

OVERHEAD_RUNS = 3
"""Of each way of watching, one after another in turns."""


@dataclass(frozen=True)
class Wish:
    """How an application is to be observed."""

    limit_s: float | None = None
    choice: Choice = USUAL
    output: int | IO[bytes] | None = None
    """Where the application's standard output goes; this process's own where None."""


@dataclass(frozen=True)
class Observed:
    """What is known of an application now."""

    observation: Observation
    folder: Path
    """Where its files lie."""
    reused: str = ""
    """Why it was not run again; empty where it was."""


class Overhead(Record):
    """Wall time of an application under one way of watching."""

    way: str
    """``plain``, ``counted`` or ``recorded``."""
    seconds: float
    """Median over the runs."""
    ratio: float
    """Over ``plain``."""
    launches: int
    """That were seen; 0 where nobody looked."""
    same: bool
    """Standard output and exit status were those of the plain runs."""


def folder_of(app: App, home: Path) -> Path:
    """Where observations of this command are kept."""
    return home / "observed" / f"{app.program.name}-{short(digest([*app.argv, str(app.folder)]))}"


def observe(app: App, home: Path, wish: Wish, *, into: Path | None = None, again: bool = False) -> Observed:
    """Run the application and keep what was seen, or give what was kept.

    Raises Missing where nothing here can watch it, BadInput and BadReport.
    """
    folder = into or folder_of(app, home)
    why = "it was asked for"
    if not again:
        kept, why = reusable(app, folder, wish.choice)
        if kept is not None:
            return Observed(kept, folder, why)
    observation = watch(app, home, wish)
    keep(observation, folder, app)
    return Observed(observation, folder)


def watch(app: App, home: Path, wish: Wish) -> Observation:
    """Run the application under what works here. Raises Missing, BadReport."""
    try:
        built = library(home / "cache")
        with tempfile.TemporaryDirectory(prefix="warpsmith-observe-") as folder:
            variables = environment(built, Ask(Path(folder)), app.environment)
            began = _now()
            ended = run(app, variables, limit_s=wish.limit_s, stdout=wish.output)
            logs = read_logs(Path(folder))
    except (Missing, BuildFailed, BadInput) as refused:
        return traced.observe(app, wish.limit_s, wish.choice, wish.output, refused.message)
    refusal = next((t for log in logs for t in log.troubles if not log.launched), "")
    if not logs:
        found = probe(home / "cache", app.environment)
        refusal = "" if found.watch or "no CUDA" in found.watch_said else found.watch_said
    if refusal:
        return traced.observe(app, wish.limit_s, wish.choice, wish.output, refusal)
    ran = [e for log in logs for e in executions(log)]
    return observation(app, began, ended, ran, logs, wish.choice)


def observation(
    app: App, began: str, ended: Ended, ran: Sequence[Execution], logs: Sequence[Log], choice: Choice
) -> Observation:
    """A run with its kernels."""
    facts = RunFacts(
        command=app.argv,
        folder=str(app.folder),
        at=began,
        source="injection",
        status=ended.status,
        seconds=ended.seconds,
        binaries=binaries(app, [log.exe for log in logs]),
        devices=tuple(sorted({name for log in logs for name in log.devices.values()})),
        driver=max((log.driver for log in logs), default=0),
        processes=len(logs),
        launches=sum(log.launched for log in logs),
        graph_launches=sum(log.graph_launched for log in logs),
        executions=len(ran),
        device_s=sum(e.seconds for e in ran),
        top=choice.top,
        cover=choice.cover,
        ratio=choice.ratio,
        conditions=(*chosen_as(app.environment), *conditions(logs, ended)),
    )
    return Observation(run=facts, kernels=kernels(ran, choice))


def conditions(logs: Sequence[Log], ended: Ended) -> tuple[str, ...]:
    """What a reader must know of how the run was seen."""
    said = []
    if not logs:
        said.append("the application made no use of CUDA")
    elif not any(log.launched for log in logs):
        said.append("the application launched no kernel")
    if ended.status is None:
        said.append(f"ended by us after {ended.seconds:.1f} s")
    elif ended.status:
        said.append(f"the application ended with status {ended.status}")
    timed = sum(len(log.times) for log in logs)
    direct = sum(launch.runs for log in logs for launch in log.launches)
    of_graphs = sum(bool(t.node) for log in logs for t in log.times)
    if (lost := direct - (timed - of_graphs)) > 0:
        said.append(f"{lost} launches have no device time, and are left out")
    if failed := sum(launch.result != 0 for log in logs for launch in log.launches):
        said.append(f"{failed} launches were refused by the driver")
    for count, what in (
        (sum(log.dropped for log in logs), "records did not fit into the log"),
        (sum(log.times_dropped for log in logs), "device times were dropped by CUPTI"),
        (sum(log.cut for log in logs), "logs break off"),
    ):
        if count:
            said.append(f"{count} {what}")
    said += [trouble for log in logs for trouble in dict.fromkeys(log.troubles)]
    return tuple(said)


def keep(found: Observation, folder: Path, app: App) -> None:
    """Write one file per kernel; those of an earlier run of the same command are removed."""
    for path, old in _files(folder):
        if old.run.command == app.argv and old.run.folder == str(app.folder):
            path.unlink(missing_ok=True)
    held = {b.path: _content(Path(b.path)) for b in found.run.binaries}
    for kernel in found.kernels:
        inside = tuple(path for path, content in held.items() if kernel.symbol.encode() in content)
        made = KernelObservation(run=found.run, kernel=kernel, found_in=inside)
        write_atomic(folder / f"{file_name(kernel.symbol)}{SUFFIX}", made.model_dump_json(indent=1) + "\n")


def reusable(app: App, folder: Path, choice: Choice) -> tuple[Observation | None, str]:
    """What was kept of this very command, with the reason for or against using it."""
    kept = [
        one for _, one in _files(folder)
        if one.run.command == app.argv and one.run.folder == str(app.folder)
        and Choice(one.run.top, one.run.cover, one.run.ratio) == choice
    ]  # fmt: skip
    if not kept or len({one.run.id for one in kept}) > 1:
        return None, "nothing is kept of it"
    facts = kept[0].run
    whole = Observation(
        run=facts, kernels=tuple(sorted((k.kernel for k in kept), key=lambda k: (-k.seconds, k.symbol)))
    )
    if facts.status != 0:
        return None, "the run that was kept did not end well"
    now = {b.path: b.sha256 for b in binaries(app, [b.path for b in facts.binaries])}
    changed = [b.path for b in facts.binaries if now.get(b.path) != b.sha256]
    if not changed:
        return whole, f"observed at {facts.at}, and nothing changed since"
    held = [_content(Path(b.path)) for b in facts.binaries]
    for one in kept:
        if not any(one.kernel.symbol.encode() in content for content in held):
            return None, f"{', '.join(changed)} changed, and {one.kernel.name} is not to be found there"
    return whole, f"observed at {facts.at}; {', '.join(changed)} changed since, and the kernels' signatures hold"


def overhead(app: App, home: Path, limit_s: float | None, runs: int = OVERHEAD_RUNS) -> tuple[Overhead, ...]:
    """What watching costs this application: plain, counted and recorded in turns. Raises Missing, BuildFailed."""
    built, counts = library(home / "cache"), counter(home / "cache")
    ways: dict[str, Callable[[Path], Mapping[str, str]]] = {
        "plain": lambda _: app.environment,
        "counted": lambda place: counting(counts, place, app.environment),
        "recorded": lambda place: environment(built, Ask(place), app.environment),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    ends: dict[str, set[tuple[int | None, str]]] = {way: set() for way in ways}
    launches = dict.fromkeys(ways, 0)
    for _ in range(runs):
        for way, variables in ways.items():
            with tempfile.TemporaryDirectory(prefix="warpsmith-overhead-") as place, tempfile.TemporaryFile() as said:
                ended = run(app, variables(Path(place)), limit_s=limit_s, stdout=said)
                if ended.status is None:
                    raise WarpsmithError("the application did not end by itself.", "Give it a shorter problem.")
                said.seek(0)
                ends[way].add((ended.status, file_digest(said, "sha256").hexdigest()))
                launches[way] = sum(log.launched for log in read_logs(Path(place)))
            seconds[way].append(ended.seconds)
    plain = median(seconds["plain"])
    return tuple(
        Overhead(
            way=way,
            seconds=median(took),
            ratio=median(took) / plain,
            launches=launches[way],
            same=ends[way] <= ends["plain"],
        )
        for way, took in seconds.items()
    )


def _files(folder: Path) -> list[tuple[Path, KernelObservation]]:
    """What is kept in a folder, leaving out what cannot be read."""
    found = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            found.append((path, KernelObservation.model_validate_json(path.read_bytes())))
        except (OSError, ValidationError):
            continue
    return found


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
