"""The one training loop of every stage: optimiser phases, validation, the best weights, exact resume.

The loop moves in optimiser steps. After every step `state()` holds all that the next step depends on, so a stage
interrupted anywhere ends with the same bits as an undisturbed one: random draws are addressed by seed, epoch and
example (streams.py) and need no state of their own.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from components import workers
from components.phases import Phase, TrainingConfig, make_optimiser, make_schedule
from components.streams import torch_generator


class NonFiniteError(ArithmeticError):
    """The loss or a gradient is infinite or not a number."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The address of one worker's share of a global batch.

    `positions` count the examples of the epoch; what lies at a position is the objective's to draw.
    """

    seed: int
    epoch: int
    step: int
    positions: range


class Objective(Protocol):
    """What is learned. Called with a `Batch` it returns the mean loss of its examples, a scalar."""

    network: nn.Module

    def __call__(self, batch: Batch) -> Tensor: ...
    def examples_per_epoch(self) -> int | None:
        """None where examples are drawn without end; `TrainingConfig.steps_per_epoch` then gives the length."""
        ...

    def set_training(self, training: bool) -> None: ...
    def validate(self) -> dict[str, float]: ...


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Where and in which arithmetic the loop runs."""

    device: str = "cpu"
    precision: Literal["float32", "bf16"] = "float32"
    synchronise_batch_norm: bool = False

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=self.precision == "bf16")


@dataclass
class Position:
    """Where the loop stands. `step` counts optimiser steps done in all, `step_in_epoch` those of the current epoch."""

    phase: int = 0
    epoch: int = 0
    epoch_in_phase: int = 0
    step: int = 0
    step_in_epoch: int = 0
    best_epoch: int = -1
    best_value: float | None = None
    epochs_without_better: int = 0
    loss_sum: float = 0.0
    epoch_seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


