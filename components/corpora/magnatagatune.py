"""MagnaTagATune: 25,863 clips of 29 s with tags (Law et al., ISMIR 2009), and the splits that papers use (PAPER 8)."""

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

Split = Literal["pub", "folder"]
ANNOTATIONS = "annotations_final.csv"
# The fifty most frequent tags, most frequent first, synonyms kept apart.
TOP_50 = (
    *("guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast", "piano", "ambient"),
    *("beat", "violin", "vocal", "synth", "female", "indian", "opera", "male", "singing", "vocals", "no vocals"),
    *("harpsichord", "loud", "quiet", "flute", "woman", "male vocal", "no vocal", "pop", "soft", "sitar", "solo"),
    *("man", "classic", "choir", "voice", "new age", "dance", "male voice", "female vocal", "beats", "harp", "cello"),
    *("no voice", "weird", "country", "metal", "female voice", "choral"),
)
CORRUPT = ("35644", "55753", "57881")
# By the first letter of a clip's path: sixteen folders.
SPLIT_OF_FOLDER = {**dict.fromkeys("0123456789ab", "train"), "c": "validation", **dict.fromkeys("def", "test")}
EXPECTED = {
    "pub": {"train": 15_244, "validation": 1_529, "test": 4_332},
    "folder": {"train": 18_706, "validation": 1_825, "test": 5_329},
}
LONGER_THAN_S = 29.1


def magnatagatune(source: str | Path, split: Split = "pub", own_split: str | Path | None = None) -> DataSet:
    """The clips below `source`, which holds `annotations_final.csv` and the folders 0 to f.

    Args:
        split: "folder" takes all clips by folder; "pub" takes those with a top-50 tag that are longer than 29.1 s (Lee
            and Won), as the paper does.
        own_split: a CSV of clip_id and split instead; clips that it does not name are excluded.

    Raises:
        FileNotFoundError: no such folder, or no annotations in it.
        ValueError: annotations without a column that is needed, or an unknown folder or split.
    """
    (path,) = required_paths(source, ANNOTATIONS)
    own = None if own_split is None else read_split(Path(own_split).expanduser())
    rows = _rows(path)
    excluded, rejects, tracks = Counter(), _without_metadata(path.parent, rows, own or {}), []
    for row in rows:
        clip, tags = row["clip_id"], tuple(tag for tag in TOP_50 if row[tag] == "1")
        if clip in CORRUPT:
            rejects.append((clip, "known to be corrupt"))
            continue
        placed = _split_of(row["mp3_path"]) if own is None else own.get(clip)
        if placed is None:
            excluded["not in the split's list"] += 1
        elif split == "pub" and own is None and not tags:
            excluded["no top-50 tag"] += 1
        else:
            audio = {"mixture": AudioStream(path.parent / row["mp3_path"])}
            tracks.append(DataSetTrack(id=clip, audio=audio, split=placed, labels=tags))
    return DataSet(
        name=f"magnatagatune-{split if own is None else 'own'}",
        kind="tagging",
        tracks=sorted(tracks, key=lambda track: int(track.id)),
        classes=TOP_50,
        longer_than_s=LONGER_THAN_S if split == "pub" and own is None else 0.0,
        excluded=excluded,
        rejects=rejects,
        expected=EXPECTED[split] if own is None else {},
        recipe={"split": split if own is None else Path(str(own_split)).name},
    )


def _without_metadata(folder: Path, rows: list[dict[str, str]], own: dict[str, str]) -> list[tuple[str, str]]:
    """Clips of an own split, and files of the folder, that no row of the annotations names."""
    known = {row["clip_id"] for row in rows}
    beside = unlisted_files(folder, {folder / row["mp3_path"] for row in rows})
    names = [*(clip for clip in own if clip not in known), *(str(file.relative_to(folder)) for file in beside)]
    return [(name, NO_METADATA) for name in names]


def read_split(path: str | Path) -> dict[str, str]:
    """Clip -> split of a CSV of both; ValueError for another column, an unknown split, or a clip that stands twice."""
    found: dict[str, str] = {}
    with opened_table(path) as file:
        reader = csv.DictReader(file)
        if set(reader.fieldnames or ()) != {"clip_id", "split"}:
            raise ValueError(f"{path} has the columns {reader.fieldnames}; needed: clip_id, split")
        for row in reader:
            if row["split"] not in ("train", "validation", "test") or row["clip_id"] in found:
                raise ValueError(
                    f"{path}: clip {row['clip_id']!r} has the split {row['split']!r}, or stands there twice"
                )
            found[row["clip_id"]] = row["split"]
    return found


def _rows(path: Path) -> list[dict[str, str]]:
    with opened_table(path) as file:
        reader = csv.DictReader(file, delimiter="\t")
        missing = [name for name in ("clip_id", "mp3_path", *TOP_50) if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(
                f"{path} has no column {missing[0]!r}; needed: clip_id, the tags and mp3_path, tabs between"
            )
        rows = list(reader)
    for number, row in enumerate(rows, 2):
        if None in row.values() or not row["clip_id"].isdigit():
            raise ValueError(f"{path}, line {number}: it is cut off, or its clip_id {row['clip_id']!r} is no number")
    return rows


def _split_of(mp3_path: str) -> str:
    folder = mp3_path.split("/", maxsplit=1)[0]
    if folder not in SPLIT_OF_FOLDER:
        raise ValueError(f"{ANNOTATIONS}: mp3_path is {mp3_path!r}; its folder must be one of 0 to 9 and a to f")
    return SPLIT_OF_FOLDER[folder]
