"""The graph of stages on a real cluster: order, failure, loss, a second study, growth."""

import importlib
import re
import time
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest

from study.cluster import connection
from study.cluster.connection import placement_group, placement_group_table, release_placement_groups
from study.cluster.execution import Execution, Resources
from study.records.records import Records
from study.records.stage_log import log_path
from study.stages.stage import Stage, StageKind
from study.store.store import Store
from tests.study.cluster import toy_kinds
from tests.study.cluster.toy_kinds import ToyConfig, journal, toy
from tests.study.cluster.watched import Watched

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


BAD, GPU = toy("bad", run=toy_kinds.fails), toy("gpu", run=toy_kinds.loses_its_gpu)
KILLED, CALM = toy("killed", run=toy_kinds.walks), toy("calm", run=toy_kinds.walks)
CONTESTED = toy("contested", run=toy_kinds.comes_second)
FAILING = [BAD, toy("grandchild", toy("child", BAD)), toy("first"), toy("independent")]


class Accidents(NamedTuple):
    """One study in which all went wrong that can, one stage after another on one CPU."""

    folder: Path
    progress: Watched
    only_here: list[Stage]


@pytest.fixture(scope="module")
def accidents(run_in, tmp_path_factory) -> Accidents:
    folder = tmp_path_factory.mktemp("accidents")
    (folder / "only_here.py").write_text("def run(run):\n    raise AssertionError\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        kind = StageKind(name="only-here", version=1, run=importlib.import_module("only_here").run)
        names = ("one", "two")
        only_here = [Stage(kind=kind, config=ToyConfig(name=name), corpus="c0ffee", label=name) for name in names]
        stages = [*FAILING, KILLED, CALM, GPU, *only_here, toy("after", CONTESTED)]
        stages += [toy("early", run=toy_kinds.is_given_up)]
        return Accidents(folder, run_in(folder, stages, max_cpus=1), only_here)


def test_each_accident_costs_only_its_own_stage(accidents):
    states = accidents.progress.states()
    assert {label: state for label, state in states.items() if state != "done"} == {
        "bad": "failed", "child": "skipped", "grandchild": "skipped",
        "early": "pruned", "one": "failed", "two": "failed",
    }  # fmt: skip
    assert sorted(failures(accidents.folder)) == ["bad", "one", "two"]
    done = accidents.progress.labels("done")
    assert sorted(done) == sorted(set(done))  # each told once


def test_whatever_process_is_lost_its_stage_goes_on(accidents):
    num_losses = {entry.stage.label: entry.num_losses for entry in accidents.progress.stages.values()}
    lost = {label for label, number in num_losses.items() if number}
    assert lost == {"killed", "gpu"}
    assert {num_losses[label] for label in lost} == {1}


def test_a_killed_worker_goes_on_from_its_last_state_and_ends_with_the_same_bits(accidents):
    store = Store(accidents.folder)
    assert journal(str(accidents.folder)).count("killed") == 2
    assert store.read(KILLED.identity, "value") == store.read(CALM.identity, "value")
    done = store.done(KILLED.identity)
    assert done is not None and done.attempt.startswith("002-")
    assert store.outcome(KILLED.identity, done.attempt)["facts"]["started_at"] == 5  # pyright: ignore[reportOptionalSubscript]
    assert store.latest_state(KILLED.identity) is None  # states of a stage that is done are tidied up


def test_a_stage_is_not_to_blame_for_what_it_stands_on(accidents):
    tried = journal(str(accidents.folder))
    # What was given up is not trained again by the processes that come after a loss.
    assert [tried.count(name) for name in ("gpu", "early")] == [2, 1]
    assert Store(accidents.folder).read(GPU.identity, "value") == b"[1]"


def test_code_that_the_workers_have_not_fails_at_once_and_is_named(accidents):
    assert "No module named 'only_here'" in accidents.progress.error("one")
    assert all(len(Store(accidents.folder).attempts(stage.identity)) == 1 for stage in accidents.only_here)


def test_a_stage_that_another_study_finishes_first_is_done_once(accidents):
    store = Store(accidents.folder)
    assert value_of(store, CONTESTED) == 1  # the first one's result counts
    Records(store).rebuild()  # as every command ends
    rows = [row for row in Records(store).read("stages").to_pylist() if row["label"] == "contested"]
    assert [row["metrics"] for row in rows] == [[("value", 1.0)]]


def test_a_failure_takes_its_descendants_along_is_final_and_is_tried_again_by_the_next_command(accidents, run_in):
    folder = accidents.folder
    assert accidents.progress.error("bad") == "ValueError: bad does not like its input"
    assert accidents.progress.error("grandchild") == "its parent failed: bad"
    assert journal(str(folder)).count("bad") == 1
    log = (folder / log_path(BAD)).read_text()
    assert "Traceback" in log and "ValueError: bad does not like its input" in log
    (record,) = (folder / "records" / "stages").glob(f"{BAD.identity}-001-*.parquet")
    (row,) = pq.read_table(record).to_pylist()
    assert (row["state"], row["error"]) == ("failed", "ValueError: bad does not like its input")

    (folder / "repaired").touch()
    again = run_in(folder, FAILING, max_cpus=1)

    assert set(again.states().values()) == {"done"}
    assert journal(str(folder)).count("bad") == 2
    assert journal(str(folder)).count("first") == 1


@pytest.mark.timeout(60)
def test_after_all_losses_the_cluster_has_its_cpus(accidents):
    while connection.ray.available_resources().get("CPU") != 2:
        time.sleep(0.1)


@pytest.mark.slow
def test_whatever_process_of_rays_is_lost_its_stage_goes_on(run):
    lost = [toy(name, run=toy_kinds.loses) for name in ("ImplicitFunc", "TrainController", "Desk")]
    progress = run([*lost, toy("SynchronizationActor", run=toy_kinds.loses_an_actor)], max_cpus=1)

    assert set(progress.states().values()) == {"done"}
    num_losses = {entry.stage.label: entry.num_losses for entry in progress.stages.values()}
    assert num_losses == {"ImplicitFunc": 1, "TrainController": 1, "Desk": 0, "SynchronizationActor": 1}


@pytest.mark.slow
def test_a_stage_that_hangs_is_killed_and_goes_on(run):
    progress = run([toy("stuck", run=toy_kinds.hangs)], max_cpus=1, hung_after_s=60.0)  # a busy machine starts slowly

    assert progress.states() == {"stuck": "done"}
    assert [entry.num_losses for entry in progress.stages.values()] == [1]


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


@pytest.mark.slow
def test_the_places_of_a_lost_group_are_found_by_its_name_and_given_back(run, scratch):
    assert run([toy("a")]).states() == {"a": "done"}
    table = placement_group_table().values()
    # Those of the stage's group: each group's name stands before its own.
    assert any(re.fullmatch(r"[0-9a-f_]+-[0-9a-f]{32}", known["name"]) for known in table)

    lost, other = (placement_group([{"memory": 1}], name=f"{group}-0a") for group in ("lost", "lostother"))
    assert lost.wait(30) and other.wait(30)
    release_placement_groups("lost")
    wait_until_removed("lost-0a")
    (state,) = (known["state"] for known in placement_group_table().values() if known["name"] == "lostother-0a")
    assert state == "CREATED"
    release_placement_groups("lostother")


def wait_until_removed(name: str) -> None:
    ends = time.monotonic() + 30
    while any(known["name"] == name and known["state"] != "REMOVED" for known in placement_group_table().values()):
        assert time.monotonic() < ends
        time.sleep(0.1)
