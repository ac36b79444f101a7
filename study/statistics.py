"""Statistics over seeds: pure functions on arrays."""

from collections.abc import Mapping
from itertools import count
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Spread(NamedTuple):
    """Mean and sample standard deviation (n - 1; NaN for one value) over `num` runs."""

    mean: float
    sd: float
    num: int


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


def smallest_sign_flip_p(num_pairs: int) -> float:
    """The smallest two-sided p-value that an exact sign-flip test can give: both signs of all pairs agreeing."""
    return min(1.0, 2.0 / 2.0**num_pairs)


def fewest_pairs_for(p: float) -> int:
    """The fewest pairs with which that test can reach `p`, above 0."""
    return next(num_pairs for num_pairs in count(1) if smallest_sign_flip_p(num_pairs) <= p)