class Training:
    """Trains `objective.network` in place as `config` says.

    Raises ValueError for a batch that does not divide among the workers or exceeds the examples of an epoch, and
    NonFiniteError at the first step whose loss or gradient is not finite, before the weights are touched.
    """

    def __init__(self, objective: Objective, config: TrainingConfig, *, seed: int, compute: Compute | None = None):
        self.objective, self.config, self.seed, self.compute = objective, config, seed, compute or Compute()
        self.steps_per_epoch = config.resolve_steps_per_epoch(objective.examples_per_epoch())
        if config.batch_size % workers.num_workers():
            raise ValueError(f"batch_size {config.batch_size} does not divide among {workers.num_workers()} workers")
        self.position = Position()
        self.best_weights: dict[str, Tensor] = {}
        self._parallel = workers.data_parallel(
            objective,  # pyright: ignore[reportArgumentType]
            synchronise_batch_norm=self.compute.synchronise_batch_norm,
        )
        self._begin_phase()

    @property
    def network(self) -> nn.Module:
        return self.objective.network

    @property
    def finished(self) -> bool:
        return self.position.phase >= len(self.config.phases)

    @property
    def num_steps(self) -> int:
        """Steps of the whole stage if no phase ends early."""
        return self.config.max_epochs * self.steps_per_epoch

    def run(self, after_step: Callable[["Training"], None] = lambda training: None) -> None:
        """Steps until the last phase has ended, then leaves the kept weights in the network."""
        while not self.finished:
            self.step()
            after_step(self)
        if self.config.keep == "best":
            self.network.load_state_dict(self.best_weights)

    def step(self) -> None:
        """One optimiser step, and at an epoch's end its validation and bookkeeping."""
        started = time.perf_counter()
        self._optimise()
        self.position.epoch_seconds += time.perf_counter() - started
        if self.position.step_in_epoch == self.steps_per_epoch:
            self._end_epoch()

    def state(self) -> dict[str, Any]:
        """All that the next step depends on; plain values and tensors."""
        return {
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "best_weights": self.best_weights,
            "position": dict(vars(self.position)),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.position = Position(**state["position"])
        self.best_weights = dict(state["best_weights"])
        self.network.load_state_dict(state["network"])
        if not self.finished:
            self._begin_phase()
            self._optimiser.load_state_dict(state["optimiser"])
            self._schedule.load_state_dict(state["schedule"])

    @property
    def _phase(self) -> Phase:
        return self.config.phases[self.position.phase]

    def _begin_phase(self) -> None:
        learned = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self._optimiser = make_optimiser(self._phase, learned)
        self._schedule = make_schedule(self._phase, self._optimiser, self.steps_per_epoch)

    def _batch(self) -> Batch:
        start = self.position.step_in_epoch * self.config.batch_size
        share = workers.share_of(range(start, start + self.config.batch_size))
        return Batch(seed=self.seed, epoch=self.position.epoch, step=self.position.step, positions=share)

    def _optimise(self) -> None:
        self.objective.set_training(True)
        torch.manual_seed(torch_generator(self.seed, "dropout", self.position.step, workers.rank()).initial_seed())
        self._optimiser.zero_grad(set_to_none=True)
        with self.compute.autocast():
            loss = self._parallel(self._batch())
        loss.backward()
        self._check_finite(loss)
        self._optimiser.step()
        self._schedule.step()
        self.position.loss_sum += loss.item()
        self.position.step += 1
        self.position.step_in_epoch += 1

    def _check_finite(self, loss: Tensor) -> None:
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        if torch.isfinite(loss) and torch.isfinite(nn.utils.get_total_norm(gradients)):
            return
        at = f"step {self.position.step} (phase {self.position.phase}, epoch {self.position.epoch})"
        names = ", ".join(list(self._non_finite())[:3]) or "none"
        raise NonFiniteError(f"not finite at {at}: loss {loss.item()}, gradients of {names}")

    def _non_finite(self) -> Iterator[str]:
        for name, parameter in self.network.named_parameters():
            if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
                yield name

    def _end_epoch(self) -> None:
        started, position = time.perf_counter(), self.position
        ends = position.epoch_in_phase + 1 == self._phase.num_epochs
        metrics = self._validate() if ends or (position.epoch_in_phase + 1) % self.config.validate_every == 0 else {}
        row = {
            "epoch": position.epoch,
            "phase": position.phase,
            "step": position.step,
            "train_loss": workers.mean(position.loss_sum / self.steps_per_epoch),
            "learning_rate": self._schedule.get_last_lr()[0],
            **metrics,
            "duration_s": position.epoch_seconds + time.perf_counter() - started,
        }
        position.history.append(row)
        self._note_best(metrics)
        position.epoch, position.epoch_in_phase = position.epoch + 1, position.epoch_in_phase + 1
        position.step_in_epoch, position.loss_sum, position.epoch_seconds = 0, 0.0, 0.0
        if ends or self._out_of_patience():
            self._end_phase()

    def _validate(self) -> dict[str, float]:
        workers.share_buffers(self.network)
        self.objective.set_training(False)
        with torch.no_grad(), self.compute.autocast():
            return self.objective.validate()

    def _note_best(self, metrics: dict[str, float]) -> None:
        position = self.position
        if metrics and self.config.is_better(metrics, position.best_value):
            position.best_value, position.best_epoch = metrics[self.config.monitor], position.epoch
            position.epochs_without_better = 0
            self.best_weights = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}
        else:
            position.epochs_without_better += 1

    def _out_of_patience(self) -> bool:
        return self._phase.patience is not None and self.position.epochs_without_better > self._phase.patience

    def _end_phase(self) -> None:
        """Every phase but the first starts from the best weights so far, with an optimiser of its own."""
        position = self.position
        position.phase, position.epoch_in_phase, position.epochs_without_better = position.phase + 1, 0, 0
        if position.epoch >= self.config.max_epochs:
            position.phase = len(self.config.phases)
        if not self.finished:
            self.network.load_state_dict(self.best_weights)
            self._begin_phase()
