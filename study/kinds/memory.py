"""The GPU memory that a training stage needs, before it starts: from one step of two segments on this CPU."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._pytree import tree_leaves

from components.corpora.corpus import Corpus
from components.networks.classifier import Classifier
from components.networks.joint_network import JointNetwork
from components.networks.separator import Separator
from components.objectives.classification import ClassificationObjective
from components.objectives.separation import SeparationObjective
from components.training.loop import Batch, Compute, Objective
from study.kinds.work import num_segments

# What libraries and passing results take: on an H100, six trainings took 0.0 to 0.4 GiB more than all else here.
OTHER_BYTES = 2**29
NUM_SEGMENTS = 2  # the fewest that BatchNorm can normalise


def separation_memory(config: Any, corpus_path: str, num_workers: int, feature_bytes: int) -> int:
    objective = SeparationObjective(
        Separator(config.separator),
        Corpus.open(corpus_path),
        num_frames=config.num_frames,
        evaluation_frames=config.evaluation_frames,
        remix=config.remix,
        loss=config.loss,
    )
    return _training_bytes(objective, config, num_workers)


def classification_memory(config: Any, corpus_path: str, num_workers: int, feature_bytes: int) -> int:
    return _classifier_bytes(Classifier(config.classifier), config, corpus_path, num_workers, feature_bytes)


def finetuning_memory(config: Any, corpus_path: str, num_workers: int, feature_bytes: int) -> int:
    network, is_frozen = JointNetwork(config.joint), config.unet == "frozen"
    return _classifier_bytes(network, config, corpus_path, num_workers, feature_bytes, freeze_separator=is_frozen)


def _classifier_bytes(
    network: Any,
    config: Any,
    corpus_path: str,
    num_workers: int,
    feature_bytes: int,
    *,
    freeze_separator: bool = False,
) -> int:
    corpus, segments = Corpus.open(corpus_path), config.segments
    objective = ClassificationObjective(network, corpus, segments=segments, freeze_separator=freeze_separator)
    needed = _training_bytes(objective, config, num_workers)
    if not objective.keeps_features:
        return needed
    each = sum(_num_bytes(leaf) for leaf in tree_leaves(_inputs(objective)[0])) // NUM_SEGMENTS
    overlap = max(0.0, 1 - segments.grid_samples / objective.num_samples)
    kept = num_segments(corpus, "train", objective.num_samples, overlap)
    kept += num_segments(corpus, "validation", objective.num_samples, segments.validation_overlap)
    return needed + min(feature_bytes, kept * each)


def _training_bytes(objective: Objective[Any], config: Any, num_workers: int) -> int:
    """Weights and a copy of the best ones, gradients and Adam's two moments, what a step keeps, and the corpus."""
    parameters = list(objective.network.parameters())
    learned = sum(_num_bytes(p) for p in parameters if p.requires_grad)
    batch_size = config.training.batch_size // num_workers
    kept = _step_bytes(objective, Compute(precision=config.arithmetic.precision)) * batch_size // NUM_SEGMENTS
    corpus: Corpus = objective.corpus  # pyright: ignore[reportAssignmentType]
    return 2 * sum(map(_num_bytes, parameters)) + 3 * learned + kept + _num_bytes(corpus.waveform) + OTHER_BYTES


def _step_bytes(objective: Objective[Any], compute: Compute) -> int:
    """What a step of so few segments keeps for its gradients, each piece of memory counted once."""
    own = {_place(tensor) for tensor in (*objective.network.parameters(), *objective.network.buffers())}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if _place(tensor) not in own:
            kept[_place(tensor)] = tensor
        return tensor

    objective.set_training(True)
    with torch.random.fork_rng(devices=[]), compute.autocast():
        inputs = _inputs(objective)
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            objective(*inputs)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def _inputs(objective: Objective[Any]) -> tuple[Any, ...]:
    return objective.inputs(Batch(seed=0, epoch=0, step=0, positions=range(NUM_SEGMENTS)))


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _num_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
