"""The rules as data: rules.toml, read once. What a rule needs, when it fires, what it says and what it could gain.

Conditions are expressions over metric keys, thresholds of the rule and two facts of the target (``architecture``,
``l2_capacity``). This module knows one rule at a time; how findings hang together is diagnose.py's business.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cached_property, lru_cache
from importlib import resources
from string import Formatter

from pydantic import Field

from warpsmith.errors import ExpressionError
from warpsmith.model.base import Record
from warpsmith.model.expression import evaluate, names
from warpsmith.model.metrics import show
from warpsmith.model.profile import Prediction, Severity

AT_THE_ROOF = "at_the_roof"
"""The advice where nothing but fewer bytes or less work would help."""
NO_FINDING = "no_finding"
"""The advice where no rule fired and no roof is near."""


class Threshold(Record):
    """A number of a condition, and why it is that."""

    value: float
    source: str


class Rule(Record):
    """One rule; see the head of rules.toml for the fields."""

    id: str
    severity: Severity
    when: str
    finding: str
    action: str
    gain: str
    let: dict[str, str] = Field(default_factory=dict)
    relieves: dict[str, str] = Field(default_factory=dict)
    assume: dict[str, str] = Field(default_factory=dict)
    causes: tuple[str, ...] = ()
    predict: Prediction
    stalls: tuple[str, ...] = ()
    agrees: tuple[str, ...] = ()
    thresholds: dict[str, Threshold] = Field(default_factory=dict)

    @cached_property
    def needed(self) -> frozenset[str]:
        """The metrics and facts without which it cannot be evaluated."""
        texts = (self.when, self.gain, *self.let.values(), *self.relieves.values())
        said = frozenset[str]().union(*(names(text) for text in texts))
        shown = {field for _, field, _, _ in Formatter().parse(self.finding) if field}
        return (said | shown) - set(self.thresholds) - set(self.assume) - set(self.let)

    @cached_property
    def evidence(self) -> tuple[str, ...]:
        """What its condition looks at, in the order of the alphabet."""
        return tuple(sorted(names(self.when)))

    def known(self, metrics: Mapping[str, float]) -> dict[str, float] | None:
        """What its expressions see; None where a metric is missing."""
        if not self.needed <= metrics.keys():
            return None
        seen = dict(metrics)
        try:
            for name, text in self.assume.items():
                seen.setdefault(name, evaluate(text, metrics))
        except ExpressionError:
            return None
        seen |= {name: t.value for name, t in self.thresholds.items()}
        for name, text in self.let.items():
            seen[name] = _number(text, seen)
        return seen

    def fires(self, known: Mapping[str, float]) -> bool:
        """Whether the condition holds. Where it divides by nothing (no loads, no time), it does not."""
        return bool(_number(self.when, known))

    def bound(self, known: Mapping[str, float]) -> float:
        """The largest share of the time that mending it could touch, whatever the roofline says."""
        return min(1.0, max(0.0, _number(self.gain, known)))

    def relief(self, known: Mapping[str, float]) -> dict[str, float]:
        """The share of the load that would go, by roof."""
        return {roof: min(1.0, max(0.0, _number(text, known))) for roof, text in self.relieves.items()}

    def message(self, known: Mapping[str, float]) -> str:
        """The finding with its numbers."""
        return self.finding.format_map({name: show(name, value) for name, value in known.items()})


def _number(text: str, known: Mapping[str, float]) -> float:
    try:
        return float(evaluate(text, known))
    except ExpressionError:
        return 0.0


@lru_cache(maxsize=1)
def rules() -> dict[str, Rule]:
    """Every rule by id, in the order of the file."""
    said = tomllib.loads(resources.files(__package__).joinpath("rules.toml").read_text(encoding="utf-8"))
    return {name: Rule.model_validate({"id": name, **fields}) for name, fields in said.items()}
