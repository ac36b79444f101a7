"""The front end: waveform to spectrum and back, log-magnitude, mel bands (PAPER section 3).

Spectra have the axes batch, frame, bin. No centring, no padding: frame `k` sees the samples from `k * hop_samples` on.
Everything here runs in float32 (float64 stays float64), even under autocast.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torchaudio.functional
from jaxtyping import Complex, Float
from torch import Tensor, nn
from torch.nn import functional

from components.corpora.audio import SAMPLE_RATE

LOG_OFFSET = 1e-4


@dataclass(frozen=True, kw_only=True)
class SpectrogramConfig:
    """Short-time Fourier transform with a periodic Hann window as long as the transform."""

    window_samples: int = 512
    hop_samples: int = 160

    def __post_init__(self) -> None:
        if self.window_samples < 2 or self.window_samples % 2:
            raise ValueError(f"window_samples is {self.window_samples}; it has to be even and at least 2")
        if not 1 <= self.hop_samples < self.window_samples:
            raise ValueError(f"hop_samples is {self.hop_samples}; allowed: 1 to {self.window_samples - 1}")

    @property
    def num_bins(self) -> int:
        """Bins of a magnitude: those of the transform without the Nyquist bin."""
        return self.window_samples // 2

    def num_samples(self, num_frames: int) -> int:
        """The fewest samples that have `num_frames` frames."""
        if num_frames < 1:
            raise ValueError(f"num_frames is {num_frames}; it has to be at least 1")
        return (num_frames - 1) * self.hop_samples + self.window_samples

    def num_frames(self, num_samples: int) -> int:
        """The frames that lie wholly inside `num_samples` samples."""
        if num_samples < self.window_samples:
            raise ValueError(f"num_samples is {num_samples}; one frame needs {self.window_samples}")
        return (num_samples - self.window_samples) // self.hop_samples + 1


@dataclass(frozen=True, kw_only=True)
class MelConfig:
    """Triangles of peak 1 that are equally spaced on the HTK mel scale."""

    num_bins: int = 128
    low_hz: float = 100.0
    high_hz: float = 7800.0

    def __post_init__(self) -> None:
        if self.num_bins < 1:
            raise ValueError(f"num_bins is {self.num_bins}; it has to be at least 1")
        if not 0 <= self.low_hz < self.high_hz <= SAMPLE_RATE / 2:
            given = f"low_hz is {self.low_hz} and high_hz is {self.high_hz}"
            raise ValueError(f"{given}; needed: 0 <= low_hz < high_hz <= {SAMPLE_RATE / 2}")


def full_precision(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """`x` in float32, or in float64 if it came so."""
    return x if x.dtype == torch.float64 else x.float()


def log_magnitude(magnitude: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """log10(magnitude + 1e-4), for linear and for mel magnitudes."""
    return torch.log10(full_precision(magnitude) + LOG_OFFSET)


class Spectrogram(nn.Module):
    """The transform and its inverse by overlap-add."""

    window: Tensor
    synthesis_window: Tensor

    def __init__(self, config: SpectrogramConfig) -> None:
        super().__init__()
        self.config = config
        # On the CPU, even in a network without weights ("meta"), where this arithmetic would load a compiler.
        with torch.device("cpu"):
            window = torch.hann_window(config.window_samples, periodic=True, dtype=torch.float64)
            synthesis_window = window / _sum_over_frames(window.square(), config.hop_samples)
        # In float64, and rounded where they are used, so that float64 networks are exact.
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("synthesis_window", synthesis_window, persistent=False)

    def stft(self, waveform: Float[Tensor, "batch sample"]) -> Complex[Tensor, "batch frame bin"]:
        """The spectrum with the Nyquist bin last. Fewer samples than one window: ValueError."""
        self.config.num_frames(waveform.shape[-1])
        waveform = full_precision(waveform)
        frames = waveform.unfold(-1, self.config.window_samples, self.config.hop_samples)
        return torch.fft.rfft(frames * self.window.to(waveform.dtype))

    def inverse(
        self, spectrum: Complex[Tensor, "batch frame bin"], num_samples: int
    ) -> Float[Tensor, "batch {num_samples}"]:
        """The waveform of a spectrum; zero where no frame reaches.

        Exact wherever as many frames overlap as in the middle; towards both ends, where fewer do, it is tapered.
        A number of samples that has another number of frames than the spectrum: ValueError.
        """
        if self.config.num_frames(num_samples) != spectrum.shape[1]:
            frames = f"{num_samples} samples have {self.config.num_frames(num_samples)} frames"
            raise ValueError(f"{frames}, the spectrum has {spectrum.shape[1]}")
        frames = torch.fft.irfft(spectrum, n=self.config.window_samples)
        frames = frames * self.synthesis_window.to(frames.dtype)
        return _overlap_add(frames, num_samples, self.config.hop_samples)


class MelFilterbank(nn.Module):
    """Mel bands of a magnitude, at the true frequencies of its bins (the top one of 256 lies at 7968.75 Hz)."""

    weights: Tensor

    def __init__(self, config: MelConfig, spectrogram: SpectrogramConfig) -> None:
        super().__init__()
        # On the CPU: this reads values, and a network without weights ("meta") has none.
        with torch.device("cpu"), _float64():
            weights = torchaudio.functional.melscale_fbanks(
                n_freqs=spectrogram.num_bins + 1,
                f_min=config.low_hz,
                f_max=config.high_hz,
                n_mels=config.num_bins,
                sample_rate=SAMPLE_RATE,
                norm=None,
                mel_scale="htk",
            )
        self.register_buffer("weights", weights[:-1].clone(), persistent=False)

    def forward(self, magnitude: Float[Tensor, "*shape bin"]) -> Float[Tensor, "*shape mel"]:
        """Linear mel magnitudes of linear magnitudes."""
        magnitude = full_precision(magnitude)
        with torch.autocast(magnitude.device.type, enabled=False):
            return magnitude @ self.weights.to(magnitude.dtype)


@contextmanager
def _float64() -> Iterator[None]:
    """Makes new tensors float64: torchaudio gives no type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _sum_over_frames(squared_window: Float[Tensor, " window"], hop_samples: int) -> Float[Tensor, " window"]:
    """What all frames that overlap a sample add up to there, in the middle of a long waveform."""
    place = torch.arange(len(squared_window)) % hop_samples
    sums = torch.zeros(hop_samples, dtype=squared_window.dtype).index_add(0, place, squared_window)
    return sums[place]


def _overlap_add(
    frames: Float[Tensor, "batch frame window"], num_samples: int, hop_samples: int
) -> Float[Tensor, "batch {num_samples}"]:
    """Adds up, piece by piece of a hop's length: piece `k` of a frame lies `k` hops after the frame's beginning."""
    num_pieces = -(-frames.shape[2] // hop_samples)
    frames = functional.pad(frames, (0, num_pieces * hop_samples - frames.shape[2]))
    pieces = frames.unflatten(2, (num_pieces, hop_samples)).unbind(dim=2)
    total = sum(functional.pad(piece, (0, 0, k, num_pieces - 1 - k)) for k, piece in enumerate(pieces))
    assert isinstance(total, Tensor)
    waveform = total.flatten(1)
    return functional.pad(waveform, (0, num_samples - waveform.shape[1]))
