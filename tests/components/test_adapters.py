"""Insertion points and what the adapters make of decoder maps."""

import pytest
import torch

from components.adapters import (
    ALL_POINTS,
    CNN_INSERTION_POINTS,
    NO_POINTS,
    AdapterConfig,
    CNNAdapters,
    InsertionPoint,
    check_points,
    coarsest,
    finest,
    only,
    without,
)
from components.parameters import num_parameters
from components.short_chunk_cnn import ShortChunkCNNConfig
from components.unet import UNetConfig

MAPS = UNetConfig().map_shapes(384, 256)
BLOCKS = ShortChunkCNNConfig().block_inputs()


def test_the_points_are_the_papers():
    assert {(point.level, point.block) for point in CNN_INSERTION_POINTS} == {(4, 1), (3, 2), (2, 3), (1, 4), (0, 5)}


def test_all_five_adapters_have_the_papers_count():
    assert num_parameters(CNNAdapters(AdapterConfig(), MAPS, BLOCKS)) == 72_192


def test_selections():
    assert finest(1) == only(4) == (InsertionPoint(level=4, block=1),)
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
    with pytest.raises(ValueError, match=r"level 5.*level 4 -> block 1"):
        select(5)


def test_an_unknown_point_is_refused_with_the_existing_ones():
    unknown = InsertionPoint(level=4, block=2)
    with pytest.raises(ValueError, match=r"no insertion point level 4 -> block 2.*level 0 -> block 5"):
        check_points((unknown,), CNN_INSERTION_POINTS)
    with pytest.raises(ValueError, match="no insertion point"):
        CNNAdapters(AdapterConfig(points=(unknown,)), MAPS, BLOCKS)


def test_one_set_of_points_is_one_configuration():
    assert AdapterConfig(points=ALL_POINTS[::-1]) == AdapterConfig()
    with pytest.raises(ValueError, match="twice"):
        AdapterConfig(points=only(1) + only(1))


def test_a_negative_initial_deviation_is_refused():
    with pytest.raises(ValueError, match="initial_std is -1"):
        AdapterConfig(initial_std=-1.0)


def test_only_the_maps_in_use_are_prepared_and_halved_over_frequency():
    adapters = CNNAdapters(AdapterConfig(points=finest(2)), MAPS, BLOCKS)
    maps = {level: torch.randn(1, *shape) for level, shape in MAPS.items()}
    prepared = adapters.prepare(maps)
    assert sorted(prepared) == [3, 4]
    assert torch.equal(prepared[4], torch.maximum(maps[4][..., ::2], maps[4][..., 1::2]))


def test_additions_fit_their_blocks():
    adapters = CNNAdapters(AdapterConfig(), MAPS, BLOCKS)
    additions = adapters(adapters.prepare({level: torch.randn(1, *shape) for level, shape in MAPS.items()}))
    assert {block: tuple(x.shape[1:]) for block, x in additions.items()} == {k: BLOCKS[k] for k in range(1, 6)}


def test_a_map_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"level 0 -> block 5.*\(24, 8\).*\(12, 4\)"):
        CNNAdapters(AdapterConfig(), UNetConfig().map_shapes(768, 256), BLOCKS)
