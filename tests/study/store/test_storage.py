"""What cannot be written or reached: waited for where it passes, else one line says what to do, and nothing is torn."""

import errno
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from pyarrow import fs
from werkzeug.serving import make_server

from study.records.records import Records
from study.store import storage as storage_module
from study.store.attempt import begin_attempt
from study.store.storage import StorageError, open_storage
from study.store.store import Store
from study.upkeep.checks import checks_of, look
from study.upkeep.contents import Contents
from tests.bucket import CREDENTIALS, Bucket
from tests.study.toy_stages import toy_result, toy_stage
from tests.study.toy_store import run_of

STAGE = toy_stage(label="unlucky")


def train(store: Store) -> None:
    """All that a stage and its study write."""
    attempt = begin_attempt(store, STAGE)
    for _ in range(3):
        attempt.save_state(b"state")
    attempt.finish(toy_result())
    Records(store).write_attempt(STAGE.identity, attempt.name)
    Records(store).write_runs([run_of(STAGE)])


class Fault:
    """Lets so many files be written, and no more."""

    def __init__(self, num_files: int, error: int) -> None:
        self._left, self._error, self._fsync = num_files, error, os.fsync

    def __call__(self, descriptor: int) -> None:
        is_file = Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".unfinished"
        if is_file and self._left == 0:
            raise OSError(self._error, os.strerror(self._error))
        self._left -= is_file
        self._fsync(descriptor)


@pytest.mark.parametrize(
    ("error", "what_to_do"),
    [
        (errno.ENOSPC, "Free some space there;"),
        (errno.EDQUOT, "or have the quota raised"),
        (errno.EROFS, "Make it writable"),
        (errno.EIO, "See that it is there"),
    ],
)
def test_each_cause_is_one_line_that_says_what_to_do(tmp_path, monkeypatch, error, what_to_do):
    monkeypatch.setattr(os, "fsync", Fault(0, error))
    storage = open_storage(tmp_path)
    for write in (storage.write, storage.create):
        with pytest.raises(StorageError, match=f"{os.strerror(error)}. .*{what_to_do}.* the same command goes on"):
            write("a/b", b"data")
    assert storage.files() == []


def test_at_whatever_file_the_disk_is_full_nothing_is_torn_and_the_next_try_goes_on(tmp_path, monkeypatch):
    num_files = 0
    while True:
        store = Store(tmp_path / f"after{num_files}")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", Fault(num_files, errno.ENOSPC))
            try:
                train(store)
                break
            except StorageError as raised:
                assert "No space left on device" in str(raised)
        assert not [file for file in store.storage.files() if file.path.endswith(".unfinished")]
        found = look(checks_of(Contents(store)), lambda done, total: None)
        # Rows that could not be written are no damage of what is there.
        assert {finding.check.path for finding in found} <= {"records"}
        train(store)
        Records(store).rebuild()
        assert look(checks_of(Contents(store)), lambda done, total: None) == []
        assert Records(store).read("runs")["state"].to_pylist() == ["done"]
        num_files += 1
    assert num_files >= 15


def test_a_folder_without_permission_is_named(tmp_path, monkeypatch):
    storage = open_storage(tmp_path)

    def denied(self: Path, *arguments: Any, **options: Any) -> Any:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", denied)
    for write in (storage.write, storage.create):
        with pytest.raises(
            StorageError, match=f"{tmp_path}/a/b cannot be written: Permission denied. Make it writable"
        ):
            write("a/b", b"data")


class Outage:
    """A bucket's server that stops answering: with 503, or with nothing at all."""

    def __init__(self) -> None:
        self.app: Any = DomainDispatcherApplication(create_backend_app)
        self.is_out = threading.Event()
        self.is_silent, self.num_refused = False, 0

    def __call__(self, environ: Any, start_response: Any) -> Any:
        if not self.is_out.is_set():
            return self.app(environ, start_response)
        self.num_refused += 1
        if self.is_silent:
            while self.is_out.is_set():
                time.sleep(0.05)
        start_response("503 Slow Down", [("Content-Type", "text/plain")])
        return [b""]


