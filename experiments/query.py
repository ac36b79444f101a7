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

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import tyro
from rich.console import Console
from rich.text import Text

from study.cluster.execution import default_storage
from study.command.display import terminal
from study.command.exit_code import exit_code
from study.command.rows import RowFormat, check_row_options, write
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
    format: RowFormat = "table"
    """Format of the rows. json: one object per line."""
    out: str = ""
    """File to write to. Default: the terminal; Parquet needs a file."""
    compact: bool = False
    """First merge the many small files of the records. No row changes."""

    def __post_init__(self) -> None:
        check_row_options(self.format, self.out)
        if self.out and not self.sql:
            raise ValueError(f"--out {self.out} is for the rows of a query: give one")


def storage_of(options: Options) -> str:
    """Where the records are."""
    if options.storage or "STUDY_STORAGE" in os.environ or not DEMO.is_dir():
        return options.storage or default_storage("pretraining-demo")
    return str(DEMO)


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
                write(query.run(options.sql), options.format, options.out, console)
            else:
                print_columns(query, console)
        except pa.ArrowException as error:
            raise ValueError(str(error)) from error
        return 0

    return exit_code(run, console, stopped="The same command starts from the beginning.")


if __name__ == "__main__":
    sys.exit(main())
