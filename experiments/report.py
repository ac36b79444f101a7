"""Write the report of a study: one HTML page, and every table and figure as a file beside it.

Examples:

    python experiments/report.py results/demo                  # writes results/demo/report/STUDY/report.html
    python experiments/report.py results/demo --serve          # writes it, then shows it while a study goes on
    python experiments/report.py s3://lab/study --out paper    # into a folder of this machine
"""

import sys
import time
from dataclasses import dataclass
from typing import Annotated

import tyro

from study.command.display import terminal
from study.command.exit_code import exit_code
from study.report.export import folder_of, write
from study.report.facts import Facts
from study.report.page import build
from study.report.sections.excerpts import NUM_EXCERPTS
from study.report.serve import serve
from study.store.storage import open_storage
from study.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Options:
    """This command reads the records. It writes nothing but the report."""

    storage: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="STORAGE")]]
    """Folder or URI of the store."""
    study: str = ""
    """Name of the study. Needed if the store holds several."""
    out: Annotated[str, tyro.conf.arg(metavar="FOLDER")] = ""
    """Folder to write to. Default: a folder in the store."""
    excerpts: int = NUM_EXCERPTS
    """Number of song excerpts to show and to play. They need the corpus and the weights."""
    serve: bool = False
    """Serve the page on this machine (http://127.0.0.1). The browser loads it again when it has changed."""
    port: int = 8800
    """Port of the served page. 0: any free port."""

    def __post_init__(self) -> None:
        if not 0 <= self.excerpts <= NUM_EXCERPTS:
            raise ValueError(f"--excerpts is {self.excerpts}; give 0 to {NUM_EXCERPTS}")
        if not 0 <= self.port < 2**16:
            raise ValueError(f"--port is {self.port}; give 0 to 65535")


def main() -> int:
    options = tyro.cli(Options, description=__doc__, config=(tyro.conf.FlagCreatePairsOff,))

    def run() -> int:
        begun = time.monotonic()
        store = Store(options.storage)
        facts = Facts(store, options.study or None)
        place, folder = (open_storage(options.out), ".") if options.out else (store.storage, folder_of(facts.name))
        page = write(build(facts, num_excerpts=options.excerpts), place, folder, own=not options.out)
        print(f"Report: {page} ({time.monotonic() - begun:.1f} s)")
        if options.serve:
            serve(place, f"{folder}/report.html", options.port)
        return 0

    return exit_code(run, terminal(), stopped="The same command starts from the beginning.")


if __name__ == "__main__":
    sys.exit(main())
