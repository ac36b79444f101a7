"""The front end against torch.stft and a mel filterbank written from its definition."""

import numpy as np
import pytest
import torch

from components.networks.spectrogram import MelConfig, MelFilterbank, Spectrogram, SpectrogramConfig, log_magnitude


def waveform(num_samples, dtype=torch.float32):
    return torch.randn(2, num_samples, generator=torch.Generator().manual_seed(0), dtype=dtype)


def test_segment_lengths_of_the_paper():
    config = SpectrogramConfig()
    assert (config.num_samples(384), config.num_samples(768)) == (61_792, 123_232)


@pytest.mark.parametrize("hop_samples", [160, 320])
def test_num_samples_is_the_fewest_with_that_many_frames(hop_samples):
    config = SpectrogramConfig(hop_samples=hop_samples)
    for num_frames in (1, 2, 128):
        assert config.num_frames(config.num_samples(num_frames)) == num_frames
        assert config.num_frames(config.num_samples(num_frames + 1) - 1) == num_frames


def test_stft_is_torch_stft_with_frames_first():
    x = waveform(5000)
    expected = torch.stft(x, 512, 160, window=torch.hann_window(512), center=False, return_complex=True)
    torch.testing.assert_close(Spectrogram(SpectrogramConfig()).stft(x), expected.mT, atol=1e-4, rtol=0)


@pytest.mark.parametrize("hop_samples", [160, 320])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-6)])
@pytest.mark.parametrize("num_more", [0, 37])
def test_inverse_returns_the_waveform_away_from_its_ends(hop_samples, dtype, tolerance, num_more):
    spectrogram = Spectrogram(SpectrogramConfig(hop_samples=hop_samples))
    x = waveform(spectrogram.config.num_samples(40) + num_more, dtype)
    y = spectrogram.inverse(spectrogram.stft(x), x.shape[1])
    assert y.dtype == dtype and y.shape == x.shape
    inner = slice(512, x.shape[1] - num_more - 512)
    torch.testing.assert_close(y[:, inner], x[:, inner], atol=tolerance, rtol=0)


def test_inverse_tapers_the_ends_and_leaves_what_no_frame_reaches_silent():
    spectrogram = Spectrogram(SpectrogramConfig())
    x = torch.ones(1, spectrogram.config.num_samples(40) + 37)
    y = spectrogram.inverse(spectrogram.stft(x), x.shape[1])
    assert y.max() < 1 + 1e-5
    assert y[0, 0] == 0
    assert (y[0, -37:] == 0).all()


def test_inverse_of_another_length_is_refused():
    spectrogram = Spectrogram(SpectrogramConfig())
    with pytest.raises(ValueError, match="1152 samples have 5 frames, the spectrum has 4"):
        spectrogram.inverse(spectrogram.stft(waveform(1000)), 1152)


def test_too_short_a_waveform_is_refused():
    with pytest.raises(ValueError, match="num_samples is 511; one frame needs 512"):
        Spectrogram(SpectrogramConfig()).stft(waveform(511))


def mel_weights_by_definition(config, frequencies):
    """HTK triangles of peak 1 over frequencies in Hz, axes bin, mel."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (config.low_hz, config.high_hz))
    edges = 700 * (10 ** (np.linspace(low, high, config.num_bins + 2) / 2595) - 1)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    f = frequencies[:, None]
    return np.maximum(0, np.minimum((f - left) / (centre - left), (right - f) / (right - centre)))


def test_mel_bands_are_triangles_at_the_true_frequencies():
    config = MelConfig()
    expected = mel_weights_by_definition(config, np.arange(256) * 31.25)
    actual = MelFilterbank(config, SpectrogramConfig()).weights
    np.testing.assert_allclose(actual, expected, atol=2e-4)
    assert (actual.sum(0) > 0).all()


@pytest.mark.parametrize("hz", [500.0, 2000.0, 7000.0])
def test_a_tone_is_loudest_in_the_band_of_its_frequency(hz):
    spectrogram, config = Spectrogram(SpectrogramConfig()), MelConfig()
    tone = torch.sin(2 * torch.pi * hz * torch.arange(4000) / 16_000)[None]
    bands = MelFilterbank(config, spectrogram.config)(spectrogram.stft(tone)[..., :-1].abs()).mean((0, 1))
    expected = mel_weights_by_definition(config, np.array([hz])).argmax()
    assert abs(int(bands.argmax()) - expected) <= 1


def test_log_is_to_the_base_of_ten_with_its_offset():
    torch.testing.assert_close(log_magnitude(torch.tensor([0.0, 9.9999])), torch.tensor([-4.0, 1.0]))


def test_autocast_and_half_precision_change_nothing():
    spectrogram, mel = Spectrogram(SpectrogramConfig()), MelFilterbank(MelConfig(), SpectrogramConfig())

    def front_end(x):
        spectrum = spectrogram.stft(x)
        return log_magnitude(mel(spectrum[..., :-1].abs())), spectrogram.inverse(spectrum, x.shape[1])

    x = waveform(2000).bfloat16()
    expected = front_end(x.float())
    with torch.autocast("cpu", torch.bfloat16):
        actual = front_end(x)
    for a, b in zip(actual, expected, strict=True):
        assert a.dtype == torch.float32 and torch.equal(a, b)


def test_mel_bands_are_summed_in_full_precision_under_autocast():
    mel, magnitude = MelFilterbank(MelConfig(), SpectrogramConfig()), waveform(3 * 256).abs().reshape(2, 3, 256)
    expected = (magnitude.double() @ mel.weights.double()).float()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(mel(magnitude), expected, atol=1e-4, rtol=1e-5)


def test_nothing_of_the_front_end_is_in_a_state():
    assert not Spectrogram(SpectrogramConfig()).state_dict()
    assert not MelFilterbank(MelConfig(), SpectrogramConfig()).state_dict()


@pytest.mark.parametrize(
    ("config", "fields", "field"),
    [
        (SpectrogramConfig, {"window_samples": 511}, "window_samples"),
        (SpectrogramConfig, {"hop_samples": 512}, "hop_samples"),
        (SpectrogramConfig, {"hop_samples": 0}, "hop_samples"),
        (MelConfig, {"num_bins": 0}, "num_bins"),
        (MelConfig, {"high_hz": 8001.0}, "high_hz"),
        (MelConfig, {"low_hz": 7800.0}, "low_hz"),
    ],
)
def test_impossible_configurations_name_their_field(config, fields, field):
    with pytest.raises(ValueError, match=field):
        config(**fields)
