"""Statistics over seeds and tracks together: what other seeds and another draw of test tracks would change."""

import numpy as np
from jaxtyping import Float

from study.statistics.over_seeds import Interval, paired_t


def over_seeds_and_tracks(
    differences: Float[np.ndarray, " seed"], track_error: float, *, confidence: float = 0.95
) -> Interval:
    """The mean difference with an interval for both sources of variation.

    Args:
        differences: of two arms, by seed, on the same tracks.
        track_error: standard error over tracks of the mean over these seeds, see `TrackROCAUC`.

    The variances add up: the seeds share their tracks, so their spread holds nothing of what all seeds owe to these
    tracks. What differs with seed and track at once is counted in both, which makes the interval a little wide. Degrees
    of freedom: Satterthwaite (1946).

    Raises:
        ValueError: as of `paired_t`.
    """
    over_seeds = paired_t(differences).interval.standard_error ** 2
    variance = over_seeds + track_error**2
    return Interval.around(
        float(differences.mean()),
        float(np.sqrt(variance)),
        df=variance**2 / (over_seeds**2 / (len(differences) - 1)),
        confidence=confidence,
        varies="seeds and tracks",
        num=len(differences),
    )
