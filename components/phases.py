"""Optimiser phases: what a training run does one after the other, and when each ends."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, LRScheduler, OneCycleLR, StepLR


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One optimiser. It ends after `num_epochs`, or after more than `patience` epochs without a better validation.

    `decay` multiplies the learning rate every `decay_every_steps` steps; with "one_cycle" `learning_rate` is the peak.
    """

    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float
    weight_decay: float = 0.0
    schedule: Literal["constant", "step_decay", "one_cycle"] = "constant"
    decay: float = 1.0
    decay_every_steps: int = 1
    num_epochs: int
    patience: int | None = None

    def __post_init__(self) -> None:
        for name in ("learning_rate", "num_epochs", "decay_every_steps"):
            if getattr(self, name) <= 0:
                raise ValueError(f"Phase.{name} is {getattr(self, name)}; it must be positive")
        if self.patience is not None and self.patience < 0:
            raise ValueError(f"Phase.patience is {self.patience}; it must be None or at least 0")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Phases one after the other; each after the first starts from the best weights so far.

    `batch_size` is global, over all workers. `monitor` names the validation metric that picks the best epoch; `keep`
    says whether the best or the last weights are the stage's result.
    """

    phases: tuple[Phase, ...]
    batch_size: int
    steps_per_epoch: int | None = None
    max_epochs: int
    validate_every: int = 1
    monitor: str
    better: Literal["lower", "higher"]
    keep: Literal["best", "last"] = "best"

    def __post_init__(self) -> None:
        if not self.phases:
            raise ValueError("TrainingConfig.phases is empty; give at least one Phase")
        for name in ("batch_size", "max_epochs", "validate_every"):
            if getattr(self, name) <= 0:
                raise ValueError(f"TrainingConfig.{name} is {getattr(self, name)}; it must be positive")

    def resolve_steps_per_epoch(self, num_examples: int | None) -> int:
        """Steps of one epoch; an incomplete last batch is dropped (the order differs in every epoch)."""
        if self.steps_per_epoch is not None:
            return self.steps_per_epoch
        if num_examples is None:
            raise ValueError("TrainingConfig.steps_per_epoch is None; this objective draws examples without end")
        if num_examples < self.batch_size:
            raise ValueError(f"TrainingConfig.batch_size is {self.batch_size}; an epoch has {num_examples} examples")
        return num_examples // self.batch_size

    def is_better(self, metrics: dict[str, float], best: float | None) -> bool:
        if self.monitor not in metrics:
            raise ValueError(f"TrainingConfig.monitor is {self.monitor!r}; validation gives {sorted(metrics)}")
        value = metrics[self.monitor]
        return best is None or (value < best if self.better == "lower" else value > best)


def make_optimiser(phase: Phase, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Torch's defaults but for the learning rate and the weight decay; plain SGD without momentum."""
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[phase.optimiser]
    return kind(parameters, lr=phase.learning_rate, weight_decay=phase.weight_decay, fused=True)


def make_schedule(phase: Phase, optimiser: Optimizer, steps_per_epoch: int) -> LRScheduler:
    """The learning rate as a function of the phase's step; stepped once per optimiser step."""
    if phase.schedule == "one_cycle":
        return OneCycleLR(optimiser, max_lr=phase.learning_rate, total_steps=phase.num_epochs * steps_per_epoch + 1)
    if phase.schedule == "step_decay":
        return StepLR(optimiser, step_size=phase.decay_every_steps, gamma=phase.decay)
    return ConstantLR(optimiser, factor=1.0)
