"""A store filled with toy results."""

from study.records.records import Records, Run
from study.store.attempt import begin_attempt
from tests.study.toy_stages import toy_result, toy_stage

PARENT = toy_stage(seed=7, label="parent")
CHILD = toy_stage(seed=8, parents={"up": PARENT}, label="child")


def finish(store, stage, value=1.0):
    attempt = begin_attempt(store, stage, {"host": "node-1"})
    attempt.finish(toy_result(value))
    Records(store).write_attempt(stage.identity, attempt.name)
    return attempt


def fail(store, stage, error):
    attempt = begin_attempt(store, stage)
    attempt.fail(error)
    Records(store).write_attempt(stage.identity, attempt.name)
    return attempt


def run_of(*stages, arm="bare", seed=0):
    identities = tuple(stage.identity for stage in stages)
    return Run(
        study="demo", arm=arm, seed=seed, factors={"source": "none"}, final_stage=identities[-1], stages=identities
    )


def busy_store(store):
    """Six stages that are done, one of them after a failure, a study, two runs and a search."""
    fail(store, CHILD, ValueError("too small"))
    for seed in range(4):
        finish(store, toy_stage(seed=seed), value=seed + 0.5)
    finish(store, PARENT)
    finish(store, CHILD, value=float("nan"))
    study = {"name": "demo", "preset": "toy", "arms": [], "seeds": [0], "comparisons": [], "groups": {}, "corpora": {}}
    Records(store).write_study(study)
    Records(store).write_runs([run_of(PARENT, CHILD), run_of(PARENT, arm="source=none", seed=1)])
    trial = {"number": 0, "arm": "bare", "state": "complete", "final_stage": CHILD.identity, "epochs": 3}
    trial |= {
        "values": {"roc_auc": 0.75},
        "numbers": {"dropout": 0.1},
        "choices": {"schedule": "constant"},
        "reached": 0.75,
    }
    Records(store).write_search({"name": "rates bare"}, [{**trial, "duration_s": 1.5}])
    return store
