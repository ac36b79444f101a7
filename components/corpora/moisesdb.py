"""MoisesDB: 240 songs of raw multitracks (Pereira et al., ISMIR 2023), as they are unpacked.

A song's folder holds `data.json` and, for each of eleven kinds of instrument, a folder of files. Everything that is
neither vocals nor bass nor drums is the source "other", as in the data set's own mix of four.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from components.corpora.data_set import DataSet, DataSetTrack, required_paths
from components.corpora.multitracks import NEEDED, STEMS, song_audio
from components.corpora.own_table import read_table, split_of, text_of

DESCRIPTION = "data.json"
_OWN_SOURCE = ("vocals", "bass", "drums")


def moisesdb(
    source: str | Path, table: str | Path | None = None, *, encoding: str = "utf-8", silent_if_missing: bool = False
) -> DataSet:
    """The songs below `source`: every folder, at any depth, with a `data.json`.

    The data set has no splits. `table` gives them, with the columns `song` (the folder's name) and `split`; songs that
    it does not name are excluded. Without it a tenth of the artists is for validation and two tenths for the test, by a
    hash of the artist's name, so that no artist is in two splits.

    Raises:
        FileNotFoundError: no such folder or table, or no song in the folder.
        ValueError: a table that does not fit, with the row.
    """
    required_paths(source)
    root = Path(source).expanduser().absolute()
    folders = sorted(path.parent for path in root.rglob(DESCRIPTION))
    if not folders:
        raise FileNotFoundError(f"{root} holds no {DESCRIPTION}; give the folder that MoisesDB was unpacked to")
    splits = None if table is None else _splits(Path(table).expanduser(), encoding)
    data_set = DataSet(
        name="moisesdb",
        kind="separation",
        tracks=[],
        stems=STEMS,
        recipe={"table": None if table is None else Path(table).name, "silent_if_missing": silent_if_missing},
    )
    for folder in folders:
        try:
            song = _described(folder)
            split = split_of_artist(song["artist"]) if splits is None else splits.get(folder.name)
            if split is None:
                data_set.excluded["not in the table"] += 1
                continue
            audio = song_audio(_files(folder, song["stems"]), silent_if_missing=silent_if_missing)
        except ValueError as error:
            data_set.rejects.append((folder.name, str(error)))
        else:
            columns = {name: str(song[name]) for name in ("artist", "song", "genre")}
            data_set.tracks.append(DataSetTrack(id=folder.name, audio=audio, split=split, columns=columns))
    known = {folder.name for folder in folders}
    data_set.rejects.extend((name, "no such song") for name in splits or () if name not in known)
    return data_set


def split_of_artist(artist: str) -> str:
    """Always the same for one name."""
    place = int(hashlib.sha256(artist.encode()).hexdigest(), 16) % 10
    return "validation" if place == 0 else "test" if place < 3 else "train"


def _splits(table: Path, encoding: str) -> dict[str, str]:
    rows = read_table(table, NEEDED, encoding=encoding)
    return {text_of(table, number, row, "song"): split_of(table, number, row) for number, row in enumerate(rows, 1)}


def _described(folder: Path) -> dict[str, Any]:
    try:
        song = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        return {"artist": "", "song": "", "genre": ""} | song | {"stems": list(song["stems"])}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{DESCRIPTION} cannot be read: {type(error).__name__}: {error}") from None


def _files(folder: Path, stems: list[dict[str, Any]]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    try:
        for stem in stems:
            source = stem["stemName"] if stem["stemName"] in _OWN_SOURCE else "other"
            paths = [folder / stem["stemName"] / f"{track['id']}.{track['extension']}" for track in stem["tracks"]]
            found.setdefault(source, []).extend(paths)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{DESCRIPTION} has a stem without {error}") from None
    return found
