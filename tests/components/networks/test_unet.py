"""The U-Net's size, order of layers and maps."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from components.networks.batch_norm import BatchNorm2d
from components.networks.initialisation import initialise
from components.networks.parameter_counts import num_parameters, num_trainable
from components.networks.unet import UNet, UNetConfig

SMALL = UNetConfig(channels=(2, 3, 4, 5, 6, 7), final_channels=4, num_sources=2)


def small_unet():
    unet = UNet(SMALL)
    initialise(unet, 0, "unet")
    return unet


def log_magnitude(num_frames=128, num_bins=64):
    return torch.randn(2, 1, num_frames, num_bins, generator=torch.Generator().manual_seed(0)) - 1


@pytest.mark.parametrize(
    ("num_sources", "trainable", "everything"), [(1, 3_921_061, 3_925_769), (4, 3_921_928, 3_926_636)]
)
def test_counts_are_the_papers(num_sources, trainable, everything):
    unet = UNet(UNetConfig(num_sources=num_sources))
    assert (num_trainable(unet), num_parameters(unet)) == (trainable, everything)


def test_normalisation_and_activation_stand_before_each_convolution():
    unet = small_unet()
    for convolutions in (*unet.encoder, *(block.convolutions for block in unet.decoder), unet.final):
        assert [type(layer) for layer in convolutions] == [BatchNorm2d, nn.LeakyReLU, nn.Conv2d] * 2
    norms = [layer for layer in unet.modules() if isinstance(layer, BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}
    assert {layer.negative_slope for layer in unet.modules() if isinstance(layer, nn.LeakyReLU)} == {0.01}


def reference(unet, x):
    """The forward pass written out, nothing in place."""

    def double(layers, x):
        for norm, convolution in ((layers[0], layers[2]), (layers[3], layers[5])):
            x = functional.leaky_relu(norm(x), 0.01)
            x = functional.conv2d(x, convolution.weight, convolution.bias, padding=1)
        return x

    skips, y = [], x
    for layers in unet.encoder:
        y = functional.max_pool2d(double(layers, y), 2)
        skips.append(y)
    for level, block in enumerate(unet.decoder):
        if level:
            y = torch.cat([y, skips[5 - level]], dim=1)
        up = block.upsampling
        y = double(block.convolutions, functional.conv_transpose2d(y, up.weight, up.bias, stride=2))
    return torch.sigmoid(unet.mask(double(unet.final, torch.cat([y, x], dim=1))))


def test_forward_is_the_papers_network():
    unet, x = small_unet().double().eval(), log_magnitude().double()
    torch.testing.assert_close(unet(x).mask, reference(unet, x))


def test_maps_have_the_shapes_that_the_configuration_tells():
    output = small_unet()(log_magnitude())
    expected = SMALL.map_shapes(128, 64)
    assert {level: tuple(x.shape[1:]) for level, x in output.maps.items()} == expected
    assert expected[0] == (7, 4, 2) and expected[5] == (2, 128, 64)
    assert [tuple(x.shape[1:]) for x in output.encoder_maps.values()][::5] == [(2, 64, 32), (7, 2, 1)]


def test_full_width_maps_are_the_papers():
    assert list(UNetConfig().map_shapes(768, 256).values())[:5] == [
        (192, 24, 8), (192, 48, 16), (128, 96, 32), (64, 192, 64), (32, 384, 128),
    ]  # fmt: skip


def test_masks_lie_between_nothing_and_all():
    mask = small_unet()(100 * log_magnitude()).mask
    assert mask.shape == (2, 2, 128, 64)
    assert mask.min() >= 0 and mask.max() <= 1


def test_every_parameter_has_a_gradient():
    unet = small_unet()
    unet(log_magnitude()).mask.square().mean().backward()
    assert [name for name, parameter in unet.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(("num_frames", "num_bins", "message"), [
    (100, 64, "100 frames cannot be halved 6 times; allowed: multiples of 64"),
    (64, 96, "96 bins cannot be halved 6 times; allowed: multiples of 64"),
])  # fmt: skip
def test_sizes_that_the_poolings_cannot_divide_are_refused(num_frames, num_bins, message):
    with pytest.raises(ValueError, match=message):
        small_unet()(log_magnitude(num_frames, num_bins))


def test_float64_and_bf16_autocast():
    unet, x = small_unet().eval(), log_magnitude()
    expected = unet(x).mask
    with torch.autocast("cpu", torch.bfloat16):
        output = unet(x)
    assert output.mask.dtype == torch.float32 and output.maps[5].dtype == torch.bfloat16
    torch.testing.assert_close(output.mask, expected, atol=0.05, rtol=0)
    exact = unet.double()(x.double()).mask
    assert exact.dtype == torch.float64
    torch.testing.assert_close(exact.float(), expected, atol=1e-4, rtol=0)


def test_half_width_halves_the_channels():
    half = UNetConfig(num_sources=4).scaled(0.5)
    assert half == UNetConfig(channels=(8, 16, 32, 64, 96, 96), final_channels=16, num_sources=4)


@pytest.mark.parametrize("fields", [{"channels": ()}, {"channels": (4, 0)}, {"final_channels": 0}, {"num_sources": 0}])
def test_impossible_configurations_name_their_field(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        UNetConfig(**fields)
