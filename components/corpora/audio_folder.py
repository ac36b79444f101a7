"""Your own data: a folder of audio files, and a table that names them."""

from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from components.corpora.data_set import AudioStream, DataSet, DataSetTrack, required_paths

NEEDED, OPTIONAL = ("path", "split", "labels"), ("id",)


def audio_folder(source: str | Path, table: str | Path, kind: Literal["tagging", "genre"]) -> DataSet:
    """The files below `source` that a CSV or Parquet table names.

    Its columns: `path` below the folder, `split` (train, validation, test), `labels` (tags with ; between them, or a
    list; the one genre of a genre corpus), and if wanted `id` (else the path without its ending). Classes stand in
    alphabetical order.

    Raises:
        FileNotFoundError: no such folder or table.
        ValueError: another column, or a row that does not fit, with its number.
    """
    required_paths(source)
    root, path = Path(source).expanduser().absolute(), Path(table).expanduser()
    tracks = [_track(root, path, number, row) for number, row in enumerate(_rows(path), 1)]
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


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; give a CSV or Parquet table with the columns {', '.join(NEEDED)}")
    try:
        table = pq.read_table(path) if path.suffix == ".parquet" else _csv(path)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    unknown = [name for name in table.column_names if name not in (*NEEDED, *OPTIONAL)]
    missing = [name for name in NEEDED if name not in table.column_names]
    if unknown or missing:
        raise ValueError(f"{path} has the columns {table.column_names}; needed: {NEEDED}, allowed besides: {OPTIONAL}")
    return table.to_pylist()


def _csv(path: Path) -> pa.Table:
    """Every column as text: an id of 007 stays one."""
    with path.open(encoding="utf-8-sig") as file:
        names = file.readline().rstrip("\r\n").split(",")
    types = {name.strip('"'): pa.string() for name in names}
    options = pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=False)
    return pyarrow.csv.read_csv(path, convert_options=options)


def _track(root: Path, table: Path, number: int, row: dict[str, Any]) -> DataSetTrack:
    if not row["path"] or row["split"] not in ("train", "validation", "test"):
        raise ValueError(f"{table}, row {number}: path is {row['path']!r} and split {row['split']!r}")
    given = row["labels"] if isinstance(row["labels"], list) else str(row["labels"] or "").split(";")
    labels = tuple(dict.fromkeys(str(label).strip() for label in given if label is not None and str(label).strip()))
    named = row.get("id") not in (None, "")
    name = str(row["id"]) if named else str(Path(str(row["path"])).with_suffix(""))
    audio = {"mixture": AudioStream(root / str(row["path"]))}
    return DataSetTrack(id=name, audio=audio, split=row["split"], labels=labels)
