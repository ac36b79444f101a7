"""Training configuration: optimiser phases one after the other, and when each ends."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, LRScheduler, OneCycleLR, StepLR

OptimiserName = Literal["adam", "adamw", "sgd"]
ScheduleName = Literal["constant", "step_decay", "one_cycle"]
Better = Literal["lower", "higher"]
Keep = Literal["best", "last"]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One optimiser. It ends after `num_epochs`, or at a validation more than `patience` epochs after the best one.

    "step_decay" multiplies the learning rate by `decay` every `decay_every_steps` steps. "one_cycle" is torch's: the
    rate rises to the peak `learning_rate` and falls again within `num_epochs`, Adam's first beta does the opposite
    between 0.95 and 0.85.
    """

    optimiser: OptimiserName = "adam"
    learning_rate: float
    weight_decay: float = 0.0
    schedule: ScheduleName = "constant"
    decay: float = 1.0
    decay_every_steps: int = 1
    num_epochs: int
    patience: int | None = None

    def __post_init__(self) -> None:
        _check_name(self, "optimiser", OptimiserName)
        _check_name(self, "schedule", ScheduleName)
        _check_positive(self, "learning_rate", "num_epochs", "decay", "decay_every_steps")
        if not self.weight_decay >= 0:
            raise ValueError(f"Phase.weight_decay is {self.weight_decay}; it must be at least 0")
        if self.patience is not None and self.patience < 0:
            raise ValueError(f"Phase.patience is {self.patience}; it must be None or at least 0")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Phases one after the other; each after the first starts from the best weights so far.

    `batch_size` is global, over all workers. After `max_epochs` in all there is no further phase. Every
    `validate_every`-th epoch of a phase is validated, and its last. `monitor` names the validation metric that picks
    the best epoch; `keep` says whether the best or the last weights are the stage's result. `learning_rate_factors`
    multiply every phase's learning rate for the parameters under a name ("separator").
    """

    phases: tuple[Phase, ...]
    batch_size: int
    steps_per_epoch: int | None = None
    max_epochs: int
    validate_every: int = 1
    monitor: str
    better: Better
    keep: Keep = "best"
    learning_rate_factors: Mapping[str, float] = field(default_factory=dict, metadata={"legacy": {}})

    def __post_init__(self) -> None:
        if not self.phases:
            raise ValueError("TrainingConfig.phases is empty; give at least one Phase")
        _check_name(self, "better", Better)
        _check_name(self, "keep", Keep)
        _check_positive(self, "batch_size", "max_epochs", "validate_every")
        if self.steps_per_epoch is not None:
            _check_positive(self, "steps_per_epoch")
        for name, factor in self.learning_rate_factors.items():
            if not factor > 0:
                raise ValueError(f"TrainingConfig.learning_rate_factors[{name!r}] is {factor}; it must be positive")

    @property
    def num_epochs(self) -> int:
        """Epochs of all phases if none ends early."""
        return min(self.max_epochs, sum(phase.num_epochs for phase in self.phases))

    def check_workers(self, num_workers: int) -> None:
        """ValueError unless a batch divides among the workers."""
        if self.batch_size % num_workers:
            raise ValueError(f"batch_size {self.batch_size} does not divide among {num_workers} workers")

    def resolve_steps_per_epoch(self, num_examples: int | None) -> int:
        """Steps of one epoch; an incomplete last batch is dropped (the order differs in every epoch).

        `num_examples`: those of an epoch, None where they are drawn without end. ValueError if there are fewer than
        one batch or than `steps_per_epoch` batches, or if nothing says how long an epoch is.
        """
        if num_examples is None:
            if self.steps_per_epoch is None:
                raise ValueError("TrainingConfig.steps_per_epoch is None; this objective draws examples without end")
            return self.steps_per_epoch
        if num_examples < self.batch_size:
            raise ValueError(f"TrainingConfig.batch_size is {self.batch_size}; an epoch has {num_examples} examples")
        possible = num_examples // self.batch_size
        if self.steps_per_epoch is not None and self.steps_per_epoch > possible:
            given = f"TrainingConfig.steps_per_epoch is {self.steps_per_epoch}"
            raise ValueError(f"{given}; an epoch of {num_examples} examples has {possible} of {self.batch_size}")
        return self.steps_per_epoch or possible

    def is_better(self, metrics: dict[str, float], best: float | None) -> bool:
        """Whether the monitored metric beats the best so far; ValueError if the metrics have no such one."""
        if self.monitor not in metrics:
            raise ValueError(f"TrainingConfig.monitor is {self.monitor!r}; validation gives {sorted(metrics)}")
        value = metrics[self.monitor]
        return best is None or (value < best if self.better == "lower" else value > best)


def make_optimiser(
    phase: Phase, parameters: Iterable[tuple[str, nn.Parameter]], factors: Mapping[str, float] | None = None
) -> Optimizer:
    """Torch's defaults except for learning rate and weight decay; plain SGD has no momentum. Fused, which is faster.

    `factors` multiply the learning rate of the parameters under a name; ValueError for a name that none stands under.
    """
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[phase.optimiser]
    groups = _groups(phase, dict(parameters), factors or {})
    return kind(groups, lr=phase.learning_rate, weight_decay=phase.weight_decay, fused=True)


def _groups(phase: Phase, parameters: Mapping[str, nn.Parameter], factors: Mapping[str, float]) -> list[dict[str, Any]]:
    """The parameters without a factor first."""
    groups, left = [], dict(parameters)
    for prefix, factor in factors.items():
        chosen = [left.pop(name) for name in list(left) if name.startswith(f"{prefix}.")]
        if not chosen:
            raise ValueError(f"learning_rate_factors names {prefix!r}; no parameter that learns stands under it")
        groups.append({"params": chosen, "lr": factor * phase.learning_rate})
    return [{"params": list(left.values())}, *groups] if left else groups


def make_schedule(phase: Phase, optimiser: Optimizer, steps_per_epoch: int) -> LRScheduler:
    """The learning rate as a function of the phase's step; stepped once per optimiser step."""
    if phase.schedule == "one_cycle":
        return OneCycleLR(
            optimiser,
            max_lr=[group["lr"] for group in optimiser.param_groups],
            total_steps=phase.num_epochs * steps_per_epoch + 1,
            # Torch would give plain SGD a momentum.
            cycle_momentum=phase.optimiser != "sgd",
        )
    if phase.schedule == "step_decay":
        return StepLR(optimiser, step_size=phase.decay_every_steps, gamma=phase.decay)
    return ConstantLR(optimiser, factor=1.0)


def _check_name(config: Any, field: str, allowed: Any) -> None:
    if getattr(config, field) not in get_args(allowed):
        names = ", ".join(get_args(allowed))
        raise ValueError(f"{type(config).__name__}.{field} is {getattr(config, field)!r}; allowed: {names}")


def _check_positive(config: Any, *fields: str) -> None:
    for name in fields:
        if not getattr(config, name) > 0:
            raise ValueError(f"{type(config).__name__}.{name} is {getattr(config, name)}; it must be positive")
