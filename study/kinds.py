"""The stage kinds of this study, and how each of them turns a configuration and a corpus into a result.

    separation      a separator, from remixed songs
    classification  a bare backend on the target task
    finetuning      U-Net, adapters and backend together on the target task
    test            scores on the test split of what one of the two before has trained without looking at it
    probe           (probing.py) a linear model on what a separator hears

Raise a kind's version whenever its results change; the tests pin the losses of a small run of each beside it.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa
import torch
from torch import Tensor

from components.calibration import calibrate_batch_norm
from components.checkpoint import state_from_bytes, state_to_bytes, weights_from_bytes, weights_to_bytes
from components.classification import ClassificationObjective, SegmentConfig
from components.classifier import Classifier, ClassifierConfig
from components.corpus import Corpus
from components.initialisation import initialise, load_strictly, part
from components.joint import JointConfig, JointNetwork, drawn_backend, initialise_joint
from components.parameters import num_parameters
from components.phases import TrainingConfig
from components.separation import RemixConfig, SeparationLossConfig, SeparationObjective
from components.separator import Separator, SeparatorConfig
from components.training import Batch, Objective, Training
from components.vit_weights import backend_state
from study.running import WEIGHTS, Arithmetic, Weights, compute, corpus_of, metrics_of, placed, score_tables
from study.stage import StageKind, StageResult, StageRun

_log = logging.getLogger("study.stage")

Scored = Literal["test", "validation"]


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
    """Configuration of a bare backend's stage, which starts from `weights`, None: at random.

    `scored`: the split that its result tells of; on "validation" the test split is not looked at.
    """

    seed: int
    classifier: ClassifierConfig
    segments: SegmentConfig
    training: TrainingConfig
    arithmetic: Arithmetic
    weights: Weights | None = field(default=None, metadata={"legacy": None})
    scored: Scored = field(default="test", metadata={"legacy": "test"})


@dataclass(frozen=True, kw_only=True)
class FinetuningStage:
    """Configuration of a joint network's stage.

    `unet`: whether the separator learns too. A random, frozen one first gets its BatchNorm statistics from
    `calibration_batches` batches of training segments. `weights`: what the backend starts from where no stage trained
    it. `separator_seed`: draws a random separator and calibrates it; None: `seed` does.
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


@dataclass(frozen=True, kw_only=True)
class TestStage:
    """Configuration of a test of what was `trained`; `seed` is that one's."""

    __test__ = False  # nothing for pytest

    seed: int
    trained: ClassificationStage | FinetuningStage


def _separate(run: StageRun) -> StageResult:
    config: SeparationStage = run.stage.config
    network = Separator(config.separator)
    initialise(network, config.seed, "separator")
    objective = _separation(placed(network, run), corpus_of(run), config)
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
    if config.weights is not None:
        load_strictly(network.backend, _started(network.backend.state_dict(), config.classifier.backend, config, run))
    return _train_classifier(placed(network, run), config, run)


def _finetune(run: StageRun) -> StageResult:
    config: FinetuningStage = run.stage.config
    network = JointNetwork(config.joint)
    parents = {role: weights_from_bytes(run.read(role, WEIGHTS)) for role in run.stage.parents}
    backend = part(parents["backend"], "backend") if "backend" in parents else None
    if config.weights is not None:
        backend = _started(drawn_backend(config.joint.backend, config.seed), config.joint.backend, config, run)
    initialise_joint(
        network,
        config.seed,
        separator_seed=config.separator_seed,
        separator=parents.get("separator"),
        backend=backend,
    )
    return _train_classifier(placed(network, run), config, run, freeze_separator=config.unet == "frozen")


def _started(drawn: Mapping[str, Tensor], backend: Any, config: Any, run: StageRun) -> dict[str, Tensor]:
    """A backend's drawn state with the weights that the configuration names; the head stays drawn."""
    data = run.read_input(config.weights.sha256)
    return {**drawn, **backend_state(data, config.weights.name, backend)}


def _train_classifier(network: Any, config: Any, run: StageRun, *, freeze_separator: bool = False) -> StageResult:
    objective = ClassificationObjective(
        network,
        corpus_of(run),
        segments=config.segments,
        freeze_separator=freeze_separator,
        memo_bytes=run.site.feature_memory_bytes,
    )
    if freeze_separator and "separator" not in run.stage.parents:
        _calibrate(network, objective, config)
    training = _train(objective, config, run)
    if config.scored == "validation":
        found = _evaluated(objective.validate, objective, config, run)
        return _result(training, {f"validation_{name}": value for name, value in found.items()})
    return _result(training, *_tested(objective, config, run))


def _test(run: StageRun) -> StageResult:
    config = run.stage.config.trained
    network = Classifier(config.classifier) if isinstance(config, ClassificationStage) else JointNetwork(config.joint)
    load_strictly(network, weights_from_bytes(run.read("trained", WEIGHTS)))
    objective = ClassificationObjective(placed(network, run), corpus_of(run), segments=config.segments)
    metrics, tables = _tested(objective, config, run)
    return StageResult(metrics=metrics, tables=tables)


def _tested(
    objective: ClassificationObjective, config: Any, run: StageRun
) -> tuple[dict[str, float], dict[str, pa.Table]]:
    """Metrics and tables of the test split."""
    scores = _evaluated(lambda: objective.evaluate("test"), objective, config, run)
    measured = objective.measure(scores, "test")
    return metrics_of(measured), score_tables(objective.corpus, scores, measured)


def _calibrate(network: JointNetwork, objective: ClassificationObjective, config: FinetuningStage) -> None:
    """A random U-Net's BatchNorm statistics, over the first batch of each of the first epochs."""
    seed = config.seed if config.separator_seed is None else config.separator_seed

    def segments(step: int) -> torch.Tensor:
        size = config.training.batch_size
        batch = Batch(seed=seed, epoch=step, step=step, positions=range(size))
        tracks, starts = objective.draw(batch)
        return objective.corpus.gather(tracks, starts, objective.num_samples)[:, 0]

    config.training.resolve_steps_per_epoch(objective.examples_per_epoch())  # says so if a batch is too large
    calibrate_batch_norm(network.separator, (segments(step) for step in range(config.calibration_batches)))


def _train(objective: Any, config: Any, run: StageRun) -> Training:
    """Trains to the end, from the last loop state if there is one; saves states and reports epochs on the way."""
    training = Training(objective, config.training, seed=config.seed, compute=compute(config, run))
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
    history = [_row(epoch) for epoch in training.position.history]
    progress = {"step": training.position.step, "num_steps": training.num_steps, "epoch": history[-1]}
    progress["history"] = history
    run.report(progress | ({"metric": monitor, "value": epoch[monitor]} if monitor in epoch else {}))


def _row(epoch: Mapping[str, int | float]) -> dict[str, Any]:
    return {**epoch, "epoch": int(epoch["epoch"]), "step": int(epoch["step"]), "phase": str(int(epoch["phase"]))}


def _evaluated(evaluate: Any, objective: Any, config: Any, run: StageRun) -> Any:
    objective.set_training(False)
    with torch.no_grad(), compute(config, run).autocast():
        return evaluate()


def _result(training: Training, metrics: dict[str, float], tables: dict[str, pa.Table] | None = None) -> StageResult:
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


SEPARATION = StageKind(name="separation", version=1, run=_separate, check=_check_separation)
CLASSIFICATION = StageKind(name="classification", version=2, run=_classify, check=_check_classification)
FINETUNING = StageKind(name="finetuning", version=2, run=_finetune, check=_check_finetuning)
TEST = StageKind(name="test", version=1, run=_test)
