"""What sounds in each track of a split, and the tags that follow from it; no audio.

Every property is drawn by systematic sampling over the split's tracks in order of style: a track is chosen with
exactly its probability, and the number chosen is the sum of the probabilities, rounded down or up. So no tag depends on
luck for its positives, and properties whose probability is the same in every style are balanced over the styles.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float

from components.corpora.generated.config import GeneratedConfig, Kind
from components.corpora.generated.styles import ACCOMPANIMENT, GENRES, LEADS, STYLES, Style
from components.random_streams import numpy_generator

VOCAL_TAGS = ("vocals", "female", "male", "choir")
DRUM_TAGS = ("drums", "beat", "swing", "toms")
INSTRUMENT_TAGS = ("bass", *ACCOMPANIMENT, *LEADS)
TAGS = (*VOCAL_TAGS, *DRUM_TAGS, *INSTRUMENT_TAGS, "fast", "slow", "loud", "quiet", *GENRES)
TEMPI_BPM = {"slow": (62.0, 82.0), "medium": (92.0, 122.0), "fast": (134.0, 168.0)}

Chosen = Bool[np.ndarray, " track"]


@dataclass(frozen=True, kw_only=True)
class Content:
    """What sounds in one track: the style, its tempo, and the tags of everything else that can be heard."""

    style: Style
    bpm: float
    parts: frozenset[str]

    @property
    def tags(self) -> tuple[str, ...]:
        """The track's true tags, in the order of `TAGS`."""
        return tuple(tag for tag in TAGS if tag in self.parts or tag == self.style.name)


class _Draws:
    """The properties of one split's tracks; each has a generator of its own, so a new one shifts no other."""

    def __init__(self, address: tuple[int | str, ...], seed: int, num_tracks: int):
        self.address, self.seed = address, seed
        styles = np.resize(np.arange(len(STYLES)), num_tracks)
        self.styles = self.generator("style").permutation(styles)

    def generator(self, name: str) -> np.random.Generator:
        return numpy_generator(self.seed, "generated", *self.address, name)

    def by_style(self, field: str) -> Float[np.ndarray, "track ..."]:
        return np.array([getattr(style, field) for style in STYLES])[self.styles]

    def chosen(self, name: str, probability: float | Float[np.ndarray, " track"]) -> Chosen:
        generator = self.generator(name)
        order = np.lexsort((generator.random(len(self.styles)), self.styles))
        total = np.cumsum(np.broadcast_to(probability, order.shape)[order]) + generator.random()
        result = np.empty(len(order), dtype=bool)
        result[order] = np.diff(np.floor(total), prepend=0) > 0
        return result


def _one_of(draws: _Draws, names: tuple[str, ...], weights: np.ndarray, among: Chosen) -> dict[str, Chosen]:
    """One of the names for each track in `among`, by weights "track name" that sum to one."""
    left, remaining, result = among, np.ones(len(among)), {}
    for column, name in enumerate(names[:-1]):
        share = np.clip(weights[:, column] / np.maximum(remaining, 1e-9), 0, 1)
        result[name] = draws.chosen(name, left * share)
        left, remaining = left & ~result[name], remaining - weights[:, column]
    return result | {names[-1]: left}


def _voices(draws: _Draws, presence: float) -> dict[str, Chosen]:
    vocals = draws.chosen("vocals", presence)
    choir = draws.chosen("choir", vocals / 3)
    female = draws.chosen("female", vocals / 2)
    both = draws.chosen("mixed choir", choir / 3)
    return {"vocals": vocals, "choir": choir, "female": female | both, "male": (vocals & ~female) | both}


def _drums(draws: _Draws, presence: float) -> dict[str, Chosen]:
    drums = draws.chosen("drums", presence)
    shares = {"beat": 0.6, "swing": 0.4, "toms": 0.45}
    return {"drums": drums} | {tag: draws.chosen(tag, drums * share) for tag, share in shares.items()}


def _instruments(draws: _Draws, presence: float) -> dict[str, Chosen]:
    lead = draws.chosen("lead", presence)
    probability = draws.by_style("accompaniment")
    parts = {name: draws.chosen(name, probability[:, column]) for column, name in enumerate(ACCOMPANIMENT)}
    alone = ~np.any(list(parts.values()), axis=0)
    favourite = np.argmax(probability, axis=1)
    parts = {name: part | (alone & (favourite == column)) for column, (name, part) in enumerate(parts.items())}
    return {"bass": draws.chosen("bass", draws.by_style("bass")), **parts, **_leads(draws, lead)}


def _leads(draws: _Draws, lead: Chosen) -> dict[str, Chosen]:
    return _one_of(draws, LEADS, draws.by_style("leads"), lead)


def _moods(draws: _Draws) -> dict[str, Chosen]:
    """Fast or slow, loud or quiet, or neither."""
    everything = np.ones(len(draws.styles), dtype=bool)
    result = {}
    for pair in (("slow", "fast"), ("loud", "quiet")):
        first, second = (draws.by_style(name) for name in pair)
        weights = np.stack([first, second, 1 - first - second], axis=1)
        result |= _one_of(draws, (*pair, f"neither {' nor '.join(pair)}"), weights, everything)
    return result


@lru_cache(maxsize=16)
def contents(config: GeneratedConfig, kind: Kind, split: str) -> tuple[Content, ...]:
    """The content of every track of a split: a pure function of its arguments."""
    draws = _Draws((kind, split), config.seed, config.split_sizes(kind)[split])
    presence = config.stem_presence if kind == "separation" else config.presence
    parts = _voices(draws, presence) | _drums(draws, presence) | _instruments(draws, config.presence) | _moods(draws)
    sounding = [frozenset(tag for tag in TAGS if tag in parts and parts[tag][i]) for i in range(len(draws.styles))]
    place = draws.generator("tempo").random(len(sounding))
    return tuple(
        Content(style=STYLES[style], bpm=_bpm(tags, at), parts=tags)
        for style, tags, at in zip(draws.styles, sounding, place, strict=True)
    )


def _bpm(tags: frozenset[str], place: float) -> float:
    tempo = next((name for name in ("slow", "fast") if name in tags), "medium")
    low, high = TEMPI_BPM[tempo]
    return float(low + (high - low) * place)
