"""Hyperparameters: values of a trial's last stage that are not factors, and how they change it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

from components.training.training_config import OptimiserName, ScheduleName, TrainingConfig
from study.corpora.corpora import Corpora
from study.design.recipe import BackendRecipe, Recipe
from study.design.trial import Trial
from study.design.trial_to_stages import final_stage
from study.stages.stage import Stage


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """Values for the last stage of a trial. None: the preset's value.

    Attributes:
        backend_learning_rate: rate of the first phase, for all parts without a rate of their own. The rates of later
            phases change in proportion.
        unet_learning_rate, adapters_learning_rate: the same for one part.
        weight_decay: of every phase.
        optimiser, schedule: of the first phase.
        batch_size: over all workers.
        dropout: of the backend.
        adapters_std: standard deviation of the adapters' random initial weights.
    """

    backend_learning_rate: float | None = None
    unet_learning_rate: float | None = None
    adapters_learning_rate: float | None = None
    weight_decay: float | None = None
    optimiser: OptimiserName | None = None
    schedule: ScheduleName | None = None
    batch_size: int | None = None
    dropout: float | None = None
    adapters_std: float | None = None

    def __post_init__(self) -> None:
        for name in ("backend_learning_rate", "unet_learning_rate", "adapters_learning_rate", "adapters_std"):
            self._check_number(name, lambda value: value > 0, "it must be positive")
        self._check_number("weight_decay", lambda value: value >= 0, "it must be at least 0")
        self._check_number("dropout", lambda value: 0 <= value < 1, "it lies between 0 and 1")
        self._check_number("batch_size", lambda value: type(value) is int and value > 0, "it is a whole number from 1")
        for name, allowed in (("optimiser", get_args(OptimiserName)), ("schedule", ("constant", "one_cycle"))):
            if getattr(self, name) not in (None, *allowed):
                raise ValueError(f"Hyperparameters.{name} is {getattr(self, name)!r}; allowed: {', '.join(allowed)}")

    def _check_number(self, name: str, fits: Callable[[Any], bool], allowed: str) -> None:
        value = getattr(self, name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if value is not None and not (is_number and fits(value)):
            raise ValueError(f"Hyperparameters.{name} is {value!r}; {allowed}")

    @property
    def given(self) -> dict[str, Any]:
        """Name -> value of those that are not None."""
        return {name: value for name, value in vars(self).items() if value is not None}


NAMES = tuple(field.name for field in fields(Hyperparameters))


def applicable(trial: Trial) -> set[str]:
    """The hyperparameters that a trial's last stage has; ValueError for a probe, which has none."""
    if trial.scheme == "probe":
        raise ValueError("a probe is fitted, not trained: it has no hyperparameters")
    names = set(NAMES)
    if trial.unet in (None, "frozen"):
        names -= {"unet_learning_rate"}
    if not trial.insertion:
        names -= {"adapters_learning_rate", "adapters_std"}
    if trial.adapters != "random":
        names -= {"adapters_std"}
    return names


def tuned_stage(trial: Trial, seed: int, recipe: Recipe, corpora: Corpora, values: Hyperparameters) -> Stage:
    """The trial's last stage with those of these values that it has. Earlier stages do not change."""
    if trial.scheme == "probe":
        return final_stage(trial, seed, recipe, corpora)
    known = Hyperparameters(**{name: value for name, value in values.given.items() if name in applicable(trial)})
    name = str(trial.backend)
    backend = with_last_training(recipe.backends[name], trial, _training(last_training(recipe, trial), known))
    std = recipe.adapters_initial_std if known.adapters_std is None else known.adapters_std
    changed = replace(recipe, backends={**recipe.backends, name: backend}, adapters_initial_std=std)
    stage = final_stage(trial, seed, changed, corpora)
    if known.dropout is None:
        return stage
    # Not by the recipe, which would also change the stage that trains the backend beforehand.
    part = "joint" if hasattr(stage.config, "joint") else "classifier"
    network = getattr(stage.config, part)
    network = replace(network, backend=replace(network.backend, dropout=known.dropout))
    return replace(stage, config=replace(stage.config, **{part: network}))


def last_training(recipe: Recipe, trial: Trial) -> TrainingConfig:
    """How the trial's last stage is trained."""
    backend = recipe.backends[str(trial.backend)]
    return backend.training if trial.is_bare else backend.finetuning[str(trial.unet)]


def with_last_training(backend: BackendRecipe, trial: Trial, training: TrainingConfig) -> BackendRecipe:
    """The backend's recipe with another training for the trial's last stage."""
    if trial.is_bare:
        return replace(backend, training=training)
    return replace(backend, finetuning={**backend.finetuning, str(trial.unet): training})


def _training(training: TrainingConfig, values: Hyperparameters) -> TrainingConfig:
    before = training.phases[0].learning_rate
    rate = before if values.backend_learning_rate is None else values.backend_learning_rate
    first = {name: value for name in ("optimiser", "schedule") if (value := getattr(values, name)) is not None}
    every = {} if values.weight_decay is None else {"weight_decay": values.weight_decay}
    phases = [
        replace(phase, learning_rate=phase.learning_rate * (rate / before), **every, **({} if place else first))
        for place, phase in enumerate(training.phases)
    ]
    parts = {"separator": values.unet_learning_rate, "adapters": values.adapters_learning_rate}
    factors = {**training.learning_rate_factors, **{name: own / rate for name, own in parts.items() if own is not None}}
    size = training.batch_size if values.batch_size is None else values.batch_size
    return replace(training, phases=tuple(phases), batch_size=size, learning_rate_factors=factors)


def named(values: Mapping[str, Any], digits: int = 4) -> str:
    """For example "dropout 0.25, schedule constant"."""
    return ", ".join(f"{name} {f'{v:.{digits}g}' if isinstance(v, float) else v}" for name, v in values.items())
