"""The bare backend behind its front end."""

import pytest
import torch

from components.networks.classifier import Classifier, ClassifierConfig
from components.networks.initialisation import initialise
from components.networks.short_chunk_cnn import ShortChunkCNNConfig
from components.networks.spectrogram import MelConfig, SpectrogramConfig

BACKEND = ShortChunkCNNConfig(num_frames=128, last_pool=(2, 2), num_classes=3).scaled(1 / 16)
CONFIG = ClassifierConfig(backend=BACKEND, spectrogram=SpectrogramConfig(hop_samples=320))


def classifier():
    network = Classifier(CONFIG)
    initialise(network.backend, 0, "backend")
    return network


def waveform(num_samples=CONFIG.num_samples):
    return torch.randn(2, num_samples, generator=torch.Generator().manual_seed(0))


def test_the_papers_segment():
    assert ClassifierConfig(backend=ShortChunkCNNConfig()).num_samples == 61_792


def test_forward_classifies_the_features():
    network, x = classifier().eval(), waveform()
    features = network.features(x)
    assert features.log_mel.shape == (2, 1, 128, 128) and features.maps == {}
    logits = network(x)
    assert logits.shape == (2, 3) and torch.equal(logits, network.classify(features))


def test_silence_is_the_log_of_the_offset():
    log_mel = classifier().features(torch.zeros(1, CONFIG.num_samples)).log_mel
    torch.testing.assert_close(log_mel, torch.full_like(log_mel, -4.0))


def test_its_state_is_the_backends():
    assert {name.split(".")[0] for name in classifier().state_dict()} == {"backend"}


def test_another_number_of_frames_is_refused():
    with pytest.raises(ValueError, match=r"\(1, 129, 128\); needed"):
        classifier()(waveform(CONFIG.num_samples + 320))


def test_autocast_leaves_the_front_end_alone():
    network, x = classifier(), waveform()
    with torch.autocast("cpu", torch.bfloat16):
        features = network.features(x)
        assert network.classify(features).isfinite().all()
    assert torch.equal(features.log_mel, network.features(x).log_mel)


@pytest.mark.parametrize(
    ("backend", "mel", "message"),
    [
        (ShortChunkCNNConfig(in_channels=2), MelConfig(), "backend.in_channels is 2"),
        (ShortChunkCNNConfig(), MelConfig(num_bins=64), "backend.num_mels is 128 and mel.num_bins 64"),
    ],
)
def test_parts_that_do_not_fit_are_refused(backend, mel, message):
    with pytest.raises(ValueError, match=message):
        ClassifierConfig(backend=backend, mel=mel)
