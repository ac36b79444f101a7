"""Metrics: separation scores in dB, and ranking and decision scores of classification.

Separation scores are per waveform, so that batches can be joined before anything is averaged. Classification scores are
per track: `average_over_tracks` first, then `tagging_scores` or `genre_scores`.

The libraries behind both take seconds to import, so each is imported where it is used.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, Integer, Num
from torch import Tensor

FLOOR_DB = -60.0


def si_sdr(
    estimate: Float[Tensor, "batch source sample"], target: Float[Tensor, "batch source sample"]
) -> Float[Tensor, "batch source"]:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019), float64, at least `FLOOR_DB`.

    A silent target has no score: NaN, which `mean_per_source` leaves out. A silent estimate of a sounding target gets
    the floor: its ratio is 0 / 0, and a collapsed network must not look like a mediocre one.

    Raises:
        ValueError: the estimate is not finite (a diverged network must not pass for a silent target).
    """
    from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

    _check_finite(estimate)
    score = scale_invariant_signal_distortion_ratio(estimate.double(), target.double())
    return _scored(score.where(estimate.any(dim=-1), FLOOR_DB), target)


def sdr(
    estimate: Float[Tensor, "batch source sample"], target: Float[Tensor, "batch source sample"]
) -> Float[Tensor, "batch source"]:
    """Signal-to-distortion ratio in dB, float64, at least `FLOOR_DB`: target energy over that of the error.

    This is the definition of the Music Demixing Challenge (Mitsufuji et al. 2022), without BSSEval's distortion filter.
    A silent target has no score (NaN, as in `si_sdr`); a silent estimate of a sounding target has 0 dB by definition.

    Raises:
        ValueError: the estimate is not finite.
    """
    from torchmetrics.functional.audio import signal_noise_ratio

    _check_finite(estimate)
    return _scored(signal_noise_ratio(estimate.double(), target.double()), target)


def mean_per_source(scores: Float[Tensor, "item source"], sources: Sequence[str]) -> dict[str, float]:
    """The mean of each source over the items in which it sounds.

    Raises:
        ValueError: naming a source whose target is silent in every item.
    """
    counts = (~scores.isnan()).sum(dim=0)
    for source, count in zip(sources, counts.tolist(), strict=True):
        if not count:
            raise ValueError(f"source {source!r} is silent in all {len(scores)} items and has no mean")
    return dict(zip(sources, scores.nanmean(dim=0).tolist(), strict=True))


def average_over_tracks(
    probabilities: Float[np.ndarray, "segment class"], tracks: Integer[np.ndarray, " segment"]
) -> tuple[Int64[np.ndarray, " track"], Float[np.ndarray, "track class"]]:
    """Mean probability over each track's segments (PAPER 7), in float64.

    Returns:
        The tracks in ascending order, and their means.
    """
    found, position, counts = np.unique(tracks, return_inverse=True, return_counts=True)
    sums = np.zeros((len(found), probabilities.shape[1]))
    np.add.at(sums, position, probabilities)
    return found.astype(np.int64), sums / counts[:, None]


@dataclass(frozen=True, kw_only=True)
class TagScore:
    """How well one tag's probabilities rank the tracks of a split."""

    tag: str
    num_positives: int
    num_tracks: int
    roc_auc: float
    pr_auc: float


@dataclass(frozen=True, kw_only=True)
class TaggingScores:
    """Macro ROC-AUC and PR-AUC, the plain means over the tags, and each tag's own in the order of the classes."""

    roc_auc: float
    pr_auc: float
    tags: tuple[TagScore, ...]


def tagging_scores(
    targets: Num[np.ndarray, "track tag"],
    probabilities: Float[np.ndarray, "track tag"],
    *,
    classes: Sequence[str],
    split: str,
) -> TaggingScores:
    """Score tag probabilities of whole tracks; PR-AUC is average precision (PAPER 7).

    Args:
        targets: 0 or 1.
        classes: the tags, in the order of the columns.
        split: for the error's text.

    Raises:
        ValueError: naming the tags that no track, or every track, of the split has.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    check_tags(targets, classes=classes, split=split)
    num_positives = (targets > 0).sum(axis=0)
    tags = tuple(
        TagScore(
            tag=tag,
            num_positives=int(num_positives[column]),
            num_tracks=len(targets),
            roc_auc=float(roc_auc_score(targets[:, column], probabilities[:, column])),
            pr_auc=float(average_precision_score(targets[:, column], probabilities[:, column])),
        )
        for column, tag in enumerate(classes)
    )
    return TaggingScores(
        roc_auc=float(np.mean([score.roc_auc for score in tags])),
        pr_auc=float(np.mean([score.pr_auc for score in tags])),
        tags=tags,
    )


def check_tags(targets: Num[np.ndarray, "track tag"], *, classes: Sequence[str], split: str) -> None:
    """ValueError, naming the tags that no track, or every track, of the split has: they have no ROC-AUC."""
    num_positives = (targets > 0).sum(axis=0)
    one_sided = [tag for tag, count in zip(classes, num_positives, strict=True) if count in (0, len(targets))]
    if one_sided:
        raise ValueError(
            f"tags without positives or without negatives among {len(targets)} {split} tracks: {one_sided}"
        )


@dataclass(frozen=True, kw_only=True)
class GenreScores:
    """The share of tracks whose most probable class is right, over all tracks and as the mean over the classes."""

    accuracy: float
    balanced_accuracy: float


def genre_scores(
    targets: Integer[np.ndarray, " track"],
    probabilities: Float[np.ndarray, "track genre"],
    *,
    classes: Sequence[str],
    split: str,
) -> GenreScores:
    """Score genre probabilities of whole tracks; `targets` are indices into `classes`.

    Raises:
        ValueError: naming the classes that no track of the split has, or probabilities that are not finite.
    """
    from sklearn.metrics import accuracy_score, balanced_accuracy_score

    check_genres(targets, classes=classes, split=split)
    if not np.isfinite(probabilities).all():
        raise ValueError(f"probabilities of the {split} tracks are not all finite")
    answers = probabilities.argmax(axis=1)
    return GenreScores(
        accuracy=float(accuracy_score(targets, answers)),
        balanced_accuracy=float(balanced_accuracy_score(targets, answers)),
    )


def check_genres(targets: Integer[np.ndarray, " track"], *, classes: Sequence[str], split: str) -> None:
    """ValueError, naming the classes that no track of the split has."""
    absent = [name for index, name in enumerate(classes) if index not in targets]
    if absent:
        raise ValueError(f"classes without a track among {len(targets)} {split} tracks: {absent}")


def _check_finite(estimate: Tensor) -> None:
    if not estimate.isfinite().all():
        raise ValueError("the estimate has samples that are not finite")


def _scored(score: Float[Tensor, "batch source"], target: Float[Tensor, "batch source sample"]) -> Tensor:
    return score.clamp(min=FLOOR_DB).where(target.any(dim=-1), torch.nan)
