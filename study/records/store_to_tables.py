"""From the store to the records' tables: pure functions turn an attempt or a planned run into rows."""

import io
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from study.records.schemas import SCHEMAS, conform
from study.stages.stage import StageResult
from study.store.attempt import table_file
from study.store.store import Store

_EPOCH_COLUMNS = ("epoch", "phase", "step", "duration_s")
_RESULT_TABLES = ("track_scores", "tag_metrics")


def check_result(result: StageResult) -> None:
    """Raises ValueError, naming the table, unless a result's epochs and tables fit the records.

    Call it before `Attempt.finish`.
    """
    unknown = set(result.tables) - set(_RESULT_TABLES)
    if unknown:
        raise ValueError(f"StageResult.tables: unknown {sorted(unknown)}, allowed are {list(_RESULT_TABLES)}")
    for name, table in result.tables.items():
        _with_key(table, name, "", "")
    _epochs(result.epochs, "", "")


def attempt_tables(store: Store, identity: str, attempt: str) -> dict[str, pa.Table] | None:
    """The rows of an attempt, by stage table; None while it has not ended (or was killed).

    A completed attempt counts as ended only once an attempt is marked done. Until then it may be about to be marked.
    """
    outcome = store.outcome(identity, attempt)
    done = store.done(identity)
    if outcome is None or (outcome["outcome"] == "completed" and done is None):
        return None
    if done is not None and done.attempt == attempt:
        outcome = store.result(done)
        if outcome is None:
            return None
    state = outcome["outcome"]
    if state not in ("failed", "pruned"):
        state = "done" if done is not None and done.attempt == attempt else "superseded"
    try:
        stage, results = store.stage_json(identity), _result_tables(store, identity, attempt, outcome["files"])
    except (FileNotFoundError, ValueError):
        # Damaged: the store has set it aside, and said so.
        return None
    return {
        "stages": _stage_row(stage, outcome, state, identity, attempt),
        "epochs": _epochs(outcome["epochs"], identity, attempt),
        **results,
    }


def _result_tables(
    store: Store, identity: str, attempt: str, files: Mapping[str, Mapping[str, Any]]
) -> dict[str, pa.Table]:
    """Empty where the result has none."""
    tables = {}
    for name in _RESULT_TABLES:
        file = table_file(name)
        if file in files:
            data = store.read_of(identity, attempt, file, files[file]["sha256"])
            tables[name] = _with_key(pq.read_table(io.BytesIO(data)), name, identity, attempt)
        else:
            tables[name] = SCHEMAS[name].empty_table()
    return tables


def _stage_row(
    stage: Mapping[str, Any], outcome: Mapping[str, Any], state: str, identity: str, attempt: str
) -> pa.Table:
    description = stage["description"]
    # Of an attempt whose beginning is lost, no more is known than its end.
    begun = outcome["begun"] or {"facts": {}, "started_at": outcome["ended_at"]}
    row = {
        "stage": identity,
        "attempt": attempt,
        "attempt_number": int(attempt.split("-", maxsplit=1)[0]),
        "kind": description["kind"],
        "kind_version": description["version"],
        "label": stage["label"],
        "state": state,
        "error": outcome["error"],
        "seed": description["config"].get("seed"),
        "config": json.dumps(description["config"], sort_keys=True),
        "parents": _pairs(description["parents"]),
        "corpus": description["corpus"],
        "metrics": _pairs(outcome["metrics"]),
        "facts": _pairs({name: str(fact) for name, fact in {**begun["facts"], **outcome["facts"]}.items()}),
        "started_at": datetime.fromisoformat(begun["started_at"]),
        "ended_at": datetime.fromisoformat(outcome["ended_at"]),
        "duration_s": outcome["duration_s"],
        "cpu_s": outcome["cpu_s"],
    }
    return pa.Table.from_pylist([row], schema=SCHEMAS["stages"])


def _epochs(epochs: list[dict[str, Any]], identity: str, attempt: str) -> pa.Table:
    rows = []
    for number, epoch in enumerate(epochs):
        missing = set(_EPOCH_COLUMNS) - set(epoch)
        if missing:
            raise ValueError(f"epochs: row {number} lacks {sorted(missing)}")
        metrics = {name: value for name, value in epoch.items() if name not in _EPOCH_COLUMNS}
        columns = {name: epoch[name] for name in _EPOCH_COLUMNS}
        rows.append({"stage": identity, "attempt": attempt, **columns, "metrics": _pairs(metrics)})
    return pa.Table.from_pylist(rows, schema=SCHEMAS["epochs"])


def _pairs(mapping: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(mapping.items())


def _with_key(table: pa.Table, name: str, identity: str, attempt: str) -> pa.Table:
    for position, (column, value) in enumerate((("stage", identity), ("attempt", attempt))):
        table = table.add_column(position, column, pa.array([value] * table.num_rows, pa.string()))
    return conform(table, SCHEMAS[name], name)


def run_table(store: Store, plan: Mapping[str, Any]) -> pa.Table:
    """The row of a planned run (a `Run` as a dictionary), with its metrics once the final stage is done."""
    final = plan["final_stage"]
    done = store.done(final)
    outcome = store.result(done) if done else None
    state = "done" if outcome else "failed" if _has_failed(store, plan["stages"]) else "pending"
    metrics = _pairs(outcome["metrics"]) if outcome else []
    row = {**plan, "factors": _pairs(plan["factors"]), "state": state, "metrics": metrics}
    return pa.Table.from_pylist([row], schema=SCHEMAS["runs"])


def _has_failed(store: Store, identities: list[str]) -> bool:
    """Whether the newest attempt at one of the stages failed and none has done it."""
    missing = set(identities) - store.done_identities(identities)
    outcomes = [
        store.outcome(identity, store.attempts(identity)[-1]) for identity in missing if store.attempts(identity)
    ]
    return any(outcome is not None and outcome["outcome"] == "failed" for outcome in outcomes)
