"""What is played: the clock, the key, the chords, and melodies as phrases of notes."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from components.corpora.audio import SAMPLE_RATE
from components.corpora.generated.content import Content


class Note(NamedTuple):
    """One note: start and length in samples, pitch as a MIDI number, velocity from 0 to 1."""

    start: int
    length: int
    pitch: float | int
    velocity: float

    def later(self, samples: int) -> "Note":
        """The same note begun later, by at most half its length, and ended at the same time."""
        delay = min(samples, self.length // 2)
        return self._replace(start=self.start + delay, length=self.length - delay)


Phrase = list[Note]


def hertz(pitch: float | int | np.ndarray):
    """The frequency of a MIDI pitch."""
    return 440.0 * 2.0 ** ((pitch - 69.0) / 12.0)


@dataclass(frozen=True, kw_only=True)
class Score:
    """The frame that all parts of a song share."""

    bpm: float
    num_samples: int
    root: int  # MIDI pitch of the key's first degree, in the octave from 48
    scale: tuple[int, ...]
    progression: tuple[int, ...]

    def sample_at(self, sixteenth: float | int) -> int:
        """The sample at which a sixteenth, counted from the song's start, begins."""
        return round(sixteenth * 15 / self.bpm * SAMPLE_RATE)

    @property
    def num_bars(self) -> int:
        """Bars that begin within the song."""
        return -(-self.num_samples // self.sample_at(16))

    def pitch(self, degree: int) -> int:
        """The MIDI pitch of a scale degree; degrees go on over octaves in both directions."""
        octave, step = divmod(degree, len(self.scale))
        return self.root + 12 * octave + self.scale[step]

    def chord(self, bar: int) -> tuple[int, ...]:
        """The triad of a bar, as MIDI pitches in the octave above the root."""
        degree = self.progression[bar % len(self.progression)]
        return tuple(self.pitch(degree + third) for third in (0, 2, 4))

    def hits(self, pattern: str, subdivision: int) -> list[tuple[int, int, int]]:
        """Bar, start and length (samples, to the next hit) of every hit of a bar's pattern of `subdivision` steps."""
        width = 16 // subdivision
        steps = [bar * 16 + width * i for bar in range(self.num_bars) for i, step in enumerate(pattern) if step == "x"]
        ends = [*steps[1:], self.num_bars * 16]
        edges = [(step // 16, self.sample_at(step), self.sample_at(end)) for step, end in zip(steps, ends, strict=True)]
        return [(bar, start, end - start) for bar, start, end in edges if start < self.num_samples]


def compose(content: Content, num_samples: int, generator: np.random.Generator) -> Score:
    """A key and a chord progression in the content's style."""
    style = content.style
    return Score(
        bpm=content.bpm,
        num_samples=num_samples,
        root=48 + int(generator.integers(-5, 7)),
        scale=style.scale,
        progression=style.progressions[generator.integers(len(style.progressions))],
    )


def melody(score: Score, centre: float, generator: np.random.Generator) -> list[Phrase]:
    """Phrases of four to nine notes around a MIDI pitch, with rests between them, until the song ends.

    Voices and leads sing the same kind of melody: nothing in the notes tells one from the other.
    """
    degree = _degree_near(score, centre)
    low, high = degree - 5, degree + 5
    phrases, step = [], int(generator.integers(0, 3))
    while score.sample_at(2 * step) < score.num_samples:
        phrase: Phrase = []
        lengths = generator.choice([1, 2, 3, 4], size=generator.integers(4, 10), p=[0.35, 0.4, 0.1, 0.15])
        for length in lengths.tolist():
            start, end = (min(score.sample_at(2 * at), score.num_samples) for at in (step, step + length))
            if end - start > SAMPLE_RATE // 20:
                phrase.append(Note(start, end - start, score.pitch(degree), generator.uniform(0.7, 1.0)))
            degree = int(np.clip(degree + generator.choice([-3, -2, -1, 0, 1, 2, 4], p=_STEPS), low, high))
            step += length
        phrases.append(phrase)
        step += int(generator.integers(2, 5))
    return [phrase for phrase in phrases if phrase]


_STEPS = (0.08, 0.17, 0.23, 0.08, 0.23, 0.15, 0.06)


def _degree_near(score: Score, pitch: float) -> int:
    candidates = range(-14, 29)
    return min(candidates, key=lambda degree: abs(score.pitch(degree) - pitch))
