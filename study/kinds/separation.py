"""The stage kind that trains a separator, from remixed songs."""

from dataclasses import dataclass, field

import torch

from components.corpora.corpus import Corpus
from components.networks.initialisation import initialise
from components.networks.separator import Separator, SeparatorConfig
from components.objectives.separation import RemixConfig, SeparationLossConfig, SeparationObjective
from components.training.training_config import TrainingConfig
from study.kinds.arithmetic import Arithmetic, on_device, open_corpus
from study.kinds.memory import separation_memory
from study.kinds.training import check_training, evaluate_with, result_of, train
from study.kinds.work import separation_work
from study.stages.stage import StageKind, StageResult, StageRun


@dataclass(frozen=True, kw_only=True)
class SeparationStage:
    """Configuration of a separation stage.

    `num_frames`: the length of a training segment. `evaluation_frames`: that of a scored one (None: the same).
    """

    seed: int
    separator: SeparatorConfig
    num_frames: int
    remix: RemixConfig
    loss: SeparationLossConfig
    training: TrainingConfig
    arithmetic: Arithmetic
    evaluation_frames: int | None = field(default=None, metadata={"legacy": None})


def _separate(run: StageRun) -> StageResult:
    config: SeparationStage = run.stage.config
    network = Separator(config.separator)
    initialise(network, config.seed, "separator")
    objective = _separation(on_device(network, run), open_corpus(run), config)
    training = train(objective, config, run)
    metrics = evaluate_with(lambda: objective.evaluate("test"), objective, config, run)
    return result_of(training, metrics)


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
    with torch.device("meta"):  # no weights: only whether all fits together
        network = Separator(config.separator)
    check_training(_separation(network, Corpus.open(corpus_path), config), config.training, num_workers)


SEPARATION = StageKind(
    name="separation", version=1, run=_separate, check=_check_separation, work=separation_work, memory=separation_memory
)
