"""Tag activations over time: what trained networks make of one segment after another of a song."""

import dataclasses
import json
from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64

import components
from components.checkpoint import weights_from_bytes
from components.classifier import Classifier
from components.corpus import Corpus
from components.initialisation import load_strictly
from components.joint import JointNetwork
from components.training import Compute
from study import kinds, running
from study.identity import restored
from study.running import WEIGHTS
from study.store import Store

# Whatever backend a study had: its configuration is in a module of `components`.
_MODULES = [
    *(import_module(f"components.{found.name}") for found in iter_modules(components.__path__) if not found.ispkg),
    *(kinds, running),
]
CONFIGS: Mapping[str, type] = {
    name: value
    for module in _MODULES
    for name, value in vars(module).items()
    if isinstance(value, type) and dataclasses.is_dataclass(value)
}
BATCH = 16


class Listener:
    """The network that a stage has trained, from its `config` in the records and its weights in the store.

    Raises:
        ValueError: a configuration or weights that this code does not know, or of a stage without a classifier.
        OSError: the weights are not there.
    """

    def __init__(self, store: Store, identity: str, config: str) -> None:
        stage: Any = restored(json.loads(config), CONFIGS)
        if isinstance(stage, kinds.FinetuningStage):
            self._network: Classifier | JointNetwork = JointNetwork(stage.joint)
        elif isinstance(stage, kinds.ClassificationStage):
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
        """Of each tag for itself, in the segments of a track that begin at `starts` (samples)."""
        found = []
        for place in range(0, len(starts), BATCH):
            chosen = starts[place : place + BATCH]
            segments = corpus.gather(np.full(len(chosen), track), chosen, self.num_samples)
            with self._compute.autocast():
                found.append(self._network(segments[:, 0]).float().sigmoid().numpy())
        return np.concatenate(found)
