"""The work of a stage in FLOPs, from its configuration and its corpus' tracks, by torch's own counter.

Convolutions and matrix products count, as torch counts them; the rest is small. Each network runs once, with random
weights on one segment, forward and back: tensors without content ("meta") cannot pass the parts in full precision.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.random import fork_rng
from torch.utils.flop_counter import FlopCounterMode

from components.corpora.corpus import Corpus
from components.corpora.labels import with_labels
from components.networks.classifier import Classifier
from components.networks.joint_network import JointNetwork
from components.networks.separator import Separation, Separator
from components.objectives.probe import ProbeNetwork
from components.training.training_config import TrainingConfig
from study.stages.identity import canonical, to_json


def training_work(
    training: TrainingConfig, *, num_examples: int | None, forward: float, backward: float, num_validated: int
) -> float:
    """Of all epochs, if none is left out.

    `forward` and `backward`: FLOPs of one segment where it is learnt from. `num_validated`: segments of a validation.
    """
    num_steps = training.num_epochs * training.resolve_steps_per_epoch(num_examples)
    num_validations = -(-training.num_epochs // training.validate_every)
    return num_steps * training.batch_size * (forward + backward) + num_validations * num_validated * forward


def num_segments(corpus: Corpus, split: str, num_samples: int, overlap: float = 0.0) -> int:
    return len(corpus.tiles(corpus.indices(split), num_samples, overlap)[0])


def separation_work(config: Any, corpus_path: str) -> float:
    corpus, spectrogram = Corpus.open(corpus_path), config.separator.spectrogram
    scored = spectrogram.num_samples(config.evaluation_frames or config.num_frames)
    each, backward = step_of(Separator, config.separator, spectrogram.num_samples(config.num_frames))
    one_scored = forward_of(Separator, config.separator, scored)
    # Validation and test hear segments of another length: they count as so many of training.
    validated, tested = (num_segments(corpus, split, scored) * one_scored / each for split in ("validation", "test"))
    trained = training_work(
        config.training, num_examples=None, forward=each, backward=backward, num_validated=round(validated)
    )
    return trained + tested * each


def classification_work(config: Any, corpus_path: str) -> float:
    num_samples = config.classifier.num_samples
    forward, backward = step_of(Classifier, config.classifier, num_samples)
    return _classifier_work(config, corpus_path, num_samples, learns=forward, backward=backward)


def finetuning_work(config: Any, corpus_path: str) -> float:
    num_samples = config.joint.num_samples
    is_frozen = config.unet == "frozen"
    whole, backward = step_of(JointNetwork, config.joint, num_samples, "separator" if is_frozen else "")
    frozen = forward_of(Separator, config.joint.separator, num_samples) if is_frozen else 0.0
    learns = whole - frozen
    return _classifier_work(config, corpus_path, num_samples, learns=learns, backward=backward, frozen=frozen)


def _classifier_work(
    config: Any, corpus_path: str, num_samples: int, *, learns: float, backward: float, frozen: float = 0.0
) -> float:
    """`learns` and `frozen`: forward FLOPs of a segment in the parts that learn and in those that do not."""
    corpus, segments = with_labels(Corpus.open(corpus_path), config.labels), config.segments
    num_validated = num_segments(corpus, "validation", num_samples, segments.validation_overlap)
    num_examples = len(corpus.indices("train"))
    is_kept = segments.grid_samples > 1
    trained = training_work(
        config.training,
        num_examples=num_examples,
        forward=learns if is_kept else learns + frozen,
        backward=backward,
        num_validated=num_validated,
    )
    if is_kept:
        # What does not learn is computed once for each segment that is met.
        overlap = max(0.0, 1 - segments.grid_samples / num_samples)
        met = min(num_examples * config.training.num_epochs, num_segments(corpus, "train", num_samples, overlap))
        trained += (met + num_validated) * frozen
    num_tested = num_segments(corpus, "test", num_samples, segments.test_overlap) if config.scored == "test" else 0
    return trained + num_tested * (learns + frozen)


def held_out_test_work(config: Any, corpus_path: str) -> float:
    trained, corpus = config.trained, Corpus.open(corpus_path)
    is_joint = hasattr(trained, "joint")
    network, network_config = (JointNetwork, trained.joint) if is_joint else (Classifier, trained.classifier)
    num_samples = network_config.num_samples
    each = forward_of(network, network_config, num_samples)
    return each * num_segments(corpus, "test", num_samples, trained.segments.test_overlap)


def probe_work(config: Any, corpus_path: str) -> float:
    corpus, num_samples = with_labels(Corpus.open(corpus_path), config.labels), config.probe.num_samples
    heard = sum(num_segments(corpus, split, num_samples) for split in ("train", "validation", "test"))
    return heard * forward_of(ProbeNetwork, config.probe, num_samples)


def forward_of(network: Callable[[Any], nn.Module], config: Any, num_samples: int) -> float:
    """FLOPs of one segment's way through a network."""
    return _flops(network, _Config(config), num_samples, "")[0]


def step_of(
    network: Callable[[Any], nn.Module], config: Any, num_samples: int, frozen: str = ""
) -> tuple[float, float]:
    """FLOPs of one segment's way forward, and of the gradients' way back; `frozen`: the part that does not learn."""
    return _flops(network, _Config(config), num_samples, frozen)


class _Config:
    """A configuration that can be a key: two are equal if all that they say is."""

    def __init__(self, config: Any) -> None:
        self.config, self._key = config, to_json(canonical(config))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Config) and other._key == self._key

    def __hash__(self) -> int:
        return hash(self._key)


@cache
def _flops(network: Callable[[Any], nn.Module], config: _Config, num_samples: int, frozen: str) -> tuple[float, float]:
    with fork_rng(devices=[]):
        built: Any = network(config.config).eval()
    if frozen:
        built.get_submodule(frozen).requires_grad_(False)
    waveform = torch.zeros(1, num_samples)
    with FlopCounterMode(display=False) as counter:
        output = built.classify(built.features(waveform)) if hasattr(built, "classify") else built(waveform)
        forward = float(counter.get_total_flops())
        learnt = output.mask if isinstance(output, Separation) else output
        if learnt.requires_grad:
            learnt.sum().backward()
    return forward, counter.get_total_flops() - forward
