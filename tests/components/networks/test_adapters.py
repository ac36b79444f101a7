"""Insertion points and what the adapters make of decoder maps."""

import pytest
import torch

from components.networks.adapters import (
    ALL_POINTS,
    NO_POINTS,
    AdapterConfig,
    InsertionPoint,
    check_points,
    checked_levels,
    coarsest,
    finest,
    initialise_adapters,
    only,
    points_of,
    without,
)
from components.networks.initialisation import initialise
from components.networks.parameter_counts import num_parameters
from components.networks.short_chunk_cnn import CNN_INSERTION_POINTS, CNNAdapters, ShortChunkCNNConfig
from components.networks.spectrogram_transformer import SpectrogramTransformerConfig, TokenAdapters
from components.networks.unet import UNetConfig

MAPS = UNetConfig().map_shapes(384, 256)
BLOCKS = ShortChunkCNNConfig().block_inputs()
ALL = AdapterConfig(points=CNN_INSERTION_POINTS)


def of_levels(levels, **fields):
    return AdapterConfig(points=points_of(levels, CNN_INSERTION_POINTS), **fields)


def test_the_points_are_the_papers():
    assert {(point.level, point.block) for point in CNN_INSERTION_POINTS} == {(4, 1), (3, 2), (2, 3), (1, 4), (0, 5)}


def test_all_five_adapters_have_the_papers_count():
    assert num_parameters(CNNAdapters(ALL, MAPS, BLOCKS)) == 72_192


def test_selections():
    assert finest(1) == only(4) == (4,)
    assert coarsest(2) == only(0) + only(1)
    assert without(4) == coarsest(4)
    assert finest(5) == coarsest(5) == ALL_POINTS
    assert finest(0) == coarsest(0) == NO_POINTS


@pytest.mark.parametrize("select", [finest, coarsest])
@pytest.mark.parametrize("number", [-1, 6])
def test_more_points_than_there_are_cannot_be_selected(select, number):
    with pytest.raises(ValueError, match=f"{number} insertion points.*there are 5"):
        select(number)


@pytest.mark.parametrize("select", [only, without])
def test_an_unknown_level_is_refused(select):
    with pytest.raises(ValueError, match=r"level 5.*there are: 0, 1, 2, 3, 4"):
        select(5)


def test_an_unknown_point_is_refused_with_the_existing_ones():
    unknown = InsertionPoint(level=4, block=2)
    with pytest.raises(ValueError, match=r"no insertion point level 4 -> block 2.*level 0 -> block 5"):
        check_points((unknown,), CNN_INSERTION_POINTS)
    with pytest.raises(ValueError, match="no insertion point"):
        CNNAdapters(AdapterConfig(points=(unknown,)), MAPS, BLOCKS)


def test_one_set_of_points_is_one_configuration():
    assert AdapterConfig(points=CNN_INSERTION_POINTS[::-1]) == ALL
    assert checked_levels((3, 0)) == (0, 3)
    for twice in (lambda: of_levels((1, 1)), lambda: checked_levels((1, 1))):
        with pytest.raises(ValueError, match="twice"):
            twice()


def test_a_negative_initial_deviation_is_refused():
    with pytest.raises(ValueError, match="initial_std is -1"):
        AdapterConfig(points=(), initial_std=-1.0)


def test_only_the_maps_in_use_are_prepared_and_halved_over_frequency():
    adapters = CNNAdapters(of_levels(finest(2)), MAPS, BLOCKS)
    maps = {level: torch.randn(1, *shape) for level, shape in MAPS.items()}
    prepared = adapters.prepare(maps)
    assert sorted(prepared) == [3, 4]
    assert torch.equal(prepared[4], torch.maximum(maps[4][..., ::2], maps[4][..., 1::2]))


def random_maps(shapes=MAPS):
    return {level: torch.randn(1, *shape) for level, shape in shapes.items()}


def cnn_adapters(**fields):
    adapters = CNNAdapters(AdapterConfig(points=CNN_INSERTION_POINTS, **fields), MAPS, BLOCKS)
    initialise(adapters, 0, "adapters")
    initialise_adapters(adapters, None)
    return adapters


@pytest.mark.parametrize("fusion", ["sum", "concatenation"])
def test_the_input_of_each_block_that_has_a_point_is_fused_and_no_other(fusion):
    adapters = cnn_adapters(fusion=fusion)
    fuse = adapters(adapters.prepare(random_maps()))
    for block, shape in BLOCKS.items():
        x = torch.randn(1, *shape)
        fused = fuse(block, x)
        assert fused.shape == x.shape
        assert torch.equal(fused, x) == (block in (0, 6))


def test_concatenation_starts_as_a_sum_and_can_then_weigh_either_side():
    maps, x = random_maps(), torch.randn(1, *BLOCKS[3])
    fused = []
    for fusion in ("sum", "concatenation"):
        adapters = cnn_adapters(fusion=fusion)
        fused.append(adapters(adapters.prepare(maps))(3, x))
    torch.testing.assert_close(fused[0], fused[1])
    adapters.projections["2"].weight.data[:, x.shape[1] :] = 0
    torch.testing.assert_close(adapters(adapters.prepare(maps))(3, x), x)


def test_adapters_that_start_at_zero_add_nothing():
    adapters = cnn_adapters(initialisation="zero")
    fuse, x = adapters(adapters.prepare(random_maps())), torch.randn(1, *BLOCKS[2])
    assert torch.equal(fuse(2, x), x)


AST = SpectrogramTransformerConfig(width=6, num_heads=2)
AST_MAPS = UNetConfig().scaled(1 / 16).map_shapes(768, 256)


def test_patch_kernels_are_shrunk_to_each_convolution_and_spread_over_its_channels():
    adapters = TokenAdapters(
        AdapterConfig(points=AST.insertion_points, initialisation="patch-kernel"), AST_MAPS, AST.grid, AST.width
    )
    initialise(adapters, 0, "adapters")
    before = adapters.convolutions["0"].weight.clone()
    # Linear along both axes, which bilinear shrinking keeps.
    kernel = torch.arange(16.0)[:, None] + 100 * torch.arange(16.0) + torch.zeros(6, 1, 1, 1)
    initialise_adapters(adapters, kernel)
    for level, (frames, mels) in {1: (1, 2), 2: (2, 4), 3: (4, 8), 4: (8, 16)}.items():
        weight = adapters.convolutions[str(level)].weight
        assert weight.shape == (6, AST_MAPS[level][0], frames, mels)
        along = [(torch.arange(float(n)) + 0.5) * 16 / n - 0.5 for n in (frames, mels)]
        expected = along[0][:, None] + 100 * along[1]
        torch.testing.assert_close(weight, expected.expand_as(weight), atol=1e-3, rtol=1e-5)
    assert torch.equal(adapters.convolutions["0"].weight, before)  # the transposed one stays random


def test_a_point_of_the_cnn_is_refused_by_the_transformer():
    with pytest.raises(ValueError, match=r"no insertion point level 0 -> block 5; there are: level 0 -> block 10"):
        AST.build_adapters(ALL, AST_MAPS)


def test_a_map_that_the_patches_do_not_divide_is_refused():
    with pytest.raises(ValueError, match=r"level 0 -> block 10: the map is \(12, 8\).*patches are \(48, 8\)"):
        AST.build_adapters(AdapterConfig(points=AST.insertion_points), UNetConfig().map_shapes(384, 256))


def test_a_map_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"level 0 -> block 5.*\(24, 8\).*\(12, 4\)"):
        CNNAdapters(ALL, UNetConfig().map_shapes(768, 256), BLOCKS)
