"""The store: every stage's results and loop states. Only its done-markers say which stages are done.

    store.json                                    format version
    inputs/<sha256>                               a file that stages start from, such as weights trained elsewhere
    stages/<identity>/stage.json                  what the identity stands for
    stages/<identity>/attempts/<number>-<token>/  begun.json, state-<n>, the result's files, result.json
    stages/<identity>/done.json                   written last and only if absent: the attempt that counts, checksums

A file that is damaged is set aside (quarantine.py). A marker is then made again from a result that is whole; otherwise
its stage counts as not done.

Attempts never share a folder (the token is random), so the files of two attempts never mix. On an object store two
attempts that end at the same moment may both mark the stage done (see storage.py). The later marker then stays. Both
results are complete.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pyarrow import fs

from study.stages.identity import digest
from study.store.formats import Done, checksum, marker, parsed_marker, unpack_state
from study.store.quarantine import set_aside
from study.store.storage import LocalStorage, concurrently, open_storage

FORMAT_VERSION = 1
# What reading raises if a file's content is not what was written.
_NOT_AS_WRITTEN = (ValueError, TypeError, KeyError, AttributeError)
RESULT_KEYS = ("outcome", "error", "metrics", "epochs", "files", "ended_at")
_log = logging.getLogger(__name__)


def stage_folder(identity: str) -> str:
    """Path of a stage's folder in the store."""
    return f"stages/{identity}"


