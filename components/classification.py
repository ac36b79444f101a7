"""Classification: tagging or genre from one random segment per track and epoch, evaluated by whole tracks.

Serves the bare backend and the joint network alike: both split into `features` (waveform to what no backend weight
touches) and `classify`. Where the features have no learned weights and segments start on a grid, each segment's
features are computed once and kept.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from components import metrics, workers
from components.backend import BackendInput
from components.classifier import Classifier
from components.corpus import Corpus
from components.feature_memo import FeatureMemo
from components.joint import JointNetwork
from components.metrics import GenreScores, TaggingScores
from components.streams import numpy_generator
from components.training import Batch

Task = Literal["tagging", "genre"]


@dataclass(frozen=True, kw_only=True)
class SegmentConfig:
    """Segments start on multiples of `grid_samples` in training; evaluation tiles each track with these overlaps."""

    grid_samples: int = 1
    validation_overlap: float = 0.0
    test_overlap: float = 0.5


class TrackScores(NamedTuple):
    """A split's tracks (rows of the corpus, ascending), their labels, and their probabilities (mean over segments)."""

    tracks: Int64[np.ndarray, " track"]
    targets: np.ndarray
    probabilities: Float[np.ndarray, "track class"]


class ClassificationObjective(nn.Module):
    """Binary cross-entropy over tags, or cross-entropy over genres.

    With `freeze_separator` the joint network's separator keeps its weights and its BatchNorm statistics. `memo_bytes`
    bounds what is kept of features that stay the same.
    """

    def __init__(
        self,
        network: Classifier | JointNetwork,
        corpus: Corpus,
        *,
        segments: SegmentConfig,
        freeze_separator: bool = False,
        memo_bytes: int = 0,
    ):
        super().__init__()
        if corpus.kind not in ("tagging", "genre"):
            raise ValueError(f"{corpus.folder} is a {corpus.kind} corpus; classification needs tagging or genre")
        self.network, self.corpus, self.config = network, corpus, segments
        self.num_samples = network.config.num_samples
        self._frozen = network.separator if freeze_separator and isinstance(network, JointNetwork) else None
        self._train_tracks = corpus.indices("train")
        self._memo = FeatureMemo(memo_bytes)
        if self._frozen is not None:
            self._frozen.requires_grad_(False)
        corpus.tiles(np.arange(len(corpus)), self.num_samples)
        if network.config.backend.num_classes != len(corpus.classes):
            raise ValueError(
                f"backend.num_classes is {network.config.backend.num_classes}, {corpus.folder} has {len(corpus.classes)}"
            )

    def forward(self, batch: Batch) -> Tensor:
        tracks, starts = self.draw(batch)
        targets = self.corpus.labels(tracks)
        return self._loss(self.network.classify(self._features(tracks, starts, keep=True)), targets)

    def examples_per_epoch(self) -> int:
        return len(self._train_tracks)

    def set_training(self, training: bool) -> None:
        self.network.train(training)
        if self._frozen is not None:
            self._frozen.eval()

    def draw(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Tracks and starts of a batch: the order belongs to (seed, epoch), the crop to (seed, epoch, track)."""
        order = numpy_generator(batch.seed, "order", batch.epoch).permutation(self._train_tracks)
        tracks = order[list(batch.positions)]
        uniforms = np.array([numpy_generator(batch.seed, "crop", batch.epoch, int(track)).random() for track in tracks])
        return tracks, self.corpus.start_of(uniforms, tracks, self.num_samples, self.config.grid_samples)

    def validate(self) -> dict[str, float]:
        """The loss of the track probabilities, and the metrics of the task."""
        scores = self.evaluate("validation")
        measured = self.measure(scores, "validation")
        return {"loss": self._track_loss(scores)} | {k: v for k, v in vars(measured).items() if k != "tags"}

    def evaluate(self, split: Literal["validation", "test"]) -> TrackScores:
        """Probabilities of every track of a split, the mean over its tiled segments (PAPER: section III-D)."""
        overlap = self.config.validation_overlap if split == "validation" else self.config.test_overlap
        tracks = self.corpus.indices(split)
        mine = tracks[workers.rank() :: workers.num_workers()]
        segment_tracks, starts = self.corpus.tiles(mine, self.num_samples, overlap)
        batches = range(0, len(starts), 32)
        scores = [
            self._probabilities(segment_tracks[i : i + 32], starts[i : i + 32], keep=split == "validation")
            for i in batches
        ]
        shares = workers.gather(metrics.average_over_tracks(np.concatenate(scores), segment_tracks))
        found, means = (np.concatenate([share[i] for share in shares]) for i in (0, 1))
        order = np.argsort(found)
        return TrackScores(found[order], self.corpus.labels(found[order]).cpu().numpy(), means[order])

    def measure(self, scores: TrackScores, split: str) -> TaggingScores | GenreScores:
        """The metrics of the task; ValueError names a tag that has no positives or no negatives in the split."""
        measure = metrics.tagging_scores if self.corpus.kind == "tagging" else metrics.genre_scores
        return measure(scores.targets, scores.probabilities, classes=self.corpus.classes, split=split)

    def _features(self, tracks: np.ndarray, starts: np.ndarray, *, keep: bool) -> BackendInput:
        def compute(chosen: np.ndarray) -> BackendInput:
            segments = self.corpus.gather(tracks[chosen], starts[chosen], self.num_samples)
            return self.network.features(segments[:, 0])

        if keep and self._features_stay:
            return self._memo.features(list(zip(tracks.tolist(), starts.tolist(), strict=True)), compute)
        return compute(np.arange(len(tracks)))

    @property
    def _features_stay(self) -> bool:
        """Whether a segment comes again and nothing that learns stands before its features."""
        learns = isinstance(self.network, JointNetwork) and self._frozen is None
        return self.config.grid_samples > 1 and not learns

    def _probabilities(self, tracks: np.ndarray, starts: np.ndarray, *, keep: bool) -> np.ndarray:
        logits = self.network.classify(self._features(tracks, starts, keep=keep)).float()
        return (logits.sigmoid() if self.corpus.kind == "tagging" else logits.softmax(dim=1)).cpu().numpy()

    def _loss(self, logits: Float[Tensor, "batch class"], targets: Tensor) -> Float[Tensor, ""]:
        if self.corpus.kind == "tagging":
            return functional.binary_cross_entropy_with_logits(logits.float(), targets)
        return functional.cross_entropy(logits.float(), targets)

    def _track_loss(self, scores: TrackScores) -> float:
        probabilities = torch.from_numpy(scores.probabilities).clamp(1e-7, 1 - 1e-7)
        targets = torch.from_numpy(scores.targets)
        if self.corpus.kind == "tagging":
            return functional.binary_cross_entropy(probabilities, targets.double()).item()
        return functional.nll_loss(probabilities.log(), targets).item()
