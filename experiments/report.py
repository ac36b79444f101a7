"""The report of a study: one page of HTML, with every table and figure as files beside it.

python experiments/report.py results/demo                  # writes results/demo/report/report.html
python experiments/report.py s3://lab/study --out paper    # of a bucket: ./report unless a folder is given
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from study.report.export import write
from study.report.facts import Facts
from study.report.page import build
from study.storage import LocalStorage
from study.store import Store


@dataclass(frozen=True, kw_only=True)
class Options:
    """Reads the records and writes nothing but the report."""

    storage: tyro.conf.Positional[str]
    """Folder or URI of the store."""
    study: str = ""
    """Which study, where the store holds several."""
    out: Annotated[str, tyro.conf.arg(metavar="FOLDER")] = ""
    """Folder to write to. Default: report/ in a local store, else ./report."""


def folder_of(options: Options, store: Store) -> Path:
    """Where the report goes."""
    beside = Path(store.location) / "report" if isinstance(store.storage, LocalStorage) else Path("report")
    return Path(options.out) if options.out else beside


def main() -> int:
    options = tyro.cli(Options, description=__doc__, config=(tyro.conf.FlagCreatePairsOff,))
    begun = time.monotonic()
    try:
        store = Store(options.storage)
        page = write(build(Facts(store, options.study or None)), folder_of(options, store))
    except (ValueError, OSError) as error:
        print(f"report.py: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    size = page.stat().st_size / 1024
    print(f"Report: {page} ({size:,.0f} KB, {time.monotonic() - begun:.1f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