@pytest.fixture
def outage() -> Iterator[tuple[Outage, str]]:
    """A server, and the address of a place in its bucket."""
    outage = Outage()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, outage, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in CREDENTIALS.items():
            patch.setenv(variable, value)
        options = f"endpoint_override=127.0.0.1:{server.server_port}&scheme=http&region=us-east-1"
        open_storage(f"s3://outage?{options}&allow_bucket_creation=true")._filesystem.create_dir("outage")
        yield outage, f"s3://outage/store?{options}"
    outage.is_out.clear()
    server.shutdown()


def ends_after(outage: Outage, seconds: float) -> None:
    threading.Timer(seconds, outage.is_out.clear).start()


@pytest.mark.parametrize("is_silent", [False, True])
def test_a_bucket_that_does_not_answer_for_a_while_costs_nothing(outage, is_silent):
    server, address = outage
    store = Store(address)
    begin_attempt(store, STAGE).save_state(b"state")
    server.is_silent = is_silent
    server.is_out.set()
    ends_after(server, 3)
    train(store)
    assert server.num_refused
    assert look(checks_of(Contents(store)), lambda done, total: None) == []
    assert Records(store).read("runs")["state"].to_pylist() == ["done"]


def test_a_small_file_goes_to_a_bucket_in_one_request(bucket: Bucket):
    open_storage(bucket.address("small")).write("file", b"content")
    written = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].get_object(bucket.name, "small/file")
    assert "-" not in written.etag, "S3 marks so what was uploaded in parts: begun, sent and ended by a request each"


def test_a_bucket_that_never_answers_is_one_line_that_says_what_to_do(outage, monkeypatch):
    server, address = outage
    monkeypatch.setattr(storage_module, "PATIENCE_S", 0.0)
    store = Store(address)
    server.is_out.set()
    with pytest.raises(StorageError, match=r"s3://outage/store/a cannot be written: .*503.* the same command goes on"):
        store.storage.write("a", b"data")


class Unreachable:
    """A file system that fails in one way for a while."""

    def __init__(self, error: str, num_failures: int) -> None:
        self._error, self._left, self.num_asked = error, num_failures, 0

    def get_file_info(self, path: Any) -> Any:
        self.num_asked += 1
        if self._left:
            self._left -= 1
            raise OSError(self._error)
        return [] if isinstance(path, fs.FileSelector) else fs.FileInfo(path, fs.FileType.File)


@pytest.mark.parametrize(
    "error",
    [
        "AWS Error UNKNOWN (HTTP status 503) during HeadObject operation: No response body.",
        "AWS Error SLOW_DOWN during PutObject operation: Please reduce your request rate.",
        "AWS Error NETWORK_CONNECTION during ListObjectsV2 operation: curlCode: 28, Timeout was reached",
        "google::cloud::Status(UNAVAILABLE: Retry policy exhausted)",
    ],
)
def test_what_passes_is_waited_for_and_said_once(error, monkeypatch, caplog):
    monkeypatch.setattr(storage_module, "_PAUSES_S", (0.0, 0.01))
    filesystem: Any = Unreachable(error, 5)
    assert open_storage("place", filesystem).exists("a")
    assert filesystem.num_asked == 6
    assert [record.message for record in caplog.records] == [f"place does not answer, trying for 120 s: {error}"]


def test_what_does_not_pass_is_not_waited_for():
    filesystem: Any = Unreachable("AWS Error ACCESS_DENIED during HeadObject operation: Forbidden", 5)
    with pytest.raises(OSError, match="ACCESS_DENIED"):
        open_storage("place", filesystem).exists("a")
    assert filesystem.num_asked == 1


class Vanishing:
    """A file system in which another process removes a folder while it is listed."""

    def __init__(self) -> None:
        self.num_asked = 0

    def get_file_info(self, selector: Any) -> list[Any]:
        self.num_asked += 1
        if self.num_asked == 1:
            raise FileNotFoundError("Cannot list directory")
        return []


def test_a_folder_that_vanishes_while_it_is_listed_is_empty():
    filesystem: Any = Vanishing()
    storage = open_storage("place", filesystem)
    assert storage.names("claims/x") == [] and filesystem.num_asked == 2
