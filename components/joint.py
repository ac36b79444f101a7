"""The joint network: a backend that hears a separator's estimates and, through adapters, its decoder maps (PAPER 5)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from components.adapters import AdapterConfig, check_points
from components.backend import BackendConfig, BackendInput
from components.classifier import check_bare_backend
from components.initialisation import initialise, load_strictly, widen_first_convolution
from components.separator import Separator, SeparatorConfig
from components.spectrogram import MelConfig, MelFilterbank, log_magnitude


@dataclass(frozen=True, kw_only=True)
class JointConfig:
    """`backend` is that of the bare classifier, with one input channel; here it gets one more for each source."""

    separator: SeparatorConfig
    backend: BackendConfig
    adapters: AdapterConfig = field(default_factory=AdapterConfig)
    mel: MelConfig = field(default_factory=MelConfig)

    def __post_init__(self) -> None:
        check_bare_backend(self.backend, self.mel)
        check_points(self.adapters.points, self.backend.insertion_points)
        self.separator.unet.check_size("frames", self.backend.num_frames)

    @property
    def num_channels(self) -> int:
        """Input channels of the backend: the sources' estimates and the mixture."""
        return len(self.separator.sources) + 1

    @property
    def num_samples(self) -> int:
        """Length of a segment."""
        return self.separator.spectrogram.num_samples(self.backend.num_frames)


class JointNetwork(nn.Module):
    """Parameters stand under `separator.unet.*`, `adapters.*` and `backend.*`."""

    def __init__(self, config: JointConfig) -> None:
        super().__init__()
        self.config = config
        spectrogram = config.separator.spectrogram
        maps = config.separator.unet.map_shapes(config.backend.num_frames, spectrogram.num_bins)
        self.separator = Separator(config.separator)
        self.mel = MelFilterbank(config.mel, spectrogram)
        self.adapters = config.backend.build_adapters(config.adapters, maps)
        self.backend = replace(config.backend, in_channels=config.num_channels).build()

    def features(self, waveform: Float[Tensor, "batch sample"]) -> BackendInput:
        """Log-mel of the estimates in the order of the sources, then of the mixture; the maps that the adapters use.

        Depends on the separator's parameters alone. A length that the U-Net cannot take: ValueError.
        """
        separation = self.separator(waveform)
        magnitudes = torch.cat([separation.estimate_magnitude, separation.mixture_magnitude[:, None]], dim=1)
        return BackendInput(log_magnitude(self.mel(magnitudes)), self.adapters.prepare(separation.maps))

    def classify(self, features: BackendInput) -> Float[Tensor, "batch class"]:
        """Logits."""
        return self.backend(features.log_mel, self.adapters(features.maps)).logits

    def forward(self, waveform: Float[Tensor, "batch sample"]) -> Float[Tensor, "batch class"]:
        """Logits of segments at 16 kHz. Another number of frames than the backend's: ValueError."""
        return self.classify(self.features(waveform))


def initialise_joint(
    network: JointNetwork,
    seed: int,
    *,
    separator: Mapping[str, Tensor] | None = None,
    backend: Mapping[str, Tensor] | None = None,
) -> None:
    """Gives every parameter its first value.

    `separator` is a trained `Separator`'s state, `backend` a trained bare backend's; None: drawn by the seed. Either
    way the backend starts from one with a single input channel: runs with and without a separator share their draws.
    """
    initialise(network.adapters, seed, "adapters", std=network.config.adapters.initial_std)
    if separator is None:
        initialise(network.separator, seed, "separator")
    else:
        load_strictly(network.separator, separator)
    load_strictly(network.backend, _widened(network, seed, backend))


def _widened(network: JointNetwork, seed: int, state: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    if state is None:
        bare = network.config.backend.build()
        initialise(bare, seed, "backend")
        state = bare.state_dict()
    return widen_first_convolution(state, network.backend.first_convolution, network.config.num_channels)
