"""Statistics over seeds against numbers worked out by hand, brute force and scipy."""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import stats

from study.statistics.over_seeds import (
    MOST_ENUMERATED_PAIRS,
    Interval,
    Spread,
    effect_size,
    fewest_pairs_for,
    holm,
    paired_difference,
    paired_t,
    sign_flip_p,
    smallest_sign_flip_p,
    spread,
    welch_t,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


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


# Differences 1, 2, 3, 4: mean 2.5, variance 5/3, standard error sqrt(5/12), three degrees of freedom.
FOUR = np.array([1.0, 2.0, 3.0, 4.0])
T_QUANTILE_3 = 3.182446305284263


def test_paired_t_by_hand():
    interval, p = paired_t(FOUR)
    error = math.sqrt(5 / 12)
    assert (interval.estimate, interval.num, interval.varies) == (2.5, 4, "seeds")
    assert interval.standard_error == pytest.approx(error)
    assert (interval.low, interval.high) == pytest.approx((2.5 - T_QUANTILE_3 * error, 2.5 + T_QUANTILE_3 * error))
    # The two-sided p-value of Student's t with three degrees of freedom has a closed form.
    x = 2.5 / error / math.sqrt(3)
    assert p == pytest.approx(1 - 2 / math.pi * (math.atan(x) + x / (1 + x**2)))


def test_paired_t_is_scipys_of_pairs(rng):
    arm, reference = rng.normal(size=(2, 7))
    expected: Any = stats.ttest_rel(arm, reference)
    interval, p = paired_t(arm - reference, confidence=0.9)
    assert p == pytest.approx(expected.pvalue)
    assert (interval.low, interval.high) == pytest.approx(tuple(expected.confidence_interval(0.9)))


def test_swapped_arms_flip_the_sign_and_a_shift_of_both_changes_nothing(rng):
    arm, reference = rng.normal(size=(2, 6))
    there, back = paired_t(arm - reference), paired_t(reference - arm)
    shifted = paired_t((arm + 3) - (reference + 3))
    assert (back.interval.low, back.interval.high) == pytest.approx((-there.interval.high, -there.interval.low))
    assert back.p == pytest.approx(there.p) == pytest.approx(shifted.p)
    assert shifted.interval.low == pytest.approx(there.interval.low)
    assert sign_flip_p(arm - reference) == sign_flip_p(reference - arm)
    assert effect_size(arm - reference) == pytest.approx(-effect_size(reference - arm))


@pytest.mark.parametrize(
    ("differences", "message"),
    [
        ([0.1], "at least 2 paired differences are needed, got 1"),
        ([0.1, np.nan], "must be finite"),
        ([0.5, 0.5, 0.5], "all 3 differences are 0.5"),
        ([0.0, 0.0], "without spread"),
        # Equal on paper: 0.05 both times.
        ([0.85 - 0.80, 0.75 - 0.70], "without spread"),
    ],
)
def test_what_has_no_t_test_is_refused(differences, message):
    with pytest.raises(ValueError, match=message):
        paired_t(np.array(differences))


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95])
def test_a_confidence_is_a_probability(confidence):
    with pytest.raises(ValueError, match="between 0 and 1"):
        paired_t(FOUR, confidence=confidence)


def test_infinite_degrees_of_freedom_are_the_normal_distribution():
    found = Interval.around(1.0, 2.0, df=math.inf, confidence=0.95, varies="tracks", num=9)
    assert (found.low, found.high) == pytest.approx((1 - 2 * 1.959963984540054, 1 + 2 * 1.959963984540054))
    assert (found.varies, found.num, found.confidence) == ("tracks", 9, 0.95)


