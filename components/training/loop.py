"""The one training loop of every stage: optimiser phases, validation, the best weights, exact resume.

The loop moves in optimiser steps. After every step `state()` holds all that the next step depends on, so a stage
interrupted anywhere ends with the same bits as an undisturbed one: random draws are addressed by seed, epoch and
example (random_streams.py) and need no state.
"""

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from components.random_streams import torch_generator
from components.training import workers
from components.training.quick_step import Differentiate, QuickStep, compiled
from components.training.training_config import Phase, TrainingConfig, make_optimiser, make_schedule

Precision = Literal["float32", "bf16"]
Network = TypeVar("Network", bound=nn.Module)
LOOK_EVERY = 32  # steps between two looks at what a GPU computed


class NonFiniteError(ArithmeticError):
    """The loss, a gradient or the monitored metric is infinite or not a number."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The address of one worker's share of a global batch.

    `positions` count the examples of the epoch; the objective draws what lies at a position.
    """

    seed: int
    epoch: int
    step: int
    positions: range


class Objective(nn.Module, Generic[Network]):
    """What `network` learns. A call's result depends on the batch and the network alone, never on earlier calls."""

    network: Network

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        """The batch's examples on the network's device, as far as nothing that learns is needed for them."""
        raise NotImplementedError

    def forward(self, *args: Any, **kwargs: Any) -> Float[Tensor, ""]:
        """The mean loss of the examples; the arguments are what `inputs` gave."""
        raise NotImplementedError

    def validate(self) -> dict[str, float]:
        """The metrics of the validation split, the same on every worker."""
        raise NotImplementedError

    def examples_per_epoch(self) -> int | None:
        """None where examples are drawn without end; `TrainingConfig.steps_per_epoch` then gives the length."""
        return None

    def set_training(self, training: bool) -> None:
        """Sets training or evaluation mode of everything that needs it."""
        self.network.train(training)


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Where and in which arithmetic the loop runs.

    `compile` and `capture`: whether one worker's steps run as compiled kernels and, on a GPU, as one captured graph.
    """

    device: str = "cpu"
    precision: Precision = "float32"
    synchronise_batch_norm: bool = False
    compile: bool = False
    capture: bool = False

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            allowed = ", ".join(get_args(Precision))
            raise ValueError(f"Compute.precision is {self.precision!r}; allowed: {allowed}")

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
    history: list[dict[str, int | float]] = field(default_factory=list)


class Training:
    """Trains `objective.network` in place as `config` says.

    Raises ValueError for a batch that does not divide among the workers or exceeds the examples of an epoch, and
    NonFiniteError at the first step whose loss or gradient is not finite, with the weights from before that step, and
    at the first validation whose monitored metric is not finite.

    `look_every`: the steps between two looks at the losses, which wait for the device. None: 1 on a CPU, which works as
    it is asked, and `LOOK_EVERY` on a GPU. It changes no result. `say` gets a line for each way to
    make steps quicker: whether it is taken.
    """

    def __init__(
        self,
        objective: Objective[Any],
        config: TrainingConfig,
        *,
        seed: int,
        compute: Compute | None = None,
        look_every: int | None = None,
        say: Callable[[str], None] = print,
    ):
        self.objective, self.config, self.seed, self.compute = objective, config, seed, compute or Compute()
        self.look_every = look_every or (1 if self.compute.device == "cpu" else LOOK_EVERY)
        self.steps_per_epoch = config.resolve_steps_per_epoch(objective.examples_per_epoch())
        config.check_workers(workers.num_workers())
        self.position = Position()
        self.best_weights: dict[str, Tensor] = {}
        # Steps since the last look: number, and (loss, a number that is finite if all gradients are) on the device.
        self._unseen: list[tuple[int, Float[Tensor, " 2"]]] = []
        self._step = self._make_step(say)
        self._begin_phase()

    @property
    def network(self) -> nn.Module:
        return self.objective.network

    @property
    def finished(self) -> bool:
        return self.position.phase >= len(self.config.phases)

    @property
    def is_seen(self) -> bool:
        """Whether every loss was looked at: `state` then waits for nothing, and cannot fail on one worker alone."""
        return not self._unseen

    @property
    def num_steps(self) -> int:
        """Steps of the whole stage if no phase ends early."""
        return self.config.num_epochs * self.steps_per_epoch

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
        ends = self.position.step_in_epoch == self.steps_per_epoch
        is_validated = self._ends_phase or (self.position.epoch_in_phase + 1) % self.config.validate_every == 0
        metrics = self._validate() if ends and is_validated else {}
        self.position.epoch_seconds += time.perf_counter() - started
        if ends:
            self._end_epoch(metrics)

    def state(self) -> dict[str, Any]:
        """All that the next step depends on: plain values and tensors, live ones that the next step changes.

        The first worker's state serves all of them: what is different elsewhere (local BatchNorm statistics) is
        overwritten by the first one's before it is read. Looks at the losses first: no state is of a broken training.
        """
        self._look()
        return {
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "best_weights": self.best_weights,
            "position": dict(vars(self.position)),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continues from a copy of a `state()` of the same objective, configuration and seed."""
        self.position = Position(**copy.deepcopy(state["position"]))
        self.best_weights = dict(state["best_weights"])
        self.network.load_state_dict(state["network"])
        if not self.finished:
            self._begin_phase()
            self._load_optimiser(state["optimiser"])
            self._schedule.load_state_dict(state["schedule"])

    @property
    def _phase(self) -> Phase:
        return self.config.phases[self.position.phase]

    def _make_step(self, say: Callable[[str], None]) -> Differentiate:
        objective, compute = self.objective, self.compute
        parallel = workers.data_parallel(objective, synchronise_batch_norm=compute.synchronise_batch_norm)
        plain = self._differentiating(parallel)
        if workers.num_workers() > 1 or not (compute.compile or compute.capture):
            return plain
        quick = self._differentiating(compiled(objective.forward)) if compute.compile else None
        return QuickStep(self.network, plain, compiled=quick, capture=compute.capture, say=say)

    def _differentiating(self, forward: Callable[..., Tensor]) -> Differentiate:
        """From a step's inputs to this worker's loss; its gradients then stand at the parameters."""

        def differentiate(*inputs: Any) -> Float[Tensor, ""]:
            self.network.zero_grad(set_to_none=True)
            with self.compute.autocast():
                loss = forward(*inputs)
            loss.backward()
            return loss.detach()

        return differentiate

    def _begin_phase(self) -> None:
        learned = [(name, p) for name, p in self.network.named_parameters() if p.requires_grad]
        self._optimiser = make_optimiser(self._phase, learned, self.config.learning_rate_factors)
        self._schedule = make_schedule(self._phase, self._optimiser, self.steps_per_epoch)
        # From the first broken step on, the optimiser changes nothing (it reads this attribute, as under a GradScaler).
        self._is_broken = torch.zeros((), device=self.compute.device)
        if self.look_every > 1:
            self._optimiser.found_inf = self._is_broken  # pyright: ignore[reportAttributeAccessIssue]

    def _load_optimiser(self, state: dict[str, Any]) -> None:
        """Copies the moments into the memory layout of their parameters: fused kernels walk memory, not strides."""
        self._optimiser.load_state_dict(state)
        for parameter, moments in self._optimiser.state.items():
            for name, value in moments.items():
                like = parameter if value.shape == parameter.shape else value
                moments[name] = torch.empty_like(like, dtype=value.dtype).copy_(value)

    def next_batch(self) -> Batch:
        """This worker's share of the batch that the next step learns from."""
        start = self.position.step_in_epoch * self.config.batch_size
        share = workers.share_of(range(start, start + self.config.batch_size))
        return Batch(seed=self.seed, epoch=self.position.epoch, step=self.position.step, positions=share)

    def _optimise(self) -> None:
        self._note(workers.mean(self._differentiate()))
        if (self.position.step + 1) % self.look_every == 0 or self.position.step_in_epoch + 1 == self.steps_per_epoch:
            self._look()
        self._optimiser.step()
        self._schedule.step()
        self.position.step += 1
        self.position.step_in_epoch += 1

    def _differentiate(self) -> Float[Tensor, ""]:
        """This worker's loss of the next step; its gradients stand at the parameters."""
        self.objective.set_training(True)
        torch.manual_seed(torch_generator(self.seed, "dropout", self.position.step, workers.rank()).initial_seed())
        with self.compute.autocast():
            inputs = self.objective.inputs(self.next_batch())
        return self._step(*inputs)

    def _note(self, loss: Float[Tensor, ""]) -> None:
        """Keeps the loss, and a number that is finite if all gradients are, until the next look."""
        # The largest gradient. On a CPU their length is quicker; should it overflow, single gradients are checked.
        norm_type = 2.0 if self.look_every == 1 else math.inf
        size = nn.utils.get_total_norm(self._gradients().values(), norm_type=norm_type)
        note = torch.stack([loss, size.to(loss.dtype)])
        self._unseen.append((self.position.step, note))
        if self.look_every > 1:
            self._is_broken.logical_or_(~note.isfinite().all())

    def _gradients(self) -> dict[str, Tensor]:
        return {name: p.grad for name, p in self.network.named_parameters() if p.grad is not None}

    def _look(self) -> None:
        """Adds up the losses since the last look; NonFiniteError for the first step that is not finite."""
        if not self._unseen:
            return
        steps, notes = zip(*self._unseen, strict=True)
        self._unseen = []
        for step, (loss, size) in zip(steps, torch.stack(notes).tolist(), strict=True):
            if not (math.isfinite(loss) and math.isfinite(size)):
                self._check_gradients(step, loss)
            self.position.loss_sum += loss

    def _check_gradients(self, step: int, loss: float) -> None:
        """NonFiniteError with the names of the gradients that are not finite in a step of this epoch."""
        num_back = self.position.step - step
        if num_back:
            # The weights have stood still since then, so its gradients are found again.
            self.position.step, self.position.step_in_epoch = step, self.position.step_in_epoch - num_back
            self._differentiate()
        names = [name for name, gradient in self._gradients().items() if not torch.isfinite(gradient).all()]
        if names or not math.isfinite(loss):
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            culprits = f"gradients of {', '.join(names[:3])}{more}" if names else "all gradients finite"
            raise NonFiniteError(f"not finite at {self._place}: loss {loss}, {culprits}")

    @property
    def _place(self) -> str:
        return f"step {self.position.step} (phase {self.position.phase}, epoch {self.position.epoch})"

    @property
    def _ends_phase(self) -> bool:
        """Whether the current epoch is the phase's last, whatever its validation says."""
        position = self.position
        return self._phase.num_epochs == position.epoch_in_phase + 1 or self.config.max_epochs == position.epoch + 1

    def _end_epoch(self, metrics: dict[str, float]) -> None:
        """`metrics`: the validation's, empty where there was none."""
        position = self.position
        position.history.append(
            {
                "epoch": position.epoch,
                "phase": position.phase,
                "step": position.step,
                "train_loss": position.loss_sum / self.steps_per_epoch,
                "learning_rate": float(self._schedule.get_last_lr()[0]),
                **metrics,
                "duration_s": position.epoch_seconds,
            }
        )
        position.epochs_without_better += 1
        if metrics:
            self._note_best(metrics)
        patience = self._phase.patience
        is_out_of_patience = patience is not None and position.epochs_without_better > patience
        ends = self._ends_phase or (bool(metrics) and is_out_of_patience)
        position.epoch, position.epoch_in_phase = position.epoch + 1, position.epoch_in_phase + 1
        position.step_in_epoch, position.loss_sum, position.epoch_seconds = 0, 0.0, 0.0
        if ends:
            self._end_phase()

    def _validate(self) -> dict[str, float]:
        workers.share_buffers(self.network)
        self.objective.set_training(False)
        with torch.no_grad(), self.compute.autocast():
            return self.objective.validate()

    def _note_best(self, metrics: dict[str, float]) -> None:
        position, monitor = self.position, self.config.monitor
        is_better = self.config.is_better(metrics, position.best_value)
        if not math.isfinite(metrics[monitor]):
            raise NonFiniteError(f"not finite at {self._place}: validation gives {monitor} {metrics[monitor]}")
        if is_better:
            position.best_value, position.best_epoch = metrics[monitor], position.epoch
            position.epochs_without_better = 0
            self.best_weights = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}

    def _end_phase(self) -> None:
        """Every phase but the first starts from the best weights so far, with an optimiser of its own."""
        position = self.position
        position.phase, position.epoch_in_phase, position.epochs_without_better = position.phase + 1, 0, 0
        if position.epoch >= self.config.max_epochs:
            position.phase = len(self.config.phases)
        if not self.finished:
            self.network.load_state_dict(self.best_weights)
            self._begin_phase()
