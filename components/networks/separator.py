"""Source separation: a waveform through front end and U-Net, estimates as magnitudes or waveforms (PAPER section 4)."""

from dataclasses import dataclass, field
from typing import NamedTuple

from jaxtyping import Complex, Float
from torch import Tensor, nn
from torch.nn import functional

from components.networks.spectrogram import Spectrogram, SpectrogramConfig, full_precision, log_magnitude
from components.networks.unet import UNet, UNetConfig


@dataclass(frozen=True, kw_only=True)
class SeparatorConfig:
    """`sources` names the U-Net's outputs in their order."""

    sources: tuple[str, ...]
    unet: UNetConfig = field(default_factory=UNetConfig)
    spectrogram: SpectrogramConfig = field(default_factory=SpectrogramConfig)

    def __post_init__(self) -> None:
        if len(set(self.sources)) != len(self.sources):
            raise ValueError(f"sources is {self.sources}; a source may stand there only once")
        if len(self.sources) != self.unet.num_sources:
            raise ValueError(f"sources has {len(self.sources)} names, unet.num_sources is {self.unet.num_sources}")
        self.unet.check_size("bins", self.spectrogram.num_bins)

    def check_num_samples(self, num_samples: int) -> None:
        """ValueError, saying which lengths are allowed, unless the U-Net can take a segment of `num_samples`."""
        num_frames = self.spectrogram.num_frames(num_samples)
        divisor = self.unet.divisor
        if num_frames % divisor:
            nearest = {divisor * max(1, num_frames // divisor + more) for more in (0, 1)}
            lengths = " or ".join(f"{self.spectrogram.num_samples(frames)}" for frames in sorted(nearest))
            given = f"{num_samples} samples are {num_frames} frames"
            raise ValueError(f"{given}; allowed: multiples of {divisor} frames, such as {lengths} samples")


class Separation(NamedTuple):
    """What one pass gives: the mixture, the masks and the U-Net's decoder maps by level."""

    spectrum: Complex[Tensor, "batch frame bin_and_nyquist"]
    mixture_magnitude: Float[Tensor, "batch frame bin"]
    mask: Float[Tensor, "batch source frame bin"]
    maps: dict[int, Tensor]

    @property
    def estimate_magnitude(self) -> Float[Tensor, "batch source frame bin"]:
        """Linear magnitude of each source's estimate, without the Nyquist bin."""
        return self.mask * self.mixture_magnitude[:, None]


class Separator(nn.Module):
    """From the mixture's waveform at 16 kHz to one estimate per source."""

    def __init__(self, config: SeparatorConfig) -> None:
        super().__init__()
        self.config = config
        self.spectrogram = Spectrogram(config.spectrogram)
        self.unet = UNet(config.unet)

    def forward(self, waveform: Float[Tensor, "batch sample"]) -> Separation:
        """Masks and magnitudes. A length that the U-Net cannot take: ValueError that says which it can."""
        self.config.check_num_samples(waveform.shape[-1])
        spectrum = self.spectrogram.stft(waveform)
        magnitude = spectrum[..., :-1].abs()
        output = self.unet(log_magnitude(magnitude)[:, None])
        return Separation(spectrum, magnitude, output.mask, output.maps)

    def waveforms(self, separation: Separation, num_samples: int) -> Float[Tensor, "batch source {num_samples}"]:
        """The estimates with the mixture's phase; the mixture's Nyquist bin is copied into each of them."""
        mask = functional.pad(full_precision(separation.mask), (0, 1), value=1.0)
        spectra = mask * separation.spectrum[:, None]
        waveforms = self.spectrogram.inverse(spectra.flatten(0, 1), num_samples)
        return waveforms.unflatten(0, mask.shape[:2])
