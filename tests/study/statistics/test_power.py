"""Power against simulation, and each question against the one that undoes it."""

import numpy as np
import pytest
from scipy import stats

from study.statistics.power import MOST_SEEDS, num_pairs_needed, power_of, smallest_detectable_effect


def test_power_is_the_share_of_simulated_tests_that_reject():
    differences = np.random.default_rng(0).normal(1.2, 1, size=(40_000, 5))
    t = differences.mean(axis=1) / stats.sem(differences, axis=1)
    rejected = np.mean(2 * stats.t.sf(np.abs(t), 4) <= 0.05)
    assert power_of(1.2, 5) == pytest.approx(rejected, abs=0.01)


def test_without_an_effect_power_is_alpha_and_the_sign_does_not_matter():
    assert power_of(0.0, 7, alpha=0.01) == pytest.approx(0.01)
    assert power_of(-0.9, 7) == power_of(0.9, 7)


def test_a_textbook_number_of_pairs():
    # Cohen's table: a medium effect of 0.5 needs 34 pairs for a power of 0.8 at 0.05, two-sided.
    assert num_pairs_needed(0.5) == 34


@pytest.mark.parametrize("num_pairs", [2, 3, 5, 20])
def test_the_smallest_effect_has_the_power_asked_for(num_pairs):
    effect = smallest_detectable_effect(num_pairs, 1.0, power=0.7, alpha=0.02)
    assert power_of(effect, num_pairs, alpha=0.02) == pytest.approx(0.7)
    assert smallest_detectable_effect(num_pairs, 0.0007, power=0.7, alpha=0.02) == pytest.approx(0.0007 * effect)


@pytest.mark.parametrize("effect", [0.05, 0.4, 1.0, 2.0, 60.0])
def test_the_fewest_pairs_are_the_fewest(effect):
    fewest = num_pairs_needed(effect)
    assert fewest is not None and power_of(effect, fewest) >= 0.8
    assert fewest == 2 or power_of(effect, fewest - 1) < 0.8
    assert num_pairs_needed(-effect) == fewest


def test_no_effect_needs_more_seeds_than_there_are():
    assert num_pairs_needed(0.0) is None
    assert power_of(0.001, MOST_SEEDS) < 0.8 and num_pairs_needed(0.001) is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: power_of(1.0, 1), "needs 2 pairs, got 1"),
        (lambda: smallest_detectable_effect(1, 1.0), "needs 2 pairs, got 1"),
        (lambda: power_of(1.0, 5, alpha=0.0), "alpha is 0.0"),
        (lambda: smallest_detectable_effect(5, 1.0, power=1.0), "power is 1.0"),
        (lambda: num_pairs_needed(1.0, power=0.05), "the power is 0.05; it lies between alpha"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
