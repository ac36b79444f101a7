"""A trained tagger: the network of a stage that is done, and its tag probabilities for a song's segments."""

import dataclasses
import json
from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64

import components.networks
import components.objectives
import components.training
import study.kinds
from components.corpora.corpus import Corpus
from components.networks.classifier import Classifier
from components.networks.initialisation import load_strictly
from components.networks.joint_network import JointNetwork
from components.training.checkpoint import weights_from_bytes
from components.training.loop import Compute
from study.kinds.classification import ClassificationStage
from study.kinds.finetuning import FinetuningStage
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

    Raises:
        ValueError: a configuration or weights that this code does not know, or of a stage without a classifier.
        OSError: the weights are not there.
    """

    def __init__(self, store: Store, identity: str, config: str) -> None:
        stage: Any = from_canonical(json.loads(config), CONFIGS)
        if isinstance(stage, FinetuningStage):
            self._network: Classifier | JointNetwork = JointNetwork(stage.joint)
        elif isinstance(stage, ClassificationStage):
            self._network = Classifier(stage.classifier)
        else:
            raise ValueError(f"{type(stage).__name__} trains no classifier")
        load_strictly(self._network, weights_from_bytes(store.read(identity, WEIGHTS)))
        self._network.to(memory_format=torch.channels_last).eval()  # pyright: ignore[reportCallIssue]
        self._compute = Compute(precision=stage.arithmetic.precision)

    @property
    def num_samples(self) -> int:
        """Length of a segment."""
        return self._network.config.num_samples

    @torch.no_grad()
    def probabilities(
        self, corpus: Corpus, track: int, starts: Int64[np.ndarray, " segment"]
    ) -> Float[np.ndarray, "segment class"]:
        """The probability of each tag in the segments of a track that begin at `starts` (samples)."""
        found = []
        for place in range(0, len(starts), BATCH):
            chosen = starts[place : place + BATCH]
            segments = corpus.gather(np.full(len(chosen), track), chosen, self.num_samples)
            with self._compute.autocast():
                found.append(self._network(segments[:, 0]).float().sigmoid().numpy())
        return np.concatenate(found)
