"""Statistics as plain averages over batches."""

import pytest
import torch
from torch import nn

from components.networks.batch_norm import BatchNorm2d, calibrate_batch_norm
from components.networks.initialisation import initialise
from components.networks.unet import UNet, UNetConfig


def batches(number=4, mean=3.0):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 1, 64, 64, generator=generator) * (k + 1) + mean for k in range(number)]


def unet():
    network = UNet(UNetConfig().scaled(1 / 8))
    initialise(network, 0, "unet")
    return network


def test_statistics_are_the_average_over_batches():
    network = unet()
    network.encoder[0][0].running_mean.fill_(100.0)
    calibrate_batch_norm(network, batches())
    norm = network.encoder[0][0]
    torch.testing.assert_close(norm.running_mean[0], torch.stack([x.mean() for x in batches()]).mean())
    torch.testing.assert_close(norm.running_var[0], torch.stack([x.var() for x in batches()]).mean())


def test_the_evaluated_network_then_answers_as_in_training():
    network, (batch,) = unet(), batches(1)
    before = (network.eval()(batch).mask - network.train()(batch).mask).abs().mean()
    calibrate_batch_norm(network, [batch])
    after = (network.eval()(batch).mask - network.train()(batch).mask).abs().mean()
    assert after < before / 5


def test_parameters_modes_and_momenta_are_left_alone():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, momentum=0.3), nn.Dropout(), nn.BatchNorm2d(2))
    network[3].eval()
    before = [parameter.clone() for parameter in network.parameters()]
    calibrate_batch_norm(network, batches())
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert [layer.training for layer in network] == [True, True, True, False]
    assert (network[1].momentum, network[3].momentum) == (0.3, 0.1)


def test_dropout_does_not_disturb_the_statistics():
    network = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm2d(1))
    calibrate_batch_norm(network, [torch.ones(2, 1, 8, 8)])
    assert network[1].running_mean.item() == 1


def test_no_batch_is_refused():
    with pytest.raises(ValueError, match="batches is empty"):
        calibrate_batch_norm(unet(), [])


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_the_layer_is_torchs_but_for_its_count(is_training, momentum):
    generator = torch.Generator().manual_seed(0)
    own, torchs = (kind(3, eps=1e-3, momentum=momentum).train(is_training) for kind in (BatchNorm2d, nn.BatchNorm2d))
    inputs = [torch.randn(4, 3, 5, 6, generator=generator) for _ in range(3)]
    for x in inputs:
        assert torch.equal(own(x), torchs(x))
    (own(inputs[0]) * inputs[1]).sum().backward()
    (torchs(inputs[0]) * inputs[1]).sum().backward()
    assert torch.equal(own.weight.grad, torchs.weight.grad)
    assert torch.equal(own.running_mean, torchs.running_mean)
    assert torch.equal(own.running_var, torchs.running_var)
    assert own.state_dict().keys() == torchs.state_dict().keys()
