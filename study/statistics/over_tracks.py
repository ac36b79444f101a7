"""Statistics over test tracks: how much a ROC-AUC would vary with other tracks and the same networks.

The ROC-AUC of a tag is a mean over pairs of tracks. Each track's influence on it has a closed form (DeLong et al. 1988;
midranks as in Sun and Xu 2014). Influences of several tags, arms or seeds on the same tracks add up track by track,
which takes their covariance into account.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Num
from scipy import stats

from study.statistics.over_seeds import Contrast, Interval


@dataclass(frozen=True, kw_only=True)
class TrackROCAUC:
    """The ROC-AUC of each tag, or a difference of two, and every track's influence on its sampling error.

    Attributes:
        influence: a tag's column sums to 0 over the tracks, and its sum of squares is DeLong's variance. The sum of
            products of two columns is their covariance, also for two arms on the same tracks.
    """

    value: Float[np.ndarray, " tag"]
    influence: Float[np.ndarray, "track tag"]

    def __sub__(self, other: "TrackROCAUC") -> "TrackROCAUC":
        """The difference of two arms on the same tracks and tags, in the same order; ValueError for other numbers."""
        if self.influence.shape != other.influence.shape:
            raise ValueError(
                f"arms on the same tracks and tags are needed, got {self.influence.shape} and {other.influence.shape}"
            )
        return TrackROCAUC(value=self.value - other.value, influence=self.influence - other.influence)

    def of_tags(self, places: Sequence[int]) -> "TrackROCAUC":
        """Some of the tags, by their columns."""
        return TrackROCAUC(value=self.value[places], influence=self.influence[:, places])

    @property
    def standard_error(self) -> Float[np.ndarray, " tag"]:
        """Of each tag."""
        return np.sqrt((self.influence**2).sum(axis=0))

    def of_tag(self, column: int, *, confidence: float = 0.95) -> Contrast:
        """One tag's ROC-AUC or difference. The p-value tests for zero, so it has a meaning for differences only."""
        return self._contrast(self.value[[column]], self.influence[:, [column]], confidence)

    def macro(self, *, confidence: float = 0.95) -> Contrast:
        """The mean over the tags."""
        return self._contrast(self.value, self.influence, confidence)

    def _contrast(
        self, value: Float[np.ndarray, " tag"], influence: Float[np.ndarray, "track tag"], confidence: float
    ) -> Contrast:
        estimate, error = float(value.mean()), float(np.sqrt((influence.mean(axis=1) ** 2).sum()))
        return contrast_over_tracks(estimate, error, num_tracks=len(influence), confidence=confidence)


def contrast_over_tracks(estimate: float, standard_error: float, *, num_tracks: int, confidence: float) -> Contrast:
    """A normal interval over tracks, and the p-value of zero (1 for an exact zero)."""
    interval = Interval.around(
        estimate, standard_error, df=np.inf, confidence=confidence, varies="tracks", num=num_tracks
    )
    if standard_error == 0:
        return Contrast(interval, float(estimate == 0))
    return Contrast(interval, float(2 * stats.norm.sf(abs(estimate) / standard_error)))


def roc_auc_over_tracks(
    targets: Num[np.ndarray, "track tag"],
    scores: Float[np.ndarray, "track tag"] | Float[np.ndarray, "seed track tag"],
    *,
    tags: Sequence[str],
) -> TrackROCAUC:
    """ROC-AUC of each tag; for several seeds' scores the mean of their ROC-AUCs, with these seeds fixed.

    Args:
        targets: above 0 where the track has the tag.
        scores: higher where the tag is more likely; finite.
        tags: names of the columns, for the error's text.

    Raises:
        ValueError: shapes that do not go together, scores that are not finite, or, naming them, tags with fewer than
            two tracks that have them or two that have not: one track says nothing of how tracks vary.
    """
    matrices = scores[None] if scores.ndim == 2 else scores
    positive = targets > 0
    _check(positive, matrices, tags)
    value, influence = np.empty(len(tags)), np.empty(targets.shape)
    for column in range(len(tags)):
        value[column], influence[:, column] = _one_tag(positive[:, column], matrices[:, :, column])
    return TrackROCAUC(value=value, influence=influence)


def _one_tag(
    positive: Bool[np.ndarray, " track"], scores: Float[np.ndarray, "seed track"]
) -> tuple[float, Float[np.ndarray, " track"]]:
    """The ROC-AUC of a tag and the tracks' influence on it, mean over the seeds."""
    num_positive, num_negative = int(positive.sum()), int((~positive).sum())
    ranks = stats.rankdata(scores, axis=1)
    # Of each track, the share of tracks of the other class that it is ranked correctly against; a tie counts half.
    won = np.empty(scores.shape)
    won[:, positive] = (ranks[:, positive] - stats.rankdata(scores[:, positive], axis=1)) / num_negative
    won[:, ~positive] = 1 - (ranks[:, ~positive] - stats.rankdata(scores[:, ~positive], axis=1)) / num_positive
    won = won.mean(axis=0)
    value = won[positive].mean()
    count = np.where(positive, num_positive, num_negative)
    return float(value), (won - value) / np.sqrt(count * (count - 1.0))


def _check(
    positive: Bool[np.ndarray, "track tag"], matrices: Float[np.ndarray, "seed track tag"], tags: Sequence[str]
) -> None:
    if matrices.ndim != 3 or not len(matrices) or matrices.shape[1:] != positive.shape or len(tags) != len(positive.T):
        raise ValueError(
            f"targets {positive.shape}, scores {matrices.shape} and {len(tags)} tags do not go together; "
            f"they are (track, tag), (seed, track, tag) and one name for each tag"
        )
    if not np.isfinite(matrices).all():
        raise ValueError("the scores are not all finite")
    num_positive = positive.sum(axis=0)
    rare = [tag for tag, num in zip(tags, num_positive, strict=True) if min(num, len(positive) - num) < 2]
    if rare:
        raise ValueError(f"of {len(positive)} tracks fewer than two have, or have not, the tags {rare}")
