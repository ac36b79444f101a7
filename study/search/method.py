"""Method: which sampler draws a search's values, which objectives it has, and when it stops a trial early."""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, BruteForceSampler, CmaEsSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection

from study.cluster.successive_halving import Halving

SamplerName = Literal["tpe", "random", "cmaes", "exhaustive"]
DURATION = "duration_s"


def sampler_of(name: SamplerName, seed: int, number: int) -> BaseSampler:
    """The sampler of one trial, with its own random numbers."""
    own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    if name == "tpe":
        return TPESampler(seed=own)
    if name == "cmaes":
        return CmaEsSampler(seed=own)
    if name == "random":
        return RandomSampler(seed=own)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return BruteForceSampler(seed=own)


@dataclass(frozen=True, kw_only=True)
class Method:
    """How a search searches.

    Attributes:
        objectives: name -> whether larger is better.
        parallel: how many trials may run at once.
        halving: when trials are stopped early; None: never.
        num_epochs: of a trial that is not stopped early.
    """

    sampler: SamplerName
    objectives: Mapping[str, bool]
    seed: int
    parallel: int
    halving: Halving | None
    num_epochs: int

    @property
    def first(self) -> str:
        return next(iter(self.objectives))

    @property
    def directions(self) -> list[StudyDirection]:
        return [StudyDirection.MAXIMIZE if large else StudyDirection.MINIMIZE for large in self.objectives.values()]

    def values(self, outcome: Mapping[str, Any]) -> list[float]:
        """The objectives' values of a stage that is done. Metrics are those of the validation split."""
        found = outcome["metrics"] | {f"validation_{DURATION}": trained_s(outcome["epochs"])}
        return [float(found[f"validation_{name}"]) for name in self.objectives]


def trained_s(epochs: Iterable[Mapping[str, Any]]) -> float:
    """Seconds of training, those before an interruption included."""
    return sum(float(epoch[DURATION]) for epoch in epochs)
