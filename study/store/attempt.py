"""An attempt: one try at a stage, in its own folder of the store, from its first state to its outcome."""

import io
import json
import logging
import time
import traceback
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from study.stages.stage import Stage, StageResult
from study.store.formats import checksum, marker, pack_state
from study.store.storage import StorageError, concurrently
from study.store.store import Store, attempt_folder, stage_folder

RESULT = "result.json"
_RESERVED = (RESULT, "begun.json")
_log = logging.getLogger(__name__)


def table_file(table: str) -> str:
    """Name of the file that holds a table of a result."""
    return f"{table}.parquet"


def describe(store: Store, stage: Stage) -> None:
    """Writes what a stage is, unless the store knows it."""
    content = {"label": stage.label, "canonical": stage.canonical, "description": stage.description}
    store.storage.create(f"{stage_folder(stage.identity)}/stage.json", json.dumps(content, indent=1).encode())


def describe_done(store: Store, stages: Iterable[Stage]) -> set[str]:
    """The identities that are done. Of these the description is written again if it was lost."""
    known = {stage.identity: stage for stage in stages}
    done = store.done_identities(known)
    concurrently(partial(describe, store), [known[identity] for identity in done])
    return done


def begin_attempt(store: Store, stage: Stage, facts: Mapping[str, Any] | None = None) -> "Attempt":
    """A new attempt at a stage; `facts` are recorded even if it fails (a host's name, a device).

    PermissionError if the storage cannot be written. Attempts begun at the same moment may have one number.
    """
    try:
        store.create()
        describe(store, stage)
    except OSError as error:
        raise StorageError(f"storage {store.storage.name} is not writable: {error}") from error
    number = 1 + max((int(name.split("-")[0]) for name in store.attempts(stage.identity)), default=0)
    attempt = Attempt(store, stage.identity, f"{number:03d}-{uuid.uuid4().hex[:8]}")
    begun = {"started_at": _now(), "facts": dict(facts or {})}
    store.storage.write(attempt.path_of("begun.json"), json.dumps(begun).encode())
    return attempt


class Attempt:
    """Made by `begin_attempt`. `name` ("003-1f9c2a7e") is unique; `number` counts the attempts at the stage from 1."""

    def __init__(self, store: Store, identity: str, name: str) -> None:
        self.store = store
        self.identity = identity
        self.name = name
        self._num_states, self._has_result = 0, False
        self._started = time.perf_counter(), time.process_time()

    @property
    def number(self) -> int:
        return int(self.name.split("-")[0])

    def path_of(self, name: str) -> str:
        return f"{attempt_folder(self.identity, self.name)}/{name}"

    def save_state(self, state: bytes) -> None:
        """Keeps a loop state. The two newest complete ones stay; older ones are removed."""
        try:
            self.store.storage.write(self.path_of(f"state-{self._num_states:09d}"), pack_state(state))
        except FileNotFoundError:
            # Another attempt has finished the stage and removed its loop states. Nothing needs saving any more.
            if self.store.done(self.identity) is None:
                raise
        self._num_states += 1
        for path in self.store.state_paths(self.identity, self.name)[:-2]:
            self.store.storage.delete(path)

    def finish(self, result: StageResult) -> bool:
        """Writes the result and marks the stage done; returns False if another attempt was first.

        ValueError if a file's name is not a plain name or is taken.
        """
        files = {**result.files, **{table_file(name): _parquet(table) for name, table in result.tables.items()}}
        names = [*result.files, *map(table_file, result.tables)]
        for name in names:
            plain = name and "/" not in name and not name.startswith((".", "state-"))
            if not plain or name in _RESERVED or names.count(name) > 1:
                raise ValueError(f"StageResult.files: {name!r} is no plain file name, reserved, or given twice")
        files[RESULT] = self._outcome("completed", result=result, files=files)
        self._has_result = True
        for name, data in files.items():
            self.store.storage.write(self.path_of(name), data)
        done = marker(self.name, _checksums(files))
        first = self.store.storage.create(f"{stage_folder(self.identity)}/done.json", done)
        try:
            self.store.remove_states(self.identity)
        except OSError as error:  # the stage is done all the same
            _log.warning("loop states of %s remain: %s", self.identity, error)
        return first

    def fail(self, error: BaseException | str) -> None:
        """Records that the attempt failed, and why; its loop states stay for the next attempt.

        Nothing changes if this attempt has already marked the stage done, or if another worker fails after the first
        worker has written a result. Of several errors the first one counts.
        """
        done = self.store.done(self.identity)
        if done is not None and done.attempt == self.name:
            return
        raised = isinstance(error, BaseException)
        text = f"{type(error).__name__}: {error}" if raised else error
        trace = "".join(traceback.format_exception(error)) if raised else None
        write = self.store.storage.write if self._has_result else self.store.storage.create
        write(self.path_of(RESULT), self._outcome("failed", error=text, trace=trace))

    def prune(self, epochs: list[dict[str, Any]]) -> None:
        """Records that the attempt was stopped early, after these epochs."""
        self.store.storage.write(self.path_of(RESULT), self._outcome("pruned", result=StageResult(epochs=epochs)))

    def _outcome(
        self,
        outcome: str,
        *,
        result: StageResult | None = None,
        files: Mapping[str, bytes] | None = None,
        error: str | None = None,
        trace: str | None = None,
    ) -> bytes:
        result = result or StageResult()
        content = {
            "outcome": outcome,
            "error": error,
            "traceback": trace,
            "ended_at": _now(),
            "duration_s": time.perf_counter() - self._started[0],
            "cpu_s": time.process_time() - self._started[1],
            "metrics": dict(result.metrics),
            "epochs": result.epochs,
            "tables": list(result.tables),
            "facts": dict(result.facts),
            "files": _checksums(files or {}),
        }
        return json.dumps(content, indent=1).encode()


def _checksums(files: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    return {name: checksum(data) for name, data in files.items()}


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def _now() -> str:
    return datetime.now(UTC).isoformat()
