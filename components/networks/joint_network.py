"""The joint network: a backend that hears a separator's estimates and, through adapters, its decoder maps (PAPER 5)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from components.networks.adapters import AdapterConfig, check_points, initialise_adapters
from components.networks.backend import BackendConfig, BackendInput
from components.networks.classifier import check_bare_backend
from components.networks.initialisation import initialise, load_strictly, widen_first_convolution
from components.networks.separator import Separator, SeparatorConfig
from components.networks.spectrogram import MelConfig, MelFilterbank, log_magnitude

Inputs = Literal["estimates and mixture", "mixture", "estimates"]


@dataclass(frozen=True, kw_only=True)
class JointConfig:
    """`backend` is that of the bare classifier, with one input channel; here it has one for each of the `inputs`."""

    separator: SeparatorConfig
    backend: BackendConfig
    adapters: AdapterConfig
    mel: MelConfig = field(default_factory=MelConfig)
    inputs: Inputs = field(default="estimates and mixture", metadata={"legacy": "estimates and mixture"})

    def __post_init__(self) -> None:
        check_bare_backend(self.backend, self.mel)
        check_points(self.adapters.points, self.backend.insertion_points)
        self.separator.unet.check_size("frames", self.backend.num_frames)
        if not self.hears_estimates and not self.adapters.points:
            raise ValueError("inputs is 'mixture' and there is no insertion point: the U-Net would not be heard at all")
        if self.adapters.initialisation == "patch-kernel" and not self.backend.has_patches:
            name = type(self.backend).__name__
            raise ValueError(f"adapters.initialisation is 'patch-kernel'; {name} has no patches: give another one")

    @property
    def hears_estimates(self) -> bool:
        return self.inputs != "mixture"

    @property
    def num_channels(self) -> int:
        """Input channels of the backend."""
        num_estimates = len(self.separator.sources) if self.hears_estimates else 0
        return num_estimates + (self.inputs != "estimates")

    @property
    def num_samples(self) -> int:
        """Length of a segment."""
        return self.separator.spectrogram.num_samples(self.backend.num_frames)


class JointNetwork(nn.Module):
    """Parameters stand under `separator.unet.*`, `adapters.*` and `backend.*`.

    If the estimates are no input, the parts of the U-Net that only they need do not learn.
    """

    def __init__(self, config: JointConfig) -> None:
        super().__init__()
        self.config = config
        spectrogram = config.separator.spectrogram
        maps = config.separator.unet.map_shapes(config.backend.num_frames, spectrogram.num_bins)
        self.separator = Separator(config.separator)
        self.mel = MelFilterbank(config.mel, spectrogram)
        self.adapters = config.backend.build_adapters(config.adapters, maps)
        self.backend = replace(config.backend, in_channels=config.num_channels).build()
        for part in self._unheard():
            part.requires_grad_(False)

    def _unheard(self) -> list[nn.Module]:
        if self.config.hears_estimates:
            return []
        unet = self.separator.unet
        finest = max(point.level for point in self.config.adapters.points)
        return [*unet.decoder[finest + 1 :], unet.final, unet.mask]

    def features(self, waveform: Float[Tensor, "batch sample"]) -> BackendInput:
        """Log-mel of the inputs, estimates in the order of the sources, then the mixture; the maps that adapters use.

        Depends on the separator's parameters alone. A length that the U-Net cannot take: ValueError.
        """
        separation = self.separator(waveform)
        estimates = [separation.estimate_magnitude] if self.config.hears_estimates else []
        mixture = [separation.mixture_magnitude[:, None]] if self.config.inputs != "estimates" else []
        magnitudes = torch.cat([*estimates, *mixture], dim=1)
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
    separator_seed: int | None = None,
    separator: Mapping[str, Tensor] | None = None,
    backend: Mapping[str, Tensor] | None = None,
) -> None:
    """Gives every parameter its first value.

    `separator` is the state of a trained `Separator`, `backend` that of a trained bare backend. None: drawn by the
    seed, the separator by `separator_seed` if given. In both cases the backend starts from one with a single input
    channel, so runs with and without a separator share their draws.
    """
    if separator is None:
        initialise(network.separator, seed if separator_seed is None else separator_seed, "separator")
    else:
        load_strictly(network.separator, separator)
    first, config = network.backend.first_convolution, network.config
    start = initial_backend_state(config.backend, seed) if backend is None else backend
    load_strictly(network.backend, widen_first_convolution(start, first, config.num_channels))
    initialise(network.adapters, seed, "adapters", std=config.adapters.initial_std)
    initialise_adapters(network.adapters, start[first] if config.backend.has_patches else None)


def initial_backend_state(config: BackendConfig, seed: int) -> dict[str, Tensor]:
    """The state of a bare backend, drawn by the seed."""
    bare = config.build()
    initialise(bare, seed, "backend")
    return bare.state_dict()
