"""SQL reads the records, finds every factor and metric as a column, and can do nothing else."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from study.records.query import Query, widen
from study.records.records import Records, Run
from study.records.schemas import SCHEMA_VERSION, VERSION_KEY
from study.store.attempt import begin_attempt
from study.store.store import Store
from tests.study.toy_stages import toy_result, toy_stage

FINAL = {("bare", 0): 0.5, ("bare", 1): 0.75, ("source=none", 0): 0.25}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Three runs that are done, and a stage that has failed."""
    store = Store(tmp_path_factory.mktemp("store"))
    for i, ((arm, seed), value) in enumerate(FINAL.items()):
        stage = toy_stage(seed=seed, learning_rate=1 + i)
        begin_attempt(store, stage, {"host": "node-1"}).finish(toy_result(value))
        factors = {"task": "tagging", "source": "-" if arm == "bare" else "none"}
        run = Run(
            study="toy", arm=arm, seed=seed, factors=factors, final_stage=stage.identity, stages=(stage.identity,)
        )
        Records(store).write_runs([run])
    begin_attempt(store, toy_stage(seed=9)).fail(ValueError("too small"))
    Records(store).rebuild()
    return store


@pytest.fixture(scope="module")
def query(store):
    return Query(store)


def rows(query: Query, sql: str) -> list[tuple]:
    return [tuple(row.values()) for row in query.run(sql).to_pylist()]


def test_the_views_are_the_tables(query):
    assert set(query.columns()) == {"runs", "stages", "trials", "epochs", "track_scores", "tag_metrics"}


def test_factors_metrics_and_facts_are_columns(query):
    columns = {view: {name: kind for name, kind, _ in found} for view, found in query.columns().items()}
    assert {"study", "arm", "seed", "state", "task", "source", "loss", "accuracy"} <= set(columns["runs"])
    assert columns["runs"]["source"] == "VARCHAR" and columns["runs"]["loss"] == "DOUBLE"
    assert {"kind", "duration_s", "loss", "host", "device"} <= set(columns["stages"])
    assert {"epoch", "step", "loss"} <= set(columns["epochs"])
    assert {"track", "class", "target", "score"} <= set(columns["track_scores"])
    assert {"class", "num_positives", "roc_auc"} <= set(columns["tag_metrics"])
    assert not {"factors", "metrics", "facts"} & {name for found in columns.values() for name in found}


def test_runs_by_factor(query):
    found = rows(query, "SELECT source, avg(loss), count(*) FROM runs GROUP BY source ORDER BY 2 DESC")
    assert found == [("-", 0.625, 2), ("none", 0.25, 1)]


def test_views_join(query):
    sql = "SELECT arm, avg(score) FROM runs JOIN track_scores ON final_stage = stage WHERE target = 1 GROUP BY arm"
    assert sorted(rows(query, sql)) == [("bare", 0.75), ("source=none", 0.75)]


def test_failed_stages_are_seen_with_their_error(query):
    assert rows(query, "SELECT state, error FROM stages WHERE state != 'done'") == [("failed", "ValueError: too small")]
    assert rows(query, "SELECT count(*) FROM epochs") == [(9,)]


@pytest.mark.parametrize("sql", ["FROM runs", "WITH r AS (SELECT * FROM runs) SELECT * FROM r", "SELECT * FROM runs;"])
def test_any_way_to_select_will_do(query, sql):
    assert query.run(sql).num_rows == 3


WRITES = [
    "INSERT INTO runs SELECT * FROM runs",
    "UPDATE runs SET loss = 0",
    "DELETE FROM runs",
    "DROP VIEW runs",
    "CREATE TABLE other AS SELECT 1",
    "COPY runs TO '{place}/copy.csv'",
    "COPY (SELECT 1) TO '{place}/copy.parquet' (FORMAT parquet)",
    "EXPORT DATABASE '{place}/export'",
    "ATTACH '{place}/other.duckdb'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "PRAGMA database_list",
    "SELECT 1; DROP VIEW runs",
    "",
]


@pytest.mark.parametrize("sql", WRITES)
def test_anything_but_one_select_is_refused(query, tmp_path, sql):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="one SELECT"):
        query.run(sql.format(place=tmp_path))
    assert sorted(tmp_path.rglob("*")) == before
    assert query.run("SELECT * FROM runs").num_rows == 3


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('{file}')",
        "SELECT * FROM read_text('{file}')",
        "SELECT * FROM '{file}'",
        "SELECT * FROM glob('{place}/*')",
        "SELECT * FROM query('COPY runs TO ''{place}/copy.csv''')",
        "SELECT * FROM secret_of_the_caller",
    ],
)
def test_nothing_but_the_records_can_be_read(query, tmp_path, sql):
    secret_of_the_caller = pa.table({"secret": [1]})
    file = tmp_path / "outside.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="Error"):
        query.run(sql.format(file=file, place=tmp_path))
    assert sorted(tmp_path.glob("*.csv")) == [file] and secret_of_the_caller.num_rows == 1


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELCT 1", 'Parser Error: syntax error at or near "SELCT"'),
        ("SELECT lss FROM runs", 'Binder Error: Referenced column "lss" not found in FROM clause! .*"loss"'),
        ("SELECT * FROM essays", "Catalog Error: Table with name essays does not exist!"),
        ("SELECT CAST(arm AS INTEGER) FROM runs", "Conversion Error"),
    ],
)
def test_mistakes_are_told_in_one_line(query, sql, message):
    with pytest.raises(ValueError, match=message) as caught:
        query.run(sql)
    assert "\n" not in str(caught.value)


def test_no_store_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="empty holds no study"):
        Query(Store(tmp_path / "empty"))
    assert not (tmp_path / "empty").exists()


def test_an_empty_study_has_empty_views(tmp_path):
    Store(tmp_path).check_writable()
    assert Query(Store(tmp_path)).run("SELECT * FROM runs").num_rows == 0


def test_records_of_a_newer_schema_are_refused(store, tmp_path):
    shutil.copytree(store.location, tmp_path / "newer")
    file = next((tmp_path / "newer" / "records" / "runs").iterdir())
    table = pq.read_table(file)
    newer = {**table.schema.metadata, VERSION_KEY: str(SCHEMA_VERSION + 1).encode()}
    pq.write_table(table.replace_schema_metadata(newer), file)
    expected = f"{file.name}: schema version {SCHEMA_VERSION + 1} is newer than {SCHEMA_VERSION}"
    with pytest.raises(ValueError, match=expected):
        Query(Store(tmp_path / "newer")).run("SELECT * FROM runs")


def test_a_newer_store_is_refused(tmp_path):
    (tmp_path / "store.json").write_text(json.dumps({"format_version": 99}))
    with pytest.raises(ValueError, match="format version 99 is newer"):
        Store(tmp_path)


def test_keys_become_columns_and_a_taken_name_stays_readable():
    pairs = pa.array([[("loss", 1.0), ("seed", 2.0)], [("loss", 3.0)], None], pa.map_(pa.string(), pa.float64()))
    wide = widen(pa.table({"seed": [7, 8, 9], "metrics": pairs}), ["metrics"])
    assert wide.to_pydict() == {"seed": [7, 8, 9], "loss": [1.0, 3.0, None], "metrics_seed": [2.0, None, None]}
