"""Bass and accompaniment: struck and plucked one-shots, rendered once per pitch, and sustained pads."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.special import jv

from components.corpora.audio import SAMPLE_RATE
from components.corpora.generated.content import Content
from components.corpora.generated.oscillator import (
    Signal,
    Spectra,
    add_at,
    fade,
    harmonics_below,
    phase_of,
    seconds,
    tone,
)
from components.corpora.generated.score import Note, Score, hertz

SLICES = 24
Render = Callable[[float], Signal]  # from a frequency in Hz to a one-shot


@dataclass(frozen=True, kw_only=True)
class StringTimbre:
    """A string that is struck or plucked: where, how brightly, and how it rings out."""

    tilt: float  # amplitude of harmonic k falls with k ** tilt
    position: float  # where on the string, as a fraction of its length: its nodes are silent
    decay_s: float  # of the fundamental
    damping: float  # how much faster the high harmonics fall, per (kHz ** 2)
    buzz: float = 0.0  # a bridge that moves a bright band down through the harmonics, as a sitar's does

    def spectra(self, frequency_hz: float, duration_s: float) -> Spectra:
        """Harmonic amplitudes over the note's time, apart from the fundamental's decay."""
        harmonic = harmonics_below(1.03 * frequency_hz)
        time = np.linspace(0, duration_s, SLICES)[:, None]
        onset = harmonic**-self.tilt * np.abs(np.sin(np.pi * harmonic * self.position))
        band = np.exp(-(((harmonic - 5 - 14 * np.exp(-time / 0.2)) / 3) ** 2))
        ring = np.exp(-time * self.damping * (harmonic * frequency_hz / 1000) ** 2)
        spectra = onset * ring + self.buzz * np.max(onset) * band * np.exp(-time / 0.5)
        return spectra / np.linalg.norm(onset)

    def note(self, phase: Signal, frequency_hz: float) -> Signal:
        """One note along a phase in cycles."""
        time = seconds(len(phase))
        spectra = self.spectra(frequency_hz, len(phase) / SAMPLE_RATE)
        return np.exp(-time / self.decay_s) * tone(spectra, phase)

    def shot(self, frequency_hz: float) -> Signal:
        """One note of constant pitch that rings out."""
        num_samples = int(min(2.5 * self.decay_s, 2.0) * SAMPLE_RATE)
        return self.note(phase_of(frequency_hz, num_samples), frequency_hz) * fade(num_samples, 0.002, 0.05)


@dataclass(frozen=True)
class Shots:
    """An instrument that sounds the same whenever it plays a pitch; each pitch is rendered once."""

    render: Render
    rendered: dict[float, Signal] = field(default_factory=dict)

    def play(self, notes: list[Note], num_samples: int, release_s: float = 0.06) -> Signal:
        """The notes, each cut at its length and released."""
        result = np.zeros(num_samples)
        release = int(release_s * SAMPLE_RATE)
        for note in notes:
            if note.pitch not in self.rendered:
                self.rendered[note.pitch] = self.render(float(hertz(note.pitch)))
            sound = note.velocity * self.rendered[note.pitch][: note.length + release]
            if len(sound) == note.length + release:
                sound[-release:] *= np.linspace(1, 0, release)
            add_at(result, note.start, sound)
        return result


def guitar(generator: np.random.Generator) -> StringTimbre:
    """A plucked steel or nylon string."""
    return StringTimbre(
        tilt=generator.uniform(0.8, 1.3),
        position=generator.uniform(0.12, 0.3),
        decay_s=generator.uniform(0.4, 0.9),
        damping=generator.uniform(0.5, 1.5),
    )


def piano(generator: np.random.Generator) -> StringTimbre:
    """A hammered string: rounder at its onset than a plucked one, and longer."""
    return StringTimbre(
        tilt=generator.uniform(1.7, 2.4),
        position=generator.uniform(0.1, 0.14),
        decay_s=generator.uniform(0.8, 1.4),
        damping=generator.uniform(0.15, 0.5),
    )


def plucked_bass(generator: np.random.Generator) -> StringTimbre:
    """A double bass or bass guitar."""
    return StringTimbre(
        tilt=generator.uniform(1.2, 1.7), position=generator.uniform(0.15, 0.3), decay_s=0.6, damping=6.0
    )


def _synthetic_bass(name: str, generator: np.random.Generator) -> Render:
    """A saw through a closing filter, frequency modulation of falling index, or hardly more than a sine."""
    brightness = generator.uniform(0.6, 1.4)

    def render(frequency_hz: float) -> Signal:
        num_samples = SAMPLE_RATE
        harmonic, time = harmonics_below(frequency_hz), np.linspace(0, 1, SLICES)[:, None]
        if name == "fm":
            spectra = np.abs(jv(harmonic - 1, 3.0 * brightness * np.exp(-time / 0.3)))
        elif name == "saw":
            cutoff_hz = brightness * (300 + 1500 * np.exp(-time / 0.15))
            spectra = 1 / harmonic / (1 + (harmonic * frequency_hz / cutoff_hz) ** 4)
        else:
            spectra = ((harmonic == 1) + 0.2 * brightness * (harmonic == 2))[None]
        return tone(spectra, phase_of(frequency_hz, num_samples)) * fade(num_samples, 0.008, 0.3)

    return render


def play_bass(score: Score, content: Content, generator: np.random.Generator) -> Signal:
    """The bass line of a song: mostly the chords' roots, in its style's rhythm and timbres."""
    timbre = str(generator.choice(content.style.bass_timbres))
    notes = []
    for bar, start, length in score.hits(content.style.bass_line, 8):
        root, _, fifth = score.chord(bar)
        pitch = (fifth if generator.random() < 0.2 else root) - 12
        notes.append(Note(start, length, float(pitch - 12 if pitch > 48 else pitch), generator.uniform(0.8, 1.0)))
    render = plucked_bass(generator).shot if timbre == "pluck" else _synthetic_bass(timbre, generator)
    return Shots(render).play(notes, score.num_samples)


def accompany(name: str, score: Score, content: Content, generator: np.random.Generator) -> Signal:
    """One accompanying instrument ("guitar", "piano", "synth", "strings") of a song."""
    if name == "strings" or (name == "synth" and generator.random() < 0.4):
        return _pad(name, score, generator)
    if name == "synth":
        return Shots(_synth_shot(generator)).play(_arpeggio(score, generator), score.num_samples, 0.03)
    timbre = {"guitar": guitar, "piano": piano}[name](generator)
    return Shots(timbre.shot).play(_chord_notes(name, score, content, generator), score.num_samples)


def _chord_notes(name: str, score: Score, content: Content, generator: np.random.Generator) -> list[Note]:
    """The style's chord rhythm; a guitar is strummed, a piano doubles the root below."""
    notes, strum = [], int(0.012 * SAMPLE_RATE) if name == "guitar" else 0
    for bar, start, length in score.hits(content.style.chords, 8):
        root, third, fifth = score.chord(bar)
        pitches = (
            (root, fifth, root + 12, third + 12) if name == "guitar" else (root - 12, root + 12, third + 12, fifth)
        )
        velocity = generator.uniform(0.6, 1.0)
        notes += [Note(start + i * strum, length, float(pitch), velocity) for i, pitch in enumerate(pitches)]
    return notes