def attempt_folder(identity: str, attempt: str) -> str:
    """Path of an attempt's folder in the store."""
    return f"{stage_folder(identity)}/attempts/{attempt}"


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
            self._check_version()

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, self._arguments

    def __repr__(self) -> str:
        return f"Store({self.storage.name!r})"

    def _check_version(self) -> None:
        try:
            version = int(json.loads(self.storage.read("store.json"))["format_version"])
        except _NOT_AS_WRITTEN as error:
            set_aside(self.storage, "store.json", error, "It is written again.")
            self.create()
            return
        if version > FORMAT_VERSION:
            known = f"{FORMAT_VERSION}, the newest known here"
            raise ValueError(f"{self.storage.name_of('store.json')}: format version {version} is newer than {known}")

    def _read_json(
        self, path: str, needed: Iterable[str], consequence: Callable[[], str], sha256: str | None = None
    ) -> dict[str, Any] | None:
        """What a file says; None if it is not there, or was damaged and is set aside. `sha256`: if it is known."""
        try:
            content = json.loads(self.read_checked(path, sha256) if sha256 else self.storage.read(path))
            for key in needed:
                content[key]
        except FileNotFoundError:
            return None
        except _NOT_AS_WRITTEN as error:
            set_aside(self.storage, path, f"{type(error).__name__}: {error}", consequence())
            return None
        return content

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
        """What a stage was: {"label", "canonical", "description"}, see `Stage`; FileNotFoundError if nothing tells."""
        path, needed = f"{stage_folder(identity)}/stage.json", ("label", "canonical", "description")
        consequence = "The next command whose study has the stage writes it again."
        found = self._read_json(path, needed, lambda: consequence)
        if found is not None and digest(found["canonical"]) != identity:
            set_aside(self.storage, path, "it describes another stage", consequence)
            found = None
        if found is None:
            raise FileNotFoundError(self.storage.name_of(path))
        return found

    def done(self, identity: str) -> Done | None:
        """The done-marker of a stage, None while it is not done.

        A damaged one is set aside. If an attempt's result is whole, a new one is made from it.
        """
        path = f"{stage_folder(identity)}/done.json"
        try:
            return parsed_marker(identity, self.storage.read(path))
        except FileNotFoundError:
            return None
        except _NOT_AS_WRITTEN as error:
            set_aside(self.storage, path, f"{type(error).__name__}: {error}", f"It marked {self._named(identity)}.")
        return self._mark_again(identity)

    def done_identities(self, identities: Iterable[str]) -> set[str]:
        """The identities that are done; fast for thousands."""
        identities = list(identities)
        found = concurrently(self.done, identities)
        return {identity for identity, done in zip(identities, found, strict=True) if done is not None}

    def mark_whole(self, identity: str) -> Done | None:
        """Marks a stage done whose attempt was killed when all of its result was written, but no marker yet."""
        for attempt in reversed(self.attempts(identity)):
            path = f"{attempt_folder(identity, attempt)}/result.json"
            outcome = self.outcome(identity, attempt)
            if outcome is None or outcome["outcome"] != "completed":
                continue
            data = self.storage.read(path)
            files = outcome["files"] | {"result.json": checksum(data)}
            if all(self._is_whole(identity, attempt, name, entry) for name, entry in files.items()):
                self.storage.create(f"{stage_folder(identity)}/done.json", marker(attempt, files))
                return self.done(identity)
        return None

    def _mark_again(self, identity: str) -> Done | None:
        done = self.mark_whole(identity)
        if done is None:
            _log.warning("%s is not done any more: the same command trains it again", self._named(identity))
        else:
            _log.warning("%s is marked done again: its attempt %s is whole", self._named(identity), done.attempt)
        return done

    def _is_whole(self, identity: str, attempt: str, name: str, entry: Mapping[str, Any]) -> bool:
        try:
            self.read_checked(f"{attempt_folder(identity, attempt)}/{name}", entry["sha256"])
        except (ValueError, FileNotFoundError):
            return False
        return True

    def _unmark(self, identity: str, attempt: str, cause: str) -> None:
        """An attempt that lacks a file counts as killed. If it was the one that counts, its stage is not done."""
        path = f"{stage_folder(identity)}/done.json"
        done = self.done(identity)
        set_aside(
            self.storage, f"{attempt_folder(identity, attempt)}/result.json", cause, "Its attempt counts no more."
        )
        if done is not None and done.attempt == attempt:
            set_aside(self.storage, path, cause, f"The same command trains {self._named(identity)} again.")

    def _named(self, identity: str) -> str:
        """A stage in words."""
        try:
            return f"stage {self.stage_json(identity)['label']!r} ({identity[:8]})"
        except FileNotFoundError:
            return f"stage {identity[:8]}"

    def attempts(self, identity: str) -> list[str]:
        """Names of a stage's attempts, oldest first."""
        return sorted(
            self.storage.names(f"{stage_folder(identity)}/attempts"), key=lambda name: (int(name.split("-")[0]), name)
        )

    def begun(self, identity: str, attempt: str) -> dict[str, Any] | None:
        """When an attempt began and the facts about it; None if it was killed before it could write them."""
        path = f"{attempt_folder(identity, attempt)}/begun.json"
        return self._read_json(path, ("started_at", "facts"), lambda: "Its facts about an attempt are lost.")

    def result(self, done: Done) -> dict[str, Any] | None:
        """The outcome of a stage that is done; None if it is damaged. The stage is then not done any more."""
        return self.outcome(done.identity, done.attempt, done.files["result.json"].sha256)

    def outcome(self, identity: str, attempt: str, sha256: str | None = None) -> dict[str, Any] | None:
        """What an attempt left in result.json together with its begun.json; None while it runs or if it was killed.

        `sha256`: of result.json, if it is known.
        """
        path, needed = f"{attempt_folder(identity, attempt)}/result.json", RESULT_KEYS
        found = self._read_json(path, needed, lambda: f"It belongs to {self._named(identity)}.", sha256)
        if found is not None:
            return {"begun": self.begun(identity, attempt), **found}
        if self.storage.exists(f"{stage_folder(identity)}/done.json"):
            self._unmark(identity, attempt, f"the result of its attempt {attempt} is lost")
        return None

    def newest_state(self, identity: str) -> str | None:
        """Path of the newest loop state, whole or not; None if there is none."""
        attempts = reversed(self.attempts(identity))
        paths = (path for attempt in attempts for path in reversed(self.state_paths(identity, attempt)))
        return next(paths, None)

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

        ValueError if it is not done, has no such file, or the file is not what was written (checksum). Such a file is
        set aside, and the stage is not done any more.
        """
        done = self.done(identity)
        if done is None:
            raise ValueError(f"stage {identity} is not done in {self.storage.name}")
        if name not in done.files:
            raise ValueError(f"stage {identity} has no file {name!r}; it has {sorted(done.files)}")
        try:
            return self.read_checked(f"{attempt_folder(identity, done.attempt)}/{name}", done.files[name].sha256)
        except (ValueError, FileNotFoundError) as error:
            # The result says the checksums too: either the file or its marker is damaged.
            said = (self.outcome(identity, done.attempt) or {"files": {}})["files"].get(name)
            if said is None or not self._is_whole(identity, done.attempt, name, said):
                return self.read_of(identity, done.attempt, name, done.files[name].sha256)
            set_aside(
                self.storage, f"{stage_folder(identity)}/done.json", f"not its file: {error}", "The file is whole."
            )
            self._mark_again(identity)
            return self.read_of(identity, done.attempt, name, said["sha256"])

    def read_of(self, identity: str, attempt: str, name: str, sha256: str) -> bytes:
        """A file of an attempt. ValueError if it is damaged or gone: its stage is then not done any more."""
        path = f"{attempt_folder(identity, attempt)}/{name}"
        try:
            return self.read_checked(path, sha256)
        except (ValueError, FileNotFoundError) as error:
            set_aside(self.storage, path, error, f"It belongs to {self._named(identity)}.")
            self._unmark(identity, attempt, f"{name} of its attempt {attempt} is lost")
            raise ValueError(f"{error}; the same command trains {self._named(identity)} again") from error

    def add_input(self, data: bytes) -> str:
        """Stores a file. Returns its SHA-256, by which stages read it."""
        sha256 = hashlib.sha256(data).hexdigest()
        self.storage.create(f"inputs/{sha256}", data)
        return sha256

    def read_input(self, sha256: str) -> bytes:
        """A file from `add_input`; FileNotFoundError if there is none. A damaged one is set aside: ValueError."""
        path = f"inputs/{sha256}"
        try:
            return self.read_checked(path, sha256)
        except ValueError as error:
            set_aside(self.storage, path, error, "The command that gave it adds it again.")
            raise

    def read_checked(self, path: str, sha256: str) -> bytes:
        """A file's content; ValueError, naming the file, if it does not have this SHA-256."""
        data = self.storage.read(path)
        if hashlib.sha256(data).hexdigest() != sha256:
            # A disk or a network may have failed once.
            data = self.storage.read(path)
        actual = hashlib.sha256(data).hexdigest()
        if actual != sha256:
            raise ValueError(f"{self.storage.name_of(path)} is damaged: SHA-256 is {actual}, was written as {sha256}")
        return data
