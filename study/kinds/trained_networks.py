"""Trained networks: those of stages that are done, and a tagger's probabilities for a song's segments."""

import dataclasses
import json
from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

import components.networks
import components.objectives
import components.training
import study.kinds
from components.networks.classifier import Classifier
from components.networks.initialisation import load_strictly
from components.networks.joint_network import JointNetwork
from components.networks.separator import Separator
from components.training.checkpoint import weights_from_bytes
from components.training.loop import Compute
from study.kinds.classification import ClassificationStage
from study.kinds.finetuning import FinetuningStage
from study.kinds.separation import SeparationStage
from study.kinds.weights import WEIGHTS
from study.stages.identity import from_canonical
from study.store.store import Store

# The configuration of any backend is in one of these rooms.
_ROOMS = (components.networks, components.objectives, components.training, study.kinds)
_MODULES = [import_module(f"{room.__name__}.{found.name}") for room in _ROOMS for found in iter_modules(room.__path__)]
CONFIGS: Mapping[str, type] = {
    name: value
    for module in _MODULES
    for name, value in vars(module).items()
    if isinstance(value, type) and dataclasses.is_dataclass(value)
}
BATCH = 16


class TrainedTagger:
    """The network that a stage has trained, from its `config` in the records and its weights in the store.

    `task`: "genre" for classes of which a song has exactly one. Raises:
        ValueError: a configuration or weights that this code does not know, or of a stage without a classifier.
        OSError: the weights are not there.
    """

    def __init__(self, store: Store, identity: str, config: str, *, task: str = "tagging", device: str = "cpu") -> None:
        self.stage = stage_from(config)
        self.network = classifier_of(self.stage)
        _load(self.network, store, identity, device)
        self._compute = Compute(device=device, precision=self.stage.arithmetic.precision)
        self._is_genre = task == "genre"

    @property
    def num_samples(self) -> int:
        """Length of a segment."""
        return self.network.config.num_samples

    @property
    def hop_samples(self) -> int:
        """From one segment to the next in the study's test."""
        return round(self.num_samples * (1 - self.stage.segments.test_overlap))

    @torch.no_grad()
    def probabilities(self, segments: Float[Tensor, "segment sample"]) -> Float[np.ndarray, "segment class"]:
        """The probability of each class in each segment at 16 kHz."""
        found = []
        for part in segments.split(BATCH):
            with self._compute.autocast():
                logits = self.network(part.to(self._compute.device)).float()
            found.append((logits.softmax(dim=1) if self._is_genre else logits.sigmoid()).cpu().numpy())
        return np.concatenate(found)


def stage_from(config: str) -> Any:
    """A stage's configuration from its text in the records; ValueError if this code does not know it."""
    return from_canonical(json.loads(config), CONFIGS)


def classifier_of(stage: Any) -> Classifier | JointNetwork:
    """The network, without weights, that a stage of this configuration trains; ValueError if that is no classifier."""
    if isinstance(stage, FinetuningStage):
        return JointNetwork(stage.joint)
    if isinstance(stage, ClassificationStage):
        return Classifier(stage.classifier)
    raise ValueError(f"{type(stage).__name__} trains no classifier")


def trained_separator(store: Store, identity: str, config: str, *, device: str = "cpu") -> Separator:
    """The separator that a stage has trained, ready to separate; errors as of a `TrainedTagger`."""
    stage = stage_from(config)
    if not isinstance(stage, SeparationStage):
        raise ValueError(f"{type(stage).__name__} trains no separator")
    network = Separator(stage.separator)
    _load(network, store, identity, device)
    return network


def _load(network: nn.Module, store: Store, identity: str, device: str) -> None:
    load_strictly(network, weights_from_bytes(store.read(identity, WEIGHTS)))
    network.to(device, memory_format=torch.channels_last).eval()  # pyright: ignore[reportCallIssue]
