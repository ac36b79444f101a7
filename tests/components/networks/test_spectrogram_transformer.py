"""The transformer's size, the order of its tokens, and where it lets itself be fused."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from components.networks.classifier import Classifier, ClassifierConfig
from components.networks.initialisation import initialise
from components.networks.parameter_counts import num_parameters
from components.networks.spectrogram import MelConfig
from components.networks.spectrogram_transformer import SpectrogramTransformerConfig, scaled

SMALL = SpectrogramTransformerConfig(
    num_frames=64, num_mels=32, patch=(16, 8), width=12, num_heads=3, num_blocks=3, insertion_blocks=(2, 1),
    num_classes=4, in_channels=2,
)  # fmt: skip


def small(config=SMALL):
    network = config.build()
    initialise(network, 0, "backend")
    return network.eval()


def log_mel(batch=3):
    return torch.randn(batch, 2, 64, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("num_classes", "expected"), [(50, 85_588_274), (16, 85_562_128)])
def test_counts_are_the_papers(num_classes, expected):
    with torch.device("meta"):
        config = SpectrogramTransformerConfig(num_classes=num_classes)
        assert num_parameters(config.build()) == expected
        assert num_parameters(Classifier(ClassifierConfig(backend=config, mel=MelConfig()))) == expected


def test_a_patch_is_a_token_frame_by_frame():
    embed = small().transformer.patch_embed
    for frame in range(4):
        for mel in range(4):
            x = torch.zeros(1, 2, 64, 32)
            x[..., 16 * frame + 3, 8 * mel + 5] = 1
            moved = (embed(x) - embed(torch.zeros_like(x))).abs().sum(dim=2)[0].nonzero().ravel()
            assert moved.tolist() == [4 * frame + mel]


@pytest.mark.parametrize("block", range(3))
def test_a_block_takes_what_its_patches_are_fused_to_and_the_class_token_as_it_is(block):
    network, x = small(), log_mel()
    bare = network(x)
    added = network(x, lambda number, tokens: tokens + 1 if number == block else tokens)
    difference = added.maps[f"block{block}"] - bare.maps[f"block{block}"]
    torch.testing.assert_close(difference[:, 1:], torch.ones(3, 16, 12))
    assert not difference[:, 0].any()
    assert all(torch.equal(added.maps[f"block{k}"], bare.maps[f"block{k}"]) for k in range(block))
    assert not torch.equal(added.logits, bare.logits)


def test_classes_are_read_from_the_class_token():
    network, x = small(), log_mel()
    tokens = []
    network.transformer.norm.register_forward_hook(lambda module, args, output: tokens.append(output))
    logits = network(x).logits
    torch.testing.assert_close(logits, network.transformer.head(tokens[0][:, 0]))


def test_each_sample_is_stretched_over_all_its_channels_and_by_itself():
    x = log_mel() * torch.tensor([1.0, 5.0])[:, None, None] + 3
    found = scaled(x)
    assert found.amin(dim=(1, 2, 3)).tolist() == pytest.approx([-1] * 3)
    assert found.amax(dim=(1, 2, 3)).tolist() == pytest.approx([1] * 3)
    assert (found.amax(dim=(2, 3))[:, 0] < 0.9).all()
    torch.testing.assert_close(scaled(x[1:2]), found[1:2])
    torch.testing.assert_close(scaled(7 * x - 2), found)
    assert torch.equal(scaled(torch.full((2, 1, 16, 8), 3.0)), torch.zeros(2, 1, 16, 8))


def test_dropout_is_that_of_the_configuration():
    rates = {layer.p for layer in small().modules() if isinstance(layer, nn.Dropout)}
    assert rates == {0.0, 0.1}  # attention weights and the head have none
    assert {layer.p for layer in small(replace(SMALL, dropout=0.0)).modules() if isinstance(layer, nn.Dropout)} == {0.0}
    network, x = small().train(), log_mel()
    assert not torch.equal(network(x).logits, network(x).logits)


def test_epsilon_is_that_of_the_configuration():
    assert {layer.eps for layer in small().modules() if isinstance(layer, nn.LayerNorm)} == {1e-3}


def test_another_input_size_is_refused():
    with pytest.raises(ValueError, match=r"\(2, 32, 32\); needed: .* \(2, 64, 32\)"):
        small()(log_mel()[:, :, :32])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_frames": 72}, "num_frames is 72; allowed: multiples of the patch's 16"),
        ({"num_mels": 4}, "num_mels is 4"),
        ({"width": 13}, "width is 13; allowed: multiples of num_heads, 3"),
        ({"num_heads": 0}, "num_heads is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"insertion_blocks": (1, 1)}, "different ones of 0 to 2"),
        ({"insertion_blocks": (3,)}, "different ones of 0 to 2"),
    ],
)
def test_impossible_sizes_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **fields)
