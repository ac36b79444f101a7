"""Statistics over seeds: pure functions on arrays.

A run is repeated with other seeds on the same tracks. How results vary with other tracks is in over_tracks.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import special, stats

Varies = Literal["seeds", "tracks", "seeds and tracks"]
# With up to this many pairs the sign-flip test tries all signs (32,768 sums).
MOST_ENUMERATED_PAIRS = 16
# Differences that spread less than this, relative to the largest, differ by rounding only.
ROUNDING = 1e-9


class Spread(NamedTuple):
    """Mean and sample standard deviation (n - 1; NaN for one value) over `num` runs."""

    mean: float
    sd: float
    num: int


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its confidence interval, and what varies in it.

    Attributes:
        varies: "seeds": other seeds, the same tracks; "tracks": other tracks, the same networks. Neither of these two
            covers the other's variation.
        num: how many seeds (of "tracks": how many tracks) there were.
    """

    estimate: float
    standard_error: float
    low: float
    high: float
    confidence: float
    varies: Varies
    num: int

    @classmethod
    def around(
        cls, estimate: float, standard_error: float, *, df: float, confidence: float, varies: Varies, num: int
    ) -> "Interval":
        """Symmetric, by Student's t (normal for infinite `df`); ValueError for a confidence not in (0, 1)."""
        if not 0 < confidence < 1:
            raise ValueError(f"the confidence is {confidence}; it lies between 0 and 1")
        reach = float(stats.t.ppf((1 + confidence) / 2, df)) * standard_error
        return cls(
            estimate=float(estimate),
            standard_error=float(standard_error),
            low=float(estimate - reach),
            high=float(estimate + reach),
            confidence=confidence,
            varies=varies,
            num=num,
        )


class Contrast(NamedTuple):
    """An estimated difference with its interval, and the two-sided p-value of zero difference."""

    interval: Interval
    p: float


def spread(values: Float[np.ndarray, " seed"]) -> Spread:
    """Mean and spread over the seeds of one arm; ValueError for none."""
    if not len(values):
        raise ValueError("there is no value to take the mean of")
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return Spread(float(np.mean(values)), sd, len(values))


class PairedDifference(NamedTuple):
    """Mean difference over the seeds that two arms share, and on how many of them it is above zero."""

    mean: float
    num_higher: int
    num_pairs: int


def paired_difference(arm: Mapping[int, float], reference: Mapping[int, float]) -> PairedDifference | None:
    """`arm` minus `reference`, seed by seed; None if they share no seed."""
    seeds = sorted(arm.keys() & reference.keys())
    if not seeds:
        return None
    differences = np.array([arm[seed] - reference[seed] for seed in seeds])
    return PairedDifference(float(differences.mean()), int((differences > 0).sum()), len(seeds))


def vary_beyond_rounding(differences: Float[np.ndarray, " seed"]) -> bool:
    """Whether differences vary by more than rounding; if not, there is no t test."""
    return bool(np.ptp(differences) > ROUNDING * np.abs(differences).max())


def paired_t(differences: Float[np.ndarray, " seed"], *, confidence: float = 0.95) -> Contrast:
    """Mean of paired differences, its t interval, and the paired t test.

    Raises:
        ValueError: fewer than two differences, one that is not finite, or all equal, which would look like certainty.
    """
    _check_finite(differences, at_least=2)
    if not vary_beyond_rounding(differences):
        raise ValueError(
            f"all {len(differences)} differences are {differences[0]:g}; without spread there is no t test"
        )
    tested: Any = stats.ttest_1samp(differences, 0.0)
    interval = Interval.around(
        differences.mean(),
        stats.sem(differences),
        df=len(differences) - 1,
        confidence=confidence,
        varies="seeds",
        num=len(differences),
    )
    return Contrast(interval, float(tested.pvalue))


def equivalence_p(differences: Float[np.ndarray, " seed"], margin: float) -> float:
    """Of two one-sided paired t tests: small where the true difference lies within ± `margin` (Schuirmann 1987).

    ValueError as of `paired_t`, or for a margin that is not positive.
    """
    if not margin > 0:
        raise ValueError(f"the margin is {margin}; it is a positive number")
    interval = paired_t(differences).interval
    reach = (margin - abs(interval.estimate)) / interval.standard_error
    return float(stats.t.sf(reach, len(differences) - 1))


