"""The store keeps whole results under every interruption, and the first marker counts."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from unittest.mock import patch

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow.fs import FSSpecHandler, PyFileSystem

from study.stages.stage import StageResult
from study.store.attempt import Attempt, begin_attempt
from study.store.storage import open_storage
from study.store.store import FORMAT_VERSION, Store
from tests import ROOT
from tests.study.toy_stages import toy_result, toy_stage

STAGE = toy_stage(seed=1, parents={"up": toy_stage()}, label="toy of the tests")


@pytest.fixture(params=["local", "object", "bucket"])
def store(request, tmp_path):
    if request.param == "local":
        return Store(tmp_path / "store")
    if request.param == "bucket":
        return Store(request.getfixturevalue("bucket").address(f"store{tmp_path}"))
    return Store(f"{tmp_path}/store", PyFileSystem(FSSpecHandler(MemoryFileSystem())))


def finish(store, stage=STAGE, **result):
    attempt = begin_attempt(store, stage)
    assert attempt.finish(toy_result(**result))
    return attempt


def latest_state(store, stage=STAGE):
    path = store.latest_state(stage.identity)
    return None if path is None else store.read_state(path)


def run_python(script: str, *arguments: object) -> subprocess.Popen:
    path = str(ROOT)
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True)


def test_a_result_is_read_back(store):
    attempt = finish(store, weights=b"\x00\x01")
    done = store.done(STAGE.identity)
    assert done is not None and done.attempt == attempt.name
    assert store.read(STAGE.identity, "weights.bin") == b"\x00\x01"
    assert set(done.files) == {"weights.bin", "track_scores.parquet", "tag_metrics.parquet", "result.json"}
    assert json.loads(store.read(STAGE.identity, "result.json"))["metrics"] == {"loss": 1.0, "accuracy": 0.5}
    assert store.identities() == [STAGE.identity]


def test_what_the_identity_stands_for_is_written_down(store):
    begin_attempt(store, STAGE)
    content = store.stage_json(STAGE.identity)
    assert content == {"label": "toy of the tests", "canonical": STAGE.canonical, "description": STAGE.description}


def test_opening_writes_nothing_and_an_empty_place_has_nothing_done(tmp_path):
    store = Store(tmp_path / "new")
    assert store.done(STAGE.identity) is None and latest_state(store) is None
    assert store.identities() == store.attempts(STAGE.identity) == []
    assert not (tmp_path / "new").exists()


def test_done_identities_are_those_with_a_marker(store):
    stages = [toy_stage(seed=seed) for seed in range(20)]
    for stage in stages[::3]:
        finish(store, stage)
    begin_attempt(store, stages[1])
    assert store.done_identities(stage.identity for stage in stages) == {stage.identity for stage in stages[::3]}


def test_attempts_are_numbered_and_never_share_a_folder(store):
    attempts = [begin_attempt(store, STAGE) for _ in range(3)]
    assert [attempt.number for attempt in attempts] == [1, 2, 3]
    assert store.attempts(STAGE.identity) == [attempt.name for attempt in attempts]
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda _: begin_attempt(store, STAGE).name, range(8)))
    assert len(set(names)) == 8 and len(store.attempts(STAGE.identity)) == 11


def test_the_newest_state_over_all_attempts_is_given(store):
    first = begin_attempt(store, STAGE)
    assert latest_state(store) is None
    for step in range(12):
        first.save_state(b"first %d" % step)
        assert latest_state(store) == b"first %d" % step
    assert len(store.state_paths(STAGE.identity, first.name)) == 2
    second = begin_attempt(store, STAGE)
    assert latest_state(store) == b"first 11"
    second.save_state(b"second")
    assert latest_state(store) == b"second"


@pytest.mark.parametrize("keep", [0, 5, 32, 40])
def test_a_torn_state_is_skipped_and_the_previous_one_used(store, keep):
    first = begin_attempt(store, STAGE)
    first.save_state(b"state zero of the first attempt")
    attempt = begin_attempt(store, STAGE)
    attempt.save_state(b"state one, whole")
    attempt.save_state(b"state two, to be torn")
    for expected in (b"state one, whole", b"state zero of the first attempt"):
        newest = store.state_paths(STAGE.identity, attempt.name)[-1]
        store.storage.write(newest, store.storage.read(newest)[:keep])
        assert latest_state(store) == expected
        store.storage.delete(newest)


def test_states_are_removed_once_the_stage_is_done(store):
    lost, winner, late = begin_attempt(store, STAGE), begin_attempt(store, STAGE), begin_attempt(store, STAGE)
    for attempt in (lost, winner, late):
        attempt.save_state(b"state")
    winner.finish(toy_result())
    assert latest_state(store) is None
    late.save_state(b"state")
    assert late.finish(toy_result()) is False
    assert latest_state(store) is None


def test_the_first_of_two_results_counts(store):
    first, second = begin_attempt(store, STAGE), begin_attempt(store, STAGE)
    assert second.finish(toy_result(weights=b"second")) is True
    assert first.finish(toy_result(weights=b"first")) is False
    assert store.read(STAGE.identity, "weights.bin") == b"second"


def test_one_of_many_threads_is_first(tmp_path):
    store, barrier = Store(tmp_path), Barrier(8)
    attempts = [begin_attempt(store, STAGE) for _ in range(8)]

    def finish_together(attempt):
        barrier.wait()
        return attempt.finish(toy_result(weights=attempt.name.encode()))

    with ThreadPoolExecutor(8) as pool:
        first = list(pool.map(finish_together, attempts))
    assert sum(first) == 1
    assert store.read(STAGE.identity, "weights.bin") == attempts[first.index(True)].name.encode()


CREATE = """
import sys, time
from study.store.storage import open_storage
storage = open_storage(sys.argv[1])
print("ready", flush=True)
while not storage.exists("go"):
    time.sleep(0.001)
