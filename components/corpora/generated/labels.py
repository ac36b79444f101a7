"""The labels that a corpus delivers: the true ones, a stated share of them moved to a wrong track.

Noise moves labels and never makes or drops one, so a tag keeps its number of positives and a genre its number of
tracks. Test labels stay true: scores measure what can be heard.
"""

from functools import lru_cache

import numpy as np

from components.corpora.generated.config import GeneratedConfig
from components.corpora.generated.content import TAGS, contents
from components.random_streams import numpy_generator


def _generator(config: GeneratedConfig, *address: str) -> np.random.Generator:
    return numpy_generator(config.seed, "generated labels", *address)


@lru_cache(maxsize=16)
def tag_labels(config: GeneratedConfig, split: str) -> tuple[tuple[str, ...], ...]:
    """The tags of every track of the tagging corpus's split, in the order of `TAGS`."""
    true = np.array([[tag in content.tags for tag in TAGS] for content in contents(config, "tagging", split)])
    given = true.copy()
    if split != "test":
        for column, tag in enumerate(TAGS):
            given[:, column] = _moved(true[:, column], config.label_noise, _generator(config, split, tag))
    return tuple(tuple(tag for tag, positive in zip(TAGS, row, strict=True) if positive) for row in given)


def _moved(positive: np.ndarray, rate: float, generator: np.random.Generator) -> np.ndarray:
    """`positive` with `rate` of its ones, rounded at random, exchanged for as many zeros."""
    ones, zeros = np.flatnonzero(positive), np.flatnonzero(~positive)
    count = min(int(rate * len(ones) + generator.random()), len(zeros))
    result = positive.copy()
    result[generator.choice(ones, count, replace=False)] = False
    result[generator.choice(zeros, count, replace=False)] = True
    return result


@lru_cache(maxsize=16)
def genre_labels(config: GeneratedConfig, split: str) -> tuple[str, ...]:
    """The genre of every track of the genre corpus's split."""
    true = [content.style.name for content in contents(config, "genre", split)]
    if split == "test":
        return tuple(true)
    generator = _generator(config, split, "genre")
    count = int(config.label_noise * len(true) + generator.random())
    moved = generator.choice(len(true), count, replace=False)
    # sorted by genre and turned by half, so that hardly any track meets its own genre again
    moved = moved[np.argsort([true[track] for track in moved], kind="stable")]
    given = list(true)
    for receiver, giver in zip(moved, np.roll(moved, count // 2), strict=True):
        given[receiver] = true[giver]
    return tuple(given)
