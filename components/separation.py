"""Separation pre-training: the U-Net learns to take one source, or all four, out of a mixture.

Mixtures are remixed from random excerpts of different songs (PAPER: section III-A of the article), so that sources
that never met are heard together and the targets stay exact.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from components import metrics, workers
from components.audio import SAMPLE_RATE
from components.corpus import Corpus
from components.separator import Separator
from components.streams import numpy_generator
from components.training import Batch


@dataclass(frozen=True, kw_only=True)
class Part:
    """How often and how loud a part stands in a remixed mixture: presence in [0, 1], gain in dB, drawn uniformly."""

    presence: float = 1.0
    gain_db: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if not 0.0 < self.presence <= 1.0:
            raise ValueError(f"Part.presence is {self.presence}; it must be in (0, 1]")
        if self.gain_db[0] > self.gain_db[1]:
            raise ValueError(f"Part.gain_db is {self.gain_db}; give (lowest, highest)")


@dataclass(frozen=True, kw_only=True)
class RemixConfig:
    """Two excerpts of the target and two of everything else; all excerpts of a song start `excerpt_hop_s` apart."""

    excerpt_s: float = 6.0
    excerpt_hop_s: float = 3.0
    target: Part = Part()
    others: Part = Part()


@dataclass(frozen=True, kw_only=True)
class SeparationLossConfig:
    """Mean absolute error of the waveform, plus `sqrt_magnitude_weight` times that of square-root magnitudes.

    The second term keeps quiet targets from collapsing to silence.
    """

    waveform_weight: float = 1.0
    sqrt_magnitude_weight: float = 0.0


# How many of the four drawn excerpts each source contributes when all are separated at once.
EXCERPTS_OF_ALL = {"vocals": 2, "other": 2, "drums": 2, "bass": 1}


class SeparationObjective(nn.Module):
    """Draws remixed mixtures and scores the separator's estimates.

    Corpus stems needed: "mixture" and every source of the separator; ValueError names a missing one.
    """

    def __init__(
        self, network: Separator, corpus: Corpus, *, num_frames: int, remix: RemixConfig, loss: SeparationLossConfig
    ):
        super().__init__()
        self.network, self.corpus, self.remix, self.loss_config = network, corpus, remix, loss
        self.segment_samples = network.config.spectrogram.num_samples(num_frames)
        network.config.check_num_samples(self.segment_samples)
        self.sources: tuple[str, ...] = network.config.sources
        missing = [stem for stem in ("mixture", *self.sources) if stem not in corpus.stems]
        if missing:
            raise ValueError(f"{corpus.folder} has no stem {missing[0]!r}; it has {list(corpus.stems)}")
        self._excerpts = self._list_excerpts()

    def forward(self, batch: Batch) -> Tensor:
        mixture, target = self._remixed(batch)
        return self._loss(mixture, target)

    def examples_per_epoch(self) -> None:
        return None

    def set_training(self, training: bool) -> None:
        self.network.train(training)

    def validate(self) -> dict[str, float]:
        return self.evaluate("validation")

    def evaluate(self, split: Literal["validation", "test"]) -> dict[str, float]:
        """The loss, and SDR and SI-SDR (dB) per source over the songs' own mixtures, segment by segment.

        "si_sdr_mixture_vocals" is what the mixture itself would score as an estimate. Segments in which a source is
        silent do not count for it.
        """
        tracks, starts = self.corpus.tiles(self.corpus.indices(split), self.segment_samples)
        mine = np.arange(len(tracks))[workers.rank() :: workers.num_workers()]
        scores = [self._score(tracks[batch], starts[batch]) for batch in np.array_split(mine, -(-len(mine) // 8))]
        joined = _joined(workers.gather(_joined(scores)))
        return {"loss": joined.pop("loss").mean().item()} | {
            f"{name}_{source}": value
            for name, values in joined.items()
            for source, value in metrics.mean_per_source(values, self.sources).items()
        }

    def _score(self, tracks: np.ndarray, starts: np.ndarray) -> dict[str, Tensor]:
        """Scores of each segment: loss (segment,), the others (segment, source)."""
        stems = self._stems(tracks, starts)
        inner = slice(self._edge, -self._edge)
        target = torch.stack([stems[source] for source in self.sources], dim=1)[..., inner]
        estimate = self._estimates(stems["mixture"])[..., inner]
        mixture = stems["mixture"][:, None, inner].expand_as(target)
        scores = {
            "loss": (estimate - target).abs().mean(dim=(1, 2)),
            "sdr": metrics.sdr(estimate, target),
            "si_sdr": metrics.si_sdr(estimate, target),
            "sdr_mixture": metrics.sdr(mixture, target),
            "si_sdr_mixture": metrics.si_sdr(mixture, target),
        }
        return {name: values.cpu() for name, values in scores.items()}

    def _estimates(self, mixture: Float[Tensor, "batch sample"]) -> Float[Tensor, "batch source sample"]:
        return self.network.waveforms(self.network(mixture), self.segment_samples)

    def _loss(self, mixture: Float[Tensor, "batch sample"], target: Float[Tensor, "batch source sample"]) -> Tensor:
        separation, config = self.network(mixture), self.loss_config
        inner = slice(self._edge, -self._edge)
        estimate = self.network.waveforms(separation, self.segment_samples)
        loss = config.waveform_weight * (estimate - target)[..., inner].abs().mean()
        if config.sqrt_magnitude_weight:
            spectrum = self.network.spectrogram.stft(target.flatten(0, 1))[..., :-1]
            truth = spectrum.abs().unflatten(0, target.shape[:2])
            difference = (separation.estimate_magnitude + 1e-4).sqrt() - (truth + 1e-4).sqrt()
            loss = loss + config.sqrt_magnitude_weight * difference.abs().mean()
        return loss

    @property
    def _edge(self) -> int:
        """Samples at either end that the inverse STFT tapers."""
        return self.network.config.spectrogram.window_samples

    def _list_excerpts(self) -> tuple[np.ndarray, np.ndarray]:
        """Tracks and starts (samples) of all training excerpts; a song shorter than one gives a single shorter one."""
        hop = round(self.remix.excerpt_hop_s * SAMPLE_RATE)
        excerpt = round(self.remix.excerpt_s * SAMPLE_RATE)
        tracks = self.corpus.indices("train")
        self.corpus.tiles(tracks, self.segment_samples)
        counts = np.maximum((self.corpus.tracks["length"][tracks] - excerpt) // hop + 1, 1)
        starts = [np.arange(count) * hop for count in counts]
        return np.repeat(tracks, counts), np.concatenate(starts)

    def _draw(self, batch: Batch, position: int) -> tuple[np.ndarray, np.ndarray, list[float]]:
        """Four segments, each a random crop of a random excerpt (tracks, starts), and the gains of the two parts."""
        generator = numpy_generator(batch.seed, "remix", batch.epoch, position)
        chosen = generator.integers(len(self._excerpts[0]), size=4)
        tracks, starts = self._excerpts[0][chosen], self._excerpts[1][chosen]
        room = np.minimum(round(self.remix.excerpt_s * SAMPLE_RATE), self.corpus.tracks["length"][tracks] - starts)
        starts = starts + (generator.random(4) * (room - self.segment_samples + 1)).astype(np.int64)
        return tracks, starts, self._gains(generator)

    def _remixed(self, batch: Batch) -> tuple[Float[Tensor, "batch sample"], Float[Tensor, "batch source sample"]]:
        """Mixtures and targets of one batch."""
        tracks, starts, gains = zip(*(self._draw(batch, position) for position in batch.positions), strict=True)
        segments = self._stems(np.concatenate(tracks), np.concatenate(starts))
        stems = {name: stem.unflatten(0, (-1, 4)) for name, stem in segments.items()}
        if len(self.sources) > 1:
            target = torch.stack([stems[source][:, : EXCERPTS_OF_ALL[source]].sum(dim=1) for source in self.sources], 1)
            return target.sum(dim=1), target
        gain = torch.tensor(gains, device=self.corpus.device)
        target = gain[:, :1] * stems[self.sources[0]][:, :2].sum(dim=1)
        others = gain[:, 1:] * (stems["mixture"] - stems[self.sources[0]])[:, 2:].sum(dim=1)
        return target + others, target[:, None]

    def _gains(self, generator: np.random.Generator) -> list[float]:
        """Linear gains of the target and of the others; 0 where a part is absent."""
        parts = (self.remix.target, self.remix.others)
        return [
            float((generator.random() < part.presence) * 10 ** (generator.uniform(*part.gain_db) / 20))
            for part in parts
        ]

    def _stems(self, tracks: np.ndarray, starts: np.ndarray) -> dict[str, Float[Tensor, "batch sample"]]:
        segments = self.corpus.gather(tracks, starts, self.segment_samples)
        return dict(zip(self.corpus.stems, segments.unbind(dim=1), strict=True))


def _joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
