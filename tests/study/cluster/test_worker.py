"""Stages that several workers train together, on a real cluster."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest

from components.training.checkpoint import weights_from_bytes
from experiments.presets import TINY
from study.cluster.execution import Execution, Resources
from study.corpora.corpora import Corpora, open_corpora
from study.design.trial import Trial, bare_trial
from study.design.trial_to_stages import final_stage
from study.kinds.weights import WEIGHTS
from study.records.stage_log import log_path
from study.stages.stage import Stage, StageRun
from study.store.store import Store
from tests.study.cluster import toy_kinds
from tests.study.cluster.toy_kinds import TOLD, toy
from tests.study.cluster.watched import Watched

pytestmark = pytest.mark.cluster
TWO = Resources(num_workers=2)


def draws(folder: Path) -> dict[tuple[int, int], tuple[int, int]]:
    """(epoch, position) -> (track, start), over the files of all workers."""
    lines = [line.split() for path in folder.glob("draws-*") for line in path.read_text().splitlines()]
    found = {(int(epoch), int(position)): (int(track), int(start)) for epoch, position, track, start in lines}
    assert len(found) == len(lines)  # the workers' shares are disjoint
    return found


BAD, GOOD = toy("bad", run=toy_kinds.fails_on_the_second_worker), toy("good", run=toy_kinds.adds_up)
LATE = toy("late", run=toy_kinds.fails_before_the_first_worker_asks)
SHAKEN, HALVED = toy("shaken", run=toy_kinds.loses_its_second_worker), toy("halved", run=toy_kinds.gathers_late)


class Pair(NamedTuple):
    """A study whose stages two workers train together: one on a corpus, and the faults that are told least easily."""

    folder: Path
    progress: Watched
    corpora: Corpora
    told: Stage


@pytest.fixture(scope="module")
def pair(run_in, tmp_path_factory) -> Pair:
    folder = tmp_path_factory.mktemp("pair")
    corpora = open_corpora(["tagging"], {}, TINY.generated, folder / "corpora", lambda *progress: None)
    told = dataclasses.replace(final_stage(bare_trial(Trial()), 0, TINY.recipe, corpora), kind=TOLD)
    stages = [told, LATE, toy("child", LATE), HALVED, GOOD]
    places = {"corpora": corpora.places, "checkpoint_every_s": 0.0}
    return Pair(folder, run_in(folder, stages, default_resources=TWO, **places), corpora, told)


def test_two_workers_train_one_stage_on_the_draws_of_one(pair):
    tmp_path, stage, corpora = pair.folder, pair.told, pair.corpora
    assert pair.progress.states()[stage.label] == "done"
    store = Store(tmp_path)
    done = store.done(stage.identity)
    assert done is not None
    weights = weights_from_bytes(store.read(stage.identity, WEIGHTS))
    assert weights and all(np.isfinite(tensor.double().numpy()).all() for tensor in weights.values())
    (row,) = pq.read_table(tmp_path / "records" / "stages" / f"{stage.identity}-{done.attempt}.parquet").to_pylist()
    assert dict(row["facts"])["num_workers"] == "2" and row["state"] == "done"
    assert (tmp_path / "draws-1").exists()  # both of them drew

    alone = Execution(storage=str(tmp_path / "alone"), corpora=corpora.places)
    (tmp_path / "alone").mkdir()
    result = TOLD.run(
        StageRun(
            stage=stage, corpus_path=corpora.places[stage.corpus], execution=alone,
            read_parent=lambda role, name: b"", read_input=lambda sha256: b"",
            save_state=lambda state: None, report=lambda progress: None,
        )
    )  # fmt: skip
    assert draws(tmp_path) == draws(tmp_path / "alone") != {}
    outcome = store.outcome(stage.identity, done.attempt)
    assert outcome is not None
    assert [row["step"] for row in outcome["epochs"]] == [row["step"] for row in result.epochs]
    assert outcome["metrics"]["num_steps"] == result.metrics["num_steps"]


def test_a_failure_of_one_of_two_workers_is_final_and_a_lost_one_is_not(pair):
    check(pair.folder, pair.progress, LATE, "the second worker was too fast", HALVED)
    assert Store(pair.folder).read(HALVED.identity, "value") == b"[0, 1]"  # never the share of one


@pytest.mark.slow
def test_a_worker_that_waits_for_another_learns_what_became_of_it(run_in, tmp_path):
    progress = run_in(tmp_path, [BAD, toy("child", BAD), SHAKEN, GOOD], default_resources=TWO)
    check(tmp_path, progress, BAD, "the second worker does not like its share", SHAKEN)


def check(folder: Path, progress: Watched, failed: Stage, error: str, lost: Stage) -> None:
    """One of the stages failed, another lost a worker and was tried again."""
    assert {label: state for label, state in progress.states().items() if state != "done"} == {
        failed.label: "failed", "child": "skipped",
    }  # fmt: skip
    assert progress.error(failed.label) == f"ValueError: {error}"
    assert progress.labels("failed") == [failed.label]
    store = Store(folder)
    assert [len(store.attempts(stage.identity)) for stage in (failed, lost, GOOD)] == [1, 2, 1]
    assert store.read(GOOD.identity, "value") == b"3"
    assert error in (folder / log_path(failed, worker=1)).read_text()
    (record,) = (folder / "records" / "stages").glob(f"{failed.identity}-001-*.parquet")
    assert pq.read_table(record).to_pylist()[0]["state"] == "failed"
