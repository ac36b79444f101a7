"""A song in chunks is the song."""

import numpy as np
import pytest
import torch

from components.corpora.audio import SAMPLE_RATE
from components.networks.initialisation import initialise
from components.networks.separator import Separator
from components.networks.song_separation import separate_song
from tests.components import tiny

CHUNK_S = 10.2


def separator(mask_bias: float | None = None) -> Separator:
    """With a constant mask of sigmoid(mask_bias), or as drawn."""
    network = Separator(tiny.separator_config(("vocals", "drums")))
    initialise(network, 0, "separator")
    if mask_bias is not None:
        torch.nn.init.zeros_(network.unet.mask.weight)
        torch.nn.init.constant_(network.unet.mask.bias, mask_bias)
    return network.eval()


def song(num_samples: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(num_samples).astype(np.float32) / 4


def separated(network: Separator, *blocks: np.ndarray) -> np.ndarray:
    return np.concatenate(list(separate_song(network, blocks)), axis=1)


@pytest.mark.parametrize("num_samples", [1, 1_000, SAMPLE_RATE, round(CHUNK_S * SAMPLE_RATE), 30 * SAMPLE_RATE + 7])
def test_a_mask_of_ones_returns_the_song_from_its_first_to_its_last_sample(num_samples):
    whole = song(num_samples)
    found = separated(separator(mask_bias=200.0), whole)
    assert found.shape == (2, num_samples) and found.dtype == np.float32
    np.testing.assert_allclose(found, np.stack([whole, whole]), atol=1e-5)


def test_blocks_make_no_difference():
    network, whole = separator(), song(15 * SAMPLE_RATE)
    parts = np.split(whole, [1, 4_000, 4_001, 200_000])
    np.testing.assert_array_equal(separated(network, *parts), separated(network, whole))


def test_inside_a_chunk_it_is_what_the_network_says_of_that_chunk():
    network, whole = separator(), song(30 * SAMPLE_RATE)
    size = network.config.spectrogram.num_samples(1024)
    chunk = np.concatenate([np.zeros(SAMPLE_RATE, dtype=np.float32), whole])[:size]
    mixture = torch.from_numpy(chunk)[None]
    with torch.no_grad():
        expected = network.waveforms(network(mixture), size)[0, :, SAMPLE_RATE:-SAMPLE_RATE].numpy()
    np.testing.assert_allclose(separated(network, whole)[:, : expected.shape[1]], expected, atol=1e-6)


def test_a_song_without_samples_has_no_estimates():
    assert sum(part.shape[1] for part in separate_song(separator(), [])) == 0
