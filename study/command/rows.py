"""Rows for people and programs: a table on the terminal, CSV, JSON lines or Parquet."""

import json
import math
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from rich.text import Text

RowFormat = Literal["table", "csv", "json", "parquet"]


def check_row_options(form: RowFormat, out: str) -> None:
    """ValueError for Parquet without a file to write to."""
    if form == "parquet" and not out:
        raise ValueError("--format parquet needs a file: give --out")


def show(table: pa.Table) -> Table:
    """The rows as a table for the terminal; numbers with four significant digits."""
    shown = Table(box=None, header_style="bold", pad_edge=False)
    for name in table.column_names:
        shown.add_column(Text(name), overflow="fold")
    for row in table.to_pylist():
        shown.add_row(*(Text(f"{value:.4g}" if isinstance(value, float) else str(value)) for value in row.values()))
    return shown


def encoded(table: pa.Table, form: RowFormat) -> bytes:
    """The rows as the content of a file."""
    sink = pa.BufferOutputStream()
    if form == "parquet":
        pq.write_table(table, sink)
    elif form == "csv":
        # CSV has no lists and no maps: they are written as JSON.
        for place, field in enumerate(table.schema):
            if pa.types.is_nested(field.type):
                values = table[field.name].to_pylist()
                texts = [None if value is None else json.dumps(value, default=str) for value in values]
                table = table.set_column(place, field.name, pa.array(texts, pa.string()))
        pc.write_csv(table, sink)
    else:
        for row in table.to_pylist():
            # JSON has no NaN and no infinity.
            finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
            sink.write((json.dumps(finite, default=_json_value, ensure_ascii=False) + "\n").encode())
    return sink.getvalue().to_pybytes()


def _json_value(value: Any) -> Any:
    """A value that JSON does not know. DuckDB sums whole numbers to decimals."""
    return int(value) if isinstance(value, Decimal) and value == int(value) else str(value)


def write(table: pa.Table, form: RowFormat, out: str, console: Console) -> None:
    """Writes the rows to a file, or to the terminal if `out` is ""."""
    if form == "table" and not out:
        console.print(show(table))
    elif form == "table":
        with Path(out).open("w", encoding="utf-8") as file:
            Console(file=file, width=400).print(show(table))
    elif out:
        Path(out).write_bytes(encoded(table, form))
    else:
        sys.stdout.write(encoded(table, form).decode())
