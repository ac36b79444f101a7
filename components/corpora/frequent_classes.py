"""Frequent classes: a data set without those that too few tracks of some split have."""

from collections import Counter
from dataclasses import replace
from typing import NamedTuple

from components.corpora.corpus_format import SPLITS
from components.corpora.data_set import DataSet


class Frequent(NamedTuple):
    """A data set, and the classes that it was left without: class -> its tracks by split."""

    data_set: DataSet
    left_out: dict[str, dict[str, int]]


def with_frequent_classes(data_set: DataSet, min_tracks: int) -> Frequent:
    """Only the classes that at least `min_tracks` listed tracks of every split have.

    Tracks that lose all their tags stay; tracks that lose their genre are excluded. ValueError if no class is left.
    """
    counts = {split: Counter[str]() for split in SPLITS}
    for track in data_set.tracks:
        counts[track.split].update(track.labels)
    by_class = {name: {split: counts[split][name] for split in SPLITS} for name in data_set.classes}
    left_out = {name: found for name, found in by_class.items() if min(found.values()) < min_tracks}
    if not left_out:
        return Frequent(data_set, {})
    kept = tuple(name for name in data_set.classes if name not in left_out)
    if not kept:
        best = max(by_class, key=lambda name: min(by_class[name].values()))
        raise ValueError(f"--min-tracks {min_tracks} leaves no class; the best one, {best!r}, has {by_class[best]}")
    tracks = [replace(track, labels=tuple(name for name in track.labels if name in kept)) for track in data_set.tracks]
    excluded = Counter(data_set.excluded)
    if data_set.kind == "genre":
        excluded["of a genre that was left out"] += sum(not track.labels for track in tracks)
        tracks = [track for track in tracks if track.labels]
    recipe = {**data_set.recipe, "min_tracks": min_tracks, "left_out": left_out}
    return Frequent(replace(data_set, tracks=tracks, classes=kept, excluded=+excluded, recipe=recipe), left_out)
