"""The query script: a question in SQL, or what can be asked."""

import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv
from pyarrow.json import read_json

from experiments import query
from experiments.query import Options, main, storage_of
from study.records.query import Query
from study.records.records import Records, Run
from study.stages.stage import Stage, StageKind, StageResult, StageRun
from study.store.attempt import begin_attempt
from study.store.store import Store
from tests import ROOT

LONG = "a value [/that] is " + "very " * 30 + "long"


@dataclass(frozen=True, kw_only=True)
class Config:
    seed: int


def nothing(run: StageRun) -> StageResult:
    raise NotImplementedError


@pytest.fixture(scope="module")
def storage(tmp_path_factory) -> str:
    """A store with two runs that are done."""
    store = Store(tmp_path_factory.mktemp("store"))
    records = Records(store)
    scores = pa.table({"track": ["a"], "class": ["vocals"], "target": [1], "score": [0.125]})
    counts = {"num_positives": [1], "num_tracks": [2], "roc_auc": [0.5], "pr_auc": [0.5]}
    tags = pa.table({"class": ["loud"], "split": ["test"], **counts})
    for seed, value in ((0, 0.5), (1, 0.75)):
        kind = StageKind(name="toy", version=1, run=nothing)
        stage = Stage(kind=kind, config=Config(seed=seed), corpus="c0ffee", label=LONG)
        epoch = {"epoch": 0, "step": 1, "phase": "0", "duration_s": 1.0, "loss": 0.5}
        result = StageResult(
            metrics={"roc_auc": value}, tables={"track_scores": scores, "tag_metrics": tags}, epochs=[epoch]
        )
        begin_attempt(store, stage, {"host": "node-1"}).finish(result)
        factors = {"source": "drums"}
        run = Run(
            study="toy", arm="bare", seed=seed, factors=factors, final_stage=stage.identity, stages=(stage.identity,)
        )
        records.write_runs([run])
    records.rebuild()
    return store.location


@pytest.fixture
def call(monkeypatch, capsys, storage):
    def run(*arguments: str, at: str = storage) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["query.py", "--storage", at, *arguments])
        code = main()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_rows_are_a_table(call):
    code, out, err = call("SELECT source, avg(roc_auc) AS mean, count(*) AS num FROM runs GROUP BY source")
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [["source", "mean", "num"], ["drums", "0.625", "2"]]


def test_without_a_question_views_and_columns_are_listed(call):
    code, out, _ = call()
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert any(line[:2] == ["duration_s", "DOUBLE"] and line[2:] == ["s"] for line in lines)
    views = [line[0] for line in lines if len(line) == 1]
    assert views == ["epochs", "runs", "stages", "tag_metrics", "track_scores", "trials"]
    for column in (["source", "VARCHAR"], ["roc_auc", "DOUBLE"], ["seed", "BIGINT"], ["score", "DOUBLE"]):
        assert column in [line[:2] for line in lines]
    # However narrow, a column stands in one line with its type.
    assert all(len(line) == 1 or line[1].isupper() for line in lines)


def test_nothing_of_a_value_is_lost(call):
    _, out, _ = call("SELECT label FROM stages LIMIT 1")
    assert "".join(out.split()) == "label" + "".join(LONG.split())


QUESTION = "SELECT runs.seed, runs.roc_auc, label FROM runs JOIN stages ON stage = final_stage ORDER BY 1"
ANSWER = {"seed": [0, 1], "roc_auc": [0.5, 0.75], "label": [LONG, LONG]}


def test_rows_come_as_csv_and_json_too(call):
    _, out, _ = call("--format", "csv", QUESTION)
    assert csv.read_csv(io.BytesIO(out.encode())).to_pydict() == ANSWER
    _, out, _ = call("--format", "json", QUESTION)
    assert pa.Table.from_pylist([json.loads(line) for line in out.splitlines()]).to_pydict() == ANSWER


def test_columns_that_a_join_has_twice_are_told_apart(call):
    twice = "SELECT r.seed, s.seed, r.arm, s.kind FROM runs r JOIN stages s ON s.stage = r.final_stage ORDER BY ALL"
    _, out, _ = call("--format", "json", twice)
    rows = [json.loads(line) for line in out.splitlines()]
    assert list(rows[0]) == ["seed", "seed_1", "arm", "kind"] and rows[0]["seed"] == rows[0]["seed_1"] == 0
    head, first, *_ = call(twice)[1].splitlines()
    assert head.split() == ["seed", "seed_1", "arm", "kind"] and first.split()[:2] == ["0", "0"]


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_every_view_can_be_handed_on_whole(call, form):
    for view in ("runs", "stages", "epochs", "track_scores", "tag_metrics"):
        code, out, err = call("--format", form, f"SELECT * FROM {view}")
        assert (code, err) == (0, "") and out


