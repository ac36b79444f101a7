"""Tagging: what an arm's networks hear in a song, as a whole and over time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float

from components.corpora.audio import SAMPLE_RATE, decoded_blocks, to_float, to_int16
from components.corpora.windows import windows
from study.kinds.trained_networks import BATCH, TrainedTagger
from study.store.store import Store
from study.use.finished import Network, Taggers
from study.use.songs import Song, device


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A song's probabilities by network and class, and by segment and class the mean over the networks.

    Segments last `segment_s` and begin at `starts_s`.
    """

    song: str
    classes: tuple[str, ...]
    scores: Float[np.ndarray, "network class"]
    over_time: Float[np.ndarray, "segment class"]
    starts_s: Float[np.ndarray, " segment"]
    segment_s: float

    @property
    def means(self) -> Float[np.ndarray, " class"]:
        return self.scores.mean(axis=0)

    @property
    def sds(self) -> Float[np.ndarray, " class"]:
        """Over the networks; NaN for one alone."""
        return self.scores.std(axis=0, ddof=1) if len(self.scores) > 1 else np.full(len(self.classes), np.nan)

    @property
    def ranked(self) -> list[int]:
        """Places of the classes, the most probable first."""
        return np.argsort(-self.means, kind="stable").tolist()


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A song that could not be used, and why."""

    song: str
    why: str


def tag(song: Song, chosen: Taggers, location: str) -> Heard | Failed:
    """A song of any length and rate, tagged as the study's test tags its tracks; or why it could not be."""
    networks = [_network(location, network) for network in chosen.networks]
    try:
        return _heard(song, chosen, networks)
    except (ValueError, OSError) as error:
        return Failed(song=song.name, why=" ".join(str(error).split()))


@lru_cache(maxsize=64)
def _network(location: str, network: Network) -> TrainedTagger:
    """Kept from song to song."""
    return TrainedTagger(Store(location), network.stage, network.config, task=network.task, device=device())


def _heard(song: Song, chosen: Taggers, networks: Sequence[TrainedTagger]) -> Heard:
    first = networks[0]
    found = [
        np.stack([network.probabilities(segments) for network in networks])
        for segments in _segments(song, first.num_samples, first.hop_samples)
    ]
    if not found:
        needed_s = first.num_samples / SAMPLE_RATE
        raise ValueError(f"{song.path} is shorter than the {needed_s:.2f} s that a network hears at once")
    probabilities = np.concatenate(found, axis=1).astype(np.float64)
    return Heard(
        song=song.name,
        classes=chosen.classes,
        scores=probabilities.mean(axis=1),
        over_time=probabilities.mean(axis=0),
        starts_s=np.arange(probabilities.shape[1]) * first.hop_samples / SAMPLE_RATE,
        segment_s=first.num_samples / SAMPLE_RATE,
    )


def _segments(song: Song, num_samples: int, hop_samples: int) -> Iterator[torch.Tensor]:
    """Batches of segments, rounded to 16 bits as a corpus has them."""
    rounded = (to_float(to_int16(block)) for block in decoded_blocks(song.path))
    pieces = windows(rounded, num_samples, hop_samples)
    while batch := list(islice(pieces, BATCH)):
        yield torch.from_numpy(np.stack(batch))


def score_table(heard: Sequence[Heard]) -> pa.Table:
    """A row for each song and class: the mean over the networks, their standard deviation and number."""
    rows = [
        {
            "song": one.song,
            "class": one.classes[place],
            "score": one.means[place],
            "sd": one.sds[place] if len(one.scores) > 1 else None,
            "networks": len(one.scores),
        }
        for one in heard
        for place in one.ranked
    ]
    return pa.Table.from_pylist(rows, schema=SCORES)


def time_table(heard: Sequence[Heard]) -> pa.Table:
    """A row for each song, segment and class: the mean over the networks."""
    rows = [
        {"song": one.song, "start_s": start, "end_s": start + one.segment_s, "class": name, "score": score}
        for one in heard
        for start, scores in zip(one.starts_s, one.over_time, strict=True)
        for name, score in zip(one.classes, scores, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=OVER_TIME)


SCORES = pa.schema(
    [
        ("song", pa.string()),
        ("class", pa.string()),
        ("score", pa.float64()),
        ("sd", pa.float64()),
        ("networks", pa.int32()),
    ]
)
OVER_TIME = pa.schema(
    [
        ("song", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("class", pa.string()),
        ("score", pa.float64()),
    ]
)
