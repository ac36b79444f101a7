"""The stage kinds of this study, and how each of them turns a configuration and a corpus into a result.

    separation      a separator, from remixed songs
    classification  a bare backend on the target task
    finetuning      U-Net, adapters and backend together on the target task

Raise a kind's version whenever its results change; the tests pin the losses of a small run of each beside it.
"""

import logging
import time
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from components.calibration import calibrate_batch_norm
from components.checkpoint import state_from_bytes, state_to_bytes, weights_from_bytes, weights_to_bytes
from components.classification import ClassificationObjective, SegmentConfig, TrackScores
from components.classifier import Classifier, ClassifierConfig
from components.corpus import Corpus
from components.initialisation import initialise, part
from components.joint import JointConfig, JointNetwork, initialise_joint
from components.metrics import GenreScores, TaggingScores
from components.parameters import num_parameters
from components.phases import TrainingConfig
from components.separation import RemixConfig, SeparationLossConfig, SeparationObjective
from components.separator import Separator, SeparatorConfig
from components.training import Batch, Compute, Objective, Training
from study.stage import StageKind, StageResult, StageRun

WEIGHTS = "weights.safetensors"
_log = logging.getLogger("study.stage")


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """How numbers are computed, as far as it gives a result its meaning; resolved before the identity is taken.

    `batch_norm`: statistics of each worker's share of a batch, or of the whole batch (GPU only).
    """

    precision: Literal["float32", "bf16"] = "float32"
    batch_norm: Literal["local", "synchronised"] = "local"

    def __str__(self) -> str:
        return f"{self.precision} arithmetic, {self.batch_norm} BatchNorm statistics"


@dataclass(frozen=True, kw_only=True)
class SeparationStage:
    """Configuration of a separation stage.

    `num_frames` is the length of its segments, `evaluation_frames` that of the ones that are scored (None: the same).
    """

    seed: int
    separator: SeparatorConfig
    num_frames: int
    remix: RemixConfig
    loss: SeparationLossConfig
    training: TrainingConfig
    arithmetic: Arithmetic
    evaluation_frames: int | None = field(default=None, metadata={"legacy": None})


@dataclass(frozen=True, kw_only=True)
class ClassificationStage:
    """Configuration of a bare backend's stage."""

    seed: int
    classifier: ClassifierConfig
    segments: SegmentConfig
    training: TrainingConfig
    arithmetic: Arithmetic


@dataclass(frozen=True, kw_only=True)
class FinetuningStage:
    """Configuration of a joint network's stage.

    `unet`: whether the separator learns too. A random, frozen one first gets its BatchNorm statistics from
    `calibration_batches` batches of training segments.
    """

    seed: int
    joint: JointConfig
    unet: Literal["frozen", "finetuned"]
    segments: SegmentConfig
    training: TrainingConfig
    calibration_batches: int
    arithmetic: Arithmetic


def _separate(run: StageRun) -> StageResult:
    config: SeparationStage = run.stage.config
    network = Separator(config.separator)
    initialise(network, config.seed, "separator")
    objective = _separation(_placed(network, run), _corpus(run), config)
    training = _train(objective, config, run)
    metrics = _evaluated(lambda: objective.evaluate("test"), objective, config, run)
    return _result(training, metrics)


def _separation(network: Separator, corpus: Corpus, config: SeparationStage) -> SeparationObjective:
    return SeparationObjective(
        network,
        corpus,
        num_frames=config.num_frames,
        evaluation_frames=config.evaluation_frames,
        remix=config.remix,
        loss=config.loss,
    )


def _check_separation(config: SeparationStage, corpus_path: str, num_workers: int) -> None:
    with torch.device("meta"):  # no weights, only what fits what
        network = Separator(config.separator)
    _check_training(_separation(network, Corpus.open(corpus_path), config), config.training, num_workers)


def _check_classification(config: ClassificationStage, corpus_path: str, num_workers: int) -> None:
    with torch.device("meta"):
        network = Classifier(config.classifier)
    objective = ClassificationObjective(network, Corpus.open(corpus_path), segments=config.segments)
    _check_training(objective, config.training, num_workers)


def _check_finetuning(config: FinetuningStage, corpus_path: str, num_workers: int) -> None:
    with torch.device("meta"):
        network = JointNetwork(config.joint)
    objective = ClassificationObjective(network, Corpus.open(corpus_path), segments=config.segments)
    _check_training(objective, config.training, num_workers)


def _check_training(objective: Objective[Any], training: TrainingConfig, num_workers: int) -> None:
    training.resolve_steps_per_epoch(objective.examples_per_epoch())
    training.check_workers(num_workers)


def _classify(run: StageRun) -> StageResult:
    config: ClassificationStage = run.stage.config
    network = Classifier(config.classifier)
    initialise(network.backend, config.seed, "backend")
    return _train_classifier(_placed(network, run), config, run)


def _finetune(run: StageRun) -> StageResult:
    config: FinetuningStage = run.stage.config
    network = JointNetwork(config.joint)
    parents = {role: weights_from_bytes(run.read(role, WEIGHTS)) for role in run.stage.parents}
    backend = part(parents["backend"], "backend") if "backend" in parents else None
    initialise_joint(network, config.seed, separator=parents.get("separator"), backend=backend)
    return _train_classifier(_placed(network, run), config, run, freeze_separator=config.unet == "frozen")