print("".join(str(int(storage.create(f"marker-{i}", sys.argv[2].encode()))) for i in range(100)))
"""


def test_one_of_several_processes_creates_each_file(tmp_path):
    processes = [run_python(CREATE, tmp_path, name) for name in "abc"]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    storage = open_storage(tmp_path)
    storage.write("go", b"")
    wins = [process.communicate(timeout=30)[0].strip() for process in processes]
    for i, column in enumerate(zip(*wins, strict=True)):
        assert column.count("1") == 1
        assert storage.read(f"marker-{i}").decode() == "abc"[column.index("1")]


SAVE = """
import sys
from tests.study.toy_stages import toy_stage
from study.store.attempt import begin_attempt
from study.store.store import Store
attempt = begin_attempt(Store(sys.argv[1]), toy_stage())
for step in range(10**9):
    attempt.save_state(b"%09d" % step * 100_000)
    print(step, flush=True)
"""


def test_a_process_killed_while_saving_leaves_a_readable_store(tmp_path):
    stage, store = toy_stage(), Store(tmp_path)
    for delay_s in (0.0, 0.003, 0.007):
        process = run_python(SAVE, tmp_path)
        assert process.stdout is not None and process.stdout.readline() == "0\n"
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        saved = process.communicate()[0].split()
        state = latest_state(store, stage)
        assert state is not None and len(state) == 900_000 and state == state[:9] * 100_000
        assert int(state[:9]) >= int(saved[-1] if saved else 0)
    assert len(store.attempts(stage.identity)) == 3
    attempt = begin_attempt(store, stage)
    assert attempt.number == 4 and attempt.finish(toy_result())
    remaining = [path.name for path in tmp_path.rglob("*") if "state-" in path.name or path.name.startswith(".")]
    assert remaining == []


def test_unfinished_files_are_never_listed(tmp_path):
    store = Store(tmp_path)
    attempt = begin_attempt(store, STAGE)
    (tmp_path / f"stages/{STAGE.identity}/attempts/{attempt.name}/.state-000000000.x.unfinished").write_bytes(b"torn")
    (tmp_path / f"stages/{STAGE.identity}/.done.json.x.unfinished").write_bytes(b"torn")
    assert store.storage.names(f"stages/{STAGE.identity}") == ["attempts", "stage.json"]
    assert store.state_paths(STAGE.identity, attempt.name) == []
    assert store.done(STAGE.identity) is None


def test_files_without_a_marker_are_no_result(store):
    attempt = begin_attempt(store, STAGE)
    store.storage.write(f"stages/{STAGE.identity}/attempts/{attempt.name}/weights.bin", b"half")
    with pytest.raises(ValueError, match=f"{STAGE.identity} is not done"):
        store.read(STAGE.identity, "weights.bin")


def test_a_damaged_file_is_named_with_both_checksums_and_its_stage_is_not_done_any_more(store, caplog):
    attempt = finish(store)
    path = f"stages/{STAGE.identity}/attempts/{attempt.name}/weights.bin"
    store.storage.write(path, b"Weights")
    checksums = "SHA-256 is [0-9a-f]{64}, was written as [0-9a-f]{64}"
    again = rf"the same command trains stage '{STAGE.label}' \({STAGE.identity[:8]}\) again"
    with pytest.raises(ValueError, match=rf"weights\.bin is damaged: {checksums}; {again}"):
        store.read(STAGE.identity, "weights.bin")
    assert store.done(STAGE.identity) is None and store.done_identities([STAGE.identity]) == set()
    result = path.replace("weights.bin", "result.json")
    assert set_aside_in(store) == [result, path, f"stages/{STAGE.identity}/done.json"]
    assert re.search(again, caplog.text, re.IGNORECASE)
    assert finish(store).name == store.done(STAGE.identity).attempt


def set_aside_in(store) -> list[str]:
    files = [file.path.removeprefix("quarantine/") for file in store.storage.files("quarantine")]
    return sorted(path.rsplit("-", 1)[0] for path in files if not path.endswith(".cause"))


@pytest.mark.parametrize("content", [b'{"att', b"", b"[]", b"null", b'{"attempt": "001-x"}', b"\xff\xfe"])
def test_a_damaged_marker_is_made_again_from_its_result(store, content, caplog):
    attempt = finish(store)
    path = f"stages/{STAGE.identity}/done.json"
    before, marker = store.done(STAGE.identity), store.storage.read(path)
    store.storage.write(path, content)
    assert store.done_identities([STAGE.identity]) == {STAGE.identity}
    assert (store.done(STAGE.identity), store.storage.read(path)) == (before, marker)
    assert set_aside_in(store) == [path] and f"its attempt {attempt.name} is whole" in caplog.text


@pytest.mark.parametrize("name", ["weights.bin", "result.json"])
def test_without_a_whole_result_its_stage_is_not_done(store, name, caplog):
    attempt = finish(store)
    store.storage.write(f"stages/{STAGE.identity}/done.json", b"")
    store.storage.write(f"stages/{STAGE.identity}/attempts/{attempt.name}/{name}", b"torn")
    assert store.done(STAGE.identity) is None
    assert "is not done any more: the same command trains it again" in caplog.text


@pytest.mark.parametrize("content", [b"", b"{}", b'{"outcome": 1}', None])
def test_a_damaged_result_is_none_and_its_stage_not_done(store, content, caplog):
    attempt = finish(store)
    path = f"stages/{STAGE.identity}/attempts/{attempt.name}/result.json"
    store.storage.delete(path) if content is None else store.storage.write(path, content)
    assert store.outcome(STAGE.identity, attempt.name) is None
    assert store.done(STAGE.identity) is None
    lost = [] if content is None else [path]
    assert set_aside_in(store) == [*lost, f"stages/{STAGE.identity}/done.json"]


def test_the_result_of_an_attempt_that_does_not_count_takes_nothing_away(store):
    first, second = begin_attempt(store, STAGE), begin_attempt(store, STAGE)
    first.finish(toy_result())
    second.finish(toy_result())
    store.storage.write(second.path_of("result.json"), b"torn")
    assert store.outcome(STAGE.identity, second.name) is None
    assert store.done(STAGE.identity).attempt == first.name


def test_a_damaged_input_can_be_added_again(store):
    sha256 = store.add_input(b"weights")
    store.storage.write(f"inputs/{sha256}", b"Weights")
    with pytest.raises(ValueError, match="is damaged"):
        store.read_input(sha256)
    assert store.add_input(b"weights") == sha256
    assert store.read_input(sha256) == b"weights"


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"format_version": "x"}'])
def test_a_store_whose_version_is_damaged_opens(store, content):
    finish(store)
    store.storage.write("store.json", content)
    again = Store(*store.__reduce__()[1])
    assert again.done(STAGE.identity) is not None
    assert set_aside_in(again) == ["store.json"]


def test_what_cannot_be_set_aside_is_an_error_that_says_why(store, monkeypatch):
    finish(store)
    store.storage.write(f"stages/{STAGE.identity}/done.json", b"")

    def forbidden(path, target):
        raise PermissionError("read-only file system")

    monkeypatch.setattr(store.storage, "move", forbidden)
    with pytest.raises(ValueError, match=r"done\.json is damaged .*, and cannot be set aside: read-only"):
        store.done(STAGE.identity)


def test_a_file_that_reads_wrong_once_is_not_damaged(store, monkeypatch):
    finish(store)
    read, wrong = store.storage.read, iter([b"Weights"])

    def flaky(path):
        return next(wrong, read(path)) if path.endswith("weights.bin") else read(path)

    monkeypatch.setattr(store.storage, "read", flaky)
    assert store.read(STAGE.identity, "weights.bin") == b"weights"
    assert set_aside_in(store) == []


def test_an_unknown_file_is_an_error_that_lists_the_known(store):
    finish(store)
    with pytest.raises(ValueError, match=r"no file 'weight'; it has .*weights\.bin"):
        store.read(STAGE.identity, "weight")


@pytest.mark.parametrize("name", ["a/b", "", ".hidden", "result.json", "begun.json", "state-1", "tag_metrics.parquet"])
def test_a_result_cannot_take_a_name_that_is_not_its_own(store, name):
    attempt = begin_attempt(store, STAGE)
    with pytest.raises(ValueError, match=r"StageResult\.files"):
        attempt.finish(StageResult(files={name: b""}, tables=toy_result().tables))
    assert store.done(STAGE.identity) is None


def test_a_failure_is_written_down_and_the_state_stays(store):
    attempt = begin_attempt(store, STAGE, {"host": "node-3"})
    attempt.save_state(b"state")
    try:
        raise RuntimeError("loss is nan")
    except RuntimeError as error:
        attempt.fail(error)
    outcome = store.outcome(STAGE.identity, attempt.name)
    assert (outcome["outcome"], outcome["error"]) == ("failed", "RuntimeError: loss is nan")
    assert "test_store.py" in outcome["traceback"] and outcome["begun"]["facts"] == {"host": "node-3"}
    assert store.done(STAGE.identity) is None and latest_state(store) == b"state"
    assert store.outcome(STAGE.identity, begin_attempt(store, STAGE).name) is None


def test_a_failure_after_the_marker_spoils_nothing(store):
    attempt = finish(store)
    attempt.fail(OSError("connection lost while tidying up"))
    assert json.loads(store.read(STAGE.identity, "result.json"))["outcome"] == "completed"


def test_a_failure_of_another_worker_spoils_no_result_and_the_first_one_counts(store):
    first, second = begin_attempt(store, STAGE), begin_attempt(store, STAGE)
    beside = Attempt(store, STAGE.identity, first.name)
    first.finish(toy_result())
    with patch.object(store, "done", return_value=None):  # as it was when the other worker asked
        beside.fail(RuntimeError("too late"))
    assert json.loads(store.read(STAGE.identity, "result.json"))["outcome"] == "completed"
    for worker in (0, 1):
        Attempt(store, STAGE.identity, second.name).fail(RuntimeError(f"of worker {worker}"))
    assert store.outcome(STAGE.identity, second.name)["error"] == "RuntimeError: of worker 0"


def test_a_result_that_cannot_be_marked_is_a_failure(store):
    attempt = begin_attempt(store, STAGE)
    with patch.object(store.storage, "create", side_effect=OSError("disk full")), pytest.raises(OSError, match="disk"):
        attempt.finish(toy_result())
    attempt.fail(OSError("disk full"))
    assert store.outcome(STAGE.identity, attempt.name)["outcome"] == "failed"


def test_a_place_that_cannot_be_written_is_refused_with_its_name(tmp_path):
    (tmp_path / "file").write_text("no folder")
    store = Store(tmp_path / "file" / "store")
    with pytest.raises(PermissionError, match=r"file/store is not writable"):
        store.check_writable()
    with pytest.raises(PermissionError, match=r"file/store is not writable"):
        begin_attempt(store, STAGE)


def test_checking_leaves_only_the_format(store):
    store.check_writable()
    store.check_writable()
    assert store.storage.names("") == ["store.json"]


def test_a_newer_format_is_refused_with_both_versions(store):
    store.storage.write("store.json", json.dumps({"format_version": FORMAT_VERSION + 1}).encode())
    with pytest.raises(
        ValueError, match=rf"store\.json: format version {FORMAT_VERSION + 1} is newer than {FORMAT_VERSION}"
    ):
        pickle.loads(pickle.dumps(store))


def test_a_store_pickles(store):
    finish(store)
    assert pickle.loads(pickle.dumps(store)).read(STAGE.identity, "weights.bin") == b"weights"


def test_a_file_uri_is_the_same_store(tmp_path):
    finish(Store(f"file://{tmp_path}/store"))
    assert Store(tmp_path / "store").done(STAGE.identity) is not None


def test_create_keeps_what_is_there(store):
    assert store.storage.create("a/b", b"first") is True
    assert store.storage.create("a/b", b"second") is False
    assert store.storage.read("a/b") == b"first"
    store.storage.delete("a/b")
    store.storage.delete("a/b")
    assert store.storage.create("a/b", b"third") is True


def test_messages_name_the_place_without_secrets():
    filesystem = PyFileSystem(FSSpecHandler(MemoryFileSystem()))
    store = Store("s3://key:secret@bucket/study?endpoint_override=host:9000", filesystem)
    assert repr(store) == "Store('s3://bucket/study')"
    assert store.storage.name_of("store.json") == "s3://bucket/study/store.json"


def test_a_relative_place_stays_the_same_for_who_works_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store("store")
    finish(store)
    monkeypatch.chdir("/")
    assert pickle.loads(pickle.dumps(store)).done(STAGE.identity) == store.done(STAGE.identity) is not None


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    storage = open_storage(tmp_path)
    storage.write("a/b", b"old")

    def full_disk(descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        storage.write("a/b", b"new")
    assert storage.read("a/b") == b"old"


def test_a_reader_sees_whole_files_only(tmp_path):
    storage = open_storage(tmp_path)
    contents = [bytes([i]) * 2_000_000 for i in (1, 2)]
    storage.write("file", contents[0])
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(lambda: [storage.write("file", contents[i % 2]) for i in range(40)])
        while not writing.done():
            assert storage.read("file") in contents


def test_a_state_lost_to_another_attempts_tidying_is_no_error(store, monkeypatch):
    late, winner = begin_attempt(store, STAGE), begin_attempt(store, STAGE)

    def tidied_up(path, data):
        raise FileNotFoundError(path)

    with monkeypatch.context() as patch:
        patch.setattr(store.storage, "write", tidied_up)
        with pytest.raises(FileNotFoundError):
            late.save_state(b"state")
    winner.finish(toy_result())
    with monkeypatch.context() as patch:
        patch.setattr(store.storage, "write", tidied_up)
        late.save_state(b"state")
