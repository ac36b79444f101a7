"""Classification: tagging or genre from one random segment per track and epoch, evaluated by whole tracks.

Serves the bare backend and the joint network alike: both split into `features` (everything before the backend's
weights) and `classify`. If nothing that learns comes before the features and segments start on a grid, each segment's
features are computed once and kept.
"""

from dataclasses import dataclass
from itertools import chain
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from components.corpora.corpus import Corpus
from components.networks.backend import BackendInput
from components.networks.classifier import Classifier
from components.networks.joint_network import JointNetwork
from components.networks.separator import Separator
from components.objectives import metrics
from components.objectives.feature_cache import FeatureCache
from components.objectives.metrics import GenreScores, TaggingScores
from components.random_streams import numpy_generator
from components.training import workers
from components.training.loop import Batch, Objective

Task = Literal["tagging", "genre"]


@dataclass(frozen=True, kw_only=True)
class SegmentConfig:
    """Segments start on multiples of `grid_samples` in training; evaluation tiles each track with these overlaps."""

    grid_samples: int = 1
    validation_overlap: float = 0.0
    test_overlap: float = 0.5

    def __post_init__(self) -> None:
        if self.grid_samples < 1:
            raise ValueError(f"SegmentConfig.grid_samples is {self.grid_samples}; it must be at least 1")
        for name in ("validation_overlap", "test_overlap"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"SegmentConfig.{name} is {getattr(self, name)}; it must be at least 0 and below 1")


class TrackScores(NamedTuple):
    """A split's tracks (rows of the corpus, ascending), their labels, and their probabilities (mean over segments)."""

    tracks: Int64[np.ndarray, " track"]
    targets: np.ndarray
    probabilities: Float[np.ndarray, "track class"]


