"""Ask the records of a study in SQL.

    python experiments/query.py "SELECT source, avg(roc_auc) FROM runs GROUP BY source ORDER BY 2 DESC"

Without a question: the views and their columns.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from study.display import terminal
from study.query import Query
from study.site import default_storage
from study.store import Store

DEMO = Path("results/demo")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Views: runs, stages, epochs, track_scores, tag_metrics."""

    sql: Annotated[str, tyro.conf.Positional] = ""
    """One SELECT. Empty: list the views and their columns."""
    storage: str = ""
    """Folder or URI of the store. Default: $STUDY_STORAGE, else results/demo (where `make ablation` leaves it) if it is
    there, else ~/studies/pretraining-demo."""


def storage_of(options: Options) -> str:
    """Where the records are looked for."""
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


def print_columns(query: Query, console: Console) -> None:
    """Every view with its columns and their types."""
    for view, columns in query.columns().items():
        console.print(Text(view, style="bold"))
        for name, kind in columns:
            console.print(f"    {name:<24} {kind}", highlight=False, soft_wrap=True, markup=False)


def main() -> int:
    options = tyro.cli(Options, description=__doc__)
    console = terminal()
    try:
        query = Query(Store(storage_of(options)))
        if options.sql:
            console.print(show(query.run(options.sql)))
        else:
            print_columns(query, console)
    except (ValueError, OSError) as error:
        print(f"query.py: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
