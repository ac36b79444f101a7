"""A table of one's own: CSV with commas, semicolons or tabs, or Parquet; it may have columns that nobody needs."""

import csv
import math
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.corpora.corpus_format import SPLITS, TABLE_FIELDS

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
Row = dict[str, Any]


def read_table(path: Path, needed: Sequence[str], *, encoding: str = "utf-8") -> list[Row]:
    """The rows, all cells of a CSV as text: an id of 007 stays one.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another encoding, a column that is missing or stands twice, or a row of another length, by number.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; give a CSV or Parquet table with the columns {', '.join(needed)}")
    if path.suffix.lower() == ".parquet":
        return _parquet(path, needed)
    lines = _text(path, encoding).splitlines(keepends=True)
    delimiter, names = _header(path, lines, needed)
    rows = []
    try:
        for number, cells in enumerate(filter(None, csv.reader(lines[1:], delimiter=delimiter, strict=True)), 1):
            if len(cells) != len(names):
                raise ValueError(f"{path}, row {number} has {len(cells)} cells, the header {len(names)}: {cells}")
            rows.append(dict(zip(names, cells, strict=True)))
    except csv.Error as error:
        raise ValueError(f"{path} cannot be read after row {len(rows)}: {error}") from None
    return rows


def split_of(path: Path, number: int, row: Row) -> str:
    """The row's split; ValueError, naming the row, for another one."""
    if row["split"] not in SPLITS:
        raise ValueError(f"{path}, row {number}: split is {row['split']!r}; allowed: {', '.join(SPLITS)}")
    return row["split"]


def text_of(path: Path, number: int, row: Row, column: str) -> str:
    """A cell that is needed, as text; ValueError, naming the row, if it is empty."""
    value = row[column]
    if value is None or not str(value).strip():
        raise ValueError(f"{path}, row {number}: {column} is empty")
    return str(value)


def further_columns(path: Path, rows: Sequence[Row], known: Sequence[str]) -> list[Row]:
    """What each row has besides the known columns, as a corpus can keep it: texts, numbers, truth values.

    ValueError for a name that belongs to every corpus.
    """
    own = {field.name for field in TABLE_FIELDS} - set(known)
    names = [name for name in (rows[0] if rows else ()) if name not in known]
    if taken := sorted(own.intersection(names)):
        raise ValueError(f"{path} has a column {taken[0]!r}, a name that every corpus uses itself: rename it")
    return [{name: _plain(row[name]) for name in names} for row in rows]


def _plain(value: Any) -> str | int | float | bool | None:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    return value.isoformat() if isinstance(value, date) else str(value)


def _parquet(path: Path, needed: Sequence[str]) -> list[Row]:
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    _check_names(path, table.column_names, needed)
    return table.to_pylist()


def _text(path: Path, encoding: str) -> str:
    # Spreadsheets put a mark at the beginning.
    name = "utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding
    try:
        return path.read_bytes().decode(name)
    except UnicodeDecodeError as error:
        place = f"byte {error.object[error.start]:#04x} at {error.start}"
        raise ValueError(f"{path} is no {encoding} text ({place}): say --encoding, such as latin-1") from None
    except LookupError:
        raise ValueError(f"--encoding is {encoding!r}; there is none of that name (such as latin-1, cp1252)") from None


def _header(path: Path, lines: Sequence[str], needed: Sequence[str]) -> tuple[str, list[str]]:
    """What stands between the cells, and the columns' names."""
    first = lines[0] if lines else ""
    found = {each: [name.strip() for name in next(csv.reader([first], delimiter=each), [])] for each in DELIMITERS}
    fitting = [each for each, names in found.items() if set(needed) <= set(names)]
    # If nothing fits, the one that divides the most is told.
    delimiter = fitting[0] if fitting else max(found, key=lambda each: len(found[each]))
    _check_names(path, found[delimiter], needed)
    return delimiter, found[delimiter]


def _check_names(path: Path, names: Sequence[str], needed: Sequence[str]) -> None:
    if missing := [name for name in needed if name not in names]:
        raise ValueError(
            f"{path} has no column {missing[0]!r}; needed: {', '.join(needed)}; it has: {', '.join(names)}"
        )
    if repeated := [name for name in names if list(names).count(name) > 1]:
        raise ValueError(f"{path} has the column {repeated[0]!r} twice")
