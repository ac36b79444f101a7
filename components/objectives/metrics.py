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
    """How well one tag's probabilities rank the tracks of a split; None where no track, or every track, has the tag."""

    tag: str
    num_positives: int
    num_tracks: int
    roc_auc: float | None
    pr_auc: float | None


@dataclass(frozen=True, kw_only=True)
class TaggingScores:
    """Macro ROC-AUC and PR-AUC, the plain means over the tags that have them, and each tag's own in their order."""

    roc_auc: float
    pr_auc: float
    tags: tuple[TagScore, ...]

    @property
    def averages(self) -> dict[str, float]:
        """The macro scores, and over how many tags they are if some have none."""
        num_tags = sum(tag.roc_auc is not None for tag in self.tags)
        scores = {"roc_auc": self.roc_auc, "pr_auc": self.pr_auc}
        return scores if num_tags == len(self.tags) else scores | {"num_tags": float(num_tags)}


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
        ValueError: no tag can be scored, since no track, or every track, of the split has it.
    """
    check_tags(targets, classes=classes, split=split)
    tags = tuple(_tag_score(tag, targets[:, place], probabilities[:, place]) for place, tag in enumerate(classes))
    return TaggingScores(
        roc_auc=float(np.mean([tag.roc_auc for tag in tags if tag.roc_auc is not None])),
        pr_auc=float(np.mean([tag.pr_auc for tag in tags if tag.pr_auc is not None])),
        tags=tags,
    )


def _tag_score(tag: str, targets: Num[np.ndarray, " track"], probabilities: Float[np.ndarray, " track"]) -> TagScore:
    from sklearn.metrics import average_precision_score, roc_auc_score

    num_positives = int((targets > 0).sum())
    has_scores = 0 < num_positives < len(targets)
    return TagScore(
        tag=tag,
        num_positives=num_positives,
        num_tracks=len(targets),
        roc_auc=float(roc_auc_score(targets, probabilities)) if has_scores else None,
        pr_auc=float(average_precision_score(targets, probabilities)) if has_scores else None,
    )


def check_tags(targets: Num[np.ndarray, "track tag"], *, classes: Sequence[str], split: str) -> None:
    """ValueError if no tag of the split has a ROC-AUC: each has no track, or every one."""
    num_positives = (targets > 0).sum(axis=0)
    if not ((num_positives > 0) & (num_positives < len(targets))).any():
        raise ValueError(f"of {len(classes)} tags, each has none or all of the {len(targets)} {split} tracks: no score")


@dataclass(frozen=True, kw_only=True)
class GenreScores:
    """The share of tracks whose most probable class is right, over all tracks and as the mean over the classes.

    Classes without a track in the split have no part in the mean: `num_scored` of `num_classes` have.
    """

    accuracy: float
    balanced_accuracy: float
    num_scored: int
    num_classes: int

    @property
    def averages(self) -> dict[str, float]:
        """Both scores, and over how many classes they are if some have no track."""
        scores = {"accuracy": self.accuracy, "balanced_accuracy": self.balanced_accuracy}
        return scores if self.num_scored == self.num_classes else scores | {"num_genres": float(self.num_scored)}


def genre_scores(
    targets: Integer[np.ndarray, " track"],
    probabilities: Float[np.ndarray, "track genre"],
    *,
    classes: Sequence[str],
    split: str,
) -> GenreScores:
    """Score genre probabilities of whole tracks; `targets` are indices into `classes`.

    Raises:
        ValueError: probabilities that are not finite.
    """
    from sklearn.metrics import accuracy_score, recall_score

    if not np.isfinite(probabilities).all():
        raise ValueError(f"probabilities of the {split} tracks are not all finite")
    answers = probabilities.argmax(axis=1)
    return GenreScores(
        accuracy=float(accuracy_score(targets, answers)),
        # The mean recall of the classes that are there, also where another one was answered.
        balanced_accuracy=float(recall_score(targets, answers, labels=np.unique(targets), average="macro")),
        num_scored=len(np.unique(targets)),
        num_classes=len(classes),
    )


def _check_finite(estimate: Tensor) -> None:
    if not estimate.isfinite().all():
        raise ValueError("the estimate has samples that are not finite")


def _scored(score: Float[Tensor, "batch source"], target: Float[Tensor, "batch source sample"]) -> Tensor:
    return score.clamp(min=FLOOR_DB).where(target.any(dim=-1), torch.nan)
