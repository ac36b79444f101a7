"""The separating U-Net: a log-magnitude in, one mask per source out (PAPER section 4; after Kong et al., ISMIR 2021).

Six encoder blocks that halve frames and bins, six decoder blocks that double them, and a last double convolution at
full resolution. Normalisation and activation stand *before* their convolution. A classifier may get the decoder's maps
(level 0 is the coarsest) besides the estimates.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from components.networks.batch_norm import BatchNorm2d
from components.networks.spectrogram import full_precision

LEAKY_SLOPE = 0.01


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """`channels` from the finest to the coarsest encoder block; their number is the U-Net's depth."""

    channels: tuple[int, ...] = (16, 32, 64, 128, 192, 192)
    final_channels: int = 32
    num_sources: int = 1
    batch_norm_epsilon: float = 1e-3
    batch_norm_momentum: float = 0.01

    def __post_init__(self) -> None:
        if not self.channels or min(self.channels) < 1:
            raise ValueError(f"channels is {self.channels}; needed: one positive number for each block")
        for field in ("final_channels", "num_sources"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} is {getattr(self, field)}; it has to be at least 1")

    def scaled(self, width: float) -> "UNetConfig":
        """The same U-Net with `width` times the channels, rounded, at least one."""
        return replace(
            self,
            channels=tuple(max(1, round(width * channels)) for channels in self.channels),
            final_channels=max(1, round(width * self.final_channels)),
        )

    @property
    def divisor(self) -> int:
        """The numbers of frames and of bins must be multiples of this."""
        return 2 ** len(self.channels)

    def check_size(self, name: str, size: int) -> None:
        """ValueError unless the poolings divide `size`, which is called `name` (frames or bins)."""
        if size < 1 or size % self.divisor:
            raise ValueError(
                f"{size} {name} cannot be halved {len(self.channels)} times; allowed: multiples of {self.divisor}"
            )

    def map_shapes(self, num_frames: int, num_bins: int) -> dict[int, tuple[int, int, int]]:
        """(channels, frames, bins) of the decoder map of each level, for an input of `num_frames` x `num_bins`."""
        self.check_size("frames", num_frames)
        self.check_size("bins", num_bins)
        reductions = (2 ** (len(self.channels) - 1 - level) for level in range(len(self.channels)))
        return {
            level: (channels, num_frames // reduction, num_bins // reduction)
            for level, (channels, reduction) in enumerate(zip(reversed(self.channels), reductions, strict=True))
        }


class UNetOutput(NamedTuple):
    """`maps`: the decoder's, by level from 0 (coarsest); `encoder_maps`: the pooled ones, by block from 0 (finest)."""

    mask: Float[Tensor, "batch source frame bin"]
    maps: dict[int, Tensor]
    encoder_maps: dict[int, Tensor]


class UNet(nn.Module):
    """See the module's docstring; skip connections carry the *pooled* encoder maps."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        upwards = tuple(reversed(config.channels))
        self.encoder = nn.ModuleList(_double_convolution(config, *pair) for pair in pairwise((1, *config.channels)))
        self.decoder = nn.ModuleList(
            _DecoderBlock(config, in_channels, out_channels)
            for in_channels, out_channels in zip(_decoder_inputs(upwards), upwards, strict=True)
        )
        self.final = _double_convolution(config, config.channels[0] + 1, config.final_channels)
        self.mask = nn.Conv2d(config.final_channels, config.num_sources, 3, padding=1)
        # A third less time on a CPU, and what a GPU's tensor cores want.
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, log_magnitude: Float[Tensor, "batch 1 frame bin"]) -> UNetOutput:
        """Masks in [0, 1] and all named maps. Frames or bins that the poolings cannot divide: ValueError."""
        self.config.check_size("frames", log_magnitude.shape[2])
        self.config.check_size("bins", log_magnitude.shape[3])
        encoder_maps = self._encode(log_magnitude)
        maps = self._decode(encoder_maps)
        finest = maps[len(maps) - 1]
        # Without the cast, autocast would raise everything at full resolution to float32.
        finest = self.final(torch.cat([finest, log_magnitude.to(finest.dtype)], dim=1))
        return UNetOutput(torch.sigmoid(full_precision(self.mask(finest))), maps, encoder_maps)

    def _encode(self, x: Tensor) -> dict[int, Tensor]:
        maps = {}
        for block, convolutions in enumerate(self.encoder):
            x = maps[block] = functional.max_pool2d(convolutions(x), 2)
        return maps

    def _decode(self, encoder_maps: dict[int, Tensor]) -> dict[int, Tensor]:
        maps = {}
        coarsest = len(encoder_maps) - 1
        x = encoder_maps[coarsest]
        for level, block in enumerate(self.decoder):
            x = x if level == 0 else torch.cat([x, encoder_maps[coarsest - level]], dim=1)
            x = maps[level] = block(x)
        return maps


class _DecoderBlock(nn.Sequential):
    """Doubles frames and bins, then convolves twice."""

    def __init__(self, config: UNetConfig, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.upsampling = nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
        self.convolutions = _double_convolution(config, out_channels, out_channels)


def _decoder_inputs(upwards: tuple[int, ...]) -> tuple[int, ...]:
    """Channels that enter each decoder block: its predecessor's and, from the second on, the skip connection's."""
    return (upwards[0], *(below + skip for below, skip in pairwise(upwards)))


def _double_convolution(config: UNetConfig, in_channels: int, out_channels: int) -> nn.Sequential:
    """[BatchNorm, LeakyReLU, convolution 3x3] twice."""
    return nn.Sequential(
        *_convolution(config, in_channels, out_channels),
        *_convolution(config, out_channels, out_channels),
    )


def _convolution(config: UNetConfig, in_channels: int, out_channels: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    return (
        BatchNorm2d(in_channels, eps=config.batch_norm_epsilon, momentum=config.batch_norm_momentum),
        nn.LeakyReLU(LEAKY_SLOPE, inplace=True),
        nn.Conv2d(in_channels, out_channels, 3, padding=1),
    )
