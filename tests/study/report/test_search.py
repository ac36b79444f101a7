"""The section of searches: from their records to tables and figures, whatever became of the trials."""

import csv
import io
from typing import Any

import pytest

from study.records.query import Query
from study.records.records import Records
from study.report.final_page import publish_searches
from study.report.sections.search import page_of
from study.report.sections.search_trials import Trials, importance
from study.store.store import Store
from tests.study.toy_study import REFERENCE

SPACE = {
    "backend_learning_rate": {"class": "Real", "low": 0.001, "high": 0.1, "log": True},
    "batch_size": {"class": "Choice", "values": [8, 16]},
    "schedule": {"class": "Choice", "values": ["constant", "one_cycle"]},
}


def row(number: int, value: float | None, **changed: Any) -> dict[str, Any]:
    """The best learning rate is 0.01; the batch size makes no difference."""
    rate = 0.001 * 10 ** (number % 5 / 2)
    return {
        "number": number,
        "arm": "bare",
        "state": "complete" if value is not None else "pruned",
        "final_stage": "ab" * 32,
        "values": {} if value is None else {"roc_auc": value},
        "numbers": {"backend_learning_rate": rate, "batch_size": 8.0 if number % 2 else 16.0},
        "choices": {"schedule": "constant" if number % 3 else "one_cycle"},
        "reached": value if value is not None else 0.5,
        "epochs": 9 if value is not None else 3,
        "duration_s": 10.0,
        **changed,
    }


def searched(store: Store, rows: list[dict[str, Any]], **changed: Any) -> Trials:
    best = max((one for one in rows if one["values"]), key=lambda one: next(iter(one["values"].values())), default=None)
    description = {
        "name": "rates bare",
        "arm": "bare",
        "factors": REFERENCE.factors,
        "space": SPACE,
        "objectives": {"roc_auc": True},
        "sampler": "tpe",
        "halving": {"factor": 3, "grace_epochs": 3},
        "budget": "12 trials",
        "num_epochs": 9,
        "winner": best and best["number"],
        "tested": {"roc_auc": 0.123456, "num_steps": 9.0} if best else {},
    }
    Records(store).write_search(description | changed, rows)
    (found,) = Records(store).searches()
    return Trials(Query(store, ["trials"]), found)


@pytest.fixture
def store(tmp_path) -> Store:
    store = Store(tmp_path / "store")
    store.check_writable()
    return store


MANY = [row(n, 0.9 - abs(n % 5 - 2) / 10 - n / 1000 if n % 4 else None) for n in range(12)]


def test_the_page_tells_the_winner_what_was_saved_and_what_mattered(store):
    trials = searched(store, MANY)
    page = page_of(store, "rates", ["rates bare"])
    assert page.answer == [
        "For “bare” trial 2 did best on the validation split, with ROC-AUC 0.898: backend_learning_rate 0.01, "
        "batch_size 16, schedule constant. On the test split it has ROC-AUC 0.123."
    ]
    (table,) = page.tables
    # 9 of 12 went on to the end: 81 + 9 epochs of 108.
    assert table.caption.endswith(
        "12 trials (9 complete, 3 pruned) (tpe, budget 12 trials). Early stopping saved 17% of 108 epochs."
    )
    assert [cell[0].text for cell in table.rows] == ["trial 2", "trial 7", "trial 1", "trial 3", "trial 6"]
    assert [figure.key.rsplit("-", 1)[1] for figure in page.figures] == ["history", "importance", "parallel"]
    shares = importance(trials)
    assert (
        sum(shares.values()) == pytest.approx(1.0)
        and max(shares, key=lambda name: shares[name]) == "backend_learning_rate"
    )
    assert publish_searches(store, "rates", ["rates bare"]).endswith("report/rates/report.html")
    rows = list(csv.reader(io.StringIO(store.storage.read("report/rates/tables/search-rates-bare-best.csv").decode())))
    assert rows[1][1] == repr(MANY[2]["values"]["roc_auc"])


def test_a_search_in_which_nothing_was_completed_has_a_page(store):
    searched(store, [row(0, None), row(1, None, state="failed", reached=None, epochs=0)])
    page = page_of(store, "rates", ["rates bare"])
    assert page.answer == ["No trial of “bare” was completed."]
    assert [figure.key for figure in page.figures] == ["search-rates-bare-history"]


def test_equal_scores_have_no_importance(store):
    searched(store, [row(n, 0.5) for n in range(6)])
    keys = [figure.key for figure in page_of(store, "rates", ["rates bare"]).figures]
    assert keys == ["search-rates-bare-history", "search-rates-bare-parallel"]


def test_what_is_to_be_small_is_best_when_small(store):
    rows = [row(n, 0.5, values={"duration_s": 10.0 - n}) for n in range(6)]
    trials = searched(store, rows, objectives={"duration_s": False}, winner=5, halving=None)
    assert [one["number"] for one in trials.ranked] == [5, 4, 3, 2, 1, 0]
    page = page_of(store, "rates", ["rates bare"])
    assert "with seconds 5.000" in page.answer[0] and "saved" not in page.tables[0].caption


def test_names_from_outside_are_no_markup(store):
    searched(store, MANY, arm="<script>alert(1)</script>")
    publish_searches(store, "rates", ["rates bare"])
    assert b"<script>alert" not in store.storage.read("report/rates/report.html")
