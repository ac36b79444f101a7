"""Records follow from the store alone: lost, killed or compacted, they say the same."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow.fs import FSSpecHandler, PyFileSystem

from study.records.records import Records, Run
from study.records.schemas import SCHEMA_VERSION, SCHEMAS, STAGE_TABLES
from study.records.store_to_tables import check_result
from study.stages.stage import StageResult
from study.store.attempt import begin_attempt
from study.store.store import Store
from tests import ROOT
from tests.study.toy_stages import toy_result, toy_stage
from tests.study.toy_store import CHILD, PARENT, busy_store, fail, finish, run_of


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def everything(store):
    return {table: Records(store).read(table, every_attempt=True) for table in SCHEMAS}


def test_every_table_has_its_pinned_schema_with_units(store):
    for rows in (everything(store), everything(busy_store(store))):
        for table, schema in SCHEMAS.items():
            assert rows[table].schema.equals(schema, check_metadata=True), table
    assert SCHEMAS["stages"].field("duration_s").metadata == {b"unit": b"s"}
    for file in (Path(store.location) / "records").rglob("*.parquet"):
        assert pq.read_schema(file).metadata[b"records_schema_version"] == str(SCHEMA_VERSION).encode()


def test_a_stages_row_says_what_it_was_and_what_came_out(store):
    attempt = finish(store, CHILD, value=0.1)
    (row,) = Records(store).read("stages").to_pylist()
    assert (row["stage"], row["attempt"], row["attempt_number"]) == (CHILD.identity, attempt.name, 1)
    assert (row["kind"], row["kind_version"], row["label"], row["state"]) == ("toy", 1, "child", "done")
    assert row["error"] is None and row["seed"] == 8 and row["corpus"] == "c0ffee"
    assert json.loads(row["config"]) == CHILD.description["config"]
    assert dict(row["parents"]) == {"up": PARENT.identity}
    assert dict(row["metrics"]) == {"loss": 0.1, "accuracy": 0.5}
    assert dict(row["facts"]) == {"device": "cpu", "threads": "1", "host": "node-1"}
    assert row["started_at"] <= row["ended_at"] and 0 <= row["duration_s"] < 60 and row["cpu_s"] >= 0


def test_epochs_scores_and_tags_are_read_back(store):
    attempt = finish(store, PARENT, value=3.0)
    records, key = Records(store), {"stage": PARENT.identity, "attempt": attempt.name}
    epochs = records.read("epochs").to_pylist()
    assert [dict(row["metrics"])["loss"] for row in epochs] == [3.0, 1.5, 1.0]
    assert epochs[2] == {**key, "epoch": 2, "phase": "train", "step": 20, "duration_s": 0.5, "metrics": [("loss", 1.0)]}
    scores = records.read("track_scores").to_pylist()
    assert scores[0] == {**key, "track": "a", "class": "rock", "target": 1, "score": 0.75} and len(scores) == 2
    (tag,) = records.read("tag_metrics").to_pylist()
    expected = {"split": "test", "num_positives": 1, "num_tracks": 2, "roc_auc": 1.0, "pr_auc": 1.0}
    assert tag == {**key, "class": "rock", **expected}


def test_a_failed_attempt_is_recorded_but_does_not_count(store):
    failed = fail(store, PARENT, ValueError("width must be positive, got 0"))
    finish(store, PARENT)
    records = Records(store)
    rows = {row["attempt"]: row for row in records.read("stages", every_attempt=True).to_pylist()}
    assert rows[failed.name]["state"] == "failed"
    assert rows[failed.name]["error"] == "ValueError: width must be positive, got 0"
    assert [row["attempt_number"] for row in records.read("stages").to_pylist()] == [2]


def test_a_second_result_is_recorded_as_superseded(store):
    late = begin_attempt(store, PARENT)
    winner = finish(store, PARENT, value=1.0)
    late.finish(toy_result(2.0))
    records = Records(store)
    records.write_attempt(PARENT.identity, late.name)
    assert records.read("stages", every_attempt=True)["state"].to_pylist() == ["superseded", "done"]
    for table in STAGE_TABLES:
        assert set(records.read(table)["attempt"].to_pylist()) == {winner.name}, table


def test_only_asked_stages_are_read(store):
    busy_store(store)
    records = Records(store)
    wanted = {PARENT.identity, toy_stage(seed=2).identity}
    for table in STAGE_TABLES:
        assert set(records.read(table, stages=wanted)["stage"].to_pylist()) == wanted
        assert records.read(table, stages=[]).num_rows == 0


def test_an_attempt_that_has_not_ended_has_no_rows(store):
    attempt = begin_attempt(store, PARENT)
    Records(store).write_attempt(PARENT.identity, attempt.name)
    Records(store).rebuild()
    assert all(table.num_rows == 0 for table in everything(store).values())


def test_a_result_that_was_never_marked_has_no_rows_until_another_counts(store, monkeypatch):
    attempt = begin_attempt(store, PARENT)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="lost"):
        patch.setattr(store.storage, "create", lambda path, data: (_ for _ in ()).throw(OSError("connection lost")))
        attempt.finish(toy_result())
    Records(store).rebuild()
    assert all(table.num_rows == 0 for table in everything(store).values())
    finish(store, PARENT)
    Records(store).rebuild()
    assert Records(store).read("stages", every_attempt=True)["state"].to_pylist() == ["superseded", "done"]


def files(store):
    folder = Path(store.location) / "records"
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_rebuilding_deleted_records_gives_the_same_bits(store):
    tables, before = everything(busy_store(store)), files(store)
    shutil.rmtree(Path(store.location) / "records")
    Records(store).rebuild()
    assert files(store) == before and len(before) == 7 * 4 + 2 + 1
    again = everything(store)
    for table in SCHEMAS:
        assert pq_bytes(again[table]) == pq_bytes(tables[table])


def pq_bytes(table):
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("table", STAGE_TABLES)
def test_rebuilding_replaces_any_lost_table(store, table):
    before = files(busy_store(store))
    shutil.rmtree(Path(store.location) / "records" / table)
    Records(store).rebuild()
    assert files(store) == before


def test_compacting_changes_no_row_and_rebuilding_adds_none(store):
    tables = everything(busy_store(store))
    records = Records(store)
    for _ in range(2):
        records.compact()
        records.rebuild()
        again = everything(store)
        assert all(pq_bytes(again[table]) == pq_bytes(tables[table]) for table in SCHEMAS)
        assert [path.name for path in Path(store.location, "records", "stages").iterdir()] == ["compacted.parquet"]
    finish(store, toy_stage(seed=99))
    records.compact()
    assert records.read("stages").num_rows == tables["stages"].num_rows  # one failed row less, one new
    shutil.rmtree(Path(store.location) / "records" / "stages")
    records.rebuild()
    assert records.read("stages").num_rows == tables["stages"].num_rows


def test_a_compaction_killed_before_it_deletes_counts_nothing_twice(store):
    tables = everything(busy_store(store))
    parts = {path: path.read_bytes() for path in Path(store.location, "records").rglob("*.parquet")}
    Records(store).compact()
    for path, content in list(parts.items())[::2]:
        path.write_bytes(content)
    again = everything(store)
    assert all(pq_bytes(again[table]) == pq_bytes(tables[table]) for table in SCHEMAS)


@pytest.mark.parametrize("table", [*SCHEMAS])
def test_a_newer_schema_is_refused_with_its_file_and_versions(store, table):
    busy_store(store)
    path = next(Path(store.location, "records", table).iterdir())
    rows = pq.read_table(path)
    newer = {**rows.schema.metadata, b"records_schema_version": str(SCHEMA_VERSION + 1).encode()}
    pq.write_table(rows.replace_schema_metadata(newer), path)
    message = rf"{path.name}: schema version {SCHEMA_VERSION + 1} is newer than {SCHEMA_VERSION}"
    with pytest.raises(ValueError, match=message):
        Records(store).read(table)


def aside(store):
    """Names of what is set aside, without tokens, and the causes."""
    files = [path for path in Path(store.location, "quarantine").rglob("*") if path.is_file()]
    causes = [path.read_text() for path in files if path.suffix == ".cause"]
    return sorted(path.name.rsplit("-", 1)[0] for path in files if path.suffix != ".cause"), causes


@pytest.mark.parametrize("keep", [0, 3, 200, -1])
@pytest.mark.parametrize("table", [*SCHEMAS])
def test_a_torn_record_is_set_aside_and_its_rows_are_written_again(store, table, keep, caplog):
    busy_store(store)
    before, path = everything(store), next(Path(store.location, "records", table).iterdir())
    whole = path.read_bytes()
    path.write_bytes(whole[:keep])
    assert pq_bytes(Records(store).read(table, every_attempt=True)) == pq_bytes(before[table])
    assert path.read_bytes() == whole
    names, causes = aside(store)
    assert names == [path.name] and all(causes)
    assert "1 file of records set aside, rows written again" in caplog.text and path.name in caplog.text


@pytest.mark.parametrize("table", ["stages", "epochs", "tag_metrics"])
def test_so_is_a_torn_file_of_many(store, table):
    busy_store(store)
    before = everything(store)
    Records(store).compact()
    path = Path(store.location, "records", table, "compacted.parquet")
    path.write_bytes(path.read_bytes()[:-9])
    assert [name for name, rows in everything(store).items() if pq_bytes(rows) != pq_bytes(before[name])] == []
    assert aside(store)[0] == ["compacted.parquet"]


def test_a_foreign_file_is_set_aside(store):
    finish(store, PARENT)
    pq.write_table(pa.table({"a": [1]}), Path(store.location, "records", "stages", "foreign.parquet"))
    assert Records(store).read("stages").num_rows == 1
    assert aside(store) == (["foreign.parquet"], ["it has no schema version"])


def test_an_error_of_the_storage_is_no_damage(store, monkeypatch):
    busy_store(store)

    def unreachable(path):
        raise OSError("503 slow down")

    monkeypatch.setattr(store.storage, "read", unreachable)
    with pytest.raises(OSError, match="503"):
        Records(store).read("stages")
    assert aside(store) == ([], [])


@pytest.mark.parametrize("folder", ["runs", "trials"])
def test_a_torn_description_is_set_aside_and_its_rows_stay(store, folder):
    busy_store(store)
    before, path = everything(store), next(Path(store.location, folder).iterdir())
    path.write_text("{")
    Records(store).rebuild()
    assert [name for name, rows in everything(store).items() if pq_bytes(rows) != pq_bytes(before[name])] == []
    assert aside(store)[0] == [path.name]
    assert len(Records(store).searches()) == (folder == "runs")


@pytest.mark.parametrize("content", ["", "[]", '{"name": "x"}'])
def test_a_damaged_study_is_set_aside(store, content):
    busy_store(store)
    store.storage.write("studies/x.json", content.encode())
    assert [study["name"] for study in Records(store).studies()] == ["demo"]
    assert aside(store)[0] == ["x.json"]


def test_rows_are_written_without_a_result_that_is_damaged(store):
    attempt = finish(store, PARENT)
    finish(store, CHILD)
    shutil.rmtree(Path(store.location, "records"))
    folder = Path(store.location, "stages", PARENT.identity)
    (folder / "attempts" / attempt.name / "track_scores.parquet").write_bytes(b"torn")
    Records(store).rebuild()
    assert Records(store).read("stages")["label"].to_pylist() == ["child"]
    assert store.done(PARENT.identity) is None
    assert aside(store)[0] == ["done.json", "result.json", "track_scores.parquet"]


def test_an_attempt_whose_beginning_is_lost_has_rows(store):
    attempt = finish(store, PARENT)
    shutil.rmtree(Path(store.location, "records"))
    Path(store.location, "stages", PARENT.identity, "attempts", attempt.name, "begun.json").write_bytes(b"")
    Records(store).rebuild()
    (row,) = Records(store).read("stages").to_pylist()
    assert (row["state"], row["started_at"]) == ("done", row["ended_at"])
    assert "host" not in dict(row["facts"])


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (StageResult(tables={"scores": pa.table({})}), "unknown .'scores'"),
        (StageResult(tables={"tag_metrics": pa.table({"class": ["a"]})}), "tag_metrics: missing columns"),
        (
            StageResult(tables={"track_scores": toy_result().tables["track_scores"].append_column("x", [[1, 2]])}),
            "unknown columns .'x'",
        ),
        (StageResult(epochs=[{"epoch": 0, "phase": "a", "step": 1}]), "epochs: row 0 lacks .'duration_s'"),
    ],
)
def test_a_result_that_fits_no_table_is_found_before_it_is_stored(result, message):
    check_result(toy_result())
    with pytest.raises(ValueError, match=message):
        check_result(result)


def test_a_run_goes_from_pending_to_failed_to_done(store):
    records, run = Records(store), run_of(PARENT, CHILD)

    def row():
        records.rebuild()
        return records.read("runs").to_pylist()[0]

    finish(store, PARENT)
    records.write_runs([run])
    assert row()["state"] == "pending"
    fail(store, CHILD, RuntimeError("x"))
    assert row()["state"] == "failed" and row()["metrics"] == []
    running = begin_attempt(store, CHILD)
    assert row()["state"] == "pending"
    running.finish(toy_result(0.25))
    assert row()["state"] == "done" and dict(row()["metrics"]) == {"loss": 0.25, "accuracy": 0.5}
    assert row()["stages"] == [PARENT.identity, CHILD.identity] and dict(row()["factors"]) == {"source": "none"}
    assert (row()["study"], row()["arm"], row()["seed"]) == ("demo", "bare", 0)


def test_runs_of_similar_names_have_files_of_their_own(store):
    runs = [
        run_of(PARENT, arm=arm, seed=seed) for arm in ("source=none", "source none", "a/b", "a-b") for seed in (0, 1)
    ]
    Records(store).write_runs(runs)
    rows = Records(store).read("runs")
    assert (
        rows.num_rows == 8 and rows["arm"].to_pylist()[:2] == ["a-b", "a-b"] and rows["seed"].to_pylist()[:2] == [0, 1]
    )
    Records(store).write_runs(runs)
    assert Records(store).read("runs").num_rows == 8


def test_a_run_without_its_final_stage_is_refused():
    with pytest.raises(ValueError, match=r"Run\.stages"):
        Run(study="s", arm="a", seed=0, factors={}, final_stage="b", stages=("a",))


KILLED = """
import os, signal, sys
from tests.study.toy_stages import toy_result, toy_stage
from tests.study.toy_store import CHILD, PARENT, busy_store, fail, finish, run_of
from study.records.records import Records
from study.store.attempt import begin_attempt
from study.store.store import Store
store = Store(sys.argv[1])
attempt = begin_attempt(store, toy_stage())
assert attempt.finish(toy_result())
os.kill(os.getpid(), signal.SIGKILL)
Records(store).write_attempt(attempt.identity, attempt.name)
"""


def test_a_study_killed_before_it_wrote_records_gets_them_by_rebuilding(store):
    path = str(ROOT)
    command = [sys.executable, "-c", KILLED, store.location]
    assert subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False).returncode == -signal.SIGKILL
    records = Records(store)
    assert store.done(toy_stage().identity) is not None and records.read("stages").num_rows == 0
    records.rebuild()
    assert records.read("stages")["state"].to_pylist() == ["done"]
    assert [records.read(table).num_rows for table in ("epochs", "track_scores", "tag_metrics")] == [3, 2, 1]


def test_records_work_on_an_object_store(tmp_path):
    store = busy_store(Store(f"{tmp_path}/store", PyFileSystem(FSSpecHandler(MemoryFileSystem()))))
    tables = everything(store)
    Records(store).compact()
    Records(store).rebuild()
    again = everything(store)
    assert all(pq_bytes(again[table]) == pq_bytes(tables[table]) and tables[table].num_rows for table in SCHEMAS)