class ClassificationObjective(Objective[Classifier | JointNetwork]):
    """Binary cross-entropy over tags, or cross-entropy over genres.

    With `freeze_separator` the joint network's separator keeps its weights and its BatchNorm statistics. `cache_bytes`
    bounds the memory for features that stay the same; it changes no result.

    Raises:
        ValueError: the corpus is of another kind, has other classes than the network, a track shorter than a segment,
            no track in a split, or in validation or test no tag that can be scored; or there is no separator to freeze.
    """

    def __init__(
        self,
        network: Classifier | JointNetwork,
        corpus: Corpus,
        *,
        segments: SegmentConfig,
        freeze_separator: bool = False,
        cache_bytes: int = 0,
    ):
        super().__init__()
        self.network, self.corpus, self.config = network, corpus, segments
        self.num_samples = network.config.num_samples
        self._check_corpus()
        self._frozen = _separator_of(network).requires_grad_(False) if freeze_separator else None
        self._train_tracks = corpus.indices("train")
        self._cache = FeatureCache(cache_bytes)
        self._kept_order: tuple[tuple[int, int], np.ndarray] | None = None

    def inputs(self, batch: Batch) -> tuple[BackendInput | Tensor, Tensor]:
        """Segments, or their features where these stay the same, and labels."""
        tracks, starts = self.draw(batch)
        heard = self._features(tracks, starts) if self.keeps_features else self._segments(tracks, starts)
        return heard, self.corpus.labels(tracks)

    def forward(self, heard: BackendInput | Tensor, targets: Tensor) -> Float[Tensor, ""]:
        features = self.network.features(heard) if isinstance(heard, Tensor) else heard
        logits = self.network.classify(features).float()
        if self.corpus.kind == "tagging":
            return functional.binary_cross_entropy_with_logits(logits, targets)
        return functional.cross_entropy(logits, targets)

    def examples_per_epoch(self) -> int:
        return len(self._train_tracks)

    def set_training(self, training: bool) -> None:
        super().set_training(training)
        if self._frozen is not None:
            self._frozen.eval()

    def draw(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Tracks and starts of a batch: the order belongs to (seed, epoch), the crop to (seed, epoch, track)."""
        tracks = self._order(batch.seed, batch.epoch)[list(batch.positions)]
        uniforms = np.array([numpy_generator(batch.seed, "crop", batch.epoch, int(track)).random() for track in tracks])
        return tracks, self.corpus.crop_starts(uniforms, tracks, self.num_samples, self.config.grid_samples)

    def _order(self, seed: int, epoch: int) -> np.ndarray:
        """The training tracks as an epoch hears them; kept until another epoch is asked for."""
        if self._kept_order is None or self._kept_order[0] != (seed, epoch):
            order = numpy_generator(seed, "order", epoch).permutation(self._train_tracks)
            self._kept_order = ((seed, epoch), order)
        return self._kept_order[1]

    def validate(self) -> dict[str, float]:
        """The loss of the track probabilities, and the metrics of the task."""
        scores = self.evaluate("validation")
        measured = self.measure(scores, "validation")
        return {"loss": self._track_loss(scores)} | measured.averages

    def evaluate(self, split: Literal["validation", "test"]) -> TrackScores:
        """Probabilities of every track of a split, the mean over its tiled segments (PAPER section 7)."""
        overlap = self.config.validation_overlap if split == "validation" else self.config.test_overlap
        tracks, starts = self.corpus.tiles(self.corpus.indices(split), self.num_samples, overlap)
        mine = np.arange(len(tracks))[workers.rank() :: workers.num_workers()]
        batches = [mine[i : i + 32] for i in range(0, len(mine), 32)]
        # A test comes once: keeping its features would only take memory.
        keep = split == "validation"
        shares = workers.gather([(b, self._probabilities(tracks[b], starts[b], keep=keep)) for b in batches])
        segments, probabilities = zip(*chain.from_iterable(shares), strict=True)
        found, means = metrics.average_over_tracks(np.concatenate(probabilities), tracks[np.concatenate(segments)])
        return TrackScores(found, self.corpus.labels(found).cpu().numpy(), means)

    def measure(self, scores: TrackScores, split: str) -> TaggingScores | GenreScores:
        """The metrics of the task; ValueError if no tag of the split can be scored."""
        measure = metrics.tagging_scores if self.corpus.kind == "tagging" else metrics.genre_scores
        return measure(scores.targets, scores.probabilities, classes=self.corpus.classes, split=split)

    def _check_corpus(self) -> None:
        """Raises before the first step rather than at the first validation or the test."""
        corpus, num_classes = self.corpus, self.network.config.backend.num_classes
        if corpus.kind not in ("tagging", "genre"):
            raise ValueError(f"{corpus.folder} is a {corpus.kind} corpus; classification needs tagging or genre")
        if num_classes != len(corpus.classes):
            raise ValueError(f"backend.num_classes is {num_classes}, {corpus.folder} has {len(corpus.classes)}")
        corpus.tiles(np.arange(len(corpus)), self.num_samples)
        for split in ("validation", "test") if corpus.kind == "tagging" else ():
            metrics.check_tags(corpus.labels(corpus.indices(split)).cpu().numpy(), classes=corpus.classes, split=split)

    def _segments(self, tracks: np.ndarray, starts: np.ndarray) -> Float[Tensor, "batch sample"]:
        return self.corpus.gather(tracks, starts, self.num_samples)[:, 0]

    def _features(self, tracks: np.ndarray, starts: np.ndarray) -> BackendInput:
        """Features that are kept, so that they are computed once."""

        def compute(index: int) -> BackendInput:
            chosen = slice(index, index + 1)
            return self.network.features(self._segments(tracks[chosen], starts[chosen]))

        keys = list(zip(tracks.tolist(), starts.tolist(), strict=True))
        return self._cache.features(keys, compute)

    @property
    def keeps_features(self) -> bool:
        """Whether segments come again and nothing that learns comes before their features."""
        learns = isinstance(self.network, JointNetwork) and self._frozen is None
        return self.config.grid_samples > 1 and not learns

    def _probabilities(self, tracks: np.ndarray, starts: np.ndarray, *, keep: bool) -> np.ndarray:
        is_kept = keep and self.keeps_features
        features = self._features(tracks, starts) if is_kept else self.network.features(self._segments(tracks, starts))
        logits = self.network.classify(features).float()
        return (logits.sigmoid() if self.corpus.kind == "tagging" else logits.softmax(dim=1)).cpu().numpy()

    def _track_loss(self, scores: TrackScores) -> float:
        probabilities = torch.from_numpy(scores.probabilities).clamp(1e-7, 1 - 1e-7)
        targets = torch.from_numpy(scores.targets)
        if self.corpus.kind == "tagging":
            return functional.binary_cross_entropy(probabilities, targets.double()).item()
        return functional.nll_loss(probabilities.log(), targets).item()


def _separator_of(network: Classifier | JointNetwork) -> Separator:
    if not isinstance(network, JointNetwork):
        raise ValueError(f"freeze_separator is True; a {type(network).__name__} has no separator")
    return network.separator
