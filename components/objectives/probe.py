"""A linear probe: does what a separator hears tell the classes apart at all?

Each track becomes the mean and the standard deviation over time of its log-mel, of each estimate's and of the decoder
maps; a logistic regression works on the standardised features. The separator does not learn.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from components.corpora.corpus import Corpus
from components.networks.separator import Separation, Separator, SeparatorConfig
from components.networks.spectrogram import (
    MelConfig,
    MelFilterbank,
    Spectrogram,
    SpectrogramConfig,
    full_precision,
    log_magnitude,
)
from components.training import workers

Feature = Literal["mixture", "estimates", "maps"]


def checked_features(features: Sequence[str]) -> tuple[Feature, ...]:
    """The features in one order; ValueError for none, an unknown one, or one given twice."""
    known = get_args(Feature)
    if isinstance(features, str) or not features or len(set(features)) != len(features) or not {*features} <= {*known}:
        raise ValueError(f"features is {features!r}; give some of {known}, each once")
    return tuple(feature for feature in known if feature in features)


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """What is heard of a track, tiled into segments of `num_frames`. `separator` is None if only the mixture is heard.

    `inverse_regularisations`: values that scikit-learn calls C; the one that is best on the validation split is taken.
    """

    features: tuple[Feature, ...]
    separator: SeparatorConfig | None
    num_frames: int
    spectrogram: SpectrogramConfig = field(default_factory=SpectrogramConfig)
    mel: MelConfig = field(default_factory=MelConfig)
    inverse_regularisations: tuple[float, ...] = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)

    def __post_init__(self) -> None:
        # One set of features is one configuration, in any order.
        object.__setattr__(self, "features", checked_features(self.features))
        if not self.inverse_regularisations or min(self.inverse_regularisations) <= 0:
            raise ValueError(f"inverse_regularisations is {self.inverse_regularisations}; give positive ones")
        if (self.separator is None) != (self.features == ("mixture",)):
            given = "no separator" if self.separator is None else "a separator"
            raise ValueError(f"ProbeConfig.features is {self.features} with {given}; only the mixture needs none")
        if self.separator is not None:
            self.separator.check_num_samples(self.num_samples)

    @property
    def num_samples(self) -> int:
        """Length of a segment."""
        return self.spectrogram.num_samples(self.num_frames)


class ProbeNetwork(nn.Module):
    """From segments to the moments of their features over time."""

    def __init__(self, config: ProbeConfig) -> None:
        super().__init__()
        self.config = config
        self.spectrogram = Spectrogram(config.spectrogram)
        self.mel = MelFilterbank(config.mel, config.spectrogram)
        self.separator = None if config.separator is None else Separator(config.separator)

    def forward(self, waveform: Float[Tensor, "batch sample"]) -> Float[Tensor, "batch 2 feature"]:
        """Means over time of each feature and of its square."""
        # Not in bf16: its squares are too coarse for a standard deviation.
        parts = [full_precision(part) for part in self._features(waveform)]
        moments = [torch.stack([x.mean(dim=1), x.square().mean(dim=1)], dim=1) for x in parts]
        return torch.cat(moments, dim=2)

    def _features(self, waveform: Tensor) -> Iterator[Float[Tensor, "batch frame feature"]]:
        separation = None if self.separator is None else self.separator(waveform)
        magnitude = self.spectrogram.stft(waveform)[..., :-1].abs()
        of_separator: dict[Feature, Callable[[Separation], list[Tensor]]] = {
            "estimates": lambda heard: [self._log_mel(x) for x in heard.estimate_magnitude.unbind(dim=1)],
            # Averaged over frequency: the question is what sounds, not at which pitch.
            "maps": lambda heard: [full_precision(x).mean(dim=3).transpose(1, 2) for x in heard.maps.values()],
        }
        for feature in self.config.features:
            if feature == "mixture":
                yield self._log_mel(magnitude)
            else:
                assert separation is not None
                yield from of_separator[feature](separation)

    def _log_mel(self, magnitude: Float[Tensor, "batch frame bin"]) -> Float[Tensor, "batch frame mel"]:
        return log_magnitude(self.mel(magnitude))


@torch.no_grad()
def track_features(
    network: ProbeNetwork, corpus: Corpus, split: str
) -> tuple[Int64[np.ndarray, " track"], Float[np.ndarray, "track feature"]]:
    """The split's tracks in ascending order; means, then standard deviations over the time of all their tiles."""
    tracks, starts = corpus.tiles(corpus.indices(split), network.config.num_samples)
    mine = np.arange(len(tracks))[workers.rank() :: workers.num_workers()]
    batches, share = [mine[i : i + 8] for i in range(0, len(mine), 8)], []
    for batch in batches:
        segments = corpus.gather(tracks[batch], starts[batch], network.config.num_samples)
        share.append((batch, network(segments[:, 0]).double().cpu().numpy()))
    order, moments = zip(*chain.from_iterable(workers.gather(share)), strict=True)
    return _pooled(tracks[np.concatenate(order)], np.concatenate(moments))


