"""The transformer against its equations in NumPy, and what one cell of a decoder map or of the log-mel moves."""

from functools import cache

import numpy as np
import pytest
import torch

from components.networks.adapters import AdapterConfig
from components.networks.joint_network import JointConfig, JointNetwork
from components.networks.spectrogram_transformer import SpectrogramTransformerConfig
from tests.components.networks.drawn import load_drawn, state_of, uniform, waveform
from tests.components.networks.equations_transformer import ast, joint_ast
from tests.components.networks.test_equations import PRECISIONS, agree, by_number, separator_config

# The paper's segment, patches and epsilon; the blocks of the insertion points are those of a smaller network.
AST = SpectrogramTransformerConfig(width=24, num_heads=3, num_blocks=6, insertion_blocks=(5, 4, 3, 2, 1), num_classes=7)
POINTS = dict(enumerate(AST.insertion_blocks))
NUM_SAMPLES = 123_232
GRID = (48, 8)


@cache
def joint(num_sources: int, dtype: torch.dtype = torch.float64) -> JointNetwork:
    adapters = AdapterConfig(points=AST.insertion_points)
    network = JointNetwork(JointConfig(separator=separator_config(num_sources), backend=AST, adapters=adapters))
    load_drawn(network, dtype)
    return network


def by_timms_names(network: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name.replace("transformer.", ""): array for name, array in state_of(network).items()}


@cache
def rendered_joint(num_sources: int):
    state = by_timms_names(joint(num_sources))
    return joint_ast(waveform(NUM_SAMPLES), state, num_heads=3, epsilon=1e-3, points=POINTS)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_transformer(dtype, tolerance):
    network = AST.build()
    load_drawn(network, dtype)
    x = 3 * uniform(2, 1, 768, 128) - 1
    actual = network(torch.from_numpy(x).to(dtype))
    expected = ast(x, by_timms_names(network), num_heads=3, epsilon=1e-3)
    agree(actual.logits, expected.logits, tolerance)
    if dtype == torch.float64:
        for block, tokens in by_number(actual.maps).items():
            agree(tokens, expected.blocks[block])


@pytest.mark.parametrize("num_sources", [1, 4])
def test_joint_transformer(num_sources):
    network, expected = joint(num_sources), rendered_joint(num_sources)
    features = network.features(torch.from_numpy(waveform(NUM_SAMPLES)))
    agree(features.log_mel, expected.log_mel)
    output = network.backend(features.log_mel, network.adapters(features.maps))
    for block, tokens in by_number(output.maps).items():
        agree(tokens, expected.classified.blocks[block])
    agree(output.logits, expected.classified.logits)


@pytest.mark.parametrize("num_sources", [1, 4])
def test_joint_logits_in_float32(num_sources):
    actual = joint(num_sources, torch.float32)(torch.from_numpy(waveform(NUM_SAMPLES)).float())
    agree(actual, rendered_joint(num_sources).classified.logits, 1e-3)


def moved(level: int, cell: tuple[int, int]) -> tuple[int, set[tuple[int, int]]]:
    """The first block whose input moves when one cell (frame, bin) of a map does, and which of its patches' tokens."""
    network = joint(1)
    shapes = network.config.separator.unet.map_shapes(768, 256)
    maps = {number: torch.from_numpy(uniform(1, *shape)) for number, shape in shapes.items()}
    log_mel = torch.from_numpy(uniform(1, 2, 768, 128))
    before = network.backend(log_mel, network.adapters(network.adapters.prepare(maps))).maps
    maps[level][0, :, *cell] += 1
    after = network.backend(log_mel, network.adapters(network.adapters.prepare(maps))).maps
    different = [(after[name] != before[name])[0].any(dim=1) for name in after]
    block = next(number for number, tokens in enumerate(different) if tokens.any())
    assert not different[block][0]  # the class token
    return block, {divmod(int(token), GRID[1]) for token in different[block][1:].nonzero()}


@pytest.mark.parametrize("level", [1, 2, 3, 4])
@pytest.mark.parametrize("place", [(0.0, 0.0), (0.5, 0.4), (0.3, 0.75), (1.0, 1.0)])
def test_one_cell_of_a_map_moves_the_token_of_its_time_and_frequency(level, place):
    size = (24 * 2**level, 8 * 2**level)
    cell = (round(place[0] * (size[0] - 1)), round(place[1] * (size[1] - 1)))
    assert moved(level, cell) == (5 - level, {(cell[0] * 48 // size[0], cell[1] * 8 // size[1])})


@pytest.mark.parametrize("cell", [(0, 0), (7, 3), (23, 7)])
def test_one_cell_of_the_coarsest_map_moves_two_frames_and_its_mels_and_the_next(cell):
    frame, place = cell
    tokens = {(2 * frame + more, place + right) for more in (0, 1) for right in (0, 1) if place + right < 8}
    assert moved(0, cell) == (5, tokens)
