"""The graph of stages on a real cluster: order, failure, loss, a second study, growth."""

import importlib
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from study.cluster import connection
from study.cluster.execution import Execution, Resources
from study.records.records import Records
from study.records.stage_log import log_path
from study.stages.stage import Stage, StageKind
from study.store.store import Store
from tests.study.cluster import toy_kinds
from tests.study.cluster.toy_kinds import ToyConfig, journal, toy

pytestmark = pytest.mark.cluster


def value_of(store: Store, stage) -> int:
    return int(store.read(stage.identity, "value"))


def failures(folder: Path) -> dict[str, str]:
    """Errors by stage, as the records tell them."""
    rows = Records(Store(folder)).read("stages", every_attempt=True).to_pylist()
    return {row["label"]: row["error"] for row in rows if row["state"] == "failed"}


def test_a_graph_with_shared_parents_runs_to_its_end_each_stage_once_and_parents_first(run, tmp_path):
    root, other = toy("root"), toy("other")
    left, right = toy("left", root), toy("right", root, other)
    last = toy("last", left, right, other)

    progress = run([last, toy("last", left, right, other)])

    order = journal(str(tmp_path))
    assert sorted(order) == ["last", "left", "other", "right", "root"]
    assert order.index("root") < min(order.index("left"), order.index("right"))
    assert order.index("other") < order.index("right") and order[-1] == "last"
    assert value_of(Store(tmp_path), last) == 1 + 2 + 3 + 1
    assert set(progress.states().values()) == {"done"}
    assert sorted(progress.labels("done")) == sorted(order) == sorted(progress.labels("running"))

    again = run([last])  # what is done stays done

    assert journal(str(tmp_path)) == order
    assert again.history == [] and all(entry.cached for entry in again.stages.values())


def test_a_failure_takes_its_descendants_along_is_final_and_is_tried_again_by_the_next_command(run, tmp_path):
    bad = toy("bad", run=toy_kinds.fails)
    child = toy("child", bad)
    grandchild, independent = toy("grandchild", child), toy("independent")

    # One group: the failure in its middle keeps neither the one before it nor the one behind it from running.
    progress = run([toy("first"), bad, grandchild, independent], max_cpus=1)

    assert progress.states() == {
        "first": "done", "bad": "failed", "child": "skipped", "grandchild": "skipped", "independent": "done",
    }  # fmt: skip
    assert progress.error("bad") == "ValueError: bad does not like its input"
    assert progress.error("grandchild") == "its parent failed: bad"
    assert sorted(journal(str(tmp_path))) == ["bad", "first", "independent"]  # nothing was tried twice
    log = (tmp_path / log_path(bad)).read_text()
    assert "Traceback" in log and "ValueError: bad does not like its input" in log
    (record,) = (tmp_path / "records" / "stages").glob(f"{bad.identity}-001-*.parquet")
    (row,) = pq.read_table(record).to_pylist()
    assert (row["state"], row["error"]) == ("failed", "ValueError: bad does not like its input")

    (tmp_path / "repaired").touch()
    again = run([toy("first"), bad, grandchild, independent])

    assert set(again.states().values()) == {"done"}
    assert journal(str(tmp_path)).count("bad") == 2
    assert journal(str(tmp_path)).count("first") == 1


def test_a_killed_worker_goes_on_from_its_last_state_and_ends_with_the_same_bits(run, tmp_path):
    killed, calm = toy("killed", run=toy_kinds.walks), toy("calm", run=toy_kinds.walks)

    progress = run([killed, calm, toy("beside")], max_cpus=1)

    store = Store(tmp_path)
    assert set(progress.states().values()) == {"done"}
    assert sorted(progress.labels("done")) == ["beside", "calm", "killed"]  # each told once
    assert journal(str(tmp_path)).count("killed") == 2
    assert store.read(killed.identity, "value") == store.read(calm.identity, "value")
    done = store.done(killed.identity)
    assert done is not None and done.attempt.startswith("002-")
    assert store.outcome(killed.identity, done.attempt)["facts"]["started_at"] == 5
    assert store.latest_state(killed.identity) is None  # states of a stage that is done are tidied up


def test_a_stage_is_not_to_blame_for_what_it_stands_on(run, tmp_path):
    early, gpu = toy("early", run=toy_kinds.is_given_up), toy("gpu", run=toy_kinds.loses_its_gpu)
    actor = toy("actor", run=toy_kinds.loses_an_actor)

    progress = run([early, gpu, actor], max_cpus=1)

    assert progress.states() == {"early": "pruned", "gpu": "done", "actor": "done"}
    # What was given up is not trained again by the processes that come after a loss.
    assert sorted(journal(str(tmp_path))) == ["actor", "actor", "early", "gpu", "gpu"]
    assert Store(tmp_path).read(gpu.identity, "value") == b"[1]"


