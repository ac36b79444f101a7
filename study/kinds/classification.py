"""The stage kind that trains a bare backend on the target task, and what joint networks share with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa
import torch
from torch import Tensor

from components.corpora.corpus import Corpus
from components.corpora.labels import Labels, with_labels
from components.networks.classifier import Classifier, ClassifierConfig
from components.networks.initialisation import initialise, load_strictly
from components.networks.vit_weights import backend_state
from components.objectives.classification import ClassificationObjective, SegmentConfig
from components.training.training_config import TrainingConfig
from study.kinds.arithmetic import Arithmetic, on_device, open_corpus
from study.kinds.memory import classification_memory
from study.kinds.scores import metrics_of, score_tables
from study.kinds.training import check_training, evaluate_with, result_of, train
from study.kinds.weights import Weights, exported_backend_state
from study.kinds.work import classification_work
from study.stages.stage import StageKind, StageResult, StageRun

Scored = Literal["test", "validation"]


@dataclass(frozen=True, kw_only=True)
class ClassificationStage:
    """Configuration of a bare backend's stage. It starts from `weights`; None: from random ones.

    `scored`: the split that its result is measured on. With "validation" the test split is not used. `labels`: the
    training tracks; None: all of them.
    """

    seed: int
    classifier: ClassifierConfig
    segments: SegmentConfig
    training: TrainingConfig
    arithmetic: Arithmetic
    weights: Weights | None = field(default=None, metadata={"legacy": None})
    scored: Scored = field(default="test", metadata={"legacy": "test"})
    labels: Labels | None = field(default=None, metadata={"legacy": None})


def _check(config: ClassificationStage, corpus_path: str, num_workers: int) -> None:
    with torch.device("meta"):  # no weights: only whether all fits together
        network = Classifier(config.classifier)
    check_on_corpus(network, config, corpus_path, num_workers)


def check_on_corpus(network: Any, config: Any, corpus_path: str, num_workers: int) -> None:
    """ValueError if the network cannot be trained on the corpus as the configuration says."""
    corpus = with_labels(Corpus.open(corpus_path), config.labels)
    objective = ClassificationObjective(network, corpus, segments=config.segments)
    check_training(objective, config.training, num_workers)


def _run(run: StageRun) -> StageResult:
    config: ClassificationStage = run.stage.config
    network = Classifier(config.classifier)
    initialise(network.backend, config.seed, "backend")
    if config.weights is not None:
        drawn = network.backend.state_dict()
        load_strictly(network.backend, pretrained_backend(drawn, config.classifier.backend, config.weights, run))
    return train_and_score(objective_of(on_device(network, run), config, run), config, run)


def pretrained_backend(drawn: Mapping[str, Tensor], backend: Any, weights: Weights, run: StageRun) -> dict[str, Tensor]:
    """A backend's drawn state with the weights of a file in their place; a head that is not of them stays drawn."""
    if weights.form == "exported":
        return exported_backend_state(run.read_input(weights.sha256), drawn)
    return {**drawn, **backend_state(run.read_input(weights.sha256), weights.name, backend)}


def objective_of(
    network: Any, config: Any, run: StageRun, *, freeze_separator: bool = False
) -> ClassificationObjective:
    """The task as the stage trains a network on it."""
    return ClassificationObjective(
        network,
        with_labels(open_corpus(run), config.labels),
        segments=config.segments,
        freeze_separator=freeze_separator,
        cache_bytes=run.execution.feature_memory_bytes,
    )


def train_and_score(objective: ClassificationObjective, config: Any, run: StageRun) -> StageResult:
    """Trains to the end, then scores the split that the configuration names."""
    training = train(objective, config, run)
    if config.scored == "validation":
        found = evaluate_with(objective.validate, objective, config, run)
        return result_of(training, {f"validation_{name}": value for name, value in found.items()})
    return result_of(training, *scored_on_test(objective, config, run))


def scored_on_test(
    objective: ClassificationObjective, config: Any, run: StageRun
) -> tuple[dict[str, float], dict[str, pa.Table]]:
    """Metrics and tables of the test split."""
    scores = evaluate_with(lambda: objective.evaluate("test"), objective, config, run)
    measured = objective.measure(scores, "test")
    return metrics_of(measured), score_tables(objective.corpus, scores, measured)


CLASSIFICATION = StageKind(
    name="classification", version=2, run=_run, check=_check, work=classification_work, memory=classification_memory
)
