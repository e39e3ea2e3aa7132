"""Parameter search: every point of a small space, Optuna's TPE over a large one; nothing is proposed twice.

The space is the one declared beside the entry candidate's source. A fresh study is rebuilt from the history at every
ask, so that there is no second truth to fall out of step, and equal histories give equal answers.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from warpsmith.analyse.standing import standing
from warpsmith.errors import BadInput
from warpsmith.model.base import digest
from warpsmith.model.candidate import Candidate
from warpsmith.model.space import Space
from warpsmith.model.step import Proposal, Propose
from warpsmith.propose import Place
from warpsmith.store.history import History

if TYPE_CHECKING:
    import optuna

ENUMERATED = 96
"""Up to this many valid points all are tried: TPE needs some 80 evaluations to get near the optimum of a
large space.
"""
LARGEST = 200_000
"""Points before constraints beyond which a space is refused: enumerating it would take minutes."""


def made(place: Place | None) -> Sweep:
    """The sweep: it needs to know nothing but the history."""
    return Sweep()


class Sweep:
    """Searches the tunables of the entry candidate."""

    name = "sweep"

    def propose(self, step: Propose, history: History) -> Proposal:
        """The next ``step.count`` untried points. Raises BadInput where the entry declares no usable space."""
        campaign = history.campaign
        assert campaign is not None
        return self.around(history.candidates[campaign.entry], step, history)

    def around(self, entry: Candidate, step: Propose, history: History) -> Proposal:
        """The same for the sources and the space of any candidate. Raises BadInput where its space is too large."""
        campaign = history.campaign
        assert campaign is not None
        space = entry.space
        if space.size > LARGEST:
            raise BadInput(f"the space has {space.size} points.", f"Declare at most {LARGEST} or add fewer values.")
        tried = {c.id for c in history.candidates.values()}
        rng = random.Random(digest([campaign.seed, step.round]))
        untried = [p for p in space.points() if entry.at(p, "").id not in tried]
        small = len(untried) + len(tried) <= ENUMERATED
        if small or len(untried) <= step.count:
            chosen = rng.sample(untried, min(step.count, len(untried)))
        else:
            chosen = self._ask(step, history, entry, untried, rng)
        candidates = tuple(entry.at(point, f"[sweep] {_changes(point, space)}") for point in chosen)
        how = "enumeration" if small else "TPE"
        left = len(untried) - len(chosen)
        return Proposal(candidates=candidates, exhausted=left == 0, notes=f"{how}: {left} points left")

    def _ask(
        self, step: Propose, history: History, entry: Candidate, untried: list[dict[str, int]], rng: random.Random
    ) -> list[dict[str, int]]:
        """Points from TPE, each new; a random untried one stands in where it repeats itself or breaks a constraint."""
        study = _study(history, entry, rng.randrange(2**31))
        open_points = {_key(p): p for p in untried}
        chosen: list[dict[str, int]] = []
        for _ in range(4 * step.count):
            trial = study.ask()
            point = {
                name: t.values[trial.suggest_int(name, 0, len(t.values) - 1)]
                for name, t in entry.space.tunables.items()
            }
            if (found := open_points.pop(_key(point), None)) is not None:
                chosen.append(found)
            else:
                _fail(study, trial)
            if len(chosen) == step.count:
                return chosen
        rest = list(open_points.values())
        return chosen + rng.sample(rest, min(len(rest), step.count - len(chosen)))


def _study(history: History, entry: Candidate, seed: int) -> optuna.Study:
    """A study that knows every measured point as its log-time over the baseline."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=16, constant_liar=True)
    study = optuna.create_study(sampler=sampler)
    space = entry.space.tunables
    distributions: dict[str, Any] = {
        name: optuna.distributions.IntDistribution(0, len(t.values) - 1) for name, t in space.items()
    }
    for identity, log_time in standing(history).estimates.items():
        candidate = history.candidates[identity]
        point = candidate.parameters
        inside = set(point) == set(space) and all(point[n] in t.values for n, t in space.items())
        if inside and candidate.sources == entry.sources:
            params = {n: t.values.index(point[n]) for n, t in space.items()}
            study.add_trial(optuna.create_trial(params=params, distributions=distributions, value=log_time))
    return study


def _fail(study: optuna.Study, trial: optuna.Trial) -> None:
    from optuna.trial import TrialState

    study.tell(trial, state=TrialState.FAIL)


def _key(point: dict[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(point.items()))


def _changes(point: dict[str, int], space: Space) -> str:
    changed = [f"{name}={value}" for name, value in point.items() if value != space.defaults[name]]
    return " ".join(changed) or "defaults"
