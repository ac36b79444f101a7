"""A stage that is scored on the validation split, and the test of it afterwards: together they are the usual stage."""

from dataclasses import replace

import pytest

from study.design.trial import bare_trial
from study.design.trial_to_stages import final_stage
from study.kinds.held_out_test import TEST, TestStage
from study.kinds.weights import WEIGHTS
from study.stages.stage import Stage
from tests.study.toy_study import REFERENCE, Bench, open_all, recipe, write_corpora

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("trial", [bare_trial(REFERENCE), REFERENCE, replace(REFERENCE, source="none")])
def test_scored_first_and_tested_afterwards_is_the_same(tmp_path, trial):
    folders = write_corpora(tmp_path)
    bench, usual = Bench(folders), final_stage(trial, 0, recipe(), open_all(folders))
    scored = replace(usual, config=replace(usual.config, scored="validation"))
    test = Stage(
        kind=TEST, config=TestStage(seed=0, trained=scored.config), corpus=scored.corpus, parents={"trained": scored}
    )
    first, then, whole = (bench.result(stage) for stage in (scored, test, usual))
    assert first.files[WEIGHTS] == whole.files[WEIGHTS]
    assert {name for name in first.metrics if "auc" in name} == {"validation_roc_auc", "validation_pr_auc"}
    assert not first.tables  # nothing of the test split
    best = whole.epochs[int(whole.metrics["best_epoch"])]
    assert first.metrics["validation_roc_auc"] == best["roc_auc"]
    assert {**whole.metrics, **then.metrics} == dict(whole.metrics)
    assert set(then.tables) == set(whole.tables)
    assert all(then.tables[name].equals(whole.tables[name]) for name in then.tables)


def test_scores_of_the_validation_split_are_another_stage(tmp_path):
    folders = write_corpora(tmp_path)
    usual = final_stage(bare_trial(REFERENCE), 0, recipe(), open_all(folders))
    assert replace(usual, config=replace(usual.config, scored="validation")).identity != usual.identity
    # What was trained before there was a choice stays what it was.
    assert "scored" not in usual.canonical["config"]
