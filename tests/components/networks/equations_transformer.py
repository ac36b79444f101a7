"""The spectrogram transformer and its adapters in float64 NumPy, beside `equations` (PAPER section 6).

Tokens have the axes batch, token, width. The names in a `state` are those of timm's VisionTransformer; adapters are
named as those of the CNN are, `adapters.convolutions.<level>`.
"""

from collections.abc import Mapping

import numpy as np
from scipy.special import erf

from tests.components.networks.equations import (
    NOTHING,
    Array,
    Classified,
    JointMaps,
    State,
    convolution,
    joint_features,
    linear,
    part,
    transposed_convolution,
)

AST_POINTS = {0: 10, 1: 8, 2: 6, 3: 4, 4: 2}


def layer_norm(x: Array, layer: State, epsilon: float) -> Array:
    """Over the last axis, with the variance's biased estimate."""
    centred = x - x.mean(-1, keepdims=True)
    variance = np.square(centred).mean(-1, keepdims=True)
    return layer["weight"] * centred / np.sqrt(variance + epsilon) + layer["bias"]


def gelu(x: Array) -> Array:
    """x times the standard normal distribution's cumulative function, exactly."""
    return x * (1 + erf(x / np.sqrt(2))) / 2


def scaled(x: Array) -> Array:
    """Each sample of the batch to [-1, 1], by its extremes over channels, frames and mels."""
    low, high = x.min(axis=(1, 2, 3), keepdims=True), x.max(axis=(1, 2, 3), keepdims=True)
    return 2 * (x - low) / (high - low) - 1


def tokens(x: Array) -> Array:
    """A map as tokens, all bins of the first frame first: (batch, frame * bin, channel)."""
    return np.moveaxis(x, 1, -1).reshape(len(x), -1, x.shape[1])


def attention(x: Array, state: State, num_heads: int) -> Array:
    """Every token attends to all, in `num_heads` heads: (batch, token, width)."""
    batch, length, width = x.shape
    heads = linear(x, part(state, "qkv")).reshape(batch, length, 3, num_heads, width // num_heads)
    query, key, value = np.moveaxis(heads, 2, 0)
    scores = np.einsum("bqhd,bkhd->bhqk", query, key) / np.sqrt(width // num_heads)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    mixed = np.einsum("bhqk,bkhd->bqhd", weights, value).reshape(x.shape)
    return linear(mixed, part(state, "proj"))


def transformer_block(x: Array, state: State, num_heads: int, epsilon: float) -> Array:
    """Pre-norm: attention, then the MLP, each added to what it was given."""
    x = x + attention(layer_norm(x, part(state, "norm1"), epsilon), part(state, "attn"), num_heads)
    hidden = gelu(linear(layer_norm(x, part(state, "norm2"), epsilon), part(state, "mlp.fc1")))
    return x + linear(hidden, part(state, "mlp.fc2"))


def vision_transformer(
    x: Array, state: State, num_heads: int, epsilon: float, additions: Mapping[int, Array] = NOTHING
) -> Classified:
    """From an image (batch, channel, frame, mel); additions (batch, token, width) go to the patch tokens alone."""
    patch = state["patch_embed.proj.weight"].shape[2:]
    x = tokens(convolution(x, part(state, "patch_embed.proj"), stride=patch))
    first = np.broadcast_to(state["cls_token"], (len(x), 1, x.shape[2]))
    x = np.concatenate([first, x], axis=1) + state["pos_embed"]
    blocks = {}
    for k in range(len({name.split(".")[1] for name in state if name.startswith("blocks.")})):
        x = np.concatenate([x[:, :1], x[:, 1:] + additions.get(k, 0)], axis=1)
        blocks[k] = x
        x = transformer_block(x, part(state, f"blocks.{k}"), num_heads, epsilon)
    return Classified(linear(layer_norm(x, part(state, "norm"), epsilon)[:, 0], part(state, "head")), blocks)


def ast(
    x: Array, state: State, num_heads: int = 12, epsilon: float = 1e-6, additions: Mapping[int, Array] = NOTHING
) -> Classified:
    """From log-mels (batch, channel, frame, mel), scaled and then cut into patches."""
    return vision_transformer(scaled(x), state, num_heads, epsilon, additions)


def ast_adapter(x: Array, layer: State, grid: tuple[int, int]) -> Array:
    """A decoder map as one token per cell of `grid` = (frames, mels): (batch, token, width).

    A map with fewer frames than the grid, the coarsest, is doubled in frames, and the bin too many dropped.
    """
    if x.shape[2] < grid[0]:
        return tokens(transposed_convolution(x, layer, (2, 1))[..., : grid[1]])
    return tokens(convolution(x, layer, stride=(x.shape[2] // grid[0], x.shape[3] // grid[1])))


def joint_ast(
    waveform: Array,
    state: State,
    *,
    num_heads: int = 12,
    epsilon: float = 1e-6,
    hop: int = 160,
    points: Mapping[int, int] = AST_POINTS,
) -> JointMaps:
    """The whole joint network with the transformer."""
    separation, x = joint_features(waveform, state, hop)
    patch = state["backend.patch_embed.proj.weight"].shape[2:]
    grid = (x.shape[2] // patch[0], x.shape[3] // patch[1])
    additions = {
        block: ast_adapter(separation.decoder[level], part(state, f"adapters.convolutions.{level}"), grid)
        for level, block in points.items()
    }
    return JointMaps(separation, x, additions, ast(x, part(state, "backend"), num_heads, epsilon, additions))
