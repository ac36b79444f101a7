"""ROC-AUC over tracks against pairs counted one by one, and against the bootstrap."""

from statistics import NormalDist

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from study.statistics.over_tracks import contrast_over_tracks, roc_auc_over_tracks
from study.statistics.track_bootstrap import bootstrap

TAGS = ("vocal", "drums", "guitar")
TRACKS = 60


@pytest.fixture
def targets():
    return (np.random.default_rng(0).random((TRACKS, len(TAGS))) < (0.2, 0.5, 0.7)).astype(np.int8)


@pytest.fixture
def scores(targets):
    """Two arms; rounded, so that some tracks score the same."""
    rng = np.random.default_rng(1)
    song = rng.normal(size=(TRACKS, 1))
    return [np.round(targets * strength + song + rng.normal(size=targets.shape), 1) for strength in (1.0, 1.5)]


def pairs(positive, score):
    """Whether each positive (row) is ranked above each negative (column); a tie is half."""
    above = score[positive][:, None] - score[~positive][None, :]
    return (above > 0) + 0.5 * (above == 0)


def weighted_roc_auc(positive, score, counts):
    """On resamples, by how often each track is in each."""
    above, below = counts[positive], counts[~positive]
    return np.einsum("pr,pn,nr->r", above, pairs(positive, score), below, optimize=True) / (
        above.sum(axis=0) * below.sum(axis=0)
    )


def delong_covariance(positive, first, second):
    """Of two arms' ROC-AUC of a tag, straight from DeLong et al. 1988, equations 4 to 6."""
    kernels = [pairs(positive, score) for score in (first, second)]
    over_positives = np.cov(*(kernel.mean(axis=1) for kernel in kernels), ddof=1)
    over_negatives = np.cov(*(kernel.mean(axis=0) for kernel in kernels), ddof=1)
    return over_positives / positive.sum() + over_negatives / (~positive).sum()


def test_ties_are_there_to_be_tested(scores):
    assert len(np.unique(scores[0][:, 0])) < TRACKS


def test_roc_auc_is_the_share_of_pairs_and_scikit_learns(targets, scores):
    found = roc_auc_over_tracks(targets, scores[0], tags=TAGS)
    for column in range(len(TAGS)):
        assert found.value[column] == pytest.approx(pairs(targets[:, column] > 0, scores[0][:, column]).mean())
        assert found.value[column] == pytest.approx(roc_auc_score(targets[:, column], scores[0][:, column]))


def test_variances_and_covariances_of_arms_are_delongs(targets, scores):
    first, second = (roc_auc_over_tracks(targets, arm, tags=TAGS) for arm in scores)
    for column in range(len(TAGS)):
        positive = targets[:, column] > 0
        expected = delong_covariance(positive, scores[0][:, column], scores[1][:, column])
        influence = np.stack([first.influence[:, column], second.influence[:, column]])
        assert influence @ influence.T == pytest.approx(expected)
        difference = (second - first).of_tag(column).interval
        variance = expected[0, 0] + expected[1, 1] - 2 * expected[0, 1]
        assert difference.standard_error == pytest.approx(np.sqrt(variance))
    assert first.standard_error == pytest.approx([first.of_tag(c).interval.standard_error for c in range(len(TAGS))])


def test_influence_sums_to_zero(targets, scores):
    assert roc_auc_over_tracks(targets, scores[0], tags=TAGS).influence.sum(axis=0) == pytest.approx(0, abs=1e-12)


def test_interval_and_p_are_normal(targets, scores):
    first, second = (roc_auc_over_tracks(targets, arm, tags=TAGS) for arm in scores)
    interval, p = (second - first).macro(confidence=0.9)
    normal = NormalDist()
    assert interval.estimate == pytest.approx(second.value.mean() - first.value.mean())
    assert interval.high - interval.estimate == pytest.approx(normal.inv_cdf(0.95) * interval.standard_error)
    assert p == pytest.approx(2 * normal.cdf(-abs(interval.estimate) / interval.standard_error))
    assert (interval.varies, interval.num, interval.confidence) == ("tracks", TRACKS, 0.9)


def test_macro_takes_the_covariance_between_tags_into_account(targets, scores):
    one = targets[:, [1]]
    same = np.repeat(one, 3, axis=1)
    thrice = roc_auc_over_tracks(same, np.repeat(scores[0][:, [1]], 3, axis=1), tags=TAGS)
    # The mean of three copies of one tag is as unsure as the one, not by the square root of three surer.
    assert thrice.macro().interval == pytest.approx(thrice.of_tag(0).interval)


