"""The store: every stage's results and loop states. Only its done-markers say which stages are done.

    store.json                                    format version
    inputs/<sha256>                               a file that stages start from, such as weights trained elsewhere
    stages/<identity>/stage.json                  what the identity stands for
    stages/<identity>/attempts/<number>-<token>/  begun.json, state-<n>, the result's files, result.json
    stages/<identity>/done.json                   written last and only if absent: the attempt that counts, checksums

Attempts never share a folder (the token is random), so the files of two attempts never mix. On an object store two
attempts that end at the same moment may both mark the stage done (see storage.py). The later marker then stays. Both
results are complete.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow import fs

from study.store.storage import LocalStorage, concurrently, open_storage

FORMAT_VERSION = 1
_DIGEST_BYTES = 32
_log = logging.getLogger(__name__)


def stage_folder(identity: str) -> str:
    """Path of a stage's folder in the store."""
    return f"stages/{identity}"


def attempt_folder(identity: str, attempt: str) -> str:
    """Path of an attempt's folder in the store."""
    return f"{stage_folder(identity)}/attempts/{attempt}"


def pack_state(state: bytes) -> bytes:
    """A loop state's file: its SHA-256, then the state, so that the file alone shows whether it is torn."""
    return hashlib.sha256(state).digest() + state


