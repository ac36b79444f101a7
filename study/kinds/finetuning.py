"""The stage kind that trains U-Net, adapters and backend together on the target task."""

from dataclasses import dataclass, field
from typing import Literal

import torch

from components.corpora.labels import Labels
from components.networks.batch_norm import calibrate_batch_norm
from components.networks.initialisation import submodule_state
from components.networks.joint_network import JointConfig, JointNetwork, initial_backend_state, initialise_joint
from components.objectives.classification import ClassificationObjective, SegmentConfig
from components.training.checkpoint import weights_from_bytes
from components.training.loop import Batch
from components.training.training_config import TrainingConfig
from study.kinds.arithmetic import Arithmetic, on_device
from study.kinds.classification import Scored, check_on_corpus, objective_of, pretrained_backend, train_and_score
from study.kinds.memory import finetuning_memory
from study.kinds.weights import WEIGHTS, Weights
from study.kinds.work import finetuning_work
from study.stages.stage import StageKind, StageResult, StageRun


@dataclass(frozen=True, kw_only=True)
class FinetuningStage:
    """Configuration of a joint network's stage.

    `unet`: whether the separator learns too. A random, frozen separator first gets BatchNorm statistics from
    `calibration_batches` batches of training segments. `weights`: what the backend starts from if no stage trained it.
    `separator_seed` draws a random separator and calibrates it; None: `seed` does. `separator_weights`: the separator,
    if no stage trained it. `labels`: the training tracks; None: all of them.
    """

    seed: int
    joint: JointConfig
    unet: Literal["frozen", "finetuned"]
    segments: SegmentConfig
    training: TrainingConfig
    calibration_batches: int
    arithmetic: Arithmetic
    weights: Weights | None = field(default=None, metadata={"legacy": None})
    separator_seed: int | None = field(default=None, metadata={"legacy": None})
    scored: Scored = field(default="test", metadata={"legacy": "test"})
    labels: Labels | None = field(default=None, metadata={"legacy": None})
    separator_weights: Weights | None = field(default=None, metadata={"legacy": None})


def _check(config: FinetuningStage, corpus_path: str, num_workers: int) -> None:
    with torch.device("meta"):
        network = JointNetwork(config.joint)
    check_on_corpus(network, config, corpus_path, num_workers)


def _run(run: StageRun) -> StageResult:
    config: FinetuningStage = run.stage.config
    network = JointNetwork(config.joint)
    parents = {role: weights_from_bytes(run.read(role, WEIGHTS)) for role in run.stage.parents}
    if config.separator_weights is not None:
        parents["separator"] = weights_from_bytes(run.read_input(config.separator_weights.sha256))
    backend = submodule_state(parents["backend"], "backend") if "backend" in parents else None
    if config.weights is not None:
        drawn = initial_backend_state(config.joint.backend, config.seed)
        backend = pretrained_backend(drawn, config.joint.backend, config.weights, run)
    initialise_joint(
        network,
        config.seed,
        separator_seed=config.separator_seed,
        separator=parents.get("separator"),
        backend=backend,
    )
    is_frozen = config.unet == "frozen"
    objective = objective_of(on_device(network, run), config, run, freeze_separator=is_frozen)
    if is_frozen and "separator" not in parents:
        _calibrate(network, objective, config)
    return train_and_score(objective, config, run)


def _calibrate(network: JointNetwork, objective: ClassificationObjective, config: FinetuningStage) -> None:
    """A random U-Net's BatchNorm statistics, over the first batch of each of the first epochs."""
    seed = config.seed if config.separator_seed is None else config.separator_seed

    def segments(step: int) -> torch.Tensor:
        size = config.training.batch_size
        batch = Batch(seed=seed, epoch=step, step=step, positions=range(size))
        tracks, starts = objective.draw(batch)
        return objective.corpus.gather(tracks, starts, objective.num_samples)[:, 0]

    config.training.resolve_steps_per_epoch(objective.examples_per_epoch())  # raises if a batch is too large
    calibrate_batch_norm(network.separator, (segments(step) for step in range(config.calibration_batches)))


FINETUNING = StageKind(
    name="finetuning", version=2, run=_run, check=_check, work=finetuning_work, memory=finetuning_memory
)
