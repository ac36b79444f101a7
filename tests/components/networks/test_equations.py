"""The networks against the paper's equations in NumPy, and what one cell of a decoder map moves.

In float64 everything agrees to 1e-6, in float32 logits to 1e-3.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from components.networks.adapters import AdapterConfig
from components.networks.joint_network import JointConfig, JointNetwork
from components.networks.separator import Separator, SeparatorConfig
from components.networks.short_chunk_cnn import ShortChunkCNNConfig
from components.networks.spectrogram import MelConfig, MelFilterbank, Spectrogram, SpectrogramConfig, log_magnitude
from components.networks.unet import UNet, UNetConfig
from tests.components.networks import equations
from tests.components.networks.drawn import load_drawn, state_of, uniform, waveform

SOURCES = ("vocals", "other", "drums", "bass")
HOP = 160
NUM_SAMPLES = 61_792
CNN = ShortChunkCNNConfig().scaled(1 / 16)
HALF_CNN = replace(CNN, num_frames=192)
PRECISIONS = [(torch.float64, 1e-6), (torch.float32, 1e-3)]
HOPS = [160, 320, 100]


def agree(actual: torch.Tensor, expected: np.ndarray, tolerance: float = 1e-6) -> None:
    """Of one shape, and nowhere further apart than `tolerance`."""
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual.numpy(), expected, atol=tolerance, rtol=0)


def all_agree(actual: dict[int, torch.Tensor], expected: dict[int, np.ndarray]) -> None:
    """For each number."""
    assert actual.keys() == expected.keys()
    for number, tensor in actual.items():
        agree(tensor, expected[number])


def separator_config(num_sources: int) -> SeparatorConfig:
    return SeparatorConfig(sources=SOURCES[:num_sources], unet=UNetConfig(num_sources=num_sources).scaled(1 / 8))


@cache
def joint(num_sources: int, dtype: torch.dtype = torch.float64) -> JointNetwork:
    adapters = AdapterConfig(points=CNN.insertion_points)
    network = JointNetwork(JointConfig(separator=separator_config(num_sources), backend=CNN, adapters=adapters))
    load_drawn(network, dtype)
    return network


@cache
def rendered_joint(num_sources: int) -> equations.JointMaps:
    return equations.joint_cnn(waveform(NUM_SAMPLES), state_of(joint(num_sources)), hop=HOP)


@pytest.mark.parametrize("hop_samples", HOPS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-4)])
def test_stft(hop_samples, dtype, tolerance):
    spectrogram = Spectrogram(SpectrogramConfig(hop_samples=hop_samples)).to(dtype)
    x = waveform(5000)
    agree(spectrogram.stft(torch.from_numpy(x).to(dtype)), equations.stft(x, hop_samples), tolerance)


@pytest.mark.parametrize("hop_samples", HOPS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-5)])
def test_inverse_stft(hop_samples, dtype, tolerance):
    spectrogram = Spectrogram(SpectrogramConfig(hop_samples=hop_samples)).to(dtype)
    spectrum = equations.stft(waveform(5000), hop_samples)
    spectrum = spectrum * uniform(*spectrum.shape)
    actual = spectrogram.inverse(torch.from_numpy(spectrum).to(dtype.to_complex()), 5000)
    agree(actual, equations.inverse_stft(spectrum, hop_samples, 5000), tolerance)


def test_window_and_filterbank():
    spectrogram, mel = Spectrogram(SpectrogramConfig()), MelFilterbank(MelConfig(), SpectrogramConfig())
    agree(spectrogram.window, equations.hann(), 1e-12)
    agree(mel.weights, equations.mel_filterbank(), 1e-12)


def test_log_mel():
    mel = MelFilterbank(MelConfig(), SpectrogramConfig()).double()
    x = equations.magnitude(equations.stft(waveform(5000), HOP))
    agree(log_magnitude(mel(torch.from_numpy(x))), equations.log_mel(x))


@pytest.mark.parametrize("num_sources", [1, 4])
def test_unet(num_sources):
    unet = UNet(UNetConfig(num_sources=num_sources).scaled(1 / 8))
    load_drawn(unet, torch.float64)
    x = 2 * uniform(2, 1, 128, 256) - 1
    actual, expected = unet(torch.from_numpy(x)), equations.unet(x, state_of(unet))
    agree(actual.mask, expected.mask)
    all_agree(actual.maps, expected.decoder)
    all_agree(actual.encoder_maps, expected.encoder)


@pytest.mark.parametrize("num_sources", [1, 4])
def test_estimated_waveforms(num_sources):
    separator = Separator(separator_config(num_sources))
    load_drawn(separator, torch.float64)
    x = waveform(SpectrogramConfig().num_samples(64) + 37)
    actual = separator.waveforms(separator(torch.from_numpy(x)), x.shape[1])
    agree(actual, equations.estimates(x, state_of(separator), HOP))


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_short_chunk_cnn(dtype, tolerance):
    cnn = CNN.build()
    load_drawn(cnn, dtype)
    x = 2 * uniform(2, 1, 384, 128) - 1
    actual, expected = cnn(torch.from_numpy(x).to(dtype)), equations.short_chunk_cnn(x, state_of(cnn))
    agree(actual.logits, expected.logits, tolerance)
    if dtype == torch.float64:
        all_agree(by_number(actual.maps), expected.blocks)


def by_number(maps: dict[str, torch.Tensor]) -> dict[int, torch.Tensor]:
    return {int(name.removeprefix("block")): tensor for name, tensor in maps.items()}


@pytest.mark.parametrize("num_sources", [1, 4])
def test_joint_separation(num_sources):
    actual = joint(num_sources).separator(torch.from_numpy(waveform(NUM_SAMPLES)))
    expected = rendered_joint(num_sources).separation
    agree(actual.mask, expected.mask)
    all_agree(actual.maps, expected.decoder)


@pytest.mark.parametrize("num_sources", [1, 4])
def test_joint_classification(num_sources):
    network, expected = joint(num_sources), rendered_joint(num_sources)
    features = network.features(torch.from_numpy(waveform(NUM_SAMPLES)))
    agree(features.log_mel, expected.log_mel)
    output = network.backend(features.log_mel, network.adapters(features.maps))
    all_agree(by_number(output.maps), expected.classified.blocks)
    agree(output.logits, expected.classified.logits)


@pytest.mark.parametrize("num_sources", [1, 4])
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_joint_logits(num_sources, dtype, tolerance):
    actual = joint(num_sources, dtype)(torch.from_numpy(waveform(NUM_SAMPLES)).to(dtype))
    agree(actual, rendered_joint(num_sources).classified.logits, tolerance)


@cache
def averaging() -> JointNetwork:
    """A joint network whose layers take averages: what grows far anywhere makes all grow that it reaches."""
    adapters = AdapterConfig(points=HALF_CNN.insertion_points)
    network = JointNetwork(JointConfig(separator=separator_config(1), backend=HALF_CNN, adapters=adapters))
    load_drawn(network, torch.float64)
    for parameter in (*network.adapters.parameters(), *network.backend.parameters()):
        parameter.abs_()
        if parameter.ndim > 1:
            parameter.div_(parameter[0].sum())
    return network


def decoder_maps() -> dict[int, torch.Tensor]:
    shapes = averaging().config.separator.unet.map_shapes(192, 256)
    return {level: torch.from_numpy(uniform(2, *shape)) for level, shape in shapes.items()}


def block_inputs(maps: dict[int, torch.Tensor]) -> dict[int, torch.Tensor]:
    network, log_mel = averaging(), torch.from_numpy(uniform(2, 2, 192, 128))
    return by_number(network.backend(log_mel, network.adapters(network.adapters.prepare(maps))).maps)


def moved(level: int, cell: tuple[int, int], amount: float) -> dict[int, set[tuple[int, int]]]:
    """The cells of each block's input that move when one, (frame, bin), of the first example's map changes."""
    maps, before = decoder_maps(), block_inputs(decoder_maps())
    maps[level][0, 0, *cell] += amount
    different = {block: x != before[block] for block, x in block_inputs(maps).items()}
    assert not any(x[1].any() for x in different.values())
    return {block: {(f, b) for f, b in x[0].any(dim=0).nonzero().tolist()} for block, x in different.items()}


def reached(level: int, cell: tuple[int, int]) -> dict[int, set[tuple[int, int]]]:
    """The cells that a cell of a map can reach: one of its block's input, then what two convolutions widen."""
    sizes = {block: shape[1:] for block, shape in HALF_CNN.block_inputs().items()}
    cells: dict[int, set[tuple[int, int]]] = {block: set() for block in sizes}
    frames, bins = [cell[0]], [cell[1] // 2]
    for block in range(5 - level, 7):
        cells[block] = {(frame, place) for frame in frames for place in bins}
        frames = sorted({frame // 2 for frame in widened(frames, sizes[block][0])})
        bins = sorted({place // 2 for place in widened(bins, sizes[block][1])})
    return cells


def widened(places: list[int], size: int) -> range:
    """By two on each side, within the map."""
    return range(max(0, min(places) - 2), min(size, max(places) + 3))


@pytest.mark.parametrize("level", range(5))
@pytest.mark.parametrize("place", [(0.0, 0.0), (0.5, 0.4), (0.3, 0.75), (1.0, 1.0)])
def test_one_cell_of_a_map_moves_one_cell_of_its_block_and_what_that_reaches(level, place):
    num_frames, num_bins = decoder_maps()[level].shape[2:]
    cell = (round(place[0] * (num_frames - 1)), round(place[1] * (num_bins - 1)))
    assert moved(level, cell, 1e13) == reached(level, cell)


def test_the_finest_map_moves_nothing():
    assert not any(moved(5, (7, 7), 1e13).values())


@pytest.mark.parametrize("level", range(5))
def test_the_smaller_bin_of_a_pair_moves_nothing(level):
    pair = decoder_maps()[level][0, 0, 1, 2:4]
    smaller, larger = 2 + int(pair.argmin()), 2 + int(pair.argmax())
    assert not any(moved(level, (1, smaller), -1.0).values())
    assert moved(level, (1, larger), -1.0)[5 - level] == {(1, 1)}
