"""The page while a study runs: written again as stages end, so that the file is all one needs to watch."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from study.report.blocks import Page
from study.report.export import folder_of, write_page
from study.report.facts import Facts
from study.report.page import build
from study.report.sections import running
from study.stages.progress import Progress
from study.store.store import Store

WRITE_EVERY_S = 30.0
# Drawing again may take this share of the time, however large the study.
MOST_OF_THE_TIME = 0.02


class LivePage:
    """A context that keeps the page of a study up to date in the background; `place` says where it is.

    `refresh` brings the records up to date. If the page cannot be written, `complain` hears of it once, and the study
    goes on.
    """

    def __init__(
        self,
        store: Store,
        study: str,
        progress: Progress,
        *,
        refresh: Callable[[], None],
        complain: Callable[[str], None],
    ) -> None:
        self._store, self._study, self._progress = store, study, progress
        self._refresh, self._complain = refresh, complain
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._page: Page | None = None
        self._shown, self._next_at, self._as_of = -1, 0.0, ""
        self._complained = False

    def __enter__(self) -> "LivePage":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leaves the page as last drawn, without its reloading."""
        self._stop.set()
        self._thread.join()
        if self._page is not None:
            page = self._page
            self._try(lambda: write_page(page, self._store.storage, folder_of(self._study)))

    def _watch(self) -> None:
        self._try(self.write)
        while not self._stop.wait(WRITE_EVERY_S):
            self._try(self.write)

    def _try(self, write: Callable[[], object]) -> None:
        """A failure may be gone the next time."""
        try:
            write()
        except Exception as error:
            if not self._complained:
                self._complain(f"The page could not be written, the study goes on: {type(error).__name__}: {error}")
            self._complained = True

    def write(self) -> None:
        """Writes what runs now; now and then, if stages have ended, also draws the other sections again."""
        ended = sum(not entry.cached for state in ("done", "failed") for entry in self._progress.of_state(state))
        if self._page is None or (ended != self._shown and time.monotonic() >= self._next_at):
            begun, self._as_of = time.monotonic(), running.clock()
            self._refresh()
            self._page, self._shown = build(Facts(self._store, self._study)), ended
            self._next_at = time.monotonic() + (time.monotonic() - begun) / MOST_OF_THE_TIME
        sections = [running.section(self._progress, self._as_of), *self._page.sections]
        page = replace(self._page, sections=sections, live=True)
        write_page(page, self._store.storage, folder_of(self._study))
