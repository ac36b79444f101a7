"""The singing voice: glottal pulses through the formants of five vowels, alone or as a choir."""

import numpy as np
from jaxtyping import Float

from components.corpora.generated.melody_line import MelodyLine, draw_melody_line
from components.corpora.generated.oscillator import (
    TABLE,
    Signal,
    harmonics_below,
    phase_of,
    resonators,
    smooth,
    through,
    tone,
)
from components.corpora.generated.score import Phrase, Score, melody

# first four formants of an adult male speaker in Hz, after Peterson and Barney (1952), a typical fourth added
FORMANTS_HZ = {
    "a": (730, 1090, 2440, 3400),
    "e": (530, 1840, 2480, 3500),
    "i": (270, 2290, 3010, 3600),
    "o": (570, 840, 2410, 3300),
    "u": (300, 870, 2240, 3200),
}
BANDWIDTHS_HZ = [80.0, 100.0, 130.0, 190.0]
TRACT_SCALE = {"male": (0.93, 1.04), "female": (1.12, 1.24)}  # a shorter tract raises the formants
CENTRE_PITCH = {"male": (50.0, 57.0), "female": (62.0, 70.0)}  # MIDI


def sing(score: Score, ranges: tuple[str, ...], choir: bool, generator: np.random.Generator) -> Signal:
    """The vocals of a song: one melody, sung per range ("female", "male") by one voice or a choir of three to five."""
    phrases = melody(score, float(generator.uniform(*CENTRE_PITCH[ranges[0]])), generator)
    result = np.zeros(score.num_samples)
    for name in ranges:
        octaves = 0.0 if name == ranges[0] else {"male": -12.0, "female": 12.0}[name]
        part = _moved(phrases, 0, octaves)
        singers = [_imprecise(part, generator) for _ in range(generator.integers(3, 6))] if choir else [part]
        lines = [draw_melody_line(singer, score.num_samples, generator) for singer in singers]
        result += _through_tract(lines, name, generator)
    return result


def _imprecise(phrases: list[Phrase], generator: np.random.Generator) -> list[Phrase]:
    """The melody as one singer of a choir sings it: a little late, a little sharp or flat."""
    return _moved(phrases, int(generator.integers(0, 500)), 0.08 * generator.standard_normal())


def _moved(phrases: list[Phrase], samples: int, pitch: float) -> list[Phrase]:
    """The same phrases later and higher; every note ends when it did."""
    return [[note.later(samples)._replace(pitch=note.pitch + pitch) for note in phrase] for phrase in phrases]


def _through_tract(lines: list[MelodyLine], name: str, generator: np.random.Generator) -> Signal:
    """Glottal sources of one range through vowels that change from note to note."""
    source = np.sum([_glottal(line, generator) for line in lines], axis=0)
    scale = generator.uniform(*TRACT_SCALE[name])
    result = np.zeros_like(source)
    for vowel, weight in _vowels(lines[0], generator).items():
        centres = [scale * centre for centre in FORMANTS_HZ[vowel]]
        result += weight * through(resonators(centres, BANDWIDTHS_HZ), source)
    return result


def _glottal(line: MelodyLine, generator: np.random.Generator) -> Signal:
    """The derivative of glottal flow along a line, with some breath."""
    num_samples = len(line.loudness)
    pulses = tone(_pulse_spectrum(generator.uniform(0.5, 0.75), line.highest_hz), phase_of(line.frequency, num_samples))
    breath = generator.uniform(0.01, 0.05) * generator.standard_normal(num_samples)
    return line.loudness * (pulses + breath)


def _pulse_spectrum(open_quotient: float, highest_hz: float) -> Float[np.ndarray, "one harmonic"]:
    """Harmonics of the derivative of a Rosenberg pulse: the glottis opens slowly and closes at once."""
    phase = np.arange(TABLE) / TABLE
    rise, fall = 0.7 * open_quotient, 0.3 * open_quotient
    opening = 0.5 * (1 - np.cos(np.pi * phase / rise))
    closing = np.cos(0.5 * np.pi * (phase - rise) / fall)
    flow = np.where(phase < rise, opening, np.where(phase < rise + fall, closing, 0.0))
    spectrum = np.abs(np.fft.rfft(np.diff(flow, append=flow[:1])))
    spectrum = spectrum[1 : len(harmonics_below(highest_hz)) + 1]
    return (spectrum / np.linalg.norm(spectrum))[None]


def _vowels(line: MelodyLine, generator: np.random.Generator) -> dict[str, Signal]:
    """How much of each vowel sounds at every sample: one vowel a note, gliding into the next."""
    names = generator.choice(list(FORMANTS_HZ), size=len(line.notes))
    starts = np.array([0, *(note.start for note in line.notes[1:]), len(line.loudness)])
    sung = np.repeat(names, np.diff(starts))
    return {str(vowel): smooth((sung == vowel).astype(float), 0.05) for vowel in np.unique(names)}
