"""Metrics agree with their definitions, and the cases that have no score are counted as the docstrings say."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from components.objectives.metrics import (
    FLOOR_DB,
    average_over_tracks,
    genre_scores,
    mean_per_source,
    sdr,
    si_sdr,
    tagging_scores,
)


@pytest.fixture
def waveforms() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(3, 2, 8000, generator=generator)
    return target + 0.3 * torch.randn(3, 2, 8000, generator=generator), target


def test_si_sdr_is_the_ratio_of_projection_to_rest(waveforms):
    estimate, target = waveforms
    scale = (estimate * target).sum(-1, keepdim=True) / (target * target).sum(-1, keepdim=True)
    rest = estimate - scale * target
    expected = 10 * torch.log10((scale * target).pow(2).sum(-1) / rest.pow(2).sum(-1))
    torch.testing.assert_close(si_sdr(estimate, target).float(), expected, atol=1e-3, rtol=0)


def test_sdr_is_the_ratio_of_target_to_error(waveforms):
    estimate, target = waveforms
    expected = 10 * torch.log10(target.pow(2).sum(-1) / (estimate - target).pow(2).sum(-1))
    torch.testing.assert_close(sdr(estimate, target).float(), expected, atol=1e-3, rtol=0)


def test_only_sdr_minds_the_scale(waveforms):
    estimate, target = waveforms
    torch.testing.assert_close(si_sdr(0.1 * estimate, target), si_sdr(estimate, target), atol=1e-4, rtol=0)
    assert (sdr(0.1 * estimate, target) < sdr(estimate, target) - 1).all()


@pytest.mark.parametrize("metric", [si_sdr, sdr])
def test_a_silent_target_is_left_out_of_its_sources_mean_only(waveforms, metric):
    estimate, target = waveforms
    target[1, 0] = 0
    scores = metric(estimate, target)
    assert scores.isnan().nonzero().tolist() == [[1, 0]]
    means = mean_per_source(scores, ["vocals", "drums"])
    assert means["vocals"] == pytest.approx(scores[[0, 2], 0].mean().item())
    assert means["drums"] == pytest.approx(scores[:, 1].mean().item())


def test_a_source_that_never_sounds_has_no_mean(waveforms):
    estimate, target = waveforms
    target[:, 1] = 0
    with pytest.raises(ValueError, match="'drums' is silent in all 3"):
        mean_per_source(si_sdr(estimate, target), ["vocals", "drums"])


def test_a_silent_estimate_gets_the_floor_in_si_sdr_and_zero_db_in_sdr(waveforms):
    _, target = waveforms
    silence = torch.zeros_like(target)
    assert (si_sdr(silence, target) == FLOOR_DB).all()
    torch.testing.assert_close(sdr(silence, target), torch.zeros(3, 2, dtype=torch.float64))


def test_nothing_scores_below_the_floor(waveforms):
    estimate, target = waveforms
    orthogonal = estimate - target * (estimate * target).sum(-1, keepdim=True) / target.pow(2).sum(-1, keepdim=True)
    assert (si_sdr(orthogonal, target) == FLOOR_DB).all()
    assert (sdr(1e6 * estimate, target) == FLOOR_DB).all()


@pytest.mark.parametrize("metric", [si_sdr, sdr])
def test_a_diverged_estimate_is_no_silent_target(waveforms, metric):
    estimate, target = waveforms
    estimate[0, 0, 5] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        metric(estimate, target)


def test_segments_are_averaged_per_track_in_any_order():
    probabilities = np.array([[0.1, 1.0], [0.4, 0.0], [0.3, 0.0], [0.8, 0.5]], dtype=np.float32)
    tracks, means = average_over_tracks(probabilities, np.array([7, 2, 7, 7]))
    assert tracks.tolist() == [2, 7]
    np.testing.assert_allclose(means, [[0.4, 0.0], [0.4, 0.5]], rtol=1e-6)


def test_tagging_scores_are_the_plain_means_of_the_tags():
    generator = np.random.default_rng(0)
    targets = (generator.random((80, 3)) < 0.3).astype(np.float32)
    probabilities = generator.random((80, 3))
    scores = tagging_scores(targets, probabilities, classes=["a", "b", "c"], split="test")
    assert scores.roc_auc == pytest.approx(roc_auc_score(targets, probabilities, average="macro"))
    assert scores.pr_auc == pytest.approx(average_precision_score(targets, probabilities, average="macro"))
    assert [tag.tag for tag in scores.tags] == ["a", "b", "c"]
    assert [tag.num_positives for tag in scores.tags] == targets.sum(axis=0).tolist()
    assert scores.tags[1].roc_auc == pytest.approx(roc_auc_score(targets[:, 1], probabilities[:, 1]))


def test_a_perfect_ranking_scores_one_and_ties_score_half():
    targets = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    probabilities = np.array([[0.1, 0.5], [0.2, 0.5], [0.3, 0.5], [0.4, 0.5]])
    perfect, tied = tagging_scores(targets, probabilities, classes=["a", "b"], split="test").tags
    assert (perfect.roc_auc, perfect.pr_auc) == (1, 1)
    assert (tied.roc_auc, tied.pr_auc) == (0.5, 0.5)


@pytest.mark.parametrize("value", [0, 1])
def test_a_tag_without_positives_or_negatives_has_no_score_and_no_part_in_the_mean(value):
    targets = np.array([[0, value], [1, value]])
    scores = tagging_scores(targets, np.array([[0.2, 0.5], [0.4, 0.1]]), classes=["drums", "flute"], split="test")
    drums, flute = scores.tags
    assert (drums.roc_auc, flute.roc_auc, flute.pr_auc, flute.num_positives) == (1, None, None, 2 * value)
    assert scores.averages == {"roc_auc": 1, "pr_auc": 1, "num_tags": 1}
    with pytest.raises(ValueError, match="of 1 tags, each has none or all of the 2 validation tracks: no score"):
        tagging_scores(targets[:, 1:], np.full((2, 1), 0.5), classes=["flute"], split="validation")


def test_accuracy_counts_tracks_and_balanced_accuracy_classes():
    targets = np.array([0, 0, 0, 1])
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    scores = genre_scores(targets, probabilities, classes=["rock", "folk"], split="test")
    assert (scores.accuracy, scores.balanced_accuracy) == (0.75, 0.5)


def test_a_genre_without_tracks_has_no_part_in_the_mean_even_if_it_is_answered():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8]])
    scores = genre_scores(np.array([0, 0]), probabilities, classes=["rock", "folk"], split="test")
    assert scores.averages == {"accuracy": 0.5, "balanced_accuracy": 0.5, "num_genres": 1}


def test_probabilities_that_are_not_finite_have_no_score():
    broken = np.array([[0.5, np.nan], [0.5, 0.5]])
    with pytest.raises(ValueError, match="finite"):
        genre_scores(np.array([0, 1]), broken, classes=["rock", "folk"], split="test")
    with pytest.raises(ValueError, match="NaN"):
        tagging_scores(np.eye(2), broken, classes=["a", "b"], split="test")