def unpack_state(data: bytes) -> bytes:
    """The loop state in a file; ValueError if the file is torn."""
    if len(data) < _DIGEST_BYTES or hashlib.sha256(data[_DIGEST_BYTES:]).digest() != data[:_DIGEST_BYTES]:
        raise ValueError("its SHA-256 does not fit, the file is torn or damaged")
    return data[_DIGEST_BYTES:]


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file of a result as its marker describes it."""

    sha256: str
    num_bytes: int


@dataclass(frozen=True, kw_only=True)
class Done:
    """The marker of a stage that is done: the attempt that counts and its files."""

    identity: str
    attempt: str
    files: Mapping[str, StoredFile]


class Store:
    """A store at a local path or a URI such as s3://bucket/study; opening it writes nothing.

    Raises ValueError if the store was written in a newer format.
    """

    def __init__(self, location: str | Path, filesystem: fs.FileSystem | None = None) -> None:
        self.storage = open_storage(location, filesystem)
        # A path is made absolute: another process may work in another folder.
        self.location = self.storage.name if isinstance(self.storage, LocalStorage) else str(location)
        self._arguments = (self.location, filesystem)
        if self.storage.exists("store.json"):
            version, name = self._read_json("store.json")["format_version"], self.storage.name_of("store.json")
            if version > FORMAT_VERSION:
                known = f"{FORMAT_VERSION}, the newest known here"
                raise ValueError(f"{name}: format version {version} is newer than {known}")

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, self._arguments

    def __repr__(self) -> str:
        return f"Store({self.storage.name!r})"

    def _read_json(self, path: str) -> Any:
        try:
            return json.loads(self.storage.read(path))
        except ValueError as error:
            raise ValueError(f"{self.storage.name_of(path)} is damaged: {error}") from error

    def check_writable(self) -> None:
        """Makes the store if it is new; PermissionError, with location and cause, unless it can be written."""
        self.storage.check_writable()
        self.create()

    def create(self) -> None:
        """Makes the store, if it is new."""
        self.storage.create("store.json", json.dumps({"format_version": FORMAT_VERSION}).encode())

    def identities(self) -> list[str]:
        """Identities of all stages ever begun here, sorted."""
        return self.storage.names("stages")

    def stage_json(self, identity: str) -> dict[str, Any]:
        """What a stage was: {"label", "canonical", "description"}, see `Stage`."""
        return self._read_json(f"{stage_folder(identity)}/stage.json")

    def done(self, identity: str) -> Done | None:
        """The done-marker of a stage, None while it is not done."""
        path = f"{stage_folder(identity)}/done.json"
        if not self.storage.exists(path):
            return None
        marker = self._read_json(path)
        files = {name: StoredFile(**entry) for name, entry in marker["files"].items()}
        return Done(identity=identity, attempt=marker["attempt"], files=files)

    def done_identities(self, identities: Iterable[str]) -> set[str]:
        """The identities that are done; fast for thousands."""
        identities = list(identities)
        exist = concurrently(lambda identity: self.storage.exists(f"{stage_folder(identity)}/done.json"), identities)
        return {identity for identity, exists in zip(identities, exist, strict=True) if exists}

    def attempts(self, identity: str) -> list[str]:
        """Names of a stage's attempts, oldest first."""
        return sorted(
            self.storage.names(f"{stage_folder(identity)}/attempts"), key=lambda name: (int(name.split("-")[0]), name)
        )

    def begun(self, identity: str, attempt: str) -> dict[str, Any] | None:
        """When an attempt began and the facts about it; None if it was killed before it could write them."""
        path = f"{attempt_folder(identity, attempt)}/begun.json"
        return self._read_json(path) if self.storage.exists(path) else None

    def outcome(self, identity: str, attempt: str) -> dict[str, Any] | None:
        """What an attempt left in result.json together with its begun.json; None while it runs or if it was killed."""
        path = f"{attempt_folder(identity, attempt)}/result.json"
        if not self.storage.exists(path):
            return None
        return {"begun": self.begun(identity, attempt), **self._read_json(path)}

    def latest_state(self, identity: str) -> str | None:
        """Path of the newest loop state that is whole, over all attempts; None if there is none."""
        for attempt in reversed(self.attempts(identity)):
            for path in reversed(self.state_paths(identity, attempt)):
                try:
                    self.read_state(path)
                except (ValueError, FileNotFoundError) as error:
                    _log.warning("skipped the loop state %s: %s", self.storage.name_of(path), error)
                else:
                    return path
        return None

    def read_state(self, path: str) -> bytes:
        """A loop state; ValueError if its file is torn."""
        return unpack_state(self.storage.read(path))

    def state_paths(self, identity: str, attempt: str) -> list[str]:
        """Paths of an attempt's loop states, oldest first."""
        folder = attempt_folder(identity, attempt)
        return [f"{folder}/{name}" for name in self.storage.names(folder) if name.startswith("state-")]

    def remove_states(self, identity: str) -> None:
        """Removes the loop states of all attempts at a stage that is done."""
        for attempt in self.attempts(identity):
            for path in self.state_paths(identity, attempt):
                self.storage.delete(path)
            self.storage.delete_unfinished(attempt_folder(identity, attempt), "state-")

    def read(self, identity: str, name: str) -> bytes:
        """A file of a stage that is done.

        ValueError if it is not done, has no such file, or the file is not what was written (checksum).
        """
        done = self.done(identity)
        if done is None:
            raise ValueError(f"stage {identity} is not done in {self.storage.name}")
        if name not in done.files:
            raise ValueError(f"stage {identity} has no file {name!r}; it has {sorted(done.files)}")
        return self.read_checked(f"{attempt_folder(identity, done.attempt)}/{name}", done.files[name].sha256)

    def add_input(self, data: bytes) -> str:
        """Stores a file. Returns its SHA-256, by which stages read it."""
        sha256 = hashlib.sha256(data).hexdigest()
        self.storage.create(f"inputs/{sha256}", data)
        return sha256

    def read_input(self, sha256: str) -> bytes:
        """A file from `add_input`; FileNotFoundError if there is none, ValueError if it is damaged."""
        return self.read_checked(f"inputs/{sha256}", sha256)

    def read_checked(self, path: str, sha256: str) -> bytes:
        """A file's content; ValueError, naming the file, if it does not have this SHA-256."""
        data = self.storage.read(path)
        actual = hashlib.sha256(data).hexdigest()
        if actual != sha256:
            raise ValueError(f"{self.storage.name_of(path)} is damaged: SHA-256 is {actual}, was written as {sha256}")
        return data
