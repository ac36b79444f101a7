"""Ask the records of a study in SQL.

    python experiments/query.py "SELECT source, avg(roc_auc) FROM runs GROUP BY source ORDER BY 2 DESC"

Without a question: the views and their columns.
"""

import sys
from dataclasses import dataclass
from typing import Annotated

import pyarrow as pa
import tyro
from rich.console import Console
from rich.table import Table

from study.command import default_storage
from study.query import Query
from study.store import Store


@dataclass(frozen=True, kw_only=True)
class Options:
    """Views: runs, stages, epochs, track_scores, tag_metrics."""

    sql: Annotated[str, tyro.conf.Positional] = ""
    """One SELECT. Empty: list the views and their columns."""
    storage: str = ""
    """Folder or URI of the store. Default: $STUDY_STORAGE, else results/demo if it is there, else ~/studies/demo."""


def show(table: pa.Table) -> Table:
    """The rows as a table for the terminal; numbers with four significant digits."""
    shown = Table(*table.column_names, box=None, header_style="bold", pad_edge=False)
    for row in table.to_pylist():
        shown.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()))
    return shown


def main() -> int:
    options = tyro.cli(Options, description=__doc__)
    console = Console()
    try:
        store = Store(options.storage or default_storage("demo"))
        query = Query(store)
        if options.sql:
            console.print(show(query.run(options.sql)))
            return 0
    except (ValueError, OSError) as error:
        print(f"query.py: {error}", file=sys.stderr)
        return 2
    for view, columns in query.columns().items():
        console.print(f"[bold]{view}[/bold]  " + ", ".join(f"{name} [dim]{kind}[/dim]" for name, kind in columns))
    return 0


if __name__ == "__main__":
    sys.exit(main())
