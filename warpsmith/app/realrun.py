"""The real environment: one run's numbers, and baseline and candidate beside each other in alternating runs.

A pair is one run of each side, back to back, with the side's own binary in its place. Who begins is balanced over the
pairs and drawn beforehand, and so is their number.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from warpsmith.analyse.compare import Effect, Verdict, effect, logs, margin, weighted
from warpsmith.app.commands import Ran
from warpsmith.app.site import Side, Site
from warpsmith.errors import BadInput, WarpsmithError
from warpsmith.model.app import App, AppMetric, Command, MetricGain
from warpsmith.model.evaluation import Metric

Tell = Callable[[str], None]
SIDES: tuple[Side, Side] = ("baseline", "optimised")


class RunFailed(WarpsmithError):
    """A run that failed, or whose output lacks a metric. Never leaves the package: it becomes a verdict."""

    exit_status = 1


@dataclass(frozen=True)
class Measured:
    """Both sides, with what they say of each other."""

    samples: dict[Side, dict[str, tuple[float, ...]]]
    gains: tuple[MetricGain, ...]
    overall: Effect
    verdict: Verdict
    worse: tuple[str, ...]
    """Metrics that got worse by more than the margin, their whole interval."""

    @property
    def gain(self) -> float:
        """Share of the baseline that is saved, weighted over the metrics."""
        return -math.expm1(self.overall.log)

    def reaches(self, least: float) -> bool:
        """Whether the gain is clear, and at least ``least``: what analyse calls promotable."""
        return self.verdict is Verdict.faster and self.gain >= least


def numbers(site: Site, more: Mapping[str, str]) -> dict[str, float]:
    """Run what the metrics ask for, once each. Raises RunFailed."""
    ran: dict[Command, Ran] = {}
    found: dict[str, float] = {}
    for metric in site.app.metrics:
        command = metric.run or site.app.run
        if command not in ran:
            ran[command] = site.shell.run(command, site.app.limits.run_s, more)
            if not ran[command].well:
                raise RunFailed(f"the run ended with status {ran[command].status}:\n{ran[command].said}")
        found[metric.name] = value(metric, ran[command])
    return found


def value(metric: AppMetric, ran: Ran) -> float:
    """The metric of a run. Raises RunFailed where its output lacks it, or it is no positive number."""
    said: Any = ran.seconds
    if metric.source == "regex":
        found = list(re.finditer(metric.find, ran.output, re.M))
        said = found[-1][1] if found else None
    elif metric.source == "json":
        said = _at(metric, ran.output)
    try:
        number = float(said)
    except (TypeError, ValueError):
        raise RunFailed(
            f"metric {metric.name!r}: {metric.find!r} finds no number in what the run prints:\n{ran.output[-800:]}"
        ) from None
    if not 0 < number < math.inf:
        raise RunFailed(f"metric {metric.name!r} is {number:g}; a positive number is needed.")
    return number


def measure(site: Site, seed: str, tell: Tell) -> Measured:
    """Alternating runs of both sides, whose files :meth:`Site.keep_side` put aside. Raises RunFailed.

    Each side runs once unmeasured beforehand, so that what is cold the first time (files, caches) is nobody's.
    """
    samples: dict[Side, dict[str, list[float]]] = {s: {m.name: [] for m in site.app.metrics} for s in SIDES}
    for side in SIDES:
        _once(site, side)
    begins = [SIDES[i % 2] for i in range(site.app.pairs)]
    random.Random(seed).shuffle(begins)
    for number, first in enumerate(begins, 1):
        for side in (first, *(s for s in SIDES if s != first)):
            for name, one in _once(site, side).items():
                samples[side][name].append(one)
        tell(f"pair {number} of {site.app.pairs}")
    return judge(site.app, {s: {n: tuple(v) for n, v in samples[s].items()} for s in SIDES})


def judge(app: App, samples: dict[Side, dict[str, tuple[float, ...]]]) -> Measured:
    """What paired samples of both sides say, by the statistics of every other comparison."""
    gains, per_metric = [], {}
    for said in app.metrics:
        metric = Metric(
            name=said.name, unit=said.unit, direction=said.direction,
            candidate=samples["optimised"][said.name], rival=samples["baseline"][said.name],
        )  # fmt: skip
        per_metric[said.name] = logs(metric)
        one = effect(per_metric[said.name])
        low, high = one.interval
        gains.append(
            MetricGain(metric=metric, weight=said.weight, speedup=one.speedup, low=_finite(low), high=_finite(high))
        )
    overall = effect(weighted(per_metric, {m.name: m.weight for m in app.metrics}))
    least = margin(0.0)
    worse = tuple(name for name, values in per_metric.items() if effect(values).low > least)
    return Measured(samples, tuple(gains), overall, _verdict(overall, least, worse), worse)


def _verdict(overall: Effect, least: float, worse: tuple[str, ...]) -> Verdict:
    if overall.low > least:
        return Verdict.slower
    if overall.high < -least:
        return Verdict.ambiguous if worse else Verdict.faster
    return Verdict.same if overall.low > -least and overall.high < least else Verdict.ambiguous


def _once(site: Site, side: Side) -> dict[str, float]:
    site.put_side(side)
    # both sides may be a module of one name and size: bytecode of one must not be taken for that of the other
    return numbers(site, {"PYTHONPYCACHEPREFIX": str(site.folder / f"bytecode-{side}")})


def _at(metric: AppMetric, output: str) -> object:
    """The value at a path of the last line, or of the whole output, that is a JSON document."""
    for text in (output, *reversed(output.splitlines())):
        try:
            at = json.loads(text)
        except ValueError:
            continue
        for part in metric.find.split("."):
            try:
                at = at[int(part)] if isinstance(at, list) else at[part]
            except (LookupError, ValueError, TypeError):
                return None
        return at
    return None


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None


def check_runs(site: Site) -> Ran:
    """Run the application once as it is, before anything is changed; returns its check. Raises BadInput."""
    verified = site.shell.run(site.app.verify, site.app.limits.verify_s)
    if not verified.well:
        raise BadInput(
            f"{site.app.name} fails its own check as it is (status {verified.status}):\n{verified.said}",
            "Nothing was changed; mend the application, or the verify command in app.toml.",
        )
    try:
        numbers(site, {})
    except RunFailed as error:
        raise BadInput(
            f"{site.app.name} as it is: {error.message}", "Nothing was changed; see run and metrics."
        ) from None
    return verified
