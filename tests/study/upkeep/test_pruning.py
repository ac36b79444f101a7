"""Only what nobody needs is pruned: no stage of a study or search, and nothing that a command holds."""

import pytest

from study.records.records import Records
from study.store.attempt import begin_attempt
from study.store.claims import Claims
from study.store.store import Store
from study.upkeep.checks import checks_of, look
from study.upkeep.contents import Contents
from study.upkeep.pruning import CLAIMS, INPUTS, LOST, NO_STUDY, STATES, UNFINISHED, Pruning, remove
from tests.bucket import Bucket
from tests.study.toy_stages import toy_result, toy_stage
from tests.study.toy_store import CHILD, PARENT, busy_store, fail, finish, run_of

EXTRA = [toy_stage(seed=seed) for seed in range(4)]


@pytest.fixture
def store(tmp_path) -> Store:
    return busy_store(Store(tmp_path / "store"))


def reasons(store: Store) -> dict[str, int]:
    """How many removals there are of each reason."""
    found = [removal.reason for removal in Pruning(Contents(store)).removals]
    return {reason: found.count(reason) for reason in found}


def prune(store: Store) -> None:
    remove(Pruning(Contents(store)).removals, store, lambda done, total: None)


def second_attempt(store: Store) -> None:
    """An attempt at PARENT that is too late, one that was killed, and a state that was left behind."""
    late, killed = begin_attempt(store, PARENT), begin_attempt(store, PARENT)
    assert not late.finish(toy_result(5.0, b"late weights"))
    Records(store).write_attempt(PARENT.identity, late.name)
    killed.save_state(b"state")
    done = store.done(PARENT.identity)
    assert done is not None
    store.storage.write(f"stages/{PARENT.identity}/attempts/{done.attempt}/state-000000003", b"left")


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_what_is_pruned_and_what_stays(place, tmp_path, bucket: Bucket):
    store = busy_store(Store(str(tmp_path / "store") if place == "folder" else bucket.address(tmp_path.name)))
    records = Records(store)
    records.compact()
    second_attempt(store)
    finish(store, toy_stage(seed=50))
    unused = store.add_input(b"nobody reads it")
    store.storage.write(f"logs/none-{EXTRA[0].identity[:8]}-worker1.log", b"a line")
    store.storage.write(f"tensorboard/none-{EXTRA[0].identity[:8]}/events", b"events")
    store.storage.write(f"logs/parent-{PARENT.identity[:8]}.log", b"a line")

    kept = {stage.identity for stage in (PARENT, CHILD)}
    assert reasons(store) == {NO_STUDY: 5, INPUTS: 1, LOST: 2, STATES: 1}
    before = str(records.read("stages", stages=kept).to_pylist())
    prune(store)

    assert reasons(store) == {}
    assert set(store.identities()) == kept
    assert {store.done(identity) is not None for identity in kept} == {True}
    assert not store.storage.exists(f"inputs/{unused}")
    assert [file.path for file in store.storage.files("logs")] == [f"logs/parent-{PARENT.identity[:8]}.log"]
    assert store.storage.files("tensorboard") == []
    assert str(records.read("stages").to_pylist()) == before
    assert set(records.read("track_scores")["stage"].to_pylist()) == kept
    # The attempt that failed says why.
    assert [row["error"] for row in records.read("stages", every_attempt=True).to_pylist() if row["error"]] == [
        "ValueError: too small"
    ]
    records.rebuild()
    assert str(records.read("stages").to_pylist()) == before


def test_what_a_pending_run_and_a_search_need_stays(store):
    pending = toy_stage(seed=60, parents={"up": EXTRA[0]}, label="not begun")
    Records(store).write_runs([run_of(EXTRA[0], pending, arm="next")])
    tested = {"number": 0, "arm": "bare", "state": "complete", "final_stage": EXTRA[1].identity, "epochs": 1}
    tested |= {"values": {}, "numbers": {}, "choices": {}, "reached": None, "duration_s": 1.0}
    Records(store).write_search({"name": "more", "test_stage": EXTRA[2].identity}, [tested])
    unread = store.add_input(b"the stage that has not begun may read it")
    prune(store)
    assert set(store.identities()) == {stage.identity for stage in (PARENT, CHILD, *EXTRA[:3])}
    assert store.storage.exists(f"inputs/{unread}")


def test_an_input_that_a_stage_reads_stays(store):
    sha256 = store.add_input(b"weights")
    reading = toy_stage(seed=61, corpus=sha256)
    finish(store, reading)
    Records(store).write_runs([run_of(reading, arm="from elsewhere")])
    prune(store)
    assert store.storage.exists(f"inputs/{sha256}")


def test_while_a_command_trains_no_stage_and_no_input_goes(store):
    store.add_input(b"weights")
    second_attempt(store)
    held = toy_stage(seed=70)
    begin_attempt(store, held).save_state(b"state")
    with Claims(store, "other") as claims:
        assert claims.take(held.identity) is None and claims.take(PARENT.identity) is None
        pruning = Pruning(Contents(store))
        (obstacle,) = pruning.obstacles
        assert "(command other) trains on this store" in obstacle
        assert pruning.removals == []
        claims.release(PARENT.identity)
        assert reasons(store) == {LOST: 2, STATES: 1}
    # Released, it is nobody's; and no study has it.
    assert reasons(store) == {NO_STUDY: 5, INPUTS: 1, LOST: 2, STATES: 1}


def test_while_a_damaged_plan_is_not_written_again_no_stage_goes(store, caplog):
    (path,) = (file.path for file in store.storage.files("runs") if "bare" in file.path)
    plan = store.storage.read(path)
    store.storage.write(path, b"{")
    Records(store).rebuild()
    pruning = Pruning(Contents(store))
    assert [path in obstacle for obstacle in pruning.obstacles] == [True] and pruning.removals == []
    store.storage.write(path, plan)
    assert Pruning(Contents(store)).obstacles == [] and reasons(store) == {NO_STUDY: 4}


def test_what_killed_processes_leave_goes(store):
    parent = f"stages/{PARENT.identity}"
    attempt = f"{parent}/attempts/001-00000000"
    for path in ("records/epochs/.x.0a.unfinished", "inputs/.0a.0a.unfinished", f"{attempt}/.state-1.0a.unfinished"):
        store.storage.write(path, b"half")
    assert reasons(store)[UNFINISHED] == 3 and INPUTS not in reasons(store)
    assert look(checks_of(Contents(store)), lambda done, total: None) == []
    prune(store)
    assert [file.path for file in store.storage.files() if file.path.endswith(".unfinished")] == []


def test_the_stage_of_a_failed_run_stays_with_its_state(store):
    failed = toy_stage(seed=80, label="fails")
    begin_attempt(store, failed).save_state(b"state")
    fail(store, failed, ValueError("no"))
    Records(store).write_runs([run_of(failed, arm="fails")])
    prune(store)
    assert store.latest_state(failed.identity) is not None and len(store.attempts(failed.identity)) == 2


def test_a_claim_to_a_stage_that_is_done_goes_once_its_holder_is_gone(store):
    claims = Claims(store, "other")
    assert claims.take(PARENT.identity) is None
    assert CLAIMS not in reasons(store)
    path = f"claims/{PARENT.identity}/000001.json"
    store.storage.write(path, store.storage.read(path).replace(b'"is_released": false', b'"is_released": true'))
    assert reasons(store)[CLAIMS] == 1