def _arpeggio(score: Score, generator: np.random.Generator) -> list[Note]:
    """Broken chords in eighths or sixteenths."""
    subdivision = int(generator.choice([8, 16]))
    order = generator.permutation([0, 1, 2, 3])
    return [
        Note(start, length, float((*score.chord(bar), score.chord(bar)[0] + 12)[order[i % 4]] + 12), 0.8)
        for i, (bar, start, length) in enumerate(score.hits("x" * subdivision, subdivision))
    ]


def _synth_shot(generator: np.random.Generator) -> Render:
    """Two detuned pulse waves through a closing filter."""
    width, detune = generator.uniform(0.15, 0.5), generator.uniform(0.002, 0.006)
    open_hz, closing_s = generator.uniform(1500, 5000), generator.uniform(0.08, 0.3)

    def render(frequency_hz: float) -> Signal:
        num_samples = SAMPLE_RATE // 2
        harmonic, time = harmonics_below(1.01 * frequency_hz), np.linspace(0, 0.5, SLICES)[:, None]
        cutoff_hz = 250 + open_hz * np.exp(-time / closing_s)
        pulse = np.sin(np.pi * harmonic * width) / harmonic
        spectra = pulse / (1 + (harmonic * frequency_hz / cutoff_hz) ** 4)
        pair = (tone(spectra, phase_of(frequency_hz * (1 + side), num_samples)) for side in (-detune, detune))
        return sum(pair, np.zeros(num_samples)) * fade(num_samples, 0.003, 0.1)

    return render


def _pad(name: str, score: Score, generator: np.random.Generator) -> Signal:
    """Held chords of three detuned oscillators a note: a string section, or a synthesiser with slower attack."""
    tilt = generator.uniform(0.9, 1.2) if name == "strings" else generator.uniform(1.3, 2.0)
    attack_s = generator.uniform(0.08, 0.25) if name == "strings" else generator.uniform(0.3, 0.7)
    result = np.zeros(score.num_samples)
    for bar, start, length in score.hits("x" + "." * 7, 8):
        num_samples = min(length + SAMPLE_RATE // 10, score.num_samples - start)
        chord = sum((_ensemble(pitch + 12, tilt, num_samples, generator) for pitch in score.chord(bar)), np.zeros(1))
        add_at(result, start, chord * fade(num_samples, attack_s, 0.15))
    return result


def _ensemble(pitch: int, tilt: float, num_samples: int, generator: np.random.Generator) -> Signal:
    frequency_hz = float(hertz(pitch))
    harmonic = harmonics_below(1.02 * frequency_hz)
    spectra = (harmonic**-tilt / (1 + (harmonic * frequency_hz / 3500) ** 2))[None]
    detunings = generator.uniform(-0.005, 0.005, size=3)
    phases = [phase_of(frequency_hz * (1 + d), num_samples, generator.random()) for d in detunings]
    return sum((tone(spectra, phase) for phase in phases), np.zeros(num_samples))
