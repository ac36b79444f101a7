"""A stage's training: from the last saved state to the result, with epochs reported on the way."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import torch

from components.networks.parameter_counts import num_parameters
from components.training.checkpoint import state_from_bytes, state_to_bytes, weights_to_bytes
from components.training.loop import Objective, Training
from components.training.training_config import TrainingConfig
from study.kinds.arithmetic import compute_of, quickened
from study.kinds.weights import WEIGHTS
from study.stages.stage import StageResult, StageRun

_log = logging.getLogger("study.stage")


def check_training(objective: Objective[Any], training: TrainingConfig, num_workers: int) -> None:
    """ValueError if the batch is too large for the corpus, or cannot be divided among the workers."""
    training.resolve_steps_per_epoch(objective.examples_per_epoch())
    training.check_workers(num_workers)


def train(objective: Any, config: Any, run: StageRun) -> Training:
    """Trains to the end, from the last loop state if there is one. Saves states and reports epochs on the way."""
    num_steps = config.training.num_epochs * config.training.resolve_steps_per_epoch(objective.examples_per_epoch())
    compute = quickened(compute_of(config, run), num_steps, run)
    training = Training(objective, config.training, seed=config.seed, compute=compute, say=_log.info)
    if run.state is not None:
        training.load_state(state_from_bytes(run.state))
        _log.info("goes on at step %d of %d", training.position.step, training.num_steps)
    saved_at = time.monotonic()

    def after_step(training: Training) -> None:
        nonlocal saved_at
        if training.position.step_in_epoch == 0:
            _report_epoch(training, config.training.monitor, run)
        else:
            run.report({"step": training.position.step, "num_steps": training.num_steps})
        if training.is_seen and time.monotonic() - saved_at >= run.execution.checkpoint_every_s:
            run.save_state(state_to_bytes(training.state()))
            saved_at = time.monotonic()

    with memory_explained(config, run):
        training.run(after_step)
    return training


@contextmanager
def memory_explained(config: Any, run: StageRun) -> Iterator[None]:
    """Running out of a GPU's memory becomes a MemoryError that says for what batch, how much, and what can change."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        resources = run.execution.resources_of(run.stage.kind.name)
        share = config.training.batch_size // resources.num_workers
        raise MemoryError(
            f"the GPU has too little memory for {share} segments a step in {config.arithmetic.precision}, a batch of "
            f"{config.training.batch_size} over {resources}. {str(error).splitlines()[0]} Let fewer stages share a GPU "
            "(--gpus-per-worker), let more workers share a batch (--workers), take --precision bf16, or a smaller "
            "batch_size in the preset's recipe."
        ) from error


def _report_epoch(training: Training, monitor: str, run: StageRun) -> None:
    epoch = training.position.history[-1]
    _log.info(" ".join(f"{name} {value:.6g}" for name, value in epoch.items()))
    history = [_row(epoch) for epoch in training.position.history]
    progress = {"step": training.position.step, "num_steps": training.num_steps, "epoch": history[-1]}
    progress["history"] = history
    run.report(progress | ({"metric": monitor, "value": epoch[monitor]} if monitor in epoch else {}))


def _row(epoch: Mapping[str, int | float]) -> dict[str, Any]:
    return {**epoch, "epoch": int(epoch["epoch"]), "step": int(epoch["step"]), "phase": str(int(epoch["phase"]))}


def evaluate_with(evaluate: Any, objective: Any, config: Any, run: StageRun) -> Any:
    """What `evaluate` returns, in evaluation mode and in the stage's arithmetic."""
    objective.set_training(False)
    with memory_explained(config, run), torch.no_grad(), compute_of(config, run).autocast():
        return evaluate()


def result_of(training: Training, metrics: dict[str, float], tables: dict[str, pa.Table] | None = None) -> StageResult:
    position, config = training.position, training.config
    kept = {} if config.keep == "last" else {"best_epoch": float(position.best_epoch)}
    value = position.history[-1].get(config.monitor) if config.keep == "last" else position.best_value
    return StageResult(
        metrics=metrics
        | {"num_parameters": float(num_parameters(training.network)), "num_steps": float(position.step)}
        | ({f"validation_{config.monitor}": float(value), **kept} if value is not None else {}),
        epochs=[_row(epoch) for epoch in position.history],
        tables=tables or {},
        files={WEIGHTS: weights_to_bytes(training.network.state_dict())},
    )
