"""The CNN's size, order of layers and where it lets itself be fused."""

import pytest
import torch
from torch import nn

from components.networks.batch_norm import BatchNorm2d
from components.networks.initialisation import initialise
from components.networks.parameter_counts import num_parameters, num_trainable
from components.networks.short_chunk_cnn import ShortChunkCNN, ShortChunkCNNConfig

SMALL = ShortChunkCNNConfig(
    widths=(2, 3, 4, 5, 6, 7, 8), num_frames=128, last_pool=(2, 2), num_classes=4, in_channels=2
)


def small_cnn():
    cnn = ShortChunkCNN(SMALL)
    initialise(cnn, 0, "backend")
    return cnn


def log_mel():
    return torch.randn(3, 2, 128, 128, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("num_classes", "trainable", "everything"), [(50, 2_396_530, 2_401_138), (16, 2_379_088, 2_383_696)]
)
def test_counts_are_the_papers(num_classes, trainable, everything):
    cnn = ShortChunkCNNConfig(num_classes=num_classes).build()
    assert (num_trainable(cnn), num_parameters(cnn)) == (trainable, everything)


def test_activation_and_normalisation_stand_after_each_convolution():
    layers = [nn.Conv2d, BatchNorm2d, nn.ReLU]
    cnn = small_cnn()
    for block in cnn.blocks:
        assert [type(layer) for layer in block] == [*layers, *layers, nn.MaxPool2d]
    assert [block[-1].kernel_size for block in cnn.blocks] == [(2, 2)] * 7
    head = [nn.Flatten, nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Dropout, nn.Linear]
    assert [type(layer) for layer in cnn.head] == head


def test_the_hidden_layer_follows_the_flattened_map():
    assert ShortChunkCNNConfig().hidden == 512
    assert ShortChunkCNNConfig(num_frames=128, last_pool=(2, 2)).scaled(0.25).hidden == 64


def test_maps_are_the_block_inputs():
    output = small_cnn()(log_mel())
    assert output.logits.shape == (3, 4)
    shapes = {int(name.removeprefix("block")): tuple(x.shape[1:]) for name, x in output.maps.items()}
    assert shapes == SMALL.block_inputs()
    assert shapes[0] == (2, 128, 128) and shapes[6] == (7, 2, 2)


@pytest.mark.parametrize("block", range(7))
def test_a_block_takes_what_its_input_is_fused_to(block):
    cnn, x = small_cnn().eval(), log_mel()
    addition = torch.ones(3, *SMALL.block_inputs()[block])
    bare, added = cnn(x), cnn(x, lambda number, x: x + addition if number == block else x)
    torch.testing.assert_close(added.maps[f"block{block}"], bare.maps[f"block{block}"] + addition)
    assert all(torch.equal(added.maps[f"block{k}"], bare.maps[f"block{k}"]) for k in range(block))
    assert not torch.equal(added.logits, bare.logits)


def test_another_input_size_is_refused():
    with pytest.raises(ValueError, match=r"\(2, 64, 128\); needed: .* \(2, 128, 128\)"):
        small_cnn()(log_mel()[:, :, :64])


def test_float64_and_bf16_autocast():
    cnn, x = small_cnn().eval(), log_mel()
    expected = cnn(x).logits
    with torch.autocast("cpu", torch.bfloat16):
        rough = cnn(x).logits
    torch.testing.assert_close(rough.float(), expected, atol=0.1, rtol=0.1)
    exact = cnn.double()(x.double()).logits
    assert exact.dtype == torch.float64
    torch.testing.assert_close(exact.float(), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_frames": 128}, "num_frames is 128.*multiples of 192"),
        ({"num_mels": 96}, "num_mels is 96.*multiples of 128"),
        ({"last_pool": (0, 2)}, "last_pool"),
        ({"widths": ()}, "widths"),
        ({"widths": (4, 0)}, "widths"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"num_classes": 0}, "num_classes is 0"),
        ({"in_channels": 0}, "in_channels is 0"),
    ],
)
def test_impossible_configurations_name_their_number(fields, message):
    with pytest.raises(ValueError, match=message):
        ShortChunkCNNConfig(**fields)