def _pooled(tracks: np.ndarray, moments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Over the tiles of each track, which are equally long."""
    found, position, counts = np.unique(tracks, return_inverse=True, return_counts=True)
    sums = np.zeros((len(found), *moments.shape[1:]))
    np.add.at(sums, position, moments)
    mean, of_squares = (sums / counts[:, None, None]).swapaxes(0, 1)
    deviation = np.sqrt(np.maximum(of_squares - mean**2, 0.0))
    return found.astype(np.int64), np.concatenate([mean, deviation], axis=1)


@dataclass(frozen=True, kw_only=True)
class LinearProbe:
    """A fitted logistic regression: probability of each class from standardised features."""

    mean: Float[np.ndarray, " feature"]
    scale: Float[np.ndarray, " feature"]
    model: Any
    num_classes: int

    @classmethod
    def fit(
        cls,
        features: Float[np.ndarray, "track feature"],
        targets: np.ndarray,
        inverse_regularisation: float,
        *,
        num_classes: int | None = None,
    ) -> "LinearProbe":
        """`targets`: 0 or 1 of each tag, or the index of each track's genre.

        A tag that no track, or every track, has, is told to none, or to all; a genre that no track has, to none.
        `num_classes`: None for those of the targets.
        """
        from sklearn.linear_model import LogisticRegression
        from sklearn.multiclass import OneVsRestClassifier
        from sklearn.preprocessing import StandardScaler
        from threadpoolctl import threadpool_limits

        scaler = StandardScaler().fit(features)
        model: Any = LogisticRegression(C=inverse_regularisation, max_iter=2000)
        if targets.ndim == 2:
            model = OneVsRestClassifier(model)
        # As many threads as the stage was given, so equal numbers of threads give equal bits.
        with threadpool_limits(torch.get_num_threads()), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Label (not )?.* is present in all training examples")
            model.fit(scaler.transform(features), targets)
        mean, scale = scaler.mean_, scaler.scale_
        num_classes = num_classes or len(model.classes_)
        return cls(mean=mean, scale=scale, model=model, num_classes=num_classes)  # pyright: ignore[reportArgumentType]

    def arrays(self) -> dict[str, np.ndarray]:
        """Its weights by name: a row and an offset for each tag, or each genre of the `classes` if some were absent."""
        learned = [self._line(model) for model in getattr(self.model, "estimators_", [self.model])]
        classes = {} if self._knows_all else {"classes": np.asarray(self.model.classes_, dtype=np.int64)}
        return {
            "mean": self.mean,
            "scale": self.scale,
            "weights": np.concatenate([weights for weights, _ in learned]),
            "offsets": np.concatenate([offsets for _, offsets in learned]),
            **classes,
        }

    def _line(self, model: Any) -> tuple[np.ndarray, np.ndarray]:
        """Weights and offsets; of a tag that is told to all or to none, the offset is infinite."""
        if hasattr(model, "coef_"):
            return model.coef_, model.intercept_
        is_told = bool(model.predict(self.mean[None])[0])
        return np.zeros((1, len(self.mean))), np.array([np.inf if is_told else -np.inf])

    @property
    def _knows_all(self) -> bool:
        """Whether there is an answer for every class; of tags there always is."""
        return len(self.model.classes_) == self.num_classes

    def probabilities(self, features: Float[np.ndarray, "track feature"]) -> Float[np.ndarray, "track class"]:
        """Of each tag separately; of genres they sum to 1."""
        told = self.model.predict_proba((features - self.mean) / self.scale)
        if self._knows_all:
            return told
        found = np.zeros((len(features), self.num_classes))
        found[:, self.model.classes_] = told
        return found
