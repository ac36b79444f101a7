"""A sung or bowed line: a melody as one curve of frequency and one of loudness, with portamento and vibrato.

Voices and leads are made from the same lines, so a classifier has to hear the timbre to tell one from the other.
"""

from dataclasses import dataclass

import numpy as np

from components.corpora.audio import SAMPLE_RATE
from components.corpora.generated.oscillator import Signal, smooth
from components.corpora.generated.score import Note, Phrase, hertz


@dataclass(frozen=True, eq=False)
class MelodyLine:
    """Frequency in Hz and loudness from 0 to 1 of every sample; `notes` in the order of time."""

    frequency: Signal
    loudness: Signal
    notes: tuple[Note, ...]

    @property
    def highest_hz(self) -> float:
        return float(self.frequency.max())


def draw_melody_line(phrases: list[Phrase], num_samples: int, generator: np.random.Generator) -> MelodyLine:
    """Sing a melody: vibrato of 4.8 to 6.4 Hz and 15 to 45 cents, portamento of 40 to 110 ms."""
    notes = tuple(note for phrase in phrases for note in phrase)
    pitch = smooth(
        smooth(_held_pitch(notes, num_samples), generator.uniform(0.02, 0.06)), generator.uniform(0.02, 0.05)
    )
    pitch += _vibrato(notes, num_samples, generator) + _drift(num_samples, generator)
    return MelodyLine(hertz(pitch), _loudness(phrases, num_samples, generator), notes)


def _held_pitch(notes: tuple[Note, ...], num_samples: int) -> Signal:
    """Every note's pitch until the next one begins; the first and last reach to the ends."""
    starts = np.array([0, *(note.start for note in notes[1:]), num_samples])
    return np.repeat([float(note.pitch) for note in notes], np.diff(starts))


def _vibrato(notes: tuple[Note, ...], num_samples: int, generator: np.random.Generator) -> Signal:
    """In semitones; it sets in after each note's beginning, as singers and players do."""
    rate_hz, depth = generator.uniform(4.8, 6.4), generator.uniform(0.15, 0.45)
    delay, rise = generator.uniform(0.05, 0.25) * SAMPLE_RATE, 0.15 * SAMPLE_RATE
    age = np.arange(num_samples, dtype=float)
    for note, following in zip(notes, [*(n.start for n in notes[1:]), num_samples], strict=True):
        age[note.start : following] -= note.start
    wave = np.sin(np.arange(num_samples) * (2 * np.pi * rate_hz / SAMPLE_RATE) + generator.uniform(0, 6.28))
    return depth * np.clip((age - delay) / rise, 0, 1) * wave


def _drift(num_samples: int, generator: np.random.Generator) -> Signal:
    """Slow wandering of the pitch by some cents, in semitones."""
    knots = np.arange(0, num_samples + SAMPLE_RATE // 8, SAMPLE_RATE // 8)
    return np.interp(np.arange(num_samples), knots, 0.06 * generator.standard_normal(len(knots)))


def _loudness(phrases: list[Phrase], num_samples: int, generator: np.random.Generator) -> Signal:
    """Phrases swell and fade, notes within them are parted by a dip, rests are silent."""
    loudness = np.zeros(num_samples)
    dip = generator.uniform(0.3, 0.8)
    for phrase in phrases:
        for note in phrase:
            loudness[note.start : note.start + note.length] = note.velocity
            loudness[note.start : note.start + SAMPLE_RATE // 50] *= dip
        end = phrase[-1].start + phrase[-1].length
        breath = min(SAMPLE_RATE // 8, phrase[-1].length)
        loudness[end - breath : end] *= np.linspace(1, 0, breath)
    return smooth(loudness, generator.uniform(0.02, 0.05))
