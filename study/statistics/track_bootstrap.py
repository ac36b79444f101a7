"""Bootstrap over test tracks, for metrics whose standard error has no closed form here: PR-AUC and accuracy.

A resample says how often each track was drawn. Metrics take such counts, so arms and tags are measured on the same
resamples, and every difference and mean includes their covariance.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from study.statistics.over_seeds import Contrast
from study.statistics.over_tracks import contrast_over_tracks

Counts = Int[np.ndarray, "track resample"]
Metric = Callable[[Counts], Float[np.ndarray, " resample"]]
# Resamples that are measured at once: few enough to stay in the processor's cache.
CHUNK = 100


def resampled(num_tracks: int, num_resamples: int, generator: np.random.Generator) -> Counts:
    """How often each track is in each resample of as many tracks, drawn with replacement."""
    drawn = generator.integers(num_tracks, size=(num_tracks, num_resamples))
    places = drawn * num_resamples + np.arange(num_resamples)
    return np.bincount(places.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(np.int32)


def bootstrap(
    metric: Metric, num_tracks: int, *, num_resamples: int = 1000, seed: int = 0, confidence: float = 0.95
) -> Contrast:
    """A metric of the tracks, with a normal interval from the bootstrap's standard error.

    A difference is a metric too: `lambda counts: first(counts) - second(counts)`. With 1000 resamples the standard
    error itself is accurate to about 2 %.

    Raises:
        ValueError: fewer than two tracks or resamples.
    """
    if num_tracks < 2 or num_resamples < 2:
        raise ValueError(f"two tracks and two resamples are needed, got {num_tracks} and {num_resamples}")
    generator = np.random.default_rng(seed)
    chunks = [min(CHUNK, num_resamples - done) for done in range(0, num_resamples, CHUNK)]
    measured = np.concatenate([metric(resampled(num_tracks, chunk, generator)) for chunk in chunks])
    estimate = metric(np.ones((num_tracks, 1), dtype=np.int32))[0]
    return contrast_over_tracks(
        float(estimate), float(measured.std(ddof=1)), num_tracks=num_tracks, confidence=confidence
    )


def pr_auc(
    targets: Num[np.ndarray, "track tag"], scores: Float[np.ndarray, "track tag"], counts: Counts
) -> Float[np.ndarray, "resample tag"]:
    """Average precision of each tag on each resample; tracks of equal score are one threshold.

    Raises:
        ValueError: shapes that do not go together, scores that are not finite, or a resample without a tag's tracks.
    """
    if targets.shape != scores.shape or len(counts) != len(scores) or not np.isfinite(scores).all():
        raise ValueError(
            f"finite scores of the targets' tracks and tags are needed, got targets {targets.shape}, scores "
            f"{scores.shape} and counts {counts.shape}"
        )
    columns = zip((targets > 0).T, scores.T, strict=True)
    return np.stack([_average_precision(positive, score, counts) for positive, score in columns], axis=1)


def _average_precision(
    positive: Bool[np.ndarray, " track"], scores: Float[np.ndarray, " track"], counts: Counts
) -> Float[np.ndarray, " resample"]:
    order = np.argsort(-scores, kind="stable")
    ranked, drawn = scores[order], counts[order]
    hits = np.flatnonzero(positive[order])
    # How many tracks score at least as high as each hit, ties included.
    upto = np.searchsorted(-ranked, -ranked[hits], side="right")
    retrieved = np.cumsum(drawn, axis=0, dtype=drawn.dtype)[upto - 1]
    weights = drawn[hits]
    found = np.cumsum(weights, axis=0)
    if not len(hits) or not found[-1].all():
        raise ValueError(
            f"some resample holds none of the {len(hits)} tracks of a tag; so rare a tag has no bootstrap interval"
        )
    right = found[np.searchsorted(hits, upto) - 1]
    # If nothing is retrieved yet, the hit was not drawn and its weight is zero.
    return (weights * right / np.maximum(retrieved, 1)).sum(axis=0) / found[-1]


def accuracy(right: Bool[np.ndarray, " track"], counts: Counts) -> Float[np.ndarray, " resample"]:
    """Share of correctly classified tracks in each resample."""
    return right.astype(np.float64) @ counts / counts.sum(axis=0)
