"""The probe hears whole tracks, what is asked for of them, and finds what a linear model can find."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from components.networks.initialisation import load_strictly
from components.networks.spectrogram import log_magnitude
from components.objectives.metrics import tagging_scores
from components.objectives.probe import LinearProbe, ProbeConfig, ProbeNetwork, track_features
from tests.components.tiny import NUM_FRAMES, SPECTROGRAM, labelled_corpus, separator, separator_config

MIXTURE = ProbeConfig(features=("mixture",), separator=None, num_frames=NUM_FRAMES, spectrogram=SPECTROGRAM)
ALL = replace(MIXTURE, features=("mixture", "estimates", "maps"), separator=separator_config(("vocals", "drums")))


def network(config):
    found = ProbeNetwork(config)
    if found.separator is not None:
        load_strictly(found.separator, separator(config.separator.sources).state_dict())
    return found.eval()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return labelled_corpus(tmp_path_factory.mktemp("probe") / "corpus")


def test_features_are_mean_and_deviation_over_the_time_of_all_tiles(corpus):
    probe = network(MIXTURE)
    tracks, features = track_features(probe, corpus, "train")
    assert tracks.tolist() == corpus.indices("train").tolist()
    for track, found in zip(tracks, features, strict=True):
        tiles = [corpus.gather(np.array([track]), np.array([start]), MIXTURE.num_samples)[:, 0]
                 for start in (0, MIXTURE.num_samples)]  # fmt: skip
        heard = torch.cat([log_magnitude(probe.mel(probe.spectrogram.stft(x)[..., :-1].abs())) for x in tiles], dim=1)
        expected = np.concatenate([heard[0].mean(dim=0).numpy(), heard[0].std(dim=0, correction=0).numpy()])
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_what_is_asked_for_stands_side_by_side(corpus):
    sizes = {}
    for features in (("mixture",), ("estimates",), ("maps",), ("mixture", "estimates", "maps")):
        config = replace(ALL, features=features) if features != ("mixture",) else MIXTURE
        sizes[features] = track_features(network(config), corpus, "test")[1].shape[1]
    assert sizes["mixture",] == 2 * 128
    assert sizes["estimates",] == 2 * 2 * 128  # two sources
    assert sizes["maps",] == 2 * 6 * 2  # six levels of two channels
    assert sizes["mixture", "estimates", "maps"] == sum(list(sizes.values())[:3])


def test_the_estimates_are_heard(corpus):
    config = replace(ALL, features=("estimates",))
    one, other = network(config), network(config)
    load_strictly(other.separator, separator(ALL.separator.sources, seed=1).state_dict())
    assert not np.allclose(track_features(one, corpus, "test")[1], track_features(other, corpus, "test")[1])


@pytest.mark.parametrize("kind", ["tagging", "genre"])
def test_it_finds_what_is_there(tmp_path, kind):
    corpus = labelled_corpus(tmp_path / "corpus", kind, num_train=32, num_held_out=16)
    features = {split: track_features(network(MIXTURE), corpus, split) for split in ("train", "test")}
    targets = {split: corpus.labels(tracks).numpy() for split, (tracks, _) in features.items()}
    probe = LinearProbe.fit(features["train"][1], targets["train"], 1.0)
    probabilities = probe.probabilities(features["test"][1])
    if kind == "tagging":
        assert tagging_scores(targets["test"], probabilities, classes=corpus.classes, split="test").roc_auc > 0.9
    else:
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)
        assert (probabilities.argmax(axis=1) == targets["test"]).all()


def test_more_regularisation_is_more_caution():
    generator = np.random.default_rng(0)
    features = generator.standard_normal((40, 5))
    targets = (features[:, :2] + generator.standard_normal((40, 2)) > 0).astype(float)
    caution = [np.abs(LinearProbe.fit(features, targets, c).probabilities(features) - 0.5).mean() for c in (0.01, 1.0)]
    assert caution[0] < caution[1]


def test_a_feature_that_never_changes_does_no_harm():
    features = np.concatenate([np.random.default_rng(0).standard_normal((20, 2)), np.ones((20, 1))], axis=1)
    targets = np.stack([features[:, 0] > 0, features[:, 1] > 0], axis=1)
    assert np.isfinite(LinearProbe.fit(features, targets, 1.0).probabilities(features)).all()


def test_a_tag_that_training_says_nothing_about_is_told_to_none_or_to_all():
    features = np.random.default_rng(0).standard_normal((20, 2))
    targets = np.stack([features[:, 0] > 0, np.zeros(20), np.ones(20)], axis=1)
    probe = LinearProbe.fit(features, targets, 1.0)
    assert (probe.probabilities(features)[:, 1:] == [0, 1]).all()
    assert probe.arrays()["weights"].shape == (3, 2) and probe.arrays()["offsets"][1:].tolist() == [-np.inf, np.inf]


def test_a_genre_that_training_lacks_is_told_to_none():
    features = np.random.default_rng(0).standard_normal((30, 2))
    targets = np.where(features[:, 0] > 0, 3, np.where(features[:, 1] > 0, 1, 0))
    probe = LinearProbe.fit(features, targets, 1.0, num_classes=5)
    probabilities = probe.probabilities(features)
    assert probabilities.shape == (30, 5) and not probabilities[:, [2, 4]].any()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert probe.arrays()["classes"].tolist() == [0, 1, 3]


def test_moments_are_taken_in_full_precision(corpus):
    """Of maps, which are bf16 under autocast: squares of 8 bits would leave no deviation."""
    probe = network(replace(ALL, features=("maps",)))
    exact = track_features(probe, corpus, "test")[1]
    with torch.autocast("cpu", torch.bfloat16):
        rough = track_features(probe, corpus, "test")[1]
    deviations = exact.shape[1] // 2
    np.testing.assert_allclose(rough[:, deviations:], exact[:, deviations:], rtol=0.1, atol=0.02 * exact.std())


def test_the_order_of_features_is_no_part_of_the_configuration():
    backwards = replace(ALL, features=("maps", "estimates", "mixture"))
    assert backwards == ALL


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": ()}, "features is \\(\\)"),
        ({"features": ("mixture", "mixture")}, "each once"),
        ({"features": ("estimates",)}, "with no separator"),
        ({"separator": separator_config()}, "with a separator"),
        ({"inverse_regularisations": ()}, "give positive ones"),
        ({"features": ("maps",), "separator": separator_config(), "num_frames": 70}, "multiples of 64 frames"),
    ],
)
def test_what_does_not_go_together_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(MIXTURE, **change)
