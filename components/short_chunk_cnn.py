"""Short-chunk CNN: the convolutional backend (PAPER section 5; after Won et al., SMC 2020).

Blocks of [convolution 3x3, BatchNorm, ReLU] twice and a max pool; then a hidden layer and the classes. Whatever is
added to a block is added to its input.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from components.adapters import CNN_INSERTION_POINTS, AdapterConfig, CNNAdapters, Points
from components.backend import NO_ADDITIONS, Backend, BackendOutput


@dataclass(frozen=True, kw_only=True)
class ShortChunkCNNConfig:
    """One block for each of `widths`; all pool 2x2 but the last, which pools `last_pool` = (frames, mels)."""

    widths: tuple[int, ...] = (64, 64, 128, 128, 128, 128, 256)
    num_frames: int = 384
    num_mels: int = 128
    last_pool: tuple[int, int] = (3, 2)
    dropout: float = 0.5
    num_classes: int = 50
    in_channels: int = 1
    batch_norm_epsilon: float = 1e-3
    batch_norm_momentum: float = 0.01

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1:
            raise ValueError(f"widths is {self.widths}; needed: one positive number for each block")
        for name in ("num_classes", "in_channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it has to be at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; allowed: 0 to below 1")
        for name, pool in zip(("num_frames", "num_mels"), self.last_pool, strict=True):
            self._check_size(name, pool)

    def _check_size(self, name: str, last_pool: int) -> None:
        size, divisor = getattr(self, name), 2 ** (len(self.widths) - 1) * last_pool
        if last_pool < 1 or size < 1 or size % divisor:
            pools = f"{len(self.widths) - 1} pools by 2 and one by {last_pool} (last_pool {self.last_pool})"
            raise ValueError(f"{name} is {size}, which {pools} do not divide; allowed: multiples of {divisor}")

    def scaled(self, width: float) -> "ShortChunkCNNConfig":
        """The same network with `width` times the channels, rounded, at least one; the hidden layer follows."""
        return replace(self, widths=tuple(max(1, round(width * channels)) for channels in self.widths))

    @property
    def pools(self) -> tuple[tuple[int, int], ...]:
        """(frames, mels) that each block pools."""
        return ((2, 2),) * (len(self.widths) - 1) + (self.last_pool,)

    @property
    def hidden(self) -> int:
        """Size of the hidden layer: that of the last map, flattened."""
        _, frames, bins = self.block_inputs()[len(self.widths) - 1]
        return self.widths[-1] * (frames // self.last_pool[0]) * (bins // self.last_pool[1])

    def block_inputs(self) -> dict[int, tuple[int, int, int]]:
        """(channels, frames, bins) of what enters each block."""
        channels = (self.in_channels, *self.widths)
        return {
            block: (channels[block], self.num_frames // 2**block, self.num_mels // 2**block)
            for block in range(len(self.widths))
        }

    @property
    def insertion_points(self) -> Points:
        """Where decoder maps may enter: every block but the first and the last."""
        return CNN_INSERTION_POINTS

    def build(self) -> "ShortChunkCNN":
        """The network of this configuration."""
        return ShortChunkCNN(self)

    def build_adapters(self, config: AdapterConfig, maps: Mapping[int, tuple[int, int, int]]) -> CNNAdapters:
        """Adapters for decoder maps of the shapes `maps`, (channels, frames, bins) by level."""
        return CNNAdapters(config, maps, self.block_inputs())


class ShortChunkCNN(Backend):
    """See the module's docstring."""

    first_convolution = "blocks.0.0.weight"

    def __init__(self, config: ShortChunkCNNConfig) -> None:
        super().__init__()
        self.config = config
        channels = pairwise((config.in_channels, *config.widths))
        self.blocks = nn.ModuleList(
            _block(config, *pair, pool) for pair, pool in zip(channels, config.pools, strict=True)
        )
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(config.hidden, config.hidden),
            nn.BatchNorm1d(config.hidden, eps=config.batch_norm_epsilon, momentum=config.batch_norm_momentum),
            nn.ReLU(inplace=True),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.num_classes),
        )
        # A third less time on a CPU, and what a GPU's tensor cores want.
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(
        self, x: Float[Tensor, "batch channel frame mel"], additions: Mapping[int, Tensor] = NO_ADDITIONS
    ) -> BackendOutput:
        """Logits of a log-mel. Another size than the configured, or an addition to no block: ValueError."""
        self._check(x, additions)
        maps = {}
        for block, layers in enumerate(self.blocks):
            x = maps[f"block{block}"] = x + additions[block] if block in additions else x
            x = layers(x)
        return BackendOutput(self.head(x), maps)

    def _check(self, x: Tensor, additions: Mapping[int, Tensor]) -> None:
        expected = self.config.block_inputs()
        if x.shape[1:] != expected[0]:
            raise ValueError(f"the input is {tuple(x.shape[1:])}; needed: (channels, frames, mels) = {expected[0]}")
        if unknown := sorted(additions.keys() - expected.keys()):
            raise ValueError(f"there is no block {unknown[0]} to add to; blocks: {sorted(expected)}")


def _block(config: ShortChunkCNNConfig, in_channels: int, out_channels: int, pool: tuple[int, int]) -> nn.Sequential:
    """[convolution 3x3, BatchNorm, ReLU] twice, then the max pool."""
    return nn.Sequential(
        *_convolution(config, in_channels, out_channels),
        *_convolution(config, out_channels, out_channels),
        nn.MaxPool2d(pool),
    )


def _convolution(
    config: ShortChunkCNNConfig, in_channels: int, out_channels: int
) -> tuple[nn.Module, nn.Module, nn.Module]:
    return (
        nn.Conv2d(in_channels, out_channels, 3, padding=1),
        nn.BatchNorm2d(out_channels, eps=config.batch_norm_epsilon, momentum=config.batch_norm_momentum),
        nn.ReLU(inplace=True),
    )