def test_welch_is_scipys_test_of_the_values(rng):
    arm, reference = rng.normal(size=5), rng.normal(1, 3, size=8)
    expected: Any = stats.ttest_ind(arm, reference, equal_var=False)
    interval, p = welch_t(spread(arm), spread(reference))
    assert p == pytest.approx(expected.pvalue)
    assert (interval.low, interval.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert interval.estimate == pytest.approx(arm.mean() - reference.mean())
    assert (interval.num, interval.varies) == (13, "seeds")


def test_welch_of_published_numbers():
    # The paper's vocals row against its bare row, CNN, ROC-AUC in percent: equal spreads, so eight degrees of freedom.
    interval, p = welch_t(Spread(91.85, 0.03, 5), Spread(91.47, 0.03, 5))
    error = 0.03 * math.sqrt(2 / 5)
    assert interval.high - interval.estimate == pytest.approx(2.306004135204166 * error)
    assert p < 1e-6


@pytest.mark.parametrize("spreads", [(Spread(1.0, math.nan, 1), Spread(2.0, 1.0, 5)), (Spread(1.0, 0.0, 5),) * 2])
def test_welch_needs_spread(spreads):
    with pytest.raises(ValueError, match="two runs an arm and some spread"):
        welch_t(*spreads)


def test_effect_size_by_hand():
    # Three degrees of freedom: gamma(3/2) / (sqrt(3/2) gamma(1)) is sqrt(pi) / 2 / sqrt(3/2).
    correction = math.sqrt(math.pi) / 2 / math.sqrt(1.5)
    assert effect_size(FOUR) == pytest.approx(correction * 2.5 / math.sqrt(5 / 3))


def test_effect_size_is_unbiased(rng):
    found = np.mean([effect_size(differences) for differences in rng.normal(0.8, 1, size=(20_000, 5))])
    assert found == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(
    ("differences", "message"), [([1.0, 2.0], "at least 3"), ([1.0, 1.0, 1.0], "no size"), ([1, 2, np.inf], "finite")]
)
def test_what_has_no_effect_size_is_refused(differences, message):
    with pytest.raises(ValueError, match=message):
        effect_size(np.array(differences, dtype=np.float64))


@pytest.mark.parametrize("num_pairs", [1, 2, 5, 8, 10])
def test_sign_flip_is_the_share_of_all_signs(rng, num_pairs):
    differences = rng.normal(0.5, 1, size=num_pairs)
    sums = [np.dot(signs, differences) for signs in product((-1, 1), repeat=num_pairs)]
    assert sign_flip_p(differences) == np.mean(np.abs(sums) >= abs(differences.sum()) - 1e-12)


def test_sign_flip_counts_ties():
    # All sums are at least as far from zero as 0.1 + 0.2 - 0.3, which rounding keeps from being zero.
    assert sign_flip_p(np.array([0.1, 0.2, -0.3])) == 1.0
    # 0.1 + 0.1 + 0.1 and its negative are the extremes, whatever order rounds them.
    assert sign_flip_p(np.array([0.1, 0.1, 0.1])) == 2 / 8
    # As extreme as 0.3 + 0.2 - 0.1 = 0.4 are 0.4 and 0.6, either sign.
    assert sign_flip_p(np.array([0.3, 0.2, -0.1])) == 4 / 8


def test_sign_flip_of_tenths_is_that_of_whole_numbers():
    # Sums that tie in whole numbers are told apart by rounding in tenths.
    whole = np.array([-8, -9, -6, 6, 3, 8])
    tied = [abs(np.dot(signs, whole)) >= abs(whole.sum()) for signs in product((-1, 1), repeat=6)]
    assert sign_flip_p(whole / 10) == np.mean(tied)


def test_random_sign_flips_are_near_scipys_and_repeat(rng):
    differences = rng.normal(0.5, 1, size=MOST_ENUMERATED_PAIRS + 1)
    found = sign_flip_p(differences, num_resamples=40_000, seed=3)
    exact = stats.permutation_test(
        (differences,), lambda x, axis: x.mean(axis=axis), permutation_type="samples", vectorized=True,
        n_resamples=2 ** len(differences), batch=2**14,
    ).pvalue  # fmt: skip
    assert found == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 40_000))
    assert found == sign_flip_p(differences, num_resamples=40_000, seed=3)
    assert found != sign_flip_p(differences, num_resamples=40_000, seed=4)


def test_random_sign_flips_never_give_zero():
    assert sign_flip_p(np.arange(1.0, 31.0), num_resamples=99) == 1 / 100


@pytest.mark.parametrize("differences", [[], [0.1, np.nan]])
def test_sign_flip_refuses_what_is_no_number(differences):
    with pytest.raises(ValueError, match="paired differences"):
        sign_flip_p(np.array(differences))


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1: 0.04, 0.06, 0.06, then 0.04, which may not fall below 0.06.
    assert holm(np.array([0.03, 0.01, 0.04, 0.02])) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm(np.array([0.6, 0.9])).tolist() == [1.0, 1.0]
    assert holm(np.array([0.2])).tolist() == [0.2]
    assert holm(np.array([])).tolist() == []


def test_holm_rejects_what_the_step_down_procedure_rejects(rng):
    for p in rng.random((200, 6)) ** 4:
        rejected = set()
        for step, index in enumerate(np.argsort(p)):
            if p[index] > 0.05 / (6 - step):
                break
            rejected.add(index)
        assert set(np.flatnonzero(holm(p) <= 0.05)) == rejected


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_a_p_value_is_a_probability(p):
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm(np.array([0.5, p]))
