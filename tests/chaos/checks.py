"""What must hold of a study that was killed again and again, once its command has ended well."""

from pathlib import Path

from study.records.records import Records
from study.store.store import Store
from study.upkeep.checks import checks_of, look
from study.upkeep.contents import Contents
from study.upkeep.pruning import Pruning, remove
from tests.chaos.study import DisturbedStudy

TABLES = ("runs", "epochs", "tag_metrics", "track_scores")
# What may differ between two studies of equal content: when, how long, by which attempt.
MAY_DIFFER = {"attempt", "duration_s"}


def rows(storage: Path) -> dict[str, list[str]]:
    """Every table's rows, sorted, without the columns that may differ; repr tells every bit of a float."""
    found = {}
    for table in TABLES:
        content = Records(Store(storage)).read(table)
        columns = [name for name in content.column_names if name not in MAY_DIFFER]
        found[table] = sorted(repr(row) for row in content.select(columns).to_pylist())
    return found


def check(study: DisturbedStudy, expected: dict[str, list[str]]) -> None:
    """AssertionError, saying which, for anything that does not hold."""
    store = Store(study.storage)
    found = rows(study.storage)
    assert found == expected, [table for table in expected if found[table] != expected[table]]
    damaged = look(checks_of(Contents(store)), lambda done, total: None)
    assert not damaged, [f"{finding.check.path}: {finding.cause}" for finding in damaged]
    assert not store.storage.files("quarantine")
    trained_again = {i: n for i in store.identities() if (n := _num_completed(store, i)) != 1}
    assert not trained_again, trained_again
    assert "Traceback" not in study.said, study.said
    assert "Nothing to train" in study.run_again()
    assert study.placement_groups() == []
    _check_nothing_is_left(store)


def _num_completed(store: Store, identity: str) -> int:
    outcomes = [store.outcome(identity, attempt) for attempt in store.attempts(identity)]
    return sum(outcome is not None and outcome["outcome"] == "completed" for outcome in outcomes)


def _check_nothing_is_left(store: Store) -> None:
    """No lock; and pruning takes what killed processes had begun to write."""
    assert Contents(store).holders == {}
    remove(Pruning(Contents(store)).removals, store, lambda done, total: None)
    left = [file.path for file in store.storage.files() if file.path.endswith(".unfinished") or "/state-" in file.path]
    assert not left and not store.storage.files("claims") and not store.storage.files("ray"), left
