"""What the store's files hold: checksums, markers, loop states."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_DIGEST_BYTES = 32


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


def pack_state(state: bytes) -> bytes:
    """A loop state's file: its SHA-256, then the state, so that the file alone shows whether it is torn."""
    return hashlib.sha256(state).digest() + state


def unpack_state(data: bytes) -> bytes:
    """The loop state in a file; ValueError if the file is torn."""
    if len(data) < _DIGEST_BYTES or hashlib.sha256(data[_DIGEST_BYTES:]).digest() != data[:_DIGEST_BYTES]:
        raise ValueError("its SHA-256 does not fit, the file is torn or damaged")
    return data[_DIGEST_BYTES:]


def checksum(data: bytes) -> dict[str, Any]:
    """A file as a marker describes it."""
    return {"sha256": hashlib.sha256(data).hexdigest(), "num_bytes": len(data)}


def marker(attempt: str, files: Mapping[str, Mapping[str, Any]]) -> bytes:
    """The content of a done-marker; `files`: name -> checksum."""
    return json.dumps({"attempt": attempt, "files": files}, indent=1).encode()


def parsed_marker(identity: str, content: bytes) -> Done:
    """A marker from its file. ValueError, TypeError, KeyError or AttributeError if it is none."""
    said = json.loads(content)
    files = {name: StoredFile(**entry) for name, entry in said["files"].items()}
    files["result.json"]  # KeyError: a result has one
    return Done(identity=identity, attempt=str(said["attempt"]), files=files)
