"""ImageNet weights of a vision transformer, from a file to the state of a spectrogram transformer (PAPER section 6).

The file is the original release's (`.npz`) or one with timm's names (`.safetensors`); neither is unpickled. Square
images of three colours become spectrograms of one channel: patch kernels are averaged over the colours and positions
resized bilinearly to the grid of patches; the classes' head is left out.
"""

import io
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from zipfile import is_zipfile

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor
from torch.nn import functional

from components.networks.spectrogram_transformer import SpectrogramTransformerConfig

# The original release's weights with timm's names (PAPER section 6).
HUB_NAME = "timm/vit_base_patch16_384.orig_in21k_ft_in1k"
# What leads from the class token to the classes of ImageNet.
_HEAD = ("head.", "pre_logits.")
_Arrays = Mapping[str, np.ndarray]


def fetch() -> Path:
    """The hub's file, downloaded once; ValueError where the hub is out of reach."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import disable_progress_bars

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    disable_progress_bars()
    try:
        return Path(hf_hub_download(HUB_NAME, "model.safetensors"))
    except Exception as error:
        cause = " ".join(str(error).split())
        raise ValueError(f"{HUB_NAME} cannot be fetched: give its weights as a file instead ({cause})") from error


def backend_state(data: bytes, name: str, config: SpectrogramTransformerConfig) -> dict[str, Tensor]:
    """The state of a bare backend of this configuration but for its head, from the file `name` that holds `data`.

    Raises:
        ValueError: no file of either form, or naming the first tensor that is missing or does not fit the backend.
    """
    found = _read(data, name)
    # On no device: only shapes are needed.
    with torch.device("meta"):
        expected = config.build().state_dict()
    state = {}
    for full_name, like in expected.items():
        if ".head." not in full_name:
            state[full_name] = _fitted(full_name.removeprefix("transformer."), found, like, config, name)
    for tensor in found:
        if f"transformer.{tensor}" not in expected and not tensor.startswith(_HEAD):
            raise ValueError(f"{name} has a tensor {tensor!r}, which the backend has not")
    return state


def _fitted(
    tensor: str, found: Mapping[str, Tensor], like: Tensor, config: SpectrogramTransformerConfig, file: str
) -> Tensor:
    if tensor not in found:
        raise ValueError(f"{file} has no tensor {tensor!r}, which the backend needs")
    value = found[tensor].float()
    if tensor == "patch_embed.proj.weight" and value.ndim == 4:
        value = value.mean(dim=1, keepdim=True)
    if tensor == "pos_embed" and value.ndim == 3:
        value = _resized_positions(value, config.grid)
    if value.shape != like.shape:
        raise ValueError(f"{file}: {tensor!r} is {tuple(value.shape)}, the backend's is {tuple(like.shape)}")
    return value


def _resized_positions(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """The class token's position, then the patches' at the size of another grid; as they are if they are no square."""
    side = round((positions.shape[1] - 1) ** 0.5)
    if side**2 != positions.shape[1] - 1:
        return positions
    image = positions[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    image = functional.interpolate(image, size=grid, mode="bilinear", align_corners=False)
    return torch.cat([positions[:, :1], image.flatten(2).transpose(1, 2)], dim=1)


def _read(data: bytes, name: str) -> dict[str, Tensor]:
    """Tensors by timm's names."""
    readers = {".safetensors": load, ".npz": _arrays}
    suffix = Path(name).suffix.lower()
    if suffix not in readers:
        raise ValueError(f"{name} is neither .npz nor .safetensors")
    try:
        found = readers[suffix](data)
    except Exception as error:  # whatever a torn or foreign file makes of the libraries
        raise ValueError(f"{name} cannot be read as weights of a vision transformer: {error}") from error
    if suffix == ".npz":
        found = {tensor: torch.from_numpy(array.copy()) for tensor, array in _renamed(found, name)}
    for tensor, value in found.items():
        if not value.isfinite().all():
            raise ValueError(f"{name}: {tensor!r} has values that are not finite")
    return found


def _arrays(data: bytes) -> dict[str, np.ndarray]:
    if not is_zipfile(io.BytesIO(data)):
        raise ValueError("it is no .npz archive")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return dict(arrays)


def _renamed(arrays: _Arrays, file: str) -> Iterator[tuple[str, np.ndarray]]:
    """The original release's arrays by timm's names and in torch's order of axes."""

    def get(name: str) -> np.ndarray:
        if name not in arrays:
            raise ValueError(f"{file} has no array {name!r}")
        return arrays[name]

    yield "patch_embed.proj.weight", get("embedding/kernel").transpose(3, 2, 0, 1)
    yield "patch_embed.proj.bias", get("embedding/bias")
    yield "cls_token", get("cls")
    yield "pos_embed", get("Transformer/posembed_input/pos_embedding")
    yield "norm.weight", get("Transformer/encoder_norm/scale")
    yield "norm.bias", get("Transformer/encoder_norm/bias")
    number = 0
    while f"Transformer/encoderblock_{number}/LayerNorm_0/scale" in arrays:
        yield from _renamed_block(f"Transformer/encoderblock_{number}/", f"blocks.{number}.", get)
        number += 1


def _renamed_block(theirs: str, ours: str, get: Callable[[str], np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    attention = f"{theirs}MultiHeadDotProductAttention_1/"
    for norm, layer in (("norm1", "LayerNorm_0"), ("norm2", "LayerNorm_2")):
        yield f"{ours}{norm}.weight", get(f"{theirs}{layer}/scale")
        yield f"{ours}{norm}.bias", get(f"{theirs}{layer}/bias")
    kernels = [get(f"{attention}{part}/kernel") for part in ("query", "key", "value")]
    yield f"{ours}attn.qkv.weight", np.concatenate([kernel.reshape(len(kernel), -1).T for kernel in kernels])
    biases = [get(f"{attention}{part}/bias").reshape(-1) for part in ("query", "key", "value")]
    yield f"{ours}attn.qkv.bias", np.concatenate(biases)
    out = get(f"{attention}out/kernel")
    yield f"{ours}attn.proj.weight", out.reshape(-1, out.shape[-1]).T
    yield f"{ours}attn.proj.bias", get(f"{attention}out/bias")
    for layer, dense in (("fc1", "Dense_0"), ("fc2", "Dense_1")):
        yield f"{ours}mlp.{layer}.weight", get(f"{theirs}MlpBlock_3/{dense}/kernel").T
        yield f"{ours}mlp.{layer}.bias", get(f"{theirs}MlpBlock_3/{dense}/bias")
