"""Preparing a corpus: tracks are decoded all over the cluster, each into a part of its own, then joined in their order.

A Ray task per track is plainly simpler than Ray Data here: nothing but "done" comes back, since every task leaves its
part on the disk that the corpus will be on. So memory stays bounded, and a preparation that was killed goes on where it
was: parts that are there are not decoded again.
"""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from components.corpora.data_set import DataSet, SourceTrack
from components.corpora.decoding import ExcludedError, UnusableError, decoded
from components.corpus import Corpus
from components.corpus_writer import CorpusWriter
from study.identity import to_json

Report = Callable[[int, int], None]
# (function, items) -> results in any order
Spread = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A corpus and how its tracks by split differ from what was published: split -> (found, expected)."""

    corpus: Corpus
    unexpected: dict[str, tuple[int, int]]


def prepare(
    data_set: DataSet, folder: str | Path, *, spread: Spread, max_rejects: float = 0.01, report: Report | None = None
) -> Prepared:
    """Decodes what is not decoded yet, then writes the corpus.

    Parts lie in `<folder>.parts` until the corpus is complete; `max_rejects` is a share of the tracks.

    Raises:
        FileExistsError: there is something at `folder`.
        ValueError: parts of another data set, or more rejects than allowed; the parts then stay.
    """
    target = Path(folder).expanduser().absolute()
    if target.exists():
        raise FileExistsError(f"{target} exists already: remove it or choose another folder")
    parts = target.with_name(f"{target.name}.parts")
    _claim(parts, data_set)
    tracks, repeated = _distinct(data_set.tracks)
    waiting = [track for track in tracks if not _outcome_file(parts, track).exists()]
    done = len(tracks) - len(waiting)
    for more, _ in enumerate(spread(partial(decode_part, parts, data_set.longer_than_s), waiting), 1):
        if report is not None:
            report(done + more, len(tracks))
    rejects = [*data_set.rejects, *repeated, *_rejected(parts, tracks)]
    _check_rejects(rejects, len(data_set.tracks) + len(data_set.rejects), max_rejects)
    _join(data_set, tracks, rejects, parts, target)
    shutil.rmtree(parts)
    corpus = Corpus.open(target)
    found = corpus.manifest.counts
    return Prepared(
        corpus=corpus,
        unexpected={s: (found[s], number) for s, number in data_set.expected.items() if found[s] != number},
    )


def decode_part(parts: Path, longer_than_s: float, track: SourceTrack) -> None:
    """Leaves a track's samples, then its outcome, which says that they are complete."""
    outcome = {"id": track.id}
    try:
        waveform = decoded(track, longer_than_s=longer_than_s)
    except UnusableError as error:
        outcome |= {"rejected": str(error)}
    except ExcludedError as error:
        outcome |= {"excluded": str(error)}
    else:
        with _samples_file(parts, track).open("wb") as file:
            np.save(file, waveform)
    path = _outcome_file(parts, track)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(outcome), encoding="utf-8")
    unfinished.replace(path)


def _claim(parts: Path, data_set: DataSet) -> None:
    """The parts' folder is that of this data set; ValueError if it is another's."""
    parts.mkdir(parents=True, exist_ok=True)
    own = to_json({"name": data_set.name, "recipe": dict(data_set.recipe), "longer_than_s": data_set.longer_than_s})
    claim = parts / "data-set.json"
    if not claim.exists():
        claim.write_text(own, encoding="utf-8")
    if claim.read_text(encoding="utf-8") != own:
        raise ValueError(f"{parts} holds parts of another data set: remove it, or choose another folder")


def _distinct(tracks: Iterable[SourceTrack]) -> tuple[list[SourceTrack], list[tuple[str, str]]]:
    """Tracks whose id is theirs alone, and the others as rejects."""
    tracks = list(tracks)
    counts = Counter(track.id for track in tracks)
    repeated = [(track.id, "duplicate id") for track in tracks if counts[track.id] > 1]
    return [track for track in tracks if counts[track.id] == 1], repeated


def _rejected(parts: Path, tracks: Iterable[SourceTrack]) -> list[tuple[str, str]]:
    outcomes = (_outcome(parts, track) for track in tracks)
    return [(outcome["id"], outcome["rejected"]) for outcome in outcomes if "rejected" in outcome]


def _check_rejects(rejects: list[tuple[str, str]], num_tracks: int, most: float) -> None:
    if len(rejects) > most * num_tracks:
        causes = Counter(reason for _, reason in rejects).most_common(3)
        told = "; ".join(f"{count} x {reason}" for reason, count in causes)
        first = ", ".join(track for track, _ in rejects[:3])
        raise ValueError(
            f"{len(rejects)} of {num_tracks} tracks cannot be used ({told}; such as {first}), more than --max-rejects "
            f"{most:g} allows"
        )


def _join(
    data_set: DataSet, tracks: list[SourceTrack], rejects: list[tuple[str, str]], parts: Path, target: Path
) -> None:
    recipe = {**data_set.recipe, "longer_than_s": data_set.longer_than_s, "published": dict(data_set.expected)}
    names = {"name": data_set.name, "kind": data_set.kind, "stems": data_set.stems, "classes": data_set.classes}
    with CorpusWriter(target, **names, recipe=recipe) as writer:
        for reason, count in data_set.excluded.items():
            for _ in range(count):
                writer.exclude(reason)
        for track, reason in rejects:
            writer.reject(track, reason)
        for track in tracks:
            outcome = _outcome(parts, track)
            if "excluded" in outcome:
                writer.exclude(outcome["excluded"])
            elif "rejected" not in outcome:
                samples = np.load(_samples_file(parts, track), mmap_mode="r", allow_pickle=False)
                writer.add(track.id, samples, split=track.split, labels=track.labels, **track.columns)


def _name(track: SourceTrack) -> str:
    """A file name for any id."""
    return hashlib.sha256(track.id.encode()).hexdigest()[:32]


def _samples_file(parts: Path, track: SourceTrack) -> Path:
    return parts / f"{_name(track)}.npy"


def _outcome_file(parts: Path, track: SourceTrack) -> Path:
    return parts / f"{_name(track)}.json"


def _outcome(parts: Path, track: SourceTrack) -> dict[str, str]:
    return json.loads(_outcome_file(parts, track).read_text(encoding="utf-8"))
