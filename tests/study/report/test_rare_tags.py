"""A tag that a split lacks stops nothing: it has no score, no part in the averages, and is named."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from components.corpora.corpus_writer import CorpusWriter
from study.command.summary import Summary, show
from study.design.arms import Arm
from study.design.trial import bare_trial, probe_trial
from study.records.query import Query
from study.records.records import Records, Run
from study.report.facts import Facts
from study.report.page import build, html
from study.store.store import Store
from tests.study.toy_study import REFERENCE, SEGMENT, TAGS, study
from tests.study.toy_trained import train

# Only "slow" is everywhere: no track of the test is sung, and only tracks of the test are loud.
TAGGED = {
    "train": (("slow",), ("sung",), ("slow", "sung"), ()),
    "validation": (("slow",), ("sung",), ()),
    "test": (("slow", "loud"), ("loud",), ("slow",), ()),
}
GROUPS = {"voices": ["sung"], "pace": ["slow", "sung"]}
TRIALS = {
    "bare": bare_trial(REFERENCE),
    "reference": REFERENCE,
    "probe mixture": probe_trial(REFERENCE, None, ("mixture",)),
}


@pytest.fixture(scope="module")
def store(toy_corpora, tmp_path_factory) -> Store:
    folder: Path = tmp_path_factory.mktemp("rare") / "tags"
    generator = np.random.default_rng(0)
    with CorpusWriter(folder, name="rare", kind="tagging", classes=TAGS) as writer:
        for split, tracks in TAGGED.items():
            for number, labels in enumerate(2 * tracks):
                waveform = (1_000 * generator.standard_normal(2 * SEGMENT)).astype(np.int16)
                writer.add(f"{split}{number}", waveform, split=split, labels=labels)
    store = Store(tmp_path_factory.mktemp("store"))
    arms = [Arm(name=name, trial=trial) for name, trial in TRIALS.items()]
    train(study(*arms), {**toy_corpora, "tagging": folder}, store, GROUPS)
    return store


def test_its_metric_is_empty_and_the_averages_are_over_the_others(store):
    sql = "SELECT DISTINCT class FROM tag_metrics WHERE split = 'test' AND roc_auc IS NULL"
    assert Query(store).run(sql).to_pylist() == [{"class": "sung"}]
    sql = (
        "SELECT arm, seed, num_tags, abs(r.roc_auc - avg(t.roc_auc)) AS error FROM runs r JOIN tag_metrics t "
        "ON t.stage = r.final_stage GROUP BY arm, seed, num_tags, r.roc_auc"
    )
    rows = Query(store).run(sql).to_pylist()
    assert len(rows) == 6 and all(row["num_tags"] == 2 and row["error"] < 1e-12 for row in rows)


def test_the_page_names_it_and_shows_the_rest(store):
    text = html(build(Facts(store)))
    assert "Macro averages: over 2 of 3 tags. No test track, or every one, has: sung." in text
    assert "pace" in text and "not written" not in text


def test_the_terminal_names_it(store):
    rows = Query(store).run("SELECT arm, seed, final_stage, stages FROM runs").to_pylist()
    runs = [Run(study="toy", factors=TRIALS[row["arm"]].factors, **row) for row in rows]
    for probes in (False, True):
        console = Console(file=io.StringIO(), width=120)
        show(Summary.read(Records(store), runs, "tagging", GROUPS, probes=probes), console)
        assert "Averages: over 2 of 3 tags. No test track, or every one, has: sung" in console.file.getvalue()
