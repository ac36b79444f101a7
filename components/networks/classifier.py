"""The bare backend: waveform, log-mel of the mixture, backend, logits.

It is the baseline, and where three-stage arms start.
"""

from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor, nn

from components.networks.backend import BackendConfig, BackendInput
from components.networks.spectrogram import MelConfig, MelFilterbank, Spectrogram, SpectrogramConfig, log_magnitude


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """A backend with one input channel and its front end."""

    backend: BackendConfig
    spectrogram: SpectrogramConfig = field(default_factory=SpectrogramConfig)
    mel: MelConfig = field(default_factory=MelConfig)

    def __post_init__(self) -> None:
        check_bare_backend(self.backend, self.mel)

    @property
    def num_samples(self) -> int:
        """Length of a segment."""
        return self.spectrogram.num_samples(self.backend.num_frames)


def check_bare_backend(backend: BackendConfig, mel: MelConfig) -> None:
    """ValueError unless the backend takes one channel of as many bins as the filterbank has."""
    if backend.in_channels != 1:
        raise ValueError(f"backend.in_channels is {backend.in_channels}; give the bare backend's, which is 1")
    if backend.num_mels != mel.num_bins:
        raise ValueError(
            f"backend.num_mels is {backend.num_mels} and mel.num_bins {mel.num_bins}; they have to be equal"
        )


class Classifier(nn.Module):
    """`backend.*` are its only parameters."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.spectrogram = Spectrogram(config.spectrogram)
        self.mel = MelFilterbank(config.mel, config.spectrogram)
        self.backend = config.backend.build()

    def features(self, waveform: Float[Tensor, "batch sample"]) -> BackendInput:
        """Log-mel of the mixture as the only channel, without maps."""
        magnitude = self.spectrogram.stft(waveform)[..., :-1].abs()
        return BackendInput(log_magnitude(self.mel(magnitude))[:, None], {})

    def classify(self, features: BackendInput) -> Float[Tensor, "batch class"]:
        """Logits."""
        return self.backend(features.log_mel).logits

    def forward(self, waveform: Float[Tensor, "batch sample"]) -> Float[Tensor, "batch class"]:
        """Logits of segments at 16 kHz. Another number of frames than the backend's: ValueError."""
        return self.classify(self.features(waveform))
