"""A song: parts played after one score, levelled, and written as stems whose sum is the mixture."""

import numpy as np
from jaxtyping import Int16

from components.corpora.audio import INT16_SCALE, SAMPLE_RATE
from components.corpora.generated.config import GeneratedConfig, Kind
from components.corpora.generated.content import Content, contents
from components.corpora.generated.drums import drum
from components.corpora.generated.instruments import accompany, play_bass
from components.corpora.generated.leads import play_lead
from components.corpora.generated.oscillator import Signal
from components.corpora.generated.score import Score, compose
from components.corpora.generated.styles import ACCOMPANIMENT, LEADS
from components.corpora.generated.voice import sing
from components.random_streams import numpy_generator

STEMS = ("drums", "bass", "other", "vocals")
VOCALS_BELOW_DB = (0.0, 10.0)  # below bass and other together
# Quieter in what is classified than in what is separated: a drum kit that anybody hears needs no separator.
DRUMS_BELOW_DB: dict[Kind, tuple[float, float]] = {
    "separation": (4.0, 16.0),
    "tagging": (9.0, 21.0),
    "genre": (9.0, 21.0),
}
PEAK = {"quiet": (0.05, 0.15), "loud": (0.85, 0.95), "neither": (0.25, 0.6)}  # of full scale


def locate(config: GeneratedConfig, kind: Kind, index: int) -> tuple[str, int]:
    """The split of a corpus's track and its position there; tracks count on from train to validation to test.

    Raises:
        ValueError: the corpus has no track of that index.
    """
    sizes = config.split_sizes(kind)
    position = index
    for split, size in sizes.items():
        if 0 <= position < size:
            return split, position
        position -= size
    raise ValueError(f"index={index}: the {kind} corpus has tracks 0 to {sum(sizes.values()) - 1}")


def song(config: GeneratedConfig, kind: Kind, index: int) -> Int16[np.ndarray, "sample five"]:
    """Mixture, drums, bass, other and vocals of one track: a pure function of its arguments.

    The mixture is the sum of the four stems exactly. A part that the content lacks is silent.
    """
    split, position = locate(config, kind, index)
    content = contents(config, kind, split)[position]
    generator = numpy_generator(config.seed, "generated", kind, split, "song", position)
    stems = perform(content, round(config.song_s * SAMPLE_RATE), DRUMS_BELOW_DB[kind], generator)
    return _with_mixture(stems, content, generator)


def perform(
    content: Content, num_samples: int, drums_below_db: tuple[float, float], generator: np.random.Generator
) -> dict[str, Signal]:
    """The four stems in floating point, levelled against each other."""
    score = compose(content, num_samples, generator)
    silence, parts = np.zeros(num_samples), content.parts
    other = _other(score, content, generator)
    bass = play_bass(score, content, generator) if "bass" in parts else silence
    bass = _at_level(_driven(bass, content), _rms(other), generator.uniform(0, 7))
    below = _rms(other + bass)
    drums = drum(score, content, generator) if "drums" in parts else silence
    ranges = tuple(name for name in ("female", "male") if name in parts)
    vocals = sing(score, ranges, "choir" in parts, generator) if ranges else silence
    drums = _at_level(drums, below, generator.uniform(*drums_below_db))
    return {
        "drums": drums,
        "bass": bass,
        "other": other,
        "vocals": _at_level(vocals, below, generator.uniform(*VOCALS_BELOW_DB)),
    }


def _other(score: Score, content: Content, generator: np.random.Generator) -> Signal:
    """Accompaniment and lead. The lead's level varies as the vocals' does."""
    result = np.zeros(score.num_samples)
    for name in (name for name in ACCOMPANIMENT if name in content.parts):
        result += _at_level(accompany(name, score, content, generator), 1.0, generator.uniform(0, 6))
    result = _driven(result, content)
    for name in (name for name in LEADS if name in content.parts):
        result += _at_level(play_lead(name, score, generator), _rms(result), generator.uniform(0, 6))
    return result


def _driven(signal: Signal, content: Content) -> Signal:
    """Loud music is played into distortion."""
    if "loud" not in content.parts:
        return signal
    level = max(_rms(signal), 1e-9)
    return level * np.tanh(1.5 * signal / level)


def _rms(signal: Signal) -> float:
    return float(np.sqrt(np.mean(signal**2)))


def _at_level(signal: Signal, reference: float, below_db: float) -> Signal:
    """The signal with its root mean square so far below a reference; silence stays silent."""
    level = _rms(signal)
    return signal * (reference * 10 ** (-below_db / 20) / level) if level > 0 else signal


def _with_mixture(
    stems: dict[str, Signal], content: Content, generator: np.random.Generator
) -> Int16[np.ndarray, "sample five"]:
    """Stems and their sum at the content's loudness, none of them clipped."""
    loudness = next((name for name in ("quiet", "loud") if name in content.parts), "neither")
    # Stem by stem, as they lie in memory.
    signals = np.stack([stems[name] for name in STEMS])
    peak = max(np.abs(signals).max(), np.abs(signals.sum(axis=0)).max())
    scaled = signals * (generator.uniform(*PEAK[loudness]) * INT16_SCALE / peak)
    quantised = np.round(scaled).astype(np.int16)
    return np.concatenate([quantised.sum(axis=0, keepdims=True, dtype=np.int16), quantised]).T
