"""The query script: a question in SQL, or what can be asked."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from experiments.query import Options, main, storage_of
from study.records import Records, Run
from study.stage import Stage, StageKind, StageResult, StageRun
from study.store import Store

ROOT = Path(__file__).parent.parent.parent
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
    scores = pa.table({"track": ["a"], "class": ["loud"], "target": [1], "score": [0.125]})
    for seed, value in ((0, 0.5), (1, 0.75)):
        kind = StageKind(name="toy", version=1, run=nothing)
        stage = Stage(kind=kind, config=Config(seed=seed), corpus="c0ffee", label=LONG)
        store.begin(stage).finish(StageResult(metrics={"roc_auc": value}, tables={"track_scores": scores}))
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
    views = [line[0] for line in lines if len(line) == 1]
    assert views == ["epochs", "runs", "stages", "tag_metrics", "track_scores"]
    for column in (["source", "VARCHAR"], ["roc_auc", "DOUBLE"], ["seed", "BIGINT"], ["score", "DOUBLE"]):
        assert column in lines
    # However narrow, a column stands in one line with its type.
    assert all(len(line) == 1 or line[1].isupper() for line in lines)


def test_nothing_of_a_value_is_lost(call):
    _, out, _ = call("SELECT label FROM stages LIMIT 1")
    assert "".join(out.split()) == "label" + "".join(LONG.split())


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
