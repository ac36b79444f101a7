"""The joint network beside the bare backend and the separator that it is made of."""

from dataclasses import replace
from itertools import chain, combinations

import pytest
import torch

from components.networks.adapters import AdapterConfig, InsertionPoint, finest, points_of
from components.networks.batch_norm import calibrate_batch_norm
from components.networks.classifier import Classifier, ClassifierConfig
from components.networks.initialisation import initialise, submodule_state
from components.networks.joint_network import JointConfig, JointNetwork, initialise_joint
from components.networks.parameter_counts import num_parameters
from components.networks.separator import Separator, SeparatorConfig
from components.networks.short_chunk_cnn import CNN_INSERTION_POINTS, ShortChunkCNNConfig
from components.networks.spectrogram import MelConfig, SpectrogramConfig, log_magnitude
from components.networks.spectrogram_transformer import SpectrogramTransformerConfig
from components.networks.unet import UNetConfig

ALL = AdapterConfig(points=CNN_INSERTION_POINTS)
SMALL = JointConfig(
    adapters=ALL,
    separator=SeparatorConfig(
        sources=("vocals", "drums"),
        unet=UNetConfig(num_sources=2).scaled(1 / 8),
        spectrogram=SpectrogramConfig(hop_samples=320),
    ),
    backend=ShortChunkCNNConfig(num_frames=128, last_pool=(2, 2), num_classes=3).scaled(1 / 16),
)
AST = SpectrogramTransformerConfig(
    num_frames=128, patch=(16, 16), width=8, num_heads=2, num_blocks=6, insertion_blocks=(5, 4, 3, 2, 1), num_classes=3
)
SMALL_AST = replace(SMALL, backend=AST, adapters=AdapterConfig(points=AST.insertion_points))
SUBSETS = list(chain.from_iterable(combinations(CNN_INSERTION_POINTS, number) for number in range(6)))


def joint(config=SMALL, seed=0, **states):
    network = JointNetwork(config)
    initialise_joint(network, seed, **states)
    return network.eval()


def bare(seed=0):
    network = Classifier(ClassifierConfig(backend=SMALL.backend, spectrogram=SMALL.separator.spectrogram))
    initialise(network.backend, seed, "backend")
    return network.eval()


def separator(seed):
    network = Separator(SMALL.separator)
    initialise(network, seed, "separator")
    return network.eval()


def waveform():
    return torch.randn(2, SMALL.num_samples, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("num_sources", "everything"), [(1, 6_399_675), (4, 6_402_270)])
def test_counts_are_the_papers(num_sources, everything):
    sources = ("vocals", "other", "drums", "bass")[:num_sources]
    config = SeparatorConfig(sources=sources, unet=UNetConfig(num_sources=num_sources))
    assert num_parameters(joint_on_no_device(config, ShortChunkCNNConfig())) == everything


@pytest.mark.parametrize(("num_sources", "everything"), [(1, 96_104_251), (4, 96_694_942)])
def test_counts_with_a_transformer_are_the_papers(num_sources, everything):
    sources = ("vocals", "other", "drums", "bass")[:num_sources]
    config = SeparatorConfig(sources=sources, unet=UNetConfig(num_sources=num_sources))
    network = joint_on_no_device(config, SpectrogramTransformerConfig())
    assert num_parameters(network) == everything
    assert num_parameters(network.adapters) == 6_393_600


def joint_on_no_device(separator, backend):
    adapters = AdapterConfig(points=backend.insertion_points)
    with torch.device("meta"):
        return JointNetwork(JointConfig(separator=separator, backend=backend, adapters=adapters))


def test_parameters_stand_under_the_names_of_their_parts():
    prefixes = {".".join(name.split(".")[: 2 if name.startswith("sep") else 1]) for name in joint().state_dict()}
    assert prefixes == {"separator.unet", "adapters", "backend"}


@pytest.mark.parametrize("initialisation", ["zero", "random"])
def test_only_with_neither_adapters_nor_estimates_it_is_the_bare_backend(initialisation):
    network = joint(replace(SMALL, adapters=replace(ALL, initialisation=initialisation)))
    calibrate_batch_norm(network.separator, [waveform()])
    expected = bare()(waveform())
    assert not torch.allclose(network(waveform()), expected, atol=1e-3)
    network.backend.state_dict()[network.backend.first_convolution][:, :-1] = 0
    assert torch.allclose(network(waveform()), expected, atol=1e-5) == (initialisation == "zero")


@pytest.mark.parametrize("points", SUBSETS)
def test_any_subset_of_the_points_works_and_is_used(points):
    network = joint(replace(SMALL, adapters=AdapterConfig(points=points)))
    features = network.features(waveform())
    assert sorted(features.maps) == [point.level for point in points]
    logits = network.classify(features)
    assert logits.shape == (2, 3) and logits.isfinite().all()
    for point in points:
        without = {**features.maps, point.level: torch.zeros_like(features.maps[point.level])}
        assert not torch.equal(network.classify(features._replace(maps=without)), logits)


