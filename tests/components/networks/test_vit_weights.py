"""ImageNet weights: from small files of both forms that are made here."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save
from timm.models.vision_transformer import VisionTransformer

from components.networks.initialisation import initialise, load_strictly
from components.networks.spectrogram_transformer import SpectrogramTransformerConfig
from components.networks.vit_weights import backend_state

CONFIG = SpectrogramTransformerConfig(
    num_frames=96, num_mels=16, patch=(16, 8), width=12, num_heads=3, num_blocks=2, insertion_blocks=(1,), num_classes=5
)


def image_network():
    """A small vision transformer for images of three colours, which are cut into 3 x 3 patches."""
    network = VisionTransformer(
        img_size=(48, 24),
        patch_size=(16, 8),
        num_classes=7,
        embed_dim=12,
        depth=2,
        num_heads=3,  # pyright: ignore[reportArgumentType]
    )
    initialise(network, 3, "images")
    for index, parameter in enumerate(network.parameters()):
        parameter.data += 0.01 * index  # biases and norms too have values to be told apart by
    return network


def released(state):
    """The arrays of the original release's file, from timm's tensors."""
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    found = {
        "embedding/kernel": arrays["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": arrays["patch_embed.proj.bias"],
        "cls": arrays["cls_token"],
        "Transformer/posembed_input/pos_embedding": arrays["pos_embed"],
        "Transformer/encoder_norm/scale": arrays["norm.weight"],
        "Transformer/encoder_norm/bias": arrays["norm.bias"],
        "head/kernel": arrays["head.weight"].T,
        "head/bias": arrays["head.bias"],
    }
    for block in range(2):
        ours, theirs = f"blocks.{block}.", f"Transformer/encoderblock_{block}/"
        for layer, name in (("norm1", "LayerNorm_0"), ("norm2", "LayerNorm_2")):
            found |= {f"{theirs}{name}/scale": arrays[f"{ours}{layer}.weight"]}
            found |= {f"{theirs}{name}/bias": arrays[f"{ours}{layer}.bias"]}
        attention = f"{theirs}MultiHeadDotProductAttention_1/"
        for part, name in enumerate(("query", "key", "value")):
            rows = slice(12 * part, 12 * part + 12)
            found[f"{attention}{name}/kernel"] = arrays[f"{ours}attn.qkv.weight"][rows].T.reshape(12, 3, 4)
            found[f"{attention}{name}/bias"] = arrays[f"{ours}attn.qkv.bias"][rows].reshape(3, 4)
        found[f"{attention}out/kernel"] = arrays[f"{ours}attn.proj.weight"].T.reshape(3, 4, 12)
        found[f"{attention}out/bias"] = arrays[f"{ours}attn.proj.bias"]
        for layer, name in (("fc1", "Dense_0"), ("fc2", "Dense_1")):
            found[f"{theirs}MlpBlock_3/{name}/kernel"] = arrays[f"{ours}mlp.{layer}.weight"].T
            found[f"{theirs}MlpBlock_3/{name}/bias"] = arrays[f"{ours}mlp.{layer}.bias"]
    return found


def npz(arrays):
    sink = io.BytesIO()
    np.savez(sink, **arrays)
    return sink.getvalue()


STATE = image_network().state_dict()
FILES = {"vit.npz": npz(released(STATE)), "vit.safetensors": save(STATE)}


@pytest.mark.parametrize("name", FILES)
def test_everything_but_the_head_is_taken_over(name):
    state = backend_state(FILES[name], name, CONFIG)
    backend = CONFIG.build()
    assert set(backend.state_dict()) - set(state) == {"transformer.head.weight", "transformer.head.bias"}
    load_strictly(backend, {**backend.state_dict(), **state})
    for tensor, value in state.items():
        if "patch_embed.proj.weight" not in tensor and "pos_embed" not in tensor:
            assert torch.equal(value, STATE[tensor.removeprefix("transformer.")]), tensor


def test_the_patch_kernel_is_the_mean_over_the_colours():
    state = backend_state(FILES["vit.npz"], "vit.npz", CONFIG)
    expected = sum(STATE["patch_embed.proj.weight"][:, colour] for colour in range(3)) / 3
    torch.testing.assert_close(state["transformer.patch_embed.proj.weight"], expected[:, None])


def test_positions_are_resized_bilinearly_and_the_class_tokens_is_kept():
    places = torch.arange(3.0)[:, None] + 10 * torch.arange(3.0)
    positions = torch.cat([torch.full((1, 12), 7.0), places.reshape(9, 1).expand(9, 12)])[None]
    state = backend_state(save({**STATE, "pos_embed": positions.contiguous()}), "x.safetensors", CONFIG)
    found = state["transformer.pos_embed"]
    assert found.shape == (1, 1 + 6 * 2, 12) and (found[0, 0] == 7).all()
    frames = ((torch.arange(6.0) + 0.5) / 2 - 0.5).clamp(0, 2)
    mels = torch.tensor([0.25, 1.75])
    torch.testing.assert_close(found[0, 1:, 0].reshape(6, 2), frames[:, None] + 10 * mels)


def altered(**changes):
    return {name: tensor for name, tensor in {**STATE, **changes}.items() if tensor is not None}


@pytest.mark.parametrize(
    ("data", "name", "message"),
    [
        (b"", "vit.pth", "vit.pth is neither .npz nor .safetensors"),
        (b"no zip", "vit.npz", "vit.npz cannot be read .* no .npz archive"),
        (b"", "vit.npz", "vit.npz cannot be read .* no .npz archive"),
        (FILES["vit.npz"][:900] + b"torn" + FILES["vit.npz"][904:], "vit.npz", "vit.npz cannot be read"),
        (save({**STATE, "norm.bias": torch.full((12,), torch.nan)}), "vit.safetensors", "'norm.bias' has values"),
        (b"no header", "vit.safetensors", "vit.safetensors cannot be read"),
        (npz({**released(STATE), "cls": np.array([None])}), "vit.npz", "vit.npz cannot be read"),  # a pickle
        (npz({k: v for k, v in released(STATE).items() if k != "cls"}), "vit.npz", "vit.npz has no array 'cls'"),
        (save(altered(**{"norm.bias": None})), "vit.safetensors", "has no tensor 'norm.bias'"),
        (save(altered(**{"norm.bias": torch.zeros(3)})), "vit.safetensors", r"'norm.bias' is \(3,\).* \(12,\)"),
        (save(altered(extra=torch.zeros(3))), "vit.safetensors", "has a tensor 'extra', which the backend has not"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_its_first_tensor(data, name, message):
    with pytest.raises(ValueError, match=message):
        backend_state(data, name, CONFIG)


def test_weights_of_another_architecture_are_refused():
    with pytest.raises(ValueError, match=r"'cls_token' is \(1, 1, 12\), the backend's is \(1, 1, 24\)"):
        backend_state(FILES["vit.npz"], "vit.npz", replace(CONFIG, width=24))
    with pytest.raises(ValueError, match=r"no tensor 'blocks.2"):
        backend_state(FILES["vit.npz"], "vit.npz", replace(CONFIG, num_blocks=3))
    with pytest.raises(ValueError, match=r"a tensor 'blocks.1"):
        backend_state(FILES["vit.npz"], "vit.npz", replace(CONFIG, num_blocks=1, insertion_blocks=()))
