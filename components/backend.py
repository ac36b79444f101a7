"""What a classifier has to offer to be a backend: blocks whose inputs take additions, and adapters that make them.

A new backend is one file with a configuration and a network of this form; U-Net and joint network need no word of it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from components.adapters import AdapterConfig, Adapters, Points

NO_ADDITIONS: Mapping[int, Tensor] = MappingProxyType({})


class BackendInput(NamedTuple):
    """What a backend and its adapters see of a waveform; none of it depends on their parameters.

    `maps`: by decoder level, as the adapters' `prepare` left them; empty for a bare backend.
    """

    log_mel: Float[Tensor, "batch channel frame mel"]
    maps: dict[int, Tensor]


class BackendOutput(NamedTuple):
    """Logits before sigmoid or softmax, and the input of each block after its addition, by the name `block<number>`."""

    logits: Float[Tensor, "batch class"]
    maps: dict[str, Tensor]


class Backend(nn.Module):
    """`first_convolution` is the name of the weight that sees the input channels."""

    first_convolution: ClassVar[str]

    def forward(
        self, x: Float[Tensor, "batch channel frame mel"], additions: Mapping[int, Tensor] = NO_ADDITIONS
    ) -> BackendOutput:
        """Logits of a log-mel; `additions` are added to the inputs of the blocks that they are named by."""
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

    def build(self) -> Backend:
        """The network of this configuration."""
        ...

    def build_adapters(self, config: AdapterConfig, maps: Mapping[int, tuple[int, int, int]]) -> Adapters:
        """Adapters for decoder maps of the shapes `maps` (channels, frames, bins) by level."""
        ...
