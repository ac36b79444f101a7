"""What a classifier must offer to be a backend: blocks whose inputs are fused with adapted maps, and the adapters.

A new backend is one file with a configuration and a network of this form; U-Net and joint network need no change.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from components.networks.adapters import AdapterConfig, Adapters, Fuse, Points, Shape


def leave_as_is(block: int, x: Tensor) -> Tensor:
    """No block's input is fused with anything: the bare backend."""
    return x


def check_input(x: Tensor, expected: Shape) -> None:
    """ValueError unless a batch holds items of the shape (channels, frames, mels)."""
    if x.shape[1:] != expected:
        raise ValueError(f"the input is {tuple(x.shape[1:])}; needed: (channels, frames, mels) = {expected}")


class BackendInput(NamedTuple):
    """What a backend and its adapters get from a waveform; none of it depends on their parameters.

    `maps`: by decoder level, as the adapters' `prepare` left them; empty for a bare backend.
    """

    log_mel: Float[Tensor, "batch channel frame mel"]
    maps: dict[int, Tensor]


class BackendOutput(NamedTuple):
    """Logits before sigmoid or softmax, and what enters each block, by the name `block<number>`."""

    logits: Float[Tensor, "batch class"]
    maps: dict[str, Tensor]


class Backend(nn.Module):
    """`first_convolution` is the name of the weight that sees the input channels."""

    first_convolution: ClassVar[str]

    def forward(self, x: Float[Tensor, "batch channel frame mel"], fuse: Fuse = leave_as_is) -> BackendOutput:
        """Logits of a log-mel; each block takes what `fuse` makes of its input."""
        raise NotImplementedError


@runtime_checkable
class BackendConfig(Protocol):
    """A frozen dataclass: the network's size, and what enters it."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def num_frames(self) -> int: ...

    @property
    def num_mels(self) -> int: ...

    @property
    def in_channels(self) -> int: ...

    @property
    def num_classes(self) -> int: ...

    @property
    def insertion_points(self) -> Points:
        """Where decoder maps may enter."""
        ...

    @property
    def has_patches(self) -> bool:
        """Whether its first convolution cuts patches; if so, ImageNet weights and adapters of patch kernels exist."""
        ...

    def build(self) -> Backend:
        """The network of this configuration."""
        ...

    def build_adapters(self, config: AdapterConfig, maps: Mapping[int, Shape]) -> Adapters:
        """Adapters for decoder maps of the shapes `maps` (channels, frames, bins) by level."""
        ...
