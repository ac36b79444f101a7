"""Power: which effect a number of seeds can show, and how many seeds an effect would need.

All of it is for the two-sided paired t test. Effects are in standard deviations of the differences unless said
otherwise. SciPy is imported where it is used: every command imports this module, and few ask it anything.
"""

from functools import cache

import numpy as np

# The level of every test that a star needs.
ALPHA = 0.05
# More seeds than anyone will train. If even more are needed, the answer is None.
MOST_SEEDS = 100_000


def power_of(effect: float, num_pairs: int, *, alpha: float = ALPHA) -> float:
    """The chance that the test rejects at level `alpha`; ValueError for fewer than two pairs."""
    from scipy import stats

    _check(num_pairs, alpha)
    df, shift = num_pairs - 1, abs(effect) * np.sqrt(num_pairs)
    critical = stats.t.isf(alpha / 2, df)
    # The lower tail is the upper tail of the mirrored distribution: scipy's own is NaN for some large effects.
    return float(stats.nct.sf(critical, df, shift) + stats.nct.sf(critical, df, -shift))


def smallest_detectable_effect(num_pairs: int, sd: float, *, power: float = 0.8, alpha: float = ALPHA) -> float:
    """The smallest effect, in the unit of `sd`, that this number of pairs shows with this power.

    Args:
        sd: standard deviation of the paired differences.
        alpha: divide it by the number of comparisons for one that survives Holm's first step.

    Raises:
        ValueError: fewer than two pairs, an alpha that is not in (0, 1), or a power that is not in (alpha, 1).
    """
    return sd * _smallest_effect_in_sds(num_pairs, power, alpha)


@cache
def _smallest_effect_in_sds(num_pairs: int, power: float, alpha: float) -> float:
    from scipy import optimize

    _check(num_pairs, alpha, power)
    most = 1.0
    while power_of(most, num_pairs, alpha=alpha) < power:
        most *= 2
    found = optimize.root_scalar(lambda effect: power_of(effect, num_pairs, alpha=alpha) - power, bracket=(0.0, most))
    return float(found.root)


def num_pairs_needed(effect: float, *, power: float = 0.8, alpha: float = ALPHA) -> int | None:
    """The fewest pairs that show a true effect of this size with this power; None above `MOST_SEEDS`."""
    _check(2, alpha, power)
    enough = 2
    while power_of(effect, enough, alpha=alpha) < power:
        if enough == MOST_SEEDS:
            return None
        enough = min(2 * enough, MOST_SEEDS)
    few = enough // 2
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if power_of(effect, middle, alpha=alpha) >= power else (middle, enough)
    return enough


def _check(num_pairs: int, alpha: float, power: float | None = None) -> None:
    if num_pairs < 2:
        raise ValueError(f"a paired t test needs 2 pairs, got {num_pairs}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; it lies between 0 and 1")
    if power is not None and not alpha < power < 1:
        raise ValueError(f"the power is {power}; it lies between alpha ({alpha}) and 1")
