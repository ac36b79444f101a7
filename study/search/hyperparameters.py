"""Hyperparameters: values of a trial's last stage that are no factors, and how they enter a recipe."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from components.phases import OptimiserName, Phase, ScheduleName, TrainingConfig
from study.trial import Trial
from study.unfold import BackendRecipe, Recipe


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """Values for the last stage of a trial; None leaves what the preset says.

    Attributes:
        backend_learning_rate: of the first phase, also for whatever has no rate of its own; later phases keep their
            proportion to it.
        unet_learning_rate, adapters_learning_rate: likewise, of these parts alone.
        weight_decay: of every phase.
        optimiser, schedule: of the first phase.
        batch_size: over all workers.
        dropout: of the backend.
        adapters_std: standard deviation of the adapters' random weights at the start.
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
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"Hyperparameters.{name} is {value}; it must be positive")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ValueError(f"Hyperparameters.dropout is {self.dropout}; it lies between 0 and 1")
        if self.schedule == "step_decay":
            raise ValueError("Hyperparameters.schedule is 'step_decay', whose steps are the preset's to say")

    @property
    def given(self) -> dict[str, Any]:
        """Name -> value of those that are not left to the preset."""
        return {name: value for name, value in vars(self).items() if value is not None}


NAMES = tuple(field.name for field in fields(Hyperparameters))


def applicable(trial: Trial) -> set[str]:
    """The hyperparameters that a trial's last stage has a part for; ValueError for a probe, which has none."""
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


def tuned(recipe: Recipe, trial: Trial, values: Hyperparameters) -> Recipe:
    """The recipe with these values for the last stage of the trial, as far as it has the parts."""
    if trial.scheme == "probe":
        return recipe
    known = Hyperparameters(**{name: value for name, value in values.given.items() if name in applicable(trial)})
    backend = recipe.backends[str(trial.backend)]
    std = recipe.adapters_initial_std if known.adapters_std is None else known.adapters_std
    changed = {**recipe.backends, str(trial.backend): _backend(backend, trial, known)}
    return replace(recipe, backends=changed, adapters_initial_std=std)


def last_training(recipe: Recipe, trial: Trial) -> TrainingConfig:
    """How the trial's last stage is trained."""
    backend = recipe.backends[str(trial.backend)]
    return backend.training if trial.is_bare else backend.finetuning[str(trial.unet)]


def with_last_training(backend: BackendRecipe, trial: Trial, training: TrainingConfig) -> BackendRecipe:
    """The backend's recipe with another training of the trial's last stage."""
    if trial.is_bare:
        return replace(backend, training=training)
    return replace(backend, finetuning={**backend.finetuning, str(trial.unet): training})


def _backend(backend: BackendRecipe, trial: Trial, values: Hyperparameters) -> BackendRecipe:
    training = backend.training if trial.is_bare else backend.finetuning[str(trial.unet)]
    network = backend.network if values.dropout is None else replace(backend.network, dropout=values.dropout)  # pyright: ignore[reportCallIssue]
    return with_last_training(replace(backend, network=network), trial, _training(training, values))


def _training(training: TrainingConfig, values: Hyperparameters) -> TrainingConfig:
    before = training.phases[0].learning_rate
    rate = values.backend_learning_rate or before
    phases = [_phase(phase, place, rate / before, values) for place, phase in enumerate(training.phases)]
    parts = {"separator": values.unet_learning_rate, "adapters": values.adapters_learning_rate}
    factors = {**training.learning_rate_factors, **{name: own / rate for name, own in parts.items() if own is not None}}
    size = values.batch_size or training.batch_size
    return replace(training, phases=tuple(phases), batch_size=size, learning_rate_factors=factors)


def _phase(phase: Phase, place: int, factor: float, values: Hyperparameters) -> Phase:
    named: Mapping[str, Any] = {"optimiser": values.optimiser, "schedule": values.schedule} if place == 0 else {}
    changes = {
        name: value for name, value in {**named, "weight_decay": values.weight_decay}.items() if value is not None
    }
    return replace(phase, learning_rate=phase.learning_rate * factor, **changes)
