"""The page while a study runs: written anew as stages end, so that whoever watches needs nothing but the file."""

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
# What is drawn anew may take this share of the time, however large the study.
MOST_OF_THE_TIME = 0.02


class LivePage:
    """A context in whose background the page of a study is kept up to date; `place` tells where.

    `refresh` brings the records up to date. A page that cannot be written is told to `complain`, once, and ends no
    study.
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
        """Leaves a page that does not reload itself, as of its last drawing."""
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
        """What fails once may succeed the next time."""
        try:
            write()
        except Exception as error:
            if not self._complained:
                self._complain(f"The page could not be written, the study goes on: {type(error).__name__}: {error}")
            self._complained = True

    def write(self) -> None:
        """What goes on now; and, where stages have ended and it is not too soon, all that is known of them."""
        ended = sum(not entry.cached for state in ("done", "failed") for entry in self._progress.of_state(state))
        if self._page is None or (ended != self._shown and time.monotonic() >= self._next_at):
            begun, self._as_of = time.monotonic(), running.clock()
            self._refresh()
            self._page, self._shown = build(Facts(self._store, self._study)), ended
            self._next_at = time.monotonic() + (time.monotonic() - begun) / MOST_OF_THE_TIME
        sections = [running.section(self._progress, self._as_of), *self._page.sections]
        page = replace(self._page, sections=sections, live=True)
        write_page(page, self._store.storage, folder_of(self._study))
