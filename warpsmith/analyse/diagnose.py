"""From one kernel's profile to the one thing to do next. Pure: equal profiles give equal diagnoses.

A rule that fires is a finding. What mending it could bring is bounded by the roofline: the time cannot fall below the
load of the fullest unit, less what the mending itself takes off that unit. A finding whose cause was found as well is a
symptom of it and stands below it; at the roof, whatever could bring next to nothing is a symptom of the roof.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from warpsmith.analyse.advice import agreeing, distinct
from warpsmith.analyse.ceilings import Load, Side, fullest, loads
from warpsmith.analyse.rules import AT_THE_ROOF, NO_FINDING, Rule, rules
from warpsmith.model.metrics import METRICS, show
from warpsmith.model.profile import (
    Advice,
    Bottleneck,
    Diagnosis,
    Finding,
    KernelProfile,
    NextEdit,
    Prediction,
    Severity,
    SourceLine,
)
from warpsmith.model.target import Target

MATERIAL = 0.05
"""Share of the time below which a gain is not worth an edit: 5 %, ten times the least gain that the judge can see."""
AT_ROOF = 0.90
"""Load of the fullest unit from which on only less work or fewer bytes help."""
UNCONFIRMED = 0.8
"""Weight of a finding that the vendor has a rule for and does not say."""
BUSY = 0.60
"""Share of a rated peak below which nothing is bound by that unit (Nsight Compute's SOLBottleneck: latency issue)."""
MOST_LINES = 3
NO_WAIT = ("stall_selected", "stall_not_selected")
"""Named among the stalls by the profiler, and no waiting: such a warp was issued, or could have been."""
ROOF_RULES: dict[Side, str] = {"memory": "severe_memory_bound", "compute": "near_peak_compute"}
"""The rule that says of a side that it is full."""


@dataclass
class _Fired:
    """A rule that fired, on the way to becoming a finding."""

    rule: Rule
    known: dict[str, float]
    gain: float
    agreed: tuple[Advice, ...]
    cause: str = ""
    symptoms: list[str] = field(default_factory=list)


def diagnose(
    kernel: KernelProfile,
    target: Target,
    ceilings: Mapping[str, float] | None = None,
    trust: Mapping[str, float] | None = None,
) -> Diagnosis:
    """What limits a kernel, and the one next edit.

    Args:
        kernel: Its profile; any subset of the metrics will do.
        target: The device that it ran on.
        ceilings: Measured rates by the names of analyse.ceilings (``dram`` in bytes per second, ``fp32`` in operations
            per second); rated ones are used elsewhere.
        trust: How often the predictions of a rule came true on this device, 0..1 (analyse.calibration); ranks findings.
    """
    facts = _facts(kernel, target)
    units = loads(kernel.metrics, ceilings or {})
    advice = distinct(kernel.advice)
    fired, lacking = _fire(facts, units, advice)
    _tie(fired, units)
    ranked = _ranked(fired, trust or {})
    findings = tuple(_finding(one, kernel, fired) for one in ranked)
    said = {id(a) for one in fired.values() for a in one.agreed}
    bottleneck, because = _bottleneck(kernel, units)
    return Diagnosis(
        kernel=kernel.kernel,
        bottleneck=bottleneck,
        because=because,
        roofs={u.name: u.share for u in units},
        findings=findings,
        not_evaluated=lacking,
        advice=tuple(a for a in advice if id(a) not in said and a.kind != "INF"),
        edit=_edit(findings, units, facts, kernel, trust or {}),
    )


def _facts(kernel: KernelProfile, target: Target) -> dict[str, float]:
    """Metrics, and what rules ask of the target."""
    facts = dict(kernel.metrics)
    if found := re.match(r"sm_(\d+)", target.architecture):
        facts["architecture"] = float(found[1])
    if "L2_BYTES" in target.facts:
        facts.setdefault("l2_capacity", float(target.facts["L2_BYTES"]))
    return facts


def _fire(
    facts: Mapping[str, float], units: tuple[Load, ...], advice: tuple[Advice, ...]
) -> tuple[dict[str, _Fired], tuple[str, ...]]:
    """The rules that hold, with what each could gain, and those that lacked a metric."""
    fired: dict[str, _Fired] = {}
    lacking = []
    for rule in rules().values():
        known = rule.known(facts)
        if known is None:
            lacking.append(rule.id)
        elif rule.fires(known):
            fired[rule.id] = _Fired(rule, known, _gain(rule, known, units), agreeing(rule, advice))
    return fired, tuple(lacking)


def _gain(rule: Rule, known: Mapping[str, float], units: tuple[Load, ...]) -> float:
    """The most that mending it could bring, as a share of the time."""
    return max(0.0, min(rule.bound(known), 1.0 - fullest(units, rule.relief(known))))


def _tie(fired: dict[str, _Fired], units: tuple[Load, ...]) -> None:
    """Give every symptom its cause, which must matter itself; at the roof, what takes nothing off it is due to it."""
    roof = _roof(units)
    for one in fired.values():
        causes = [fired[c] for c in one.rule.causes if c in fired and fired[c].gain >= MATERIAL]
        if causes:
            one.cause = max(causes, key=lambda c: c.gain).rule.id
        elif roof is not None and one.gain <= _spare(roof):
            head = ROOF_RULES[roof.ceiling.side]
            one.cause = head if head in fired else AT_THE_ROOF
            if one.rule.id == head:
                one.cause = ""
    for one in fired.values():
        if one.cause in fired:
            fired[one.cause].symptoms.append(one.rule.id)


def _roof(units: tuple[Load, ...]) -> Load | None:
    """The unit that is full; None where none is."""
    top = max(units, key=lambda u: u.load, default=None)
    return top if top is not None and top.load >= AT_ROOF else None


def _spare(roof: Load) -> float:
    """What could be won at a roof without taking anything off it: not worth an edit."""
    return max(MATERIAL, 1.0 - roof.load)


def _ranked(fired: dict[str, _Fired], trust: Mapping[str, float]) -> list[_Fired]:
    """Causes first (what the vendor says too before the rest, then by expected gain), each symptom after its cause."""

    def rank(one: _Fired) -> tuple[bool, float]:
        expected = one.gain * trust.get(one.rule.id, 1.0)
        return not (one.agreed and one.gain >= MATERIAL), -expected

    ordered: list[_Fired] = []

    def place(one: _Fired) -> None:
        ordered.append(one)
        for symptom in sorted((fired[s] for s in one.symptoms), key=rank):
            place(symptom)

    for one in sorted((o for o in fired.values() if o.cause not in fired), key=lambda o: (o.cause != "", *rank(o))):
        place(one)
    return ordered


def _finding(one: _Fired, kernel: KernelProfile, fired: Mapping[str, _Fired]) -> Finding:
    rule = one.rule
    evidence = {name: one.known[name] for name in rule.evidence}
    return Finding(
        rule=rule.id,
        severity=rule.severity if one.gain >= MATERIAL else Severity.info,
        kernel=kernel.kernel,
        message=rule.message(one.known),
        evidence=evidence,
        action=rule.action,
        gain=min(one.gain, fired[one.cause].gain) if one.cause in fired else one.gain,
        prediction=rule.predict,
        cause=one.cause,
        agreed=tuple(dict.fromkeys(a.rule for a in one.agreed)),
        lines=_lines(kernel, rule.stalls),
    )


def _lines(kernel: KernelProfile, stalls: tuple[str, ...]) -> tuple[SourceLine, ...]:
    """The hottest lines whose stall a rule explains."""
    return tuple(line for line in kernel.lines if line.stall in stalls)[:MOST_LINES]


def _bottleneck(kernel: KernelProfile, units: tuple[Load, ...]) -> tuple[Bottleneck, str]:
    """What the kernel waits for most, and the numbers that say so."""
    memory = max((u for u in units if u.ceiling.side == "memory"), key=lambda u: u.share, default=None)
    compute = max((u for u in units if u.ceiling.side == "compute"), key=lambda u: u.share, default=None)
    numbers = " and ".join(_reaches(u) for u in (memory, compute) if u is not None) or "no throughput is known"
    top = max((u for u in (memory, compute) if u is not None), key=lambda u: u.share, default=None)
    if top is not None and top.share >= BUSY:
        side = Bottleneck.memory_bound if top.ceiling.side == "memory" else Bottleneck.compute_bound
        return side, f"{numbers[0].upper()}{numbers[1:]}."
    return Bottleneck.latency_bound, f"Nothing is busy: {numbers}{_longest_stall(kernel)}."


def _longest_stall(kernel: KernelProfile) -> str:
    """What most of the warps' time goes to, as the end of a sentence; empty where it is not known."""
    stalls = {k: v for k, v in kernel.metrics.items() if k.startswith("stall_") and k not in NO_WAIT and k in METRICS}
    if not stalls:
        return ""
    worst = max(sorted(stalls), key=lambda k: stalls[k])
    return f"; {show(worst, stalls[worst])} of the warps' time is {METRICS[worst].label}"


def _reaches(unit: Load) -> str:
    return (
        f"{unit.ceiling.label} reaches {100 * unit.share:.0f} % of its {'measured' if unit.measured else 'rated'} peak"
    )


def _edit(
    findings: tuple[Finding, ...],
    units: tuple[Load, ...],
    facts: Mapping[str, float],
    kernel: KernelProfile,
    trust: Mapping[str, float],
) -> NextEdit:
    """Exactly one: the cause that promises most, by its rule's record and the vendor's word."""
    roof = _roof(units)
    least = _spare(roof) if roof is not None else 0.0
    worth = [f for f in findings if not f.cause and f.gain >= MATERIAL and f.gain > least]
    if worth:
        first = max(worth, key=lambda f: f.gain * trust.get(f.rule, 1.0) * (1.0 if _undisputed(f) else UNCONFIRMED))
        return NextEdit(rule=first.rule, edit=first.action, lines=first.lines, gain=first.gain, check=first.prediction)
    if roof is None:
        return NextEdit(
            rule=NO_FINDING,
            edit="No rule explains what is left: profile with the full effort and look at the hottest lines, or stop.",
            lines=kernel.lines[:MOST_LINES],
            gain=0.0,
            check=Prediction(metric="duration", direction="down"),
        )
    return NextEdit(
        rule=AT_THE_ROOF,
        edit=_stop(roof, facts),
        gain=0.0,
        check=Prediction(metric=roof.ceiling.fewer, direction="down"),
    )


def _undisputed(finding: Finding) -> bool:
    """Whether the vendor says it too, or has no rule that could."""
    return bool(finding.agreed) or not rules()[finding.rule].agrees


def _stop(roof: Load, facts: Mapping[str, float]) -> str:
    """The advice at the roof: fewer bytes or less work, or stop."""
    full = f"{roof.ceiling.label[0].upper()}{roof.ceiling.label[1:]} is full ({_reaches(roof)})"
    if roof.ceiling.name == "dram":
        least, moved = facts.get("compulsory_bytes"), facts.get("dram_bytes")
        known = (
            f", and {show('dram_bytes', moved)} are moved where {show('dram_bytes', least)} must be"
            if least and moved
            else ""
        )
        return f"{full}{known}: move fewer bytes (fuse with a neighbour, a narrower type), or stop."
    what = "move fewer bytes through it" if roof.ceiling.side == "memory" else "do less work on it"
    return f"{full}: {what}, or stop."
