"""The end of a study: its page, tables and figures in the store."""

from collections.abc import Callable, Sequence

from study.report.blocks import Page
from study.report.export import folder_of, write
from study.report.facts import Facts
from study.report.page import build
from study.report.sections import search
from study.report.sections.excerpts import NUM_EXCERPTS
from study.store.store import Store


def publish(store: Store, study: str) -> str:
    """Writes the report. Returns where it is, or why it was not written; no result is lost then."""
    return _written(store, study, lambda: build(Facts(store, study), num_excerpts=NUM_EXCERPTS))


def publish_searches(store: Store, name: str, searches: Sequence[str]) -> str:
    """Likewise the page of some searches, under a name of their own."""
    return _written(store, name, lambda: search.page_of(store, name, searches))


def _written(store: Store, name: str, made: Callable[[], Page]) -> str:
    try:
        return write(made(), store.storage, folder_of(name), own=True)
    except Exception as error:
        return f"not written: {type(error).__name__}: {error}"
