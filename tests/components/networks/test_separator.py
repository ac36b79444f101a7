"""What masks do to waveforms."""

import pytest
import torch

from components.networks.initialisation import initialise
from components.networks.separator import Separator, SeparatorConfig
from components.networks.spectrogram import SpectrogramConfig
from components.networks.unet import UNetConfig

SOURCES = ("vocals", "drums")
CONFIG = SeparatorConfig(
    sources=SOURCES,
    unet=UNetConfig(channels=(2, 3, 4, 5, 6, 7), final_channels=4, num_sources=2),
    spectrogram=SpectrogramConfig(hop_samples=320),
)
NUM_SAMPLES = CONFIG.spectrogram.num_samples(64)


def separator(mask_bias=None):
    """With a constant mask of sigmoid(mask_bias), or as drawn."""
    network = Separator(CONFIG)
    initialise(network, 0, "separator")
    if mask_bias is not None:
        torch.nn.init.zeros_(network.unet.mask.weight)
        torch.nn.init.constant_(network.unet.mask.bias, mask_bias)
    return network


def waveform(num_samples=NUM_SAMPLES):
    return torch.randn(3, num_samples, generator=torch.Generator().manual_seed(0))


def estimate(network, x):
    return network.waveforms(network(x), x.shape[-1])


def test_a_mask_of_ones_returns_the_mixture():
    x = waveform()
    y = estimate(separator(mask_bias=200.0), x)
    assert y.shape == (3, 2, NUM_SAMPLES)
    torch.testing.assert_close(y[..., 512:-512], x[:, None, 512:-512].expand(-1, 2, -1), atol=1e-5, rtol=0)


def test_a_mask_of_zeros_leaves_the_nyquist_bin_alone():
    network, x = separator(mask_bias=-200.0), waveform()
    nyquist = network.spectrogram.stft(x) * (torch.arange(257) == 256)
    expected = network.spectrogram.inverse(nyquist, NUM_SAMPLES)
    torch.testing.assert_close(estimate(network, x)[:, 0], expected, atol=1e-6, rtol=0)


def test_half_a_mask_halves_magnitudes_and_keeps_the_phase():
    network, x = separator(mask_bias=0.0), waveform()
    separation = network(x)
    halves = separation.mixture_magnitude[:, None].expand(-1, 2, -1, -1) / 2
    torch.testing.assert_close(separation.estimate_magnitude, halves)
    halved = network.spectrogram.stft(x) * torch.where(torch.arange(257) < 256, 0.5, 1.0)
    expected = network.spectrogram.inverse(halved, NUM_SAMPLES)
    torch.testing.assert_close(estimate(network, x)[:, 1], expected, atol=1e-6, rtol=0)


def test_samples_past_the_last_frame_are_allowed_and_silent():
    y = estimate(separator(), waveform(NUM_SAMPLES + 5))
    assert y.shape[-1] == NUM_SAMPLES + 5 and (y[..., -5:] == 0).all()


def test_lengths_that_the_unet_cannot_take_are_refused_with_those_it_can():
    with pytest.raises(ValueError, match="multiples of 64 frames, such as 20672 or 41152 samples"):
        separator()(waveform(NUM_SAMPLES + 320))
    for num_samples in (20_672, 41_152):
        CONFIG.check_num_samples(num_samples)


def test_a_length_below_the_first_multiple_names_only_that_one():
    with pytest.raises(ValueError, match="such as 20672 samples"):
        separator()(waveform(NUM_SAMPLES - 1))


def test_estimates_are_float32_under_autocast_and_have_gradients():
    network = separator()
    with torch.autocast("cpu", torch.bfloat16):
        y = estimate(network, waveform())
    assert y.dtype == torch.float32
    y.abs().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_float64():
    assert estimate(separator().double(), waveform().double()).dtype == torch.float64


def test_its_state_is_the_unets():
    assert {name.split(".")[0] for name in separator().state_dict()} == {"unet"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sources": ("vocals",), "unet": UNetConfig(num_sources=4)}, "sources has 1 names, unet.num_sources is 4"),
        ({"sources": ("vocals", "vocals"), "unet": UNetConfig(num_sources=2)}, "only once"),
        ({"sources": ("vocals",), "spectrogram": SpectrogramConfig(window_samples=400)}, "200 bins cannot be halved"),
    ],
)
def test_impossible_configurations_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        SeparatorConfig(**fields)
