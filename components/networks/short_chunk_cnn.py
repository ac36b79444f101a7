"""Short-chunk CNN: the convolutional backend (PAPER section 5; after Won et al., SMC 2020).

Blocks of [convolution 3x3, BatchNorm, ReLU] twice and a max pool; then a hidden layer and the classes. Its adapters
pool a decoder map over frequency and convolve it 1x1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from components.networks.adapters import AdapterConfig, Adapters, Fuse, InsertionPoint, Points, Shape, check_points
from components.networks.backend import Backend, BackendOutput, check_input, leave_as_is
from components.networks.batch_norm import BatchNorm2d

# Every block but the first and the last; the finest map enters block 1.
CNN_INSERTION_POINTS: Points = tuple(InsertionPoint(level=level, block=5 - level) for level in range(5))


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

    def block_inputs(self) -> dict[int, Shape]:
        """(channels, frames, bins) of what enters each block."""
        channels = (self.in_channels, *self.widths)
        return {
            block: (channels[block], self.num_frames // 2**block, self.num_mels // 2**block)
            for block in range(len(self.widths))
        }

    @property
    def insertion_points(self) -> Points:
        """Where decoder maps may enter."""
        return CNN_INSERTION_POINTS

    @property
    def has_patches(self) -> bool:
        return False

    def build(self) -> "ShortChunkCNN":
        """The network of this configuration."""
        return ShortChunkCNN(self)

    def build_adapters(self, config: AdapterConfig, maps: Mapping[int, Shape]) -> "CNNAdapters":
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

    def forward(self, x: Float[Tensor, "batch channel frame mel"], fuse: Fuse = leave_as_is) -> BackendOutput:
        """Logits of a log-mel. Another size than the configured: ValueError."""
        check_input(x, self.config.block_inputs()[0])
        maps = {}
        for block, layers in enumerate(self.blocks):
            x = maps[f"block{block}"] = fuse(block, x)
            x = layers(x)
        return BackendOutput(self.head(x), maps)


class CNNAdapters(Adapters):
    """Max pool over frequency, then a 1x1 convolution, for each point.

    The pool makes the map's bins the block's mels: 256 bins and 128 mels, the paper's, give 2.
    """

    channel_axis: ClassVar[int] = 1

    def __init__(self, config: AdapterConfig, maps: Mapping[int, Shape], blocks: Mapping[int, Shape]) -> None:
        """`maps`: (channels, frames, bins) by decoder level; `blocks`: the same of what enters each backend block."""
        check_points(config.points, CNN_INSERTION_POINTS)
        for point in config.points:
            _check_shapes(point, maps[point.level], blocks[point.block])
        widths = {point.level: blocks[point.block][0] for point in config.points}
        super().__init__(
            config, {level: nn.Conv2d(maps[level][0], width, 1) for level, width in widths.items()}, widths
        )
        self.pools = {point.level: maps[point.level][2] // blocks[point.block][2] for point in config.points}

    def prepare(self, maps: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """The pooled maps of the levels in use."""
        return {level: functional.max_pool2d(maps[level], (1, pool)) for level, pool in self.pools.items()}


def _check_shapes(point: InsertionPoint, map_shape: Shape, block_input: Shape) -> None:
    if map_shape[1] != block_input[1] or map_shape[2] % block_input[2]:
        given = f"the map is {map_shape[1:]}, the block's input {block_input[1:]} (frames, bins)"
        raise ValueError(f"{point}: {given}; needed: as many frames, and a whole multiple of the bins")


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
        BatchNorm2d(out_channels, eps=config.batch_norm_epsilon, momentum=config.batch_norm_momentum),
        nn.ReLU(inplace=True),
    )
