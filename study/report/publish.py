"""The end of a study: its page, tables and figures in the store."""

from study.report.excerpts import NUM_EXCERPTS
from study.report.export import folder_of, write
from study.report.facts import Facts
from study.report.page import build
from study.store import Store


def publish(store: Store, study: str) -> str:
    """Writes the report; returns where it is, or why it was not written: that loses no result."""
    try:
        page = build(Facts(store, study), num_excerpts=NUM_EXCERPTS)
        return write(page, store.storage, folder_of(study), own=True)
    except Exception as error:
        return f"not written: {type(error).__name__}: {error}"