@pytest.mark.slow
def test_a_stage_that_kills_every_worker_fails_alone(run, tmp_path):
    deadly = toy("deadly", run=toy_kinds.dies)

    progress = run([toy("before"), deadly, toy("child", deadly), toy("behind")], max_cpus=1)

    assert progress.states() == {"before": "done", "deadly": "failed", "child": "skipped", "behind": "done"}
    error = progress.error("deadly")
    assert error.startswith("its processes were lost 4 times, the last time: ")
    assert error.endswith(f"; see {log_path(deadly)}") and (tmp_path / log_path(deadly)).exists()
    assert sorted(journal(str(tmp_path))) == ["before", "behind", *["deadly"] * 4]  # the first try and three more
    assert failures(tmp_path) == {"deadly": error}


def test_whatever_process_is_lost_or_hangs_its_stage_goes_on_and_its_cpus_are_given_back(run, tmp_path):
    of_ray = ["ImplicitFunc", "TrainController", "RayTrainWorker", "Desk"]
    shaken = [toy(name, run=toy_kinds.loses) for name in of_ray]
    stuck = toy("stuck", run=toy_kinds.hangs)

    progress = run([*shaken, stuck, toy("child", *shaken)], max_cpus=1, hung_after_s=5.0)

    assert set(progress.states().values()) == {"done"} and not failures(tmp_path)
    lost = {entry.stage.label: entry.num_losses for entry in progress.stages.values()}
    assert lost == {**dict.fromkeys([*of_ray, "stuck"], 1), "Desk": 0, "child": 0}
    both = toy("both", run=toy_kinds.adds_up)
    assert run([both], default_resources=Resources(num_workers=2)).states() == {"both": "done"}


def test_code_that_the_workers_have_not_fails_at_once_and_is_named(run, tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("def run(run):\n    raise AssertionError\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    kind = StageKind(name="only-here", version=1, run=importlib.import_module("only_here").run)
    stages = [Stage(kind=kind, config=ToyConfig(name=name), corpus="c0ffee", label=name) for name in ("one", "two")]

    progress = run(stages, max_cpus=1)

    assert set(progress.states().values()) == {"failed"}
    assert "No module named 'only_here'" in progress.error("one")
    assert sorted(failures(tmp_path)) == ["one", "two"]


def test_a_stage_that_another_study_finishes_first_is_done_once(run, tmp_path):
    stage = toy("contested", run=toy_kinds.comes_second)

    progress = run([toy("child", stage)])

    store = Store(tmp_path)
    assert set(progress.states().values()) == {"done"}
    assert value_of(store, stage) == 1  # the first one's result counts
    Records(store).rebuild()  # as every command ends
    rows = [row for row in Records(store).read("stages").to_pylist() if row["label"] == "contested"]
    assert [row["metrics"] for row in rows] == [[("value", 1.0)]]


def test_stages_are_added_while_it_runs(run, tmp_path):
    first, bad = toy("first"), toy("bad", run=toy_kinds.fails)
    second, too_late = toy("second", first), toy("too late", bad)

    def watch(dispatcher, progress):
        def add(entry):
            if entry.state in ("done", "failed") and entry.stage.label in ("first", "bad"):
                dispatcher.add([second, too_late] if len(progress.stages) < 4 else [])

        progress.listeners.append(add)

    progress = run([first, bad], watch)

    assert progress.states() == {"first": "done", "bad": "failed", "second": "done", "too late": "skipped"}


def test_what_can_never_fit_is_refused_with_the_numbers(scratch):
    def check(**execution):
        place = Execution(storage="unused", **execution)
        connection.check_fits([toy("any")], place, connection.resource_limit(place))

    two = Resources(num_workers=2)
    check(default_resources=two)
    with pytest.raises(ValueError, match=r"needs 2 CPU \(2 worker\(s\) x 1 CPU\); the cluster can have at most 1"):
        check(default_resources=two, max_cpus=1)
    with pytest.raises(ValueError, match="needs 3 CPU"):
        check(default_resources=Resources(cpus_per_worker=3))
    check(default_resources=Resources(cpus_per_worker=3), max_cpus=4)  # it may grow to that
