"""Drums: one-shots drawn once per song, struck after sixteen-step patterns."""

import numpy as np

from components.corpora.audio import SAMPLE_RATE
from components.corpora.generated.content import Content
from components.corpora.generated.oscillator import Signal, add_at, seconds, smooth
from components.corpora.generated.score import Score


def drum(score: Score, content: Content, generator: np.random.Generator) -> Signal:
    """The drums of a song: hats always, kick and snare with a beat, toms, odd sixteenths late when it swings."""
    result = np.zeros(score.num_samples)
    late = generator.uniform(0.35, 0.6) * ("swing" in content.parts)
    for pattern, shot in _kit(content, generator):
        for bar in range(score.num_bars):
            for step in (i for i, hit in enumerate(pattern) if hit == "x"):
                start = score.sample_at(16 * bar + step + late * (step % 2))
                accent = 1.0 if step % 4 == 0 else 0.75
                add_at(result, start, generator.uniform(0.8, 1.0) * accent * shot)
    return result


def _kit(content: Content, generator: np.random.Generator) -> list[tuple[str, Signal]]:
    """Pairs of a bar's pattern and the sound that it strikes."""
    style, kit = content.style, [(content.style.hat, generator.uniform(0.25, 0.5) * hat(generator))]
    if "beat" in content.parts:
        kit += [(style.kick, kick(generator)), (style.snare, generator.uniform(0.5, 0.9) * snare(generator))]
    if "toms" in content.parts:
        kit += _tom_fill(generator)
    return kit


def _tom_fill(generator: np.random.Generator) -> list[tuple[str, Signal]]:
    """Three toms, high to low, on five to eight steps of the bar, one of them in its first quarter."""
    steps = {
        int(generator.integers(0, 4)),
        *generator.choice(np.arange(4, 16), generator.integers(4, 8), replace=False),
    }
    order = np.array_split(np.sort([int(step) for step in steps]), 3)
    pitches = generator.uniform(150, 210) * np.array([1.0, 0.78, 0.6])
    patterns = ["".join("x" if step in part else "." for step in range(16)) for part in order]
    return [(pattern, 0.8 * tom(pitch, generator)) for pattern, pitch in zip(patterns, pitches, strict=True)]


def _falling(num_samples: int, decay_s: float) -> Signal:
    return np.exp(-seconds(num_samples) / decay_s)


def _chirp(start_hz: float, end_hz: float, sweep_s: float, num_samples: int) -> Signal:
    """A sine whose frequency falls exponentially."""
    frequency = end_hz + (start_hz - end_hz) * _falling(num_samples, sweep_s)
    return np.sin(np.cumsum(frequency) * (2 * np.pi / SAMPLE_RATE))


def kick(generator: np.random.Generator) -> Signal:
    """A bass drum: a sine that falls to about 50 Hz, with a click."""
    num_samples = int(0.3 * SAMPLE_RATE)
    body = _chirp(generator.uniform(120, 260), generator.uniform(42, 62), generator.uniform(0.02, 0.05), num_samples)
    click = generator.uniform(0.05, 0.3) * generator.standard_normal(num_samples) * _falling(num_samples, 0.004)
    return body * _falling(num_samples, generator.uniform(0.07, 0.14)) + click


def snare(generator: np.random.Generator) -> Signal:
    """A snare drum: a band of noise over a tone."""
    num_samples = int(0.25 * SAMPLE_RATE)
    noise = np.diff(smooth(generator.standard_normal(num_samples + 1), 0.0002))
    shell = _chirp(300.0, generator.uniform(170, 230), 0.02, num_samples) * _falling(num_samples, 0.05)
    return 0.6 * noise * _falling(num_samples, generator.uniform(0.05, 0.1)) + generator.uniform(0.3, 0.7) * shell


def hat(generator: np.random.Generator) -> Signal:
    """A hi-hat or shaker: high-passed noise."""
    num_samples = int(0.12 * SAMPLE_RATE)
    noise = np.diff(generator.standard_normal(num_samples + 2), n=2) / np.sqrt(6)
    return noise * _falling(num_samples, generator.uniform(0.012, 0.04))


def tom(pitch_hz: float, generator: np.random.Generator) -> Signal:
    """A tom: a sine that falls by a third or so, longer than the kick and higher."""
    num_samples = int(0.35 * SAMPLE_RATE)
    body = _chirp(1.4 * pitch_hz, pitch_hz, 0.05, num_samples) * _falling(num_samples, generator.uniform(0.09, 0.16))
    skin = 0.15 * smooth(generator.standard_normal(num_samples), 0.0004) * _falling(num_samples, 0.02)
    return body + skin
