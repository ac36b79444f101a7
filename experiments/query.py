"""Query the records of a study in SQL. Without a query: list the views, their columns and units.

Every arm, best first:
    SELECT arm, avg(roc_auc), stddev(roc_auc), count(*) FROM runs WHERE state = 'done' GROUP BY arm ORDER BY 2 DESC

Which tags a source helps:
    SELECT source, class, avg(t.roc_auc) FROM tag_metrics t JOIN runs ON stage = final_stage GROUP BY ALL ORDER BY ALL

Which tracks were hardest to hear vocals in:
    SELECT track, avg(score) FROM track_scores WHERE class = 'vocals' AND target = 1 GROUP BY track ORDER BY 2 LIMIT 9

How a stage learned:
    SELECT label, epoch, e.loss FROM epochs e JOIN stages USING (stage, attempt) ORDER BY ALL

Where the time went:
    SELECT kind, count(*), sum(duration_s) / 3600 AS hours FROM stages WHERE state = 'done' GROUP BY kind

What failed:
    SELECT label, error, host FROM stages WHERE state = 'failed'
"""

import json
import math
import os
import sys
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from study.cluster.execution import default_storage
from study.command.display import terminal
from study.command.exit_code import exit_code
from study.records.query import Query
from study.records.records import Records
from study.store.store import Store

DEMO = Path("results/demo")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Views: runs, stages, epochs, track_scores, tag_metrics."""

    sql: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SQL")] = ""
    """One SELECT statement. Empty: list the views and their columns."""
    storage: str = ""
    """Folder or URI of the store.
    Default: $STUDY_STORAGE, else results/demo (from `make ablation`) if it exists, else ~/studies/pretraining-demo."""
    format: Literal["table", "csv", "json", "parquet"] = "table"
    """Format of the rows. json: one object per line."""
    out: str = ""
    """File to write to. Default: the terminal; Parquet needs a file."""
    compact: bool = False
    """First merge the many small files of the records. No row changes."""

    def __post_init__(self) -> None:
        if self.format == "parquet" and not self.out:
            raise ValueError("--format parquet needs a file: give --out")
        if self.out and not self.sql:
            raise ValueError(f"--out {self.out} is for the rows of a query: give one")


def storage_of(options: Options) -> str:
    """Where the records are."""
    if options.storage or "STUDY_STORAGE" in os.environ or not DEMO.is_dir():
        return options.storage or default_storage("pretraining-demo")
    return str(DEMO)


def show(table: pa.Table) -> Table:
    """The rows as a table for the terminal; numbers with four significant digits."""
    shown = Table(box=None, header_style="bold", pad_edge=False)
    for name in table.column_names:
        shown.add_column(Text(name), overflow="fold")
    for row in table.to_pylist():
        shown.add_row(*(Text(f"{value:.4g}" if isinstance(value, float) else str(value)) for value in row.values()))
    return shown


def encoded(table: pa.Table, form: str) -> bytes:
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


def write(table: pa.Table, options: Options, console: Console) -> None:
    """Writes the rows to the place and in the format of the options."""
    if options.format == "table" and not options.out:
        console.print(show(table))
    elif options.format == "table":
        with Path(options.out).open("w", encoding="utf-8") as file:
            Console(file=file, width=400).print(show(table))
    elif options.out:
        Path(options.out).write_bytes(encoded(table, options.format))
    else:
        sys.stdout.write(encoded(table, options.format).decode())


def print_columns(query: Query, console: Console) -> None:
    """Prints every view with its columns, their types and units."""
    for view, columns in query.columns().items():
        console.print(Text(view, style="bold"))
        for name, kind, unit in columns:
            line = f"    {name:<24} {kind:<16} {unit}".rstrip()
            console.print(line, highlight=False, soft_wrap=True, markup=False)


def main() -> int:
    options = tyro.cli(Options, description=__doc__, config=(tyro.conf.FlagCreatePairsOff,))
    console = terminal()

    def run() -> int:
        try:
            store = Store(storage_of(options))
            if options.compact:
                Records(store).compact()
            query = Query(store)
            if options.sql:
                write(query.run(options.sql), options, console)
            else:
                print_columns(query, console)
        except pa.ArrowException as error:
            raise ValueError(str(error)) from error
        return 0

    return exit_code(run, console, stopped="The same command starts from the beginning.")


if __name__ == "__main__":
    sys.exit(main())
