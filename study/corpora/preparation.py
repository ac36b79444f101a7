"""Preparing a corpus: tracks are decoded all over the cluster, each into a part of its own, then joined in their order.

Every task writes its part to the disk that will hold the corpus, and returns nothing but "done". So memory stays
bounded. A preparation that was killed goes on where it was: existing parts are not decoded again. For this, one Ray
task per track is simpler than Ray Data.
"""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from components.corpora.corpus import Corpus
from components.corpora.corpus_writer import CorpusWriter
from components.corpora.data_set import AudioStream, DataSet, DataSetTrack
from study.corpora.track_part import Limits, Part, decode_part
from study.stages.identity import to_json
from study.store.locks import locked

Report = Callable[[int, int], None]
# (function, items) -> results in any order
ParallelMap = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A corpus, and the splits whose number of tracks is not the published one: split -> (found, expected)."""

    corpus: Corpus
    unexpected: dict[str, tuple[int, int]]


def prepare(
    data_set: DataSet,
    folder: str | Path,
    *,
    spread: ParallelMap,
    max_rejects: float = 0.01,
    limits: Limits | None = None,
    report: Report | None = None,
) -> Prepared:
    """Decodes what is not decoded yet, then writes the corpus.

    Parts lie in `<folder>.parts` until the corpus is complete; `max_rejects` is a share of the tracks.

    Raises:
        FileExistsError: there is something at `folder`.
        ValueError: no track; parts of another data set; another preparation at work on the parts; or more rejects than
            allowed (the parts then stay).
    """
    target = Path(folder).expanduser().absolute()
    if target.exists():
        raise FileExistsError(f"{target} exists already: remove it or choose another folder")
    if not data_set.tracks:
        excluded = "".join(f"{count} {rule}, " for rule, count in data_set.excluded.items())
        raise ValueError(f"{data_set.name}: no track is left; {excluded}{len(data_set.rejects)} cannot be used")
    folder_of_parts = target.with_name(f"{target.name}.parts")
    with _locked_parts(folder_of_parts):
        _check_owner(folder_of_parts, data_set)
        tracks, repeated = _distinct(data_set.tracks)
        parts = [_part(folder_of_parts, track) for track in tracks]
        decode = partial(decode_part, data_set.longer_than_s, limits or Limits())
        _decode(parts, decode, spread, report)
        outcomes = [part.read() for part in parts]
        rejected = [(outcome["id"], outcome["rejected"]) for outcome in outcomes if "rejected" in outcome]
        rejects = [*data_set.rejects, *repeated, *rejected]
        _check_rejects(rejects, len(data_set.tracks) + len(data_set.rejects), max_rejects)
        _join(data_set, parts, rejects, folder_of_parts / "corpus")
        (folder_of_parts / "corpus").rename(target)
        shutil.rmtree(folder_of_parts)
    corpus = Corpus.open(target)
    found = corpus.manifest.counts
    return Prepared(
        corpus=corpus,
        unexpected={s: (found[s], number) for s, number in data_set.expected.items() if found[s] != number},
    )


def _decode(parts: list[Part], decode: Callable[[Part], None], spread: ParallelMap, report: Report | None) -> None:
    """Decodes what is missing, and tries again what could not be decoded: its file may have been replaced."""
    for part in parts:
        if part.outcome.exists() and "rejected" in part.read():
            part.outcome.unlink()
    waiting = [part for part in parts if not part.outcome.exists()]
    for part in waiting:
        part.tries.unlink(missing_ok=True)
    done = len(parts) - len(waiting)
    for more, _ in enumerate(spread(decode, waiting), 1):
        if report is not None:
            report(done + more, len(parts))


@contextmanager
def _locked_parts(parts: Path) -> Iterator[None]:
    """Keeps other preparations away from these parts; removes what a killed one left while it joined them."""
    with locked(parts / "lock", busy=f"another preparation is at work on {parts}: wait for it"):
        for left in parts.glob("corpus*"):
            shutil.rmtree(left)
        yield


def _check_owner(parts: Path, data_set: DataSet) -> None:
    """Marks the folder of parts as this data set's; ValueError if it is another's."""
    parts.mkdir(parents=True, exist_ok=True)
    own = to_json({"name": data_set.name, "recipe": dict(data_set.recipe), "longer_than_s": data_set.longer_than_s})
    claim = parts / "data-set.json"
    if not claim.exists():
        claim.write_text(own, encoding="utf-8")
    if claim.read_text(encoding="utf-8") != own:
        raise ValueError(f"{parts} holds parts of another data set: remove it, or choose another folder")


def _distinct(tracks: Iterable[DataSetTrack]) -> tuple[list[DataSetTrack], list[tuple[str, str]]]:
    """Tracks with an id of their own, and the others as rejects."""
    tracks = list(tracks)
    counts = Counter(track.id for track in tracks)
    repeated = [(track.id, "duplicate id") for track in tracks if counts[track.id] > 1]
    return [track for track in tracks if counts[track.id] == 1], repeated


def _check_rejects(rejects: list[tuple[str, str]], num_tracks: int, most: float) -> None:
    if len(rejects) > most * num_tracks:
        counts = Counter(reason for _, reason in rejects).most_common(3)
        causes = "; ".join(f"{count} x {reason}" for reason, count in counts)
        first = ", ".join(track for track, _ in rejects[:3])
        raise ValueError(
            f"{len(rejects)} of {num_tracks} tracks cannot be used ({causes}; such as {first}), more than "
            f"--max-rejects {most:g} allows"
        )


def _join(data_set: DataSet, parts: list[Part], rejects: list[tuple[str, str]], target: Path) -> None:
    recipe = {**data_set.recipe, "longer_than_s": data_set.longer_than_s, "published": dict(data_set.expected)}
    for what in ("damaged", "fitted"):
        noted = {part.track.id: outcome[what] for part in parts if what in (outcome := part.read())}
        recipe |= {what: noted} if noted else {}
    names = {"name": data_set.name, "kind": data_set.kind, "stems": data_set.stems, "classes": data_set.classes}
    with CorpusWriter(target, **names, recipe=recipe) as writer:
        for reason, count in data_set.excluded.items():
            for _ in range(count):
                writer.exclude(reason)
        for track, reason in rejects:
            writer.reject(track, reason)
        for part in parts:
            outcome, track = part.read(), part.track
            if "excluded" in outcome:
                writer.exclude(outcome["excluded"])
            elif "rejected" not in outcome:
                samples = np.load(part.samples, mmap_mode="r", allow_pickle=False)
                writer.add(track.id, samples, split=track.split, labels=track.labels, **track.columns)


def _part(folder: Path, track: DataSetTrack) -> Part:
    """The part of a track. A changed file, or another file under the same id, is another part."""
    key = [track.id, [[stem, str(one.path), one.stream, *_state(one.path)] for stem, one in _files(track)]]
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    return Part(track=track, samples=folder / f"{name}.npy", outcome=folder / f"{name}.json")


def _files(track: DataSetTrack) -> Iterator[tuple[str, AudioStream]]:
    for stem, streams in track.streams.items():
        yield from ((stem, one) for one in streams)


def _state(path: Path) -> tuple[int, int]:
    """Size and modification time of a file, if there is one."""
    try:
        found = path.stat()
    except OSError:
        return (-1, 0)
    return found.st_size, found.st_mtime_ns
