"""The report of a study: one page of HTML, with every table and figure as files beside it.

python experiments/report.py results/demo                  # writes results/demo/report/STUDY/report.html
python experiments/report.py results/demo --serve          # writes it, and shows it as a study goes on
python experiments/report.py s3://lab/study --out paper    # into a folder of this machine
"""

import sys
import time
from dataclasses import dataclass
from typing import Annotated

import tyro

from study.report.export import folder_of, write
from study.report.facts import Facts
from study.report.page import build
from study.report.sections.excerpts import NUM_EXCERPTS
from study.report.serve import serve
from study.store.storage import Storage, open_storage
from study.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Options:
    """Reads the records and writes nothing but the report."""

    storage: tyro.conf.Positional[str]
    """Folder or URI of the store."""
    study: str = ""
    """Which study, where the store holds several."""
    out: Annotated[str, tyro.conf.arg(metavar="FOLDER")] = ""
    """Folder to write to. Default: in the store."""
    excerpts: int = NUM_EXCERPTS
    """How many excerpts of songs to look and listen into; needs the corpus and the weights."""
    serve: bool = False
    """Show the page on this machine (http://127.0.0.1), and again whenever it has changed."""
    port: int = 8800
    """Where to show it; 0: any port that is free."""

    def __post_init__(self) -> None:
        if not 0 <= self.excerpts <= NUM_EXCERPTS:
            raise ValueError(f"--excerpts is {self.excerpts}; give 0 to {NUM_EXCERPTS}")
        if not 0 <= self.port < 2**16:
            raise ValueError(f"--port is {self.port}; give 0 to 65535")


def main() -> int:
    options = tyro.cli(Options, description=__doc__, config=(tyro.conf.FlagCreatePairsOff,))
    try:
        place, folder = _write(options)
        if options.serve:
            serve(place, f"{folder}/report.html", options.port)
    except (ValueError, OSError) as error:
        print(f"report.py: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _write(options: Options) -> tuple[Storage, str]:
    """Writes the report and says so; returns where it is."""
    begun = time.monotonic()
    store = Store(options.storage)
    facts = Facts(store, options.study or None)
    place, folder = (open_storage(options.out), ".") if options.out else (store.storage, folder_of(facts.name))
    page = write(build(facts, num_excerpts=options.excerpts), place, folder, own=not options.out)
    print(f"Report: {page} ({time.monotonic() - begun:.1f} s)")
    return place, folder


if __name__ == "__main__":
    sys.exit(main())