def _train_classifier(network: Any, config: Any, run: StageRun, *, freeze_separator: bool = False) -> StageResult:
    objective = ClassificationObjective(
        network,
        _corpus(run),
        segments=config.segments,
        freeze_separator=freeze_separator,
        memo_bytes=run.site.feature_memory_bytes,
    )
    if freeze_separator and "separator" not in run.stage.parents:
        _calibrate(network, objective, config)
    training = _train(objective, config, run)
    scores = _evaluated(lambda: objective.evaluate("test"), objective, config, run)
    measured = objective.measure(scores, "test")
    metrics = {name: value for name, value in vars(measured).items() if name != "tags"}
    return _result(training, metrics, _tables(objective.corpus, scores, measured))


def _calibrate(network: JointNetwork, objective: ClassificationObjective, config: FinetuningStage) -> None:
    """A random U-Net's BatchNorm statistics, over the first batch of each of the first epochs."""

    def segments(step: int) -> torch.Tensor:
        size = config.training.batch_size
        batch = Batch(seed=config.seed, epoch=step, step=step, positions=range(size))
        tracks, starts = objective.draw(batch)
        return objective.corpus.gather(tracks, starts, objective.num_samples)[:, 0]

    config.training.resolve_steps_per_epoch(objective.examples_per_epoch())  # says so if a batch is too large
    calibrate_batch_norm(network.separator, (segments(step) for step in range(config.calibration_batches)))


def _train(objective: Any, config: Any, run: StageRun) -> Training:
    """Trains to the end, from the last loop state if there is one; saves states and reports epochs on the way."""
    training = Training(objective, config.training, seed=config.seed, compute=_compute(config, run))
    if run.state is not None:
        training.load_state(state_from_bytes(run.state))
        _log.info("goes on at step %d of %d", training.position.step, training.num_steps)
    saved_at = time.monotonic()

    def after_step(training: Training) -> None:
        nonlocal saved_at
        if training.position.step_in_epoch == 0:
            _report_epoch(training, config.training.monitor, run)
        if time.monotonic() - saved_at >= run.site.checkpoint_every_s:
            run.save_state(state_to_bytes(training.state()))
            saved_at = time.monotonic()

    training.run(after_step)
    return training


def _report_epoch(training: Training, monitor: str, run: StageRun) -> None:
    epoch = training.position.history[-1]
    _log.info(" ".join(f"{name} {value:.6g}" for name, value in epoch.items()))
    progress = {"step": training.position.step, "num_steps": training.num_steps}
    run.report(progress | ({"metric": monitor, "value": epoch[monitor]} if monitor in epoch else {}))


def _evaluated(evaluate: Any, objective: Any, config: Any, run: StageRun) -> Any:
    objective.set_training(False)
    with torch.no_grad(), _compute(config, run).autocast():
        return evaluate()


def _compute(config: Any, run: StageRun) -> Compute:
    arithmetic: Arithmetic = config.arithmetic
    return Compute(
        device=_device(run),
        precision=arithmetic.precision,
        synchronise_batch_norm=arithmetic.batch_norm == "synchronised",
    )


def _device(run: StageRun) -> str:
    return "cuda" if run.site.resources_of(run.stage.kind.name).gpus_per_worker else "cpu"


def _placed(network: nn.Module, run: StageRun) -> Any:
    return network.to(_device(run), memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def _corpus(run: StageRun) -> Corpus:
    """The corpus on the stage's device; ValueError if the folder holds another one than the identity says."""
    corpus = Corpus.open(run.corpus_path)
    if corpus.digest != run.stage.corpus:
        raise ValueError(f"{run.corpus_path} has the digest {corpus.digest}, the stage needs {run.stage.corpus}")
    return corpus.to(_device(run))


def _result(training: Training, metrics: dict[str, float], tables: dict[str, pa.Table] | None = None) -> StageResult:
    position, config = training.position, training.config
    kept = {} if config.keep == "last" else {"best_epoch": float(position.best_epoch)}
    value = position.history[-1].get(config.monitor) if config.keep == "last" else position.best_value
    return StageResult(
        metrics=metrics
        | {"num_parameters": float(num_parameters(training.network)), "num_steps": float(position.step)}
        | ({f"validation_{config.monitor}": float(value), **kept} if value is not None else {}),
        epochs=[
            row | {"epoch": int(row["epoch"]), "step": int(row["step"]), "phase": str(int(row["phase"]))}
            for row in position.history
        ],
        tables=tables or {},
        files={WEIGHTS: weights_to_bytes(training.network.state_dict())},
    )


def _tables(corpus: Corpus, scores: TrackScores, measured: TaggingScores | GenreScores) -> dict[str, pa.Table]:
    num_tracks, num_classes = scores.probabilities.shape
    targets = scores.targets if scores.targets.ndim == 2 else np.eye(num_classes)[scores.targets]
    tables = {
        "track_scores": pa.table(
            {
                "track": np.repeat(corpus.tracks["id"][scores.tracks], num_classes).tolist(),
                "class": list(corpus.classes) * num_tracks,
                "target": targets.astype(np.int8).ravel(),
                "score": scores.probabilities.ravel(),
            }
        )
    }
    if isinstance(measured, TaggingScores):
        rows = [{"class": tag.tag, "split": "test"} | vars(tag) for tag in measured.tags]
        tables["tag_metrics"] = pa.Table.from_pylist([{k: v for k, v in row.items() if k != "tag"} for row in rows])
    return tables


SEPARATION = StageKind(name="separation", version=1, run=_separate, check=_check_separation)
CLASSIFICATION = StageKind(name="classification", version=1, run=_classify, check=_check_classification)
FINETUNING = StageKind(name="finetuning", version=1, run=_finetune, check=_check_finetuning)
KINDS = (SEPARATION, CLASSIFICATION, FINETUNING)
