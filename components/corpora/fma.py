"""FMA, the Free Music Archive: clips of 30 s with a root genre each (Defferrard et al., ISMIR 2017; PAPER 8)."""

import csv
from collections import Counter
from pathlib import Path
from typing import Literal

from components.corpora.data_set import (
    NO_METADATA,
    AudioStream,
    DataSet,
    DataSetTrack,
    opened_table,
    required_paths,
    unlisted_files,
)

Subset = Literal["medium", "small"]
METADATA = "fma_metadata/tracks.csv"
GENRES = (
    *("Blues", "Classical", "Country", "Easy Listening", "Electronic", "Experimental", "Folk", "Hip-Hop"),
    *("Instrumental", "International", "Jazz", "Old-Time / Historic", "Pop", "Rock", "Soul-RnB", "Spoken"),
)
SMALL_GENRES = ("Electronic", "Experimental", "Folk", "Hip-Hop", "Instrumental", "International", "Pop", "Rock")
UNREADABLE = frozenset(
    {
        *(1486, 5574, 65753, 80391, 98558, 98559, 98560, 98565, 98566, 98567, 98568, 98569, 98571, 99134, 105247),
        *(108924, 108925, 126981, 127336, 133297, 143992),
    }
)
EXPECTED = {
    "medium": {"train": 19_922, "validation": 2_505, "test": 2_573},
    "small": {"train": 6_400, "validation": 800, "test": 800},
}
_SPLITS = {"training": "train", "validation": "validation", "test": "test"}
_COLUMNS = (("set", "split"), ("set", "subset"), ("track", "genre_top"))


def fma(source: str | Path, subset: Subset = "medium") -> DataSet:
    """The tracks of a subset below `source`, which holds `fma_metadata` and `fma_<subset>`; splits are FMA's own.

    Raises:
        FileNotFoundError: no such folder, or no metadata or audio in it.
        ValueError: metadata of another form, or with a genre or split that FMA does not have.
    """
    metadata, audio = required_paths(source, METADATA, f"fma_{subset}")
    classes = GENRES if subset == "medium" else SMALL_GENRES
    subsets = ("small", "medium") if subset == "medium" else ("small",)
    excluded, rejects, tracks = Counter(), [], []
    rows = _rows(metadata)
    listed = {_file(audio, number) for number, *_ in rows}
    rejects += [(path.stem, NO_METADATA) for path in unlisted_files(audio, listed)]
    for number, split, of_subset, genre in rows:
        if of_subset not in subsets:
            excluded[f"not in fma_{subset}"] += 1
        elif number in UNREADABLE:
            rejects.append((f"{number:06d}", "known to be unreadable"))
        elif not genre:
            rejects.append((f"{number:06d}", "no root genre in the metadata"))
        elif genre not in classes or split not in _SPLITS:
            raise ValueError(f"{metadata}: track {number} has the genre {genre!r} and the split {split!r}")
        else:
            stream = {"mixture": AudioStream(_file(audio, number))}
            tracks.append(DataSetTrack(id=f"{number:06d}", audio=stream, split=_SPLITS[split], labels=(genre,)))
    return DataSet(
        name=f"fma-{subset}",
        kind="genre",
        tracks=sorted(tracks, key=lambda track: track.id),
        classes=classes,
        excluded=excluded,
        rejects=rejects,
        expected=EXPECTED[subset],
        recipe={"subset": subset},
    )


def _file(audio: Path, number: int) -> Path:
    return audio / f"{number:06d}"[:3] / f"{number:06d}.mp3"


def _rows(path: Path) -> list[tuple[int, str, str, str]]:
    """(id, split, subset, genre) of each track; the header has two rows, and a third one names the index."""
    csv.field_size_limit(2**30)  # some artists tell long stories
    with opened_table(path) as file:
        reader = csv.reader(file)
        header = list(zip(next(reader, []), next(reader, []), strict=False))
        missing = [column for column in _COLUMNS if column not in header]
        if missing:
            raise ValueError(f"{path} has no column {missing[0]}; needed: the two-row header of FMA's tracks.csv")
        places = [header.index(column) for column in _COLUMNS]
        rows = [row for row in reader if row and row[0].isdigit()]
    split, subset, genre = places
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"{path}: track {row[0]} has {len(row)} columns of {len(header)}; is the file complete?")
    return [(int(row[0]), row[split], row[subset], row[genre]) for row in rows]
