"""The bootstrap against standard errors that are known, and its metrics against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from study.statistics.track_bootstrap import CHUNK, accuracy, bootstrap, pr_auc, resampled


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def targets(rng):
    return rng.random((200, 3)) < (0.1, 0.4, 0.9)


@pytest.fixture
def scores(rng, targets):
    """Rounded, so that some tracks score the same."""
    return np.round(targets + rng.normal(size=targets.shape), 1)


def test_a_resample_has_as_many_tracks_each_as_often_as_the_other(rng):
    counts = resampled(50, 4000, rng)
    assert counts.shape == (50, 4000) and (counts.sum(axis=0) == 50).all()
    assert counts.mean(axis=1) == pytest.approx(1, abs=5 * np.sqrt(0.98 / 4000))
    # Binomial of 50 draws with probability 1/50.
    assert counts.var() == pytest.approx(50 * 0.02 * 0.98, rel=0.03)


def test_pr_auc_is_scikit_learns_on_every_resample(rng, targets, scores):
    counts = resampled(200, 20, rng)
    found = pr_auc(targets, scores, counts)
    assert found.shape == (20, 3)
    for resample in range(20):
        drawn = np.repeat(np.arange(200), counts[:, resample])
        expected = [average_precision_score(targets[drawn, tag], scores[drawn, tag]) for tag in range(3)]
        assert found[resample] == pytest.approx(expected)


def test_accuracy_is_the_share_of_right_tracks(rng):
    right, counts = rng.random(30) < 0.6, resampled(30, 5, rng)
    expected = [np.repeat(right, counts[:, resample]).mean() for resample in range(5)]
    assert accuracy(right, counts) == pytest.approx(expected)


def test_standard_error_of_a_share_is_the_binomial_one(rng):
    right = rng.random(500) < 0.7
    interval, _ = bootstrap(lambda counts: accuracy(right, counts), 500, num_resamples=2000)
    assert interval.estimate == right.mean()
    assert interval.standard_error == pytest.approx(np.sqrt(right.mean() * (1 - right.mean()) / 500), rel=0.06)
    assert interval.high - interval.estimate == pytest.approx(1.959963984540054 * interval.standard_error)
    assert (interval.varies, interval.num) == ("tracks", 500)


def test_a_paired_difference_is_surer_than_two_means(rng, targets, scores):
    better = scores + 0.1 * targets

    def macro(of):
        return lambda counts: pr_auc(targets, of, counts).mean(axis=1)

    def difference(counts):
        return macro(better)(counts) - macro(scores)(counts)

    paired = bootstrap(difference, 200).interval
    assert paired.estimate > 0
    assert 0 < paired.standard_error < 0.5 * bootstrap(macro(scores), 200).interval.standard_error
    same = bootstrap(lambda counts: macro(scores)(counts) - macro(scores)(counts), 200)
    assert (same.interval.standard_error, same.p) == (0, 1)


def test_the_seed_decides(rng):
    right = rng.random(100) < 0.7

    def error(seed):
        return bootstrap(lambda counts: accuracy(right, counts), 100, seed=seed).interval.standard_error

    assert error(1) == error(1) != error(2)


def test_all_resamples_are_measured_and_no_two_chunks_are_the_same():
    seen = []

    def metric(counts):
        seen.append(counts)
        return np.arange(counts.shape[1], dtype=np.float64)

    bootstrap(metric, 10, num_resamples=2 * CHUNK + 7)
    assert [counts.shape[1] for counts in seen] == [CHUNK, CHUNK, 7, 1]
    assert (seen[0] != seen[1]).any() and (seen[-1] == 1).all()


def test_a_tag_too_rare_to_be_drawn_is_refused(rng, targets, scores):
    targets[:, 1] = np.arange(200) == 3
    with pytest.raises(ValueError, match="none of the 1 tracks of a tag"):
        bootstrap(lambda counts: pr_auc(targets, scores, counts).mean(axis=1), 200)
    targets[:, 1] = False
    with pytest.raises(ValueError, match="none of the 0 tracks of a tag"):
        pr_auc(targets, scores, resampled(200, 2, rng))


def test_what_cannot_be_measured_is_refused(rng, targets, scores):
    counts = resampled(200, 2, rng)
    for broken in (
        (targets[1:], scores, counts),
        (targets, scores, counts[1:]),
        (targets, np.full_like(scores, np.inf), counts),
    ):
        with pytest.raises(ValueError, match="finite scores of the targets' tracks"):
            pr_auc(*broken)
    for num_tracks, num_resamples in ((1, 10), (10, 1)):
        with pytest.raises(ValueError, match="two tracks and two resamples"):
            bootstrap(lambda counts: counts.mean(axis=0), num_tracks, num_resamples=num_resamples)
