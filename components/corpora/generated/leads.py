"""Lead instruments: violin, flute and sitar play melodies as a voice sings them, vibrato and portamento included."""

import numpy as np

from components.corpora.generated.instruments import StringTimbre
from components.corpora.generated.melody_line import MelodyLine, draw_melody_line
from components.corpora.generated.oscillator import Signal, harmonics_below, phase_of, resonators, smooth, through, tone
from components.corpora.generated.score import Score, melody

CENTRE_PITCH = {"violin": (62.0, 72.0), "flute": (64.0, 74.0), "sitar": (53.0, 65.0)}  # MIDI


def play_lead(name: str, score: Score, generator: np.random.Generator) -> Signal:
    """The melody of a lead instrument ("violin", "flute", "sitar") over a whole song."""
    centre = float(generator.uniform(*CENTRE_PITCH[name]))
    line = draw_melody_line(melody(score, centre, generator), score.num_samples, generator)
    return {"violin": _violin, "flute": _flute, "sitar": _sitar}[name](line, generator)


def _violin(line: MelodyLine, generator: np.random.Generator) -> Signal:
    """A bowed string: nearly a saw, through the resonances of a body, which lie where vowels have their formants."""
    spectra = (harmonics_below(line.highest_hz) ** -generator.uniform(0.9, 1.2))[None]
    bowed = tone(spectra, phase_of(line.frequency, len(line.loudness)))
    bowed += generator.uniform(0.01, 0.04) * generator.standard_normal(len(bowed))
    centres = [generator.uniform(*band) for band in ((280, 520), (900, 1300), (2200, 3200))]
    body = through(resonators(centres, [150.0, 250.0, 500.0]), line.loudness * bowed)
    return body + 0.2 * line.loudness * bowed


def _flute(line: MelodyLine, generator: np.random.Generator) -> Signal:
    """Few harmonics and much breath."""
    harmonic = harmonics_below(line.highest_hz)
    spectra = (harmonic ** -generator.uniform(1.6, 2.4) * (1 - 0.4 * (harmonic == 2)))[None]
    breath = np.diff(smooth(generator.standard_normal(len(line.loudness) + 1), 0.0003))
    blown = tone(spectra, phase_of(line.frequency, len(line.loudness)))
    return line.loudness * (blown + generator.uniform(0.05, 0.15) * breath)


def _sitar(line: MelodyLine, generator: np.random.Generator) -> Signal:
    """A plucked string over a bridge that buzzes; pitch glides from note to note as the string is pulled."""
    timbre = StringTimbre(
        tilt=generator.uniform(0.6, 1.0),
        position=generator.uniform(0.06, 0.12),
        decay_s=generator.uniform(0.5, 1.0),
        damping=generator.uniform(0.2, 0.6),
        buzz=generator.uniform(0.3, 0.8),
    )
    phase = phase_of(line.frequency, len(line.loudness))
    result = np.zeros_like(phase)
    for note in line.notes:
        during = slice(note.start, note.start + note.length)
        result[during] = timbre.note(phase[during], float(line.frequency[during].max()))
    return result * smooth(np.sign(line.loudness), 0.01)
