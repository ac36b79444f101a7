"""Seeds and tracks together: the interval holds the truth where both vary."""

import numpy as np
import pytest

from study.statistics.over_both import over_seeds_and_tracks
from study.statistics.over_seeds import paired_t


def test_without_an_error_over_tracks_it_is_that_over_seeds():
    differences = np.array([0.1, 0.3, 0.2, 0.25])
    both, seeds = over_seeds_and_tracks(differences, 0.0), paired_t(differences).interval
    assert (both.low, both.high, both.num) == pytest.approx((seeds.low, seeds.high, seeds.num))
    assert both.varies == "seeds and tracks"


def test_with_a_large_error_over_tracks_it_is_the_normal_one_over_tracks():
    both = over_seeds_and_tracks(np.array([0.1, 0.3, 0.2, 0.25]), 10.0)
    assert both.high - both.estimate == pytest.approx(1.96 * 10.0, rel=1e-3)


@pytest.mark.parametrize("track_share", [0.1, 0.5, 0.9])
def test_it_holds_the_truth_where_both_vary(track_share):
    rng = np.random.default_rng(5)
    num_seeds, num_studies = 4, 500
    common = rng.normal(size=(num_studies, 1)) * np.sqrt(track_share / num_seeds)
    drawn = common + rng.normal(size=(num_studies, num_seeds)) * np.sqrt(1 - track_share)
    error = float(np.sqrt(track_share / num_seeds))
    intervals = [over_seeds_and_tracks(differences, error) for differences in drawn]
    covered = np.mean([one.low <= 0 <= one.high for one in intervals])
    alone = np.mean([abs(x.mean()) <= (paired_t(x).interval.high - paired_t(x).interval.low) / 2 for x in drawn])
    assert 0.92 <= covered <= 0.985
    # Intervals over seeds alone do not cover what all seeds owe to the tracks.
    assert track_share < 0.5 or alone < 0.93
