"""Optuna's samplers as proposers: TPE, Gaussian process, CMA-ES and their kin."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from lsh_native.search.candidate import Candidate
from lsh_native.search.history import History, Observation
from lsh_native.search.interval import Interval
from lsh_native.search.sampler import unseen
from lsh_native.search.space import Choices, Space

SAMPLERS = {
    "tpe": "TPESampler",
    "gp": "GPSampler",
    "cmaes": "CmaEsSampler",
    "random": "RandomSampler",
    "qmc": "QMCSampler",
}
"""Optuna's names of the samplers by ours."""

# Proposals that turn out to be known before an unseen candidate is drawn at random instead.
_TRIES = 20


@dataclass(frozen=True)
class OptunaSampler:
    """A sampler of Optuna's, asked without a storage: the history is told anew at every ask.

    Args:
        name: One of `SAMPLERS`.

    Raises:
        ValueError: If there is none of that name.
    """

    name: str = "tpe"

    def __post_init__(self) -> None:
        if self.name not in SAMPLERS:
            raise ValueError(
                f"Optuna's sampler must be one of {', '.join(SAMPLERS)}, got {self.name!r}"
            )

    def propose(self, space: Space, history: History, *, seed: int, number: int) -> Candidate:
        """See `Sampler.propose`."""
        generator = np.random.default_rng([seed, number])
        known = history.candidates
        with _quiet():
            sampler = getattr(optuna.samplers, SAMPLERS[self.name])(
                seed=int(generator.integers(2**31))
            )
            study = optuna.create_study(sampler=sampler)
            study.add_trials(
                [
                    _told(space, o, history.targets.get(o.candidate))
                    for o in history
                    if o.score is not None or o.pending
                ]
            )
            for _ in range(_TRIES):
                candidate = _suggest(study.ask(), space)
                if candidate not in known:
                    return candidate
        return unseen(space, history, generator, limit=1)[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna says on the terminal that a study was created, and that a sampler is experimental."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _suggest(trial: Any, space: Space) -> Candidate:
    """Let a trial choose the method, then what that method reads."""
    method = trial.suggest_categorical("method", space.method)
    values = {
        name: _choose(trial, _label(method, name), choices)
        for name, choices in space.dimensions(method).items()
    }
    return Candidate.from_dict({"method": method, **values})


def _choose(trial: Any, label: str, choices: Choices) -> Any:
    if not isinstance(choices, Interval):
        return trial.suggest_categorical(label, choices)
    if choices.integer:
        return trial.suggest_int(label, int(choices.low), int(choices.high), log=choices.log)
    return trial.suggest_float(label, choices.low, choices.high, log=choices.log)


def _told(space: Space, observation: Observation, target: float | None) -> optuna.trial.FrozenTrial:
    candidate = observation.candidate
    values = candidate.to_dict()
    dimensions = space.dimensions(candidate.method)
    method = CategoricalDistribution(space.method)
    distributions = {_label(candidate.method, n): _distribution(c) for n, c in dimensions.items()}
    parameters = {_label(candidate.method, name): values[name] for name in dimensions}
    state = optuna.trial.TrialState
    return optuna.trial.create_trial(
        state=state.RUNNING if observation.pending else state.COMPLETE,
        params={"method": candidate.method, **parameters},
        distributions={"method": method, **distributions},
        value=target,
    )


def _label(method: str, name: str) -> str:
    return f"{method}.{name}"


def _distribution(choices: Choices) -> BaseDistribution:
    if not isinstance(choices, Interval):
        return CategoricalDistribution(choices)
    if choices.integer:
        return IntDistribution(int(choices.low), int(choices.high), log=choices.log)
    return FloatDistribution(choices.low, choices.high, log=choices.log)