def test_channels_are_the_estimates_in_their_order_and_then_the_mixture():
    network, x = joint(), waveform()
    log_mel = network.features(x).log_mel
    separation = network.separator(x)
    for channel in range(2):
        expected = log_magnitude(network.mel(separation.estimate_magnitude[:, channel]))
        torch.testing.assert_close(log_mel[:, channel], expected)
    torch.testing.assert_close(log_mel[:, 2:], bare().features(x).log_mel)


def test_forward_classifies_the_features():
    network = joint()
    assert torch.equal(network(waveform()), network.classify(network.features(waveform())))


def test_features_depend_on_the_separator_alone():
    network, other = joint(seed=0), joint(seed=1, separator=separator(0).state_dict())
    for a, b in zip(network.features(waveform()).maps.values(), other.features(waveform()).maps.values(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(network.features(waveform()).log_mel, other.features(waveform()).log_mel)
    assert not torch.equal(network(waveform()), other(waveform()))


def test_a_trained_separator_and_backend_are_copied_whole():
    states = {"separator": separator(5).state_dict(), "backend": submodule_state(bare(6).state_dict(), "backend")}
    state = joint(seed=0, **states).state_dict()
    for role, expected in states.items():
        actual = submodule_state(state, role)
        for name, tensor in expected.items():
            tiled = role == "backend" and name == "blocks.0.0.weight"
            assert torch.equal(actual[name], tensor.expand(-1, 3, -1, -1) if tiled else tensor), name


def test_a_state_that_does_not_fit_is_refused_by_its_first_tensor():
    with pytest.raises(ValueError, match=r"unet.encoder.0.0.weight"):
        joint(separator=submodule_state(separator(0).state_dict(), "unet"))


def test_arms_of_one_seed_share_their_draws():
    one = AdapterConfig(points=points_of(finest(1), CNN_INSERTION_POINTS))
    everything, finest_only = joint().state_dict(), joint(replace(SMALL, adapters=one))
    for name, tensor in finest_only.state_dict().items():
        assert torch.equal(tensor, everything[name])
    backend = submodule_state(everything, "backend")
    assert all(
        torch.equal(tensor, backend[name][:, :1] if name == "blocks.0.0.weight" else backend[name])
        for name, tensor in submodule_state(bare().state_dict(), "backend").items()
    )


VARIANTS = {
    "cnn": SMALL,
    "no points": replace(SMALL, adapters=AdapterConfig(points=())),
    "concatenation": replace(SMALL, adapters=replace(ALL, fusion="concatenation")),
    "estimates": replace(SMALL, inputs="estimates"),
    "ast": SMALL_AST,
    "ast, concatenation": replace(SMALL_AST, adapters=replace(SMALL_AST.adapters, fusion="concatenation")),
}


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_every_parameter_has_a_gradient_under_autocast(config):
    network = joint(config).train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = network(waveform()).square().mean()
    loss.backward()
    assert [name for name, x in network.named_parameters() if x.grad is None or not x.grad.isfinite().all()] == []


@pytest.mark.parametrize("levels", [(0,), (1, 3), (4,)])
def test_without_estimates_only_what_the_adapters_hear_learns(levels):
    adapters = AdapterConfig(points=points_of(levels, CNN_INSERTION_POINTS))
    network = joint(replace(SMALL, inputs="mixture", adapters=adapters)).train()
    features = network.features(waveform())
    assert torch.equal(features.log_mel, bare().features(waveform()).log_mel)
    network.classify(features).square().mean().backward()
    heard = {name for name, x in network.named_parameters() if x.grad is not None}
    assert heard == {name for name, x in network.named_parameters() if x.requires_grad}
    assert any(name.startswith(f"separator.unet.decoder.{max(levels)}.") for name in heard)
    assert not any(name.startswith(f"separator.unet.decoder.{max(levels) + 1}.") for name in heard)


def test_inputs_are_the_channels_of_the_backend():
    x = waveform()
    both = joint().features(x).log_mel
    assert torch.equal(joint(replace(SMALL, inputs="estimates")).features(x).log_mel, both[:, :2])
    assert torch.equal(joint(replace(SMALL, inputs="mixture")).features(x).log_mel, both[:, 2:])


@pytest.mark.parametrize("config", [SMALL, SMALL_AST])
def test_float64(config):
    network = joint(config)
    expected = network(waveform())
    exact = network.double()(waveform().double())
    assert exact.dtype == torch.float64
    torch.testing.assert_close(exact.float(), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"backend": replace(SMALL.backend, in_channels=3)}, "backend.in_channels is 3"),
        ({"mel": MelConfig(num_bins=64)}, "mel.num_bins 64"),
        ({"inputs": "mixture", "adapters": AdapterConfig(points=())}, "would not be heard at all"),
        ({"adapters": replace(ALL, initialisation="patch-kernel")}, "ShortChunkCNNConfig has no patches"),
        ({"backend": replace(AST, insertion_blocks=(4, 3, 2, 1, 0))}, "no insertion point level 0 -> block 5"),
        ({"adapters": AdapterConfig(points=(InsertionPoint(level=5, block=0),))}, "level 5 -> block 0"),
        ({"backend": ShortChunkCNNConfig(widths=(4, 4), num_frames=96)}, "96 frames cannot be halved"),
    ],
)
def test_parts_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **fields)
