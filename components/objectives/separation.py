"""Separation pre-training: the U-Net learns to take one source, or all four, out of a mixture.

Mixtures are remixed from random excerpts of the training songs (PAPER section 4), so that sources of different songs
are heard together and the targets stay exact.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from components.corpora.audio import SAMPLE_RATE
from components.corpora.corpus import Corpus
from components.networks.separator import Separator
from components.objectives import metrics
from components.random_streams import numpy_generator
from components.training import workers
from components.training.loop import Batch, Objective


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
    """Excerpts of a song last `excerpt_s` and start `excerpt_hop_s` apart.

    One source: two excerpts of it are the part `target`, two of everything else the part `others`. All four sources are
    summed as they are, two excerpts of each but one of the bass; the parts do not apply to them.
    """

    excerpt_s: float = 6.0
    excerpt_hop_s: float = 3.0
    target: Part = Part()
    others: Part = Part()

    def __post_init__(self) -> None:
        for name in ("excerpt_s", "excerpt_hop_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"RemixConfig.{name} is {getattr(self, name)}; it must be positive")


@dataclass(frozen=True, kw_only=True)
class SeparationLossConfig:
    """Mean absolute error of the waveform, plus `sqrt_magnitude_weight` times that of square-root magnitudes.

    The second term keeps quiet targets from collapsing to silence.
    """

    waveform_weight: float = 1.0
    sqrt_magnitude_weight: float = 0.0

    def __post_init__(self) -> None:
        weights = (self.waveform_weight, self.sqrt_magnitude_weight)
        if not (min(weights) >= 0 and max(weights) > 0):
            raise ValueError(
                f"SeparationLossConfig's weights are {weights}; none may be negative, one must be positive"
            )


# Which of an example's excerpts each source is taken from when all are separated at once.
EXCERPTS_OF_ALL = {"vocals": slice(0, 2), "other": slice(2, 4), "drums": slice(4, 6), "bass": slice(6, 7)}
NUM_EXCERPTS = 7


class SeparationObjective(Objective[Separator]):
    """Draws remixed mixtures and scores the separator's estimates.

    Raises:
        ValueError: the corpus has no "mixture", no stem of one of the sources or no track in a split; or a segment of
            `num_frames` frames does not fit the U-Net's poolings, the shortest track or an excerpt.

    Scores are taken over segments of `evaluation_frames`, None for as many as in training.
    """

    def __init__(
        self,
        network: Separator,
        corpus: Corpus,
        *,
        num_frames: int,
        remix: RemixConfig,
        loss: SeparationLossConfig,
        evaluation_frames: int | None = None,
    ):
        super().__init__()
        self.network, self.corpus, self.remix, self.loss_config = network, corpus, remix, loss
        self.segment_samples = network.config.spectrogram.num_samples(num_frames)
        self.evaluation_samples = network.config.spectrogram.num_samples(evaluation_frames or num_frames)
        self.sources: tuple[str, ...] = network.config.sources
        self._excerpt_samples = round(remix.excerpt_s * SAMPLE_RATE)
        self._check_stems()
        self._check_segment()
        self._excerpts = self._list_excerpts()

    def inputs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.remixed(batch)

    def forward(self, mixture: Tensor, target: Tensor) -> Float[Tensor, ""]:
        return self.loss(mixture, target)

    def validate(self) -> dict[str, float]:
        return self.evaluate("validation")

    def evaluate(self, split: Literal["validation", "test"]) -> dict[str, float]:
        """The loss, and SDR and SI-SDR (dB) per source, over the songs' own mixtures, segment by segment.

        "loss" is the mean absolute error of the waveform alone. "si_sdr_mixture_vocals" is what the mixture itself
        would score as an estimate. Segments in which a source is silent do not count for it.
        """
        tracks, starts = self.corpus.tiles(self.corpus.indices(split), self.evaluation_samples)
        mine = np.arange(len(tracks))[workers.rank() :: workers.num_workers()]
        batches = [mine[i : i + 8] for i in range(0, len(mine), 8)]
        shares = workers.gather([self._score(tracks[batch], starts[batch]) for batch in batches])
        parts = [scores for share in shares for scores in share]
        joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return {"loss": joined.pop("loss").mean().item()} | {
            f"{name}_{source}": value
            for name, values in joined.items()
            for source, value in metrics.mean_per_source(values, self.sources).items()
        }

    def _score(self, tracks: np.ndarray, starts: np.ndarray) -> dict[str, Tensor]:
        """Scores of each segment: loss (segment,), the others (segment, source)."""
        stems = self._stems(tracks, starts, self.evaluation_samples)
        separation = self.network(stems["mixture"])
        estimate = self._inner(self.network.waveforms(separation, self.evaluation_samples))
        target = self._inner(torch.stack([stems[source] for source in self.sources], dim=1))
        mixture = self._inner(stems["mixture"])[:, None].expand_as(target)
        scores = {
            "loss": (estimate - target).abs().mean(dim=(1, 2)),
            "sdr": metrics.sdr(estimate, target),
            "si_sdr": metrics.si_sdr(estimate, target),
            "sdr_mixture": metrics.sdr(mixture, target),
            "si_sdr_mixture": metrics.si_sdr(mixture, target),
        }
        return {name: values.cpu() for name, values in scores.items()}

    def loss(
        self, mixture: Float[Tensor, "batch sample"], target: Float[Tensor, "batch source sample"]
    ) -> Float[Tensor, ""]:
        """The configured loss of the separator's estimates of `target`."""
        separation, config = self.network(mixture), self.loss_config
        estimate = self.network.waveforms(separation, self.segment_samples)
        loss = config.waveform_weight * self._inner(estimate - target).abs().mean()
        if config.sqrt_magnitude_weight:
            spectrum = self.network.spectrogram.stft(target.flatten(0, 1))[..., :-1]
            truth = spectrum.abs().unflatten(0, target.shape[:2])
            difference = (separation.estimate_magnitude + 1e-4).sqrt() - (truth + 1e-4).sqrt()
            loss = loss + config.sqrt_magnitude_weight * difference.abs().mean()
        return loss

    def _inner(self, waveform: Float[Tensor, "*shape sample"]) -> Float[Tensor, "*shape inner"]:
        """Without the window's length at both ends, most of which the inverse STFT tapers."""
        edge = self.network.config.spectrogram.window_samples
        return waveform[..., edge:-edge]

    def _check_stems(self) -> None:
        missing = [stem for stem in ("mixture", *self.sources) if stem not in self.corpus.stems]
        if missing:
            raise ValueError(f"{self.corpus.folder} has no stem {missing[0]!r}; it has {list(self.corpus.stems)}")
        unknown = [source for source in self.sources if source not in EXCERPTS_OF_ALL]
        if len(self.sources) > 1 and unknown:
            allowed = ", ".join(EXCERPTS_OF_ALL)
            raise ValueError(f"sources has {unknown[0]!r}; several at once can be remixed out of: {allowed}")

    def _check_segment(self) -> None:
        """Raises before the first step rather than at the first validation or test."""
        lengths = {
            "train": self.segment_samples,
            "validation": self.evaluation_samples,
            "test": self.evaluation_samples,
        }
        for split, num_samples in lengths.items():
            self.network.config.check_num_samples(num_samples)
            self.corpus.tiles(self.corpus.indices(split), num_samples)
        edges = 2 * self.network.config.spectrogram.window_samples
        if self.segment_samples <= edges:
            raise ValueError(f"a segment has {self.segment_samples} samples; {edges} are left out at its edges")
        if self._excerpt_samples < self.segment_samples:
            given = f"RemixConfig.excerpt_s is {self.remix.excerpt_s}, {self._excerpt_samples} samples"
            raise ValueError(f"{given}; a segment has {self.segment_samples}")

    def _list_excerpts(self) -> tuple[np.ndarray, np.ndarray]:
        """Tracks and starts (samples) of all training excerpts; a song shorter than one gives a single shorter one."""
        hop = round(self.remix.excerpt_hop_s * SAMPLE_RATE)
        tracks = self.corpus.indices("train")
        counts = np.maximum((self.corpus.tracks["length"][tracks] - self._excerpt_samples) // hop + 1, 1)
        starts = [np.arange(count) * hop for count in counts]
        return np.repeat(tracks, counts), np.concatenate(starts)

    def draw(self, batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A batch's excerpts, each cropped at random: tracks and starts (example, excerpt), gains (example, part).

        The draws do not depend on the sources; a single source uses the first four excerpts.
        """
        draws = [self._draw(batch, position) for position in batch.positions]
        tracks, starts, gains = (np.stack([draw[i] for draw in draws]) for i in range(3))
        num_used = NUM_EXCERPTS if len(self.sources) > 1 else 4
        return tracks[:, :num_used], starts[:, :num_used], gains

    def _draw(self, batch: Batch, position: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        generator = numpy_generator(batch.seed, "remix", batch.epoch, position)
        all_tracks, all_starts = self._excerpts
        chosen = generator.integers(len(all_tracks), size=NUM_EXCERPTS)
        tracks, starts = all_tracks[chosen], all_starts[chosen]
        room = np.minimum(self._excerpt_samples, self.corpus.tracks["length"][tracks] - starts)
        starts = starts + (generator.random(NUM_EXCERPTS) * (room - self.segment_samples + 1)).astype(np.int64)
        return tracks, starts, self._gains(generator)

    def remixed(self, batch: Batch) -> tuple[Float[Tensor, "batch sample"], Float[Tensor, "batch source sample"]]:
        """Mixtures and targets of one batch (PAPER section 4)."""
        tracks, starts, gains = self.draw(batch)
        stems = {
            name: segments.unflatten(0, tracks.shape)
            for name, segments in self._stems(tracks.ravel(), starts.ravel(), self.segment_samples).items()
        }
        if len(self.sources) == 1:
            source, gain = self.sources[0], torch.from_numpy(gains).to(self.corpus.device, non_blocking=True)
            target = gain[:, :1] * stems[source][:, :2].sum(dim=1)
            others = gain[:, 1:] * (stems["mixture"] - stems[source])[:, 2:].sum(dim=1)
            return target + others, target[:, None]
        targets = [stems[source][:, EXCERPTS_OF_ALL[source]].sum(dim=1) for source in self.sources]
        target = torch.stack(targets, dim=1)
        return target.sum(dim=1), target

    def _gains(self, generator: np.random.Generator) -> np.ndarray:
        """Linear gains of the target and of the others; 0 where a part is absent."""
        parts = (self.remix.target, self.remix.others)
        gains = [(generator.random() < p.presence) * 10 ** (generator.uniform(*p.gain_db) / 20) for p in parts]
        return np.array(gains, dtype=np.float32)

    def _stems(
        self, tracks: np.ndarray, starts: np.ndarray, num_samples: int
    ) -> dict[str, Float[Tensor, "batch sample"]]:
        names = ("mixture", *self.sources)
        segments = self.corpus.gather(tracks, starts, num_samples, names)
        return dict(zip(names, segments.unbind(dim=1), strict=True))
