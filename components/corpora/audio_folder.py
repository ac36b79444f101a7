"""Your own data: a folder of audio files, and a table that names them."""

from pathlib import Path
from typing import Literal

from components.corpora.data_set import AudioStream, DataSet, DataSetTrack, required_paths
from components.corpora.own_table import Row, further_columns, read_table, split_of, text_of

NEEDED, OPTIONAL = ("path", "split", "labels"), ("id",)


def audio_folder(
    source: str | Path, table: str | Path, kind: Literal["tagging", "genre"], *, encoding: str = "utf-8"
) -> DataSet:
    """The files below `source` that a CSV or Parquet table names.

    Its columns: `path` below the folder, `split` (train, validation, test), `labels` (tags with ; between them, or a
    list; the one genre of a genre corpus), and if wanted `id` (else the path without its ending). Further columns are
    kept. Classes stand in alphabetical order.

    Raises:
        FileNotFoundError: no such folder or table.
        ValueError: a column that is missing, or a row that does not fit, with its number.
    """
    required_paths(source)
    root, path = Path(source).expanduser().absolute(), Path(table).expanduser()
    rows = read_table(path, NEEDED, encoding=encoding)
    columns = further_columns(path, rows, (*NEEDED, *OPTIONAL))
    numbered = enumerate(zip(rows, columns, strict=True), 1)
    tracks = [_track(root, path, number, row, more) for number, (row, more) in numbered]
    for number, track in enumerate(tracks, 1):
        if kind == "genre" and len(track.labels) != 1:
            raise ValueError(f"{path}, row {number}: labels are {track.labels}; a genre corpus takes exactly one")
    if not any(track.labels for track in tracks):
        raise ValueError(f"{path} has {len(tracks)} rows and no label")
    return DataSet(
        name=root.resolve().name,
        kind=kind,
        tracks=tracks,
        classes=tuple(sorted({label for track in tracks for label in track.labels})),
        recipe={"table": path.name},
    )


def _track(root: Path, table: Path, number: int, row: Row, columns: Row) -> DataSetTrack:
    place, split = text_of(table, number, row, "path"), split_of(table, number, row)
    given = row["labels"] if isinstance(row["labels"], list) else str(row["labels"] or "").split(";")
    labels = tuple(dict.fromkeys(str(label).strip() for label in given if label is not None and str(label).strip()))
    name = str(row["id"]) if row.get("id") not in (None, "") else str(Path(place).with_suffix(""))
    audio = {"mixture": AudioStream(root / place)}
    return DataSetTrack(id=name, audio=audio, split=split, labels=labels, columns=columns)
