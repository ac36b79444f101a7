"""Statistics against numbers worked out by hand."""

import math
from itertools import product

import numpy as np
import pytest

from study.statistics import Spread, fewest_pairs_for, paired_difference, smallest_sign_flip_p, spread


def test_spread_is_mean_and_sample_standard_deviation():
    # Deviations -2, -1, 0, 3 of the mean 4: squares sum to 14, and 14 / 3 is the variance.
    assert spread(np.array([2.0, 3.0, 4.0, 7.0])) == Spread(4.0, math.sqrt(14 / 3), 4)


def test_one_value_has_no_spread():
    found = spread(np.array([0.5]))
    assert (found.mean, found.num) == (0.5, 1) and math.isnan(found.sd)


def test_no_value_has_no_mean():
    with pytest.raises(ValueError, match="no value"):
        spread(np.array([]))


def test_differences_are_paired_by_seed():
    arm, reference = {0: 0.5, 1: 0.75, 2: 0.25, 7: 99.0}, {2: 0.5, 1: 0.25, 0: 0.25, 9: -99.0}
    found = paired_difference(arm, reference)
    assert found is not None
    assert found.mean == pytest.approx((0.25 + 0.5 - 0.25) / 3, rel=1e-15)
    assert (found.num_higher, found.num_pairs) == (2, 3)
    assert paired_difference(reference, arm) == (-found.mean, 1, 3)


def test_an_equal_pair_is_not_above():
    assert paired_difference({0: 1.0, 1: 2.0}, {0: 1.0, 1: 1.0}) == (0.5, 1, 2)


def test_without_a_shared_seed_there_is_no_difference():
    assert paired_difference({0: 1.0}, {1: 1.0}) is None
    assert paired_difference({}, {}) is None


@pytest.mark.parametrize("num_pairs", range(1, 8))
def test_smallest_p_is_that_of_the_exact_sign_flip_test(num_pairs):
    differences = np.arange(1.0, num_pairs + 1)
    flipped = np.array([np.dot(signs, differences) for signs in product((-1, 1), repeat=num_pairs)])
    exact = np.mean(np.abs(flipped) >= differences.sum())
    assert smallest_sign_flip_p(num_pairs) == exact


def test_no_pair_proves_nothing():
    assert smallest_sign_flip_p(0) == 1.0


def test_six_pairs_are_the_fewest_for_five_percent():
    assert [fewest_pairs_for(p) for p in (1.0, 0.5, 0.05, 0.01)] == [1, 2, 6, 8]
    for p in (0.05, 0.01):
        assert smallest_sign_flip_p(fewest_pairs_for(p)) <= p < smallest_sign_flip_p(fewest_pairs_for(p) - 1)