@pytest.mark.parametrize("difference", [False, True])
def test_macro_is_the_bootstraps(difference):
    rng = np.random.default_rng(5)
    targets = rng.random((800, 3)) < (0.2, 0.4, 0.6)
    song = rng.normal(size=(800, 1))
    arms = [targets * strength + song + rng.normal(size=targets.shape) for strength in (1.0, 1.4)]

    def macro(scores, counts):
        each = [weighted_roc_auc(targets[:, tag], scores[:, tag], counts) for tag in range(3)]
        return np.mean(each, axis=0)

    def metric(counts):
        return macro(arms[1], counts) - (macro(arms[0], counts) if difference else 0)

    linear = [roc_auc_over_tracks(targets, arm, tags=TAGS) for arm in arms]
    found = (linear[1] - linear[0] if difference else linear[1]).macro().interval
    expected = bootstrap(metric, 800, num_resamples=2000).interval
    assert found.estimate == pytest.approx(expected.estimate)
    # 2000 resamples give a standard error to 1.6 %.
    assert found.standard_error == pytest.approx(expected.standard_error, rel=0.06)


def test_several_seeds_are_averaged(targets, scores):
    each = [roc_auc_over_tracks(targets, arm, tags=TAGS) for arm in scores]
    both = roc_auc_over_tracks(targets, np.stack(scores), tags=TAGS)
    assert both.value == pytest.approx((each[0].value + each[1].value) / 2)
    assert both.influence == pytest.approx((each[0].influence + each[1].influence) / 2)
    twice = roc_auc_over_tracks(targets, np.stack([scores[0], scores[0]]), tags=TAGS)
    assert twice.macro().interval == pytest.approx(each[0].macro().interval)


def test_swapped_arms_flip_the_sign(targets, scores):
    first, second = (roc_auc_over_tracks(targets, arm, tags=TAGS) for arm in scores)
    there, back = (second - first).macro(), (first - second).macro()
    assert (back.interval.low, back.interval.high) == pytest.approx((-there.interval.high, -there.interval.low))
    assert back.p == pytest.approx(there.p)


def test_only_ranks_and_no_order_of_tags_or_tracks_matter(targets, scores):
    macro = roc_auc_over_tracks(targets, scores[0], tags=TAGS).macro().interval
    rising = roc_auc_over_tracks(targets, np.exp(scores[0]) + 7, tags=TAGS).macro().interval
    tags = roc_auc_over_tracks(targets[:, ::-1], scores[0][:, ::-1], tags=TAGS[::-1]).macro().interval
    tracks = roc_auc_over_tracks(targets[::-1], scores[0][::-1], tags=TAGS).macro().interval
    for other in (rising, tags, tracks):
        assert (other.estimate, other.standard_error) == pytest.approx((macro.estimate, macro.standard_error))


def test_reversed_scores_mirror_the_roc_auc(targets, scores):
    there, back = (roc_auc_over_tracks(targets, sign * scores[0], tags=TAGS) for sign in (1, -1))
    assert back.value == pytest.approx(1 - there.value)
    assert back.influence == pytest.approx(-there.influence)


def test_an_arm_does_not_differ_from_itself(targets, scores):
    arm = roc_auc_over_tracks(targets, scores[0], tags=TAGS)
    interval, p = (arm - arm).macro()
    assert (interval.low, interval.high, p) == (0, 0, 1)


def test_a_difference_without_error_is_no_chance():
    assert contrast_over_tracks(0.5, 0.0, num_tracks=9, confidence=0.95).p == 0


@pytest.mark.parametrize("num", [0, 1, TRACKS - 1, TRACKS])
def test_one_track_of_a_tag_or_without_it_is_too_few(targets, scores, num):
    targets[:, 1] = np.arange(TRACKS) < num
    with pytest.raises(ValueError, match=r"of 60 tracks fewer than two .* \['drums'\]"):
        roc_auc_over_tracks(targets, scores[0], tags=TAGS)


def test_two_tracks_of_a_tag_are_enough(targets, scores):
    targets[:, 1] = np.arange(TRACKS) < 2
    assert np.isfinite(roc_auc_over_tracks(targets, scores[0], tags=TAGS).standard_error).all()


def test_shapes_that_do_not_go_together_are_refused(targets, scores):
    for given in (scores[0][1:], scores[0][:, 1:], np.empty((0, *scores[0].shape)), scores[0][0]):
        with pytest.raises(ValueError, match="do not go together"):
            roc_auc_over_tracks(targets, given, tags=TAGS)
    with pytest.raises(ValueError, match="2 tags do not go together"):
        roc_auc_over_tracks(targets, scores[0], tags=TAGS[:2])
    fewer = roc_auc_over_tracks(targets[:, :2], scores[0][:, :2], tags=TAGS[:2])
    with pytest.raises(ValueError, match=r"same tracks and tags are needed, got \(60, 2\) and \(60, 3\)"):
        _ = fewer - roc_auc_over_tracks(targets, scores[0], tags=TAGS)


def test_scores_must_be_finite(targets, scores):
    scores[0][3, 1] = np.nan
    with pytest.raises(ValueError, match="not all finite"):
        roc_auc_over_tracks(targets, scores[0], tags=TAGS)
