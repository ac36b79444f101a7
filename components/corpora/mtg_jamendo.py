"""MTG-Jamendo: 55,000 tracks with tags (Bogdanov et al., ML4MD 2019), in the splits of its own repository."""

from pathlib import Path
from typing import Literal

from components.corpora.data_set import AudioStream, DataSet, DataSetTrack, required_paths

TagSet = Literal["top50", "moodtheme"]
FILES = {"top50": "autotagging_top50tags", "moodtheme": "autotagging_moodtheme"}
HEADER = ["TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS"]
SPLITS = ("train", "validation", "test")
NUM_SPLITS = 5


def mtg_jamendo(
    source: str | Path, tags: TagSet = "top50", *, audio: str | Path | None = None, split: int = 0
) -> DataSet:
    """The tracks of one of five splits.

    Args:
        source: the repository's folder, which holds `data/splits`.
        tags: the fifty most frequent tags, or moods and themes.
        audio: the folder that the audio was unpacked to, which holds the folders 00 to 99; None: `source`. Files of
            the smaller download (`.low.mp3`) are found as well.
        split: 0 to 4.

    Raises:
        FileNotFoundError: no such folder, or not these files in it.
        ValueError: another split, or a line that does not fit.
    """
    if split not in range(NUM_SPLITS):
        raise ValueError(f"--split is {split}; allowed: 0 to {NUM_SPLITS - 1}")
    names = [f"data/splits/split-{split}/{FILES[tags]}-{part}.tsv" for part in SPLITS]
    places = required_paths(source, *names)
    required_paths(audio or source)
    folder = Path(audio or source).expanduser().absolute()
    tracks = [track for part, path in zip(SPLITS, places, strict=True) for track in _tracks(path, part, folder)]
    return DataSet(
        name=f"mtg-jamendo-{tags}-{split}",
        kind="tagging",
        tracks=sorted(tracks, key=lambda track: track.id),
        classes=tuple(sorted({label for track in tracks for label in track.labels})),
        recipe={"tags": tags, "split": split},
    )


def _tracks(path: Path, split: str, folder: Path) -> list[DataSetTrack]:
    try:
        header, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if header.split("\t") != HEADER:
        raise ValueError(f"{path} begins with {header[:80]!r}; needed: {', '.join(HEADER)}, tabs between")
    return [_track(path, number, line.split("\t"), split, folder) for number, line in enumerate(lines, 2) if line]


def _track(path: Path, number: int, cells: list[str], split: str, folder: Path) -> DataSetTrack:
    """A tag is a cell of its own, with its category before it: "genre---rock"."""
    if len(cells) < len(HEADER):
        raise ValueError(f"{path}, line {number}: it is cut off, {len(cells)} cells of at least {len(HEADER)}")
    name, artist, album, place, _, *tags = cells
    whole = folder / place
    low = whole.with_suffix(".low.mp3")
    return DataSetTrack(
        id=name,
        audio={"mixture": AudioStream(low if low.exists() and not whole.exists() else whole)},
        split=split,
        labels=tuple(dict.fromkeys(tags)),
        columns={"artist": artist, "album": album},
    )
