"""Tones from harmonics: wave tables that change over time, read at any phase; and the filters that shape them.

A tone's spectrum is a table "slice harmonic" of amplitudes: equal slices of its duration, interpolated. Callers keep
the harmonics below `TOP_HZ`, so nothing folds back.
"""

import numpy as np
from jaxtyping import Float
from scipy.ndimage import uniform_filter1d

from components.corpora.audio import SAMPLE_RATE

TOP_HZ = 7600.0
TABLE = 2048
MAX_HARMONICS = 64

Signal = Float[np.ndarray, " sample"]
Spectra = Float[np.ndarray, "slice harmonic"]


def harmonics_below(highest_hz: float) -> Float[np.ndarray, " harmonic"]:
    """The numbers 1, 2, ... of the harmonics that stay below `TOP_HZ` for a fundamental of at most `highest_hz`."""
    return np.arange(1.0, 1 + max(1, min(MAX_HARMONICS, int(TOP_HZ / highest_hz))))


def seconds(num_samples: int) -> Signal:
    """The time of every sample in seconds."""
    return np.arange(num_samples) / SAMPLE_RATE


def phase_of(frequency: Signal | float, num_samples: int, start: float = 0.0) -> Signal:
    """Phase in cycles of an oscillator whose frequency (Hz) is constant or given for every sample."""
    if isinstance(frequency, float):
        return start + np.arange(num_samples) * (frequency / SAMPLE_RATE)
    return start + np.cumsum(frequency) / SAMPLE_RATE


def tone(spectra: Spectra, phase: Signal) -> Signal:
    """The sum of harmonics at a phase in cycles, all of them sines."""
    num_slices, num_harmonics = spectra.shape
    spectrum = np.zeros((num_slices, TABLE // 2 + 1), dtype=np.complex64)
    spectrum[:, 1 : num_harmonics + 1] = spectra * (-1j * TABLE / 2)
    table = np.fft.irfft(spectrum, axis=1).ravel()
    column = (phase * TABLE).astype(np.int64) & (TABLE - 1)
    if num_slices == 1:
        return table[column]
    row, weight = _between(num_slices, len(phase))
    low = table[row * TABLE + column]
    return low + weight * (table[(row + 1) * TABLE + column] - low)


def _between(num_slices: int, num_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """For every sample the slice before it and how far it is on the way to the next."""
    place = np.linspace(0, num_slices - 1, num_samples, endpoint=False)
    row = place.astype(np.int64)
    return row, place - row


def resonators(centres_hz: list[float], bandwidths_hz: list[float]) -> Float[np.ndarray, "section six"]:
    """Sections of two-pole resonators in cascade, each of gain 1 at 0 Hz: formants of a voice, or of a body."""
    radius = np.exp(-np.pi * np.array(bandwidths_hz) / SAMPLE_RATE)
    first = -2 * radius * np.cos(2 * np.pi * np.array(centres_hz) / SAMPLE_RATE)
    second = radius**2
    one, zero = np.ones_like(first), np.zeros_like(first)
    return np.stack([1 + first + second, zero, zero, one, first, second], axis=1)


def through(sections: Float[np.ndarray, "section six"], signal: Signal) -> Signal:
    """The signal filtered by second-order sections."""
    # Half a second's import, for those who generate nothing.
    from scipy.signal import sosfilt

    return np.asarray(sosfilt(sections, signal))


def smooth(signal: Signal, duration_s: float) -> Signal:
    """A centred moving average."""
    return uniform_filter1d(signal, max(1, round(duration_s * SAMPLE_RATE)), mode="nearest")


def fade(num_samples: int, attack_s: float, release_s: float) -> Signal:
    """An envelope that rises linearly, stays at one, and falls linearly; both ramps shrink into a short note."""
    time = seconds(num_samples)
    end = num_samples / SAMPLE_RATE
    return np.clip(np.minimum(time / max(attack_s, 1e-3), (end - time) / max(release_s, 1e-3)), 0, 1)


def add_at(target: Signal, start: int, signal: Float[np.ndarray, " part"]) -> None:
    """Add a signal to a longer one from sample `start` on; what reaches beyond the end is cut."""
    stop = min(len(target), start + len(signal))
    if start < stop:
        target[start:stop] += signal[: stop - start]