def welch_t(arm: Spread, reference: Spread, *, confidence: float = 0.95) -> Contrast:
    """`arm` minus `reference` from published means and standard deviations alone: Welch's t test.

    ValueError for an arm of fewer than two runs, or if neither has any spread.
    """
    if min(arm.num, reference.num) < 2 or not arm.sd**2 + reference.sd**2 > 0:
        raise ValueError(f"Welch's test needs two runs an arm and some spread, got {arm} and {reference}")
    first, second = arm.sd**2 / arm.num, reference.sd**2 / reference.num
    df = (first + second) ** 2 / (first**2 / (arm.num - 1) + second**2 / (reference.num - 1))
    tested = stats.ttest_ind_from_stats(*arm, *reference, equal_var=False)
    interval = Interval.around(
        arm.mean - reference.mean,
        np.sqrt(first + second),
        df=df,
        confidence=confidence,
        varies="seeds",
        num=arm.num + reference.num,
    )
    return Contrast(interval, float(tested.pvalue))


def effect_size(differences: Float[np.ndarray, " seed"]) -> float:
    """Mean difference over the standard deviation of the differences, with Hedges' exact small-sample correction.

    Without it five pairs would overstate the effect by a quarter (Hedges 1981, n - 1 degrees of freedom).

    Raises:
        ValueError: fewer than three pairs (the correction of two is zero), or differences that do not vary.
    """
    _check_finite(differences, at_least=3)
    if not vary_beyond_rounding(differences):
        raise ValueError(
            f"all {len(differences)} differences are {differences[0]:g}; the effect has no size in their sd"
        )
    half = (len(differences) - 1) / 2
    correction = np.exp(special.gammaln(half) - special.gammaln(half - 0.5)) / np.sqrt(half)
    return float(correction * differences.mean() / differences.std(ddof=1))


def sign_flip_p(differences: Float[np.ndarray, " seed"], *, num_resamples: int = 50_000, seed: int = 0) -> float:
    """Two-sided p-value of the sign-flip (permutation) test of the mean difference.

    Exact up to `MOST_ENUMERATED_PAIRS` pairs. With more, `num_resamples` random flips; the observed signs count as one
    of them, so that p is never zero. ValueError for no difference, or one that is not finite.
    """
    _check_finite(differences, at_least=1)
    num_pairs = len(differences)
    exact = num_pairs <= MOST_ENUMERATED_PAIRS
    if exact:
        # Every choice of signs once. The last pair stays positive, since flipping all signs changes nothing.
        flipped = (np.arange(2 ** (num_pairs - 1))[:, None] >> np.arange(num_pairs)) & 1
    else:
        flipped = np.random.default_rng(seed).integers(0, 2, size=(num_resamples, num_pairs), dtype=np.int8)
    signs = 1.0 - 2.0 * flipped
    observed = abs(differences.sum())
    # The order of addition must not make equal sums differ.
    extreme = np.abs(signs @ differences) >= observed - ROUNDING * np.abs(differences).sum()
    return float(extreme.mean() if exact else (extreme.sum() + 1) / (num_resamples + 1))


def smallest_sign_flip_p(num_pairs: int) -> float:
    """The smallest two-sided p-value that an exact sign-flip test can give: both signs of all pairs agreeing."""
    return min(1.0, 2.0 / 2.0**num_pairs)


def fewest_pairs_for(p: float) -> int:
    """The fewest pairs with which that test can reach `p` (above 0)."""
    return next(num_pairs for num_pairs in count(1) if smallest_sign_flip_p(num_pairs) <= p)


def holm(p: Float[np.ndarray, " comparison"]) -> Float[np.ndarray, " comparison"]:
    """Holm's adjusted p-values: at most alpha means rejected, with a family-wise error of at most alpha.

    ValueError for one that is not in [0, 1].
    """
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p-values lie between 0 and 1, got {p.tolist()}")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return adjusted


def _check_finite(differences: Float[np.ndarray, " seed"], *, at_least: int) -> None:
    if len(differences) < at_least:
        raise ValueError(f"at least {at_least} paired differences are needed, got {len(differences)}")
    if not np.isfinite(differences).all():
        raise ValueError(f"paired differences must be finite, got {differences.tolist()}")