def test_json_is_json(call):
    _, out, _ = call("--format", "json", "SELECT 'NaN'::DOUBLE AS x, sum(seed) AS y FROM runs")
    assert json.loads(out) == {"x": None, "y": 1}
    code, _, err = call("--format", "parquet", "--out", "/dev/null", "SELECT max(ended_at) - min(ended_at) FROM stages")
    assert code in (0, 2) and "Traceback" not in err


def test_only_what_a_question_is_for_is_read(storage, monkeypatch):
    asked: list[str] = []
    whole = Records.read
    monkeypatch.setattr(Records, "read", lambda self, name, **how: asked.append(name) or whole(self, name, **how))
    open_query = Query(Store(storage))
    open_query.run("SELECT count(*) FROM Runs")
    assert asked == ["runs"]
    names = open_query.columns()
    assert "track_scores" not in asked and [name for name, *_ in names["track_scores"]][-1] == "score"
    assert open_query.run("SELECT count(*) AS n FROM track_scores")["n"][0].as_py() > 0


@pytest.mark.parametrize(("form", "read"), [("csv", csv.read_csv), ("json", read_json), ("parquet", pq.read_table)])
def test_rows_go_into_a_file(call, tmp_path, form, read):
    code, out, _ = call("--format", form, "--out", str(tmp_path / "rows"), QUESTION)
    assert (code, out) == (0, "")
    assert read(tmp_path / "rows").to_pydict() == ANSWER


def test_parquet_does_not_go_to_the_terminal(call, capsys):
    with pytest.raises(SystemExit, match="2"):
        call("--format", "parquet", QUESTION)
    assert "give --out" in capsys.readouterr().err


def test_compaction_merges_files_and_changes_no_row(call, storage, tmp_path):
    place = tmp_path / "store"
    shutil.copytree(storage, place)
    before = [call(f"SELECT * FROM {view} ORDER BY ALL", at=str(place)) for view in ("runs", "stages", "track_scores")]
    assert call("--compact", at=str(place))[0] == 0
    assert [path.name for path in (place / "records" / "stages").iterdir()] == ["compacted.parquet"]
    after = [call(f"SELECT * FROM {view} ORDER BY ALL", at=str(place)) for view in ("runs", "stages", "track_scores")]
    assert after == before


@pytest.mark.parametrize("line", [line.strip() for line in query.__doc__.splitlines() if line.startswith("    SELECT")])
def test_the_examples_of_the_help_are_questions_that_have_answers(call, line):
    code, _, err = call(line)
    assert (code, err) == (0, "")


def documented(language: str) -> str:
    """The two lines of the documentation that open the records elsewhere."""
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    code = text.split("```python\n")[1].split("```")[0]
    lines = [line for line in code.splitlines() if line]
    start = next(number for number, line in enumerate(lines) if line.startswith(f"import {language}"))
    return "\n".join(lines[start : start + 2])


@pytest.mark.parametrize("language", ["pandas", "polars", "duckdb"])
def test_the_two_lines_of_the_docs_open_the_records(language, storage):
    """The store has stages of one kind alone, and all are done."""
    lines = documented(language).replace("results/demo", storage)
    scope: dict = {}
    first, second = lines.splitlines()
    exec(first, scope)
    found = eval(second, scope)
    values = found.fetchall()[0] if language == "duckdb" else found.to_numpy().ravel().tolist()
    assert pytest.approx(sum(pq.read_table(f"{storage}/records/stages")["duration_s"].to_pylist())) in list(values)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELCT 1", 'query.py: Parser Error: syntax error at or near "SELCT"'),
        ("DROP VIEW runs", "query.py: a query is one SELECT; the records are read-only"),
        ("SELECT * FROM read_csv('/etc/hostname')", "query.py: Permission Error"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(call, sql, message):
    code, out, err = call(sql)
    assert (code, out) == (2, "")
    assert err.startswith(message) and err.count("\n") == 1


def test_no_study_is_exit_code_2(call, tmp_path):
    code, out, err = call(at=str(tmp_path / "empty"))
    assert (code, out, err) == (2, "", f"query.py: {tmp_path}/empty holds no study\n")


def test_where_the_records_are_looked_for(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("STUDY_STORAGE", raising=False)
    assert storage_of(Options()) == str(tmp_path / "studies" / "pretraining-demo")
    (tmp_path / "results" / "demo").mkdir(parents=True)
    assert storage_of(Options()) == "results/demo"
    monkeypatch.setenv("STUDY_STORAGE", "/shared/study")
    assert storage_of(Options()) == "/shared/study"
    assert storage_of(Options(storage="/mine")) == "/mine"


def test_the_script_needs_neither_ray_nor_torch(storage, tmp_path):
    """Seconds before an answer would be too many."""
    for name in ("ray", "torch"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} was imported')")
    command = [
        sys.executable,
        str(ROOT / "experiments" / "query.py"),
        "--storage",
        storage,
        "SELECT count(*) FROM runs",
    ]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.split()[-1] == "2"
