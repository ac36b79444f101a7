"""Audio spectrogram transformer: a vision transformer over patches of the log-mel (PAPER section 6; Gong et al. 2021).

Patches become tokens frame by frame, behind one class token that the classes are read from. Its adapters turn a decoder
map into as many tokens, which meet the patches' tokens before a block and leave the class token alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from components.networks.adapters import AdapterConfig, Adapters, Fuse, InsertionPoint, Points, Shape, check_points
from components.networks.backend import Backend, BackendOutput, check_input, leave_as_is


@dataclass(frozen=True, kw_only=True)
class SpectrogramTransformerConfig:
    """ViT-B/16 by default.

    Attributes:
        patch: (frames, mels) of a patch; they do not overlap.
        insertion_blocks: which block the map of each decoder level enters, from the coarsest on.
    """

    num_frames: int = 768
    num_mels: int = 128
    patch: tuple[int, int] = (16, 16)
    width: int = 768
    num_blocks: int = 12
    num_heads: int = 12
    mlp_ratio: float = 4.0
    dropout: float = 0.1
    num_classes: int = 50
    in_channels: int = 1
    layer_norm_epsilon: float = 1e-3
    insertion_blocks: tuple[int, ...] = (10, 8, 6, 4, 2)

    def __post_init__(self) -> None:
        for name in ("width", "num_blocks", "num_heads", "num_classes", "in_channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it has to be at least 1")
        if self.width % self.num_heads:
            raise ValueError(f"width is {self.width}; allowed: multiples of num_heads, {self.num_heads}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; allowed: 0 to below 1")
        for name, patch in zip(("num_frames", "num_mels"), self.patch, strict=True):
            if patch < 1 or getattr(self, name) < 1 or getattr(self, name) % patch:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: multiples of the patch's {patch}")
        blocks = self.insertion_blocks
        if len(set(blocks)) != len(blocks) or not all(0 <= block < self.num_blocks for block in blocks):
            raise ValueError(f"insertion_blocks is {blocks}; allowed: different ones of 0 to {self.num_blocks - 1}")

    @property
    def grid(self) -> tuple[int, int]:
        """Patches along (frames, mels)."""
        return self.num_frames // self.patch[0], self.num_mels // self.patch[1]

    @property
    def insertion_points(self) -> Points:
        """Where decoder maps may enter."""
        return tuple(InsertionPoint(level=level, block=block) for level, block in enumerate(self.insertion_blocks))

    @property
    def has_patches(self) -> bool:
        return True

    def build(self) -> "SpectrogramTransformer":
        """The network of this configuration."""
        return SpectrogramTransformer(self)

    def build_adapters(self, config: AdapterConfig, maps: Mapping[int, Shape]) -> "TokenAdapters":
        """Adapters for decoder maps of the shapes `maps`, (channels, frames, bins) by level."""
        check_points(config.points, self.insertion_points)
        return TokenAdapters(config, maps, self.grid, self.width)


class SpectrogramTransformer(Backend):
    """The parameters of `transformer` have the names that timm gives them."""

    first_convolution = "transformer.patch_embed.proj.weight"

    def __init__(self, config: SpectrogramTransformerConfig) -> None:
        # Imported here: it takes a second that other backends need not wait.
        from timm.models.vision_transformer import VisionTransformer

        super().__init__()
        self.config = config
        self.transformer = VisionTransformer(
            img_size=(config.num_frames, config.num_mels),
            patch_size=config.patch,  # pyright: ignore[reportArgumentType]
            in_chans=config.in_channels,
            num_classes=config.num_classes,
            embed_dim=config.width,
            depth=config.num_blocks,
            num_heads=config.num_heads,
            mlp_ratio=config.mlp_ratio,
            pos_drop_rate=config.dropout,
            proj_drop_rate=config.dropout,
            norm_layer=partial(nn.LayerNorm, eps=config.layer_norm_epsilon),
            weight_init="skip",
        )

    def forward(self, x: Float[Tensor, "batch channel frame mel"], fuse: Fuse = leave_as_is) -> BackendOutput:
        """Logits of a log-mel. Another size than the configured: ValueError."""
        config, network = self.config, self.transformer
        check_input(x, (config.in_channels, config.num_frames, config.num_mels))
        tokens = network._pos_embed(network.patch_embed(scaled(x)))
        maps = {}
        for number, block in enumerate(network.blocks.children()):
            tokens = torch.cat([tokens[:, :1], fuse(number, tokens[:, 1:])], dim=1)
            maps[f"block{number}"] = tokens
            tokens = block(tokens)
        return BackendOutput(network.forward_head(network.norm(tokens)), maps)


def scaled(x: Float[Tensor, "batch channel frame mel"]) -> Float[Tensor, "batch channel frame mel"]:
    """Each sample stretched to [-1, 1] over all its channels; one that is the same everywhere becomes 0."""
    low, high = x.amin(dim=(1, 2, 3), keepdim=True), x.amax(dim=(1, 2, 3), keepdim=True)
    middle, half = (low + high) / 2, (high - low) / 2
    return (x - middle) / half.where(half > 0, 1.0)


class TokenAdapters(Adapters):
    """A convolution that makes as many cells of a map as there are patches, in steps of its own size.

    A map with half as many frames as there are patches, the coarsest, is doubled in frames by a transposed convolution
    of 2x2 in steps of (2, 1), whose last column is dropped.
    """

    channel_axis: ClassVar[int] = -1

    def __init__(self, config: AdapterConfig, maps: Mapping[int, Shape], grid: tuple[int, int], width: int) -> None:
        """`maps`: (channels, frames, bins) by decoder level; `grid`: patches along (frames, mels)."""
        convolutions = {p.level: _convolution(p, maps[p.level], grid, width) for p in config.points}
        super().__init__(config, convolutions, dict.fromkeys(convolutions, width))
        self.grid = grid

    def adapt(self, layer: nn.Module, prepared: Tensor) -> Float[Tensor, "batch token width"]:
        """Tokens in the order of the patches'."""
        return layer(prepared)[..., : self.grid[1]].flatten(2).transpose(1, 2)


def _convolution(point: InsertionPoint, shape: Shape, grid: tuple[int, int], width: int) -> nn.Module:
    channels, frames, bins = shape
    if (2 * frames, bins) == grid:
        return nn.ConvTranspose2d(channels, width, 2, stride=(2, 1))
    if frames % grid[0] or bins % grid[1]:
        needed = "whole multiples of them, or half the frames and as many bins"
        raise ValueError(f"{point}: the map is {shape[1:]} (frames, bins), the patches are {grid}; needed: {needed}")
    size = (frames // grid[0], bins // grid[1])
    return nn.Conv2d(channels, width, size, stride=size)
