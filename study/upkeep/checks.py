"""The checks of a store: what must hold for each of its files, and what mends it."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from study.records.records import RUN_KEYS, SEARCH_KEYS, STUDY_KEYS, Records
from study.records.schemas import SCHEMAS
from study.stages.identity import digest
from study.store.formats import unpack_state
from study.store.quarantine import set_aside
from study.store.storage import Storage, StoredAt
from study.store.store import RESULT_KEYS, Store, attempt_folder, stage_folder
from study.upkeep.contents import Contents, name_of

_NUM_THREADS = 16
_CHUNK_BYTES = 1 << 22


class Check(NamedTuple):
    """A file. `look` raises ValueError or FileNotFoundError if it is damaged; `mend` does what can be done then."""

    path: str
    look: Callable[[], object]
    mend: Callable[[], object]


class Finding(NamedTuple):
    """A check that failed, and what is wrong in words."""

    check: Check
    cause: str


def look(checks: Iterable[Check], progress: Callable[[int, int], None]) -> list[Finding]:
    """Looks at every file and changes nothing. `progress` gets the number of files seen, and of all."""
    checks, findings = list(checks), []
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        for number, finding in enumerate(pool.map(_look, checks), 1):
            findings += [finding] if finding is not None else []
            progress(number, len(checks))
    return findings


def _look(check: Check) -> Finding | None:
    try:
        check.look()
    except FileNotFoundError:
        return Finding(check, "it is gone")
    except (ValueError, TypeError) as error:
        return Finding(check, " ".join(str(error).split()))
    return None


def mend(findings: Iterable[Finding], store: Store) -> None:
    """Sets aside what is damaged, marks stages again or as not done, and writes lost rows again. Nothing is trained."""
    for finding in findings:
        # Reading a damaged file mends it. What it was read for is not needed here.
        with suppress(ValueError, FileNotFoundError):
            finding.check.mend()
    Records(store).rebuild()


def checks_of(contents: Contents) -> Iterator[Check]:
    """The checks of every file that has a checksum or a form. Logs and pages have neither."""
    for identity in contents.stages:
        yield from _stage_checks(contents, identity)
    store, records = contents.store, Records(contents.store)
    for path in _finished(contents.below("inputs")):
        sha256 = path.split("/")[1]
        yield Check(path, partial(_has, store.storage, path, sha256), partial(store.read_input, sha256))
    for folder, keys, reading in (
        ("studies", STUDY_KEYS, records.studies),
        ("runs", RUN_KEYS, records.rebuild),
        ("trials", SEARCH_KEYS, records.searches),
    ):
        for path in _finished(contents.below(folder)):
            yield Check(path, partial(_says, store.storage, path, keys), reading)
    for path in _finished(contents.below("records")):
        _, table, name = path.split("/")
        if table in SCHEMAS:
            yield Check(path, partial(records.check, table, name), partial(records.read, table))
    yield Check("records", partial(_has_rows, contents, records), records.rebuild)


def _finished(files: Iterable[StoredAt]) -> Iterator[str]:
    return (file.path for file in files if not name_of(file).startswith("."))


def _stage_checks(contents: Contents, identity: str) -> Iterator[Check]:
    store, stage = contents.store, contents.stages[identity]
    path, marker = f"{stage_folder(identity)}/stage.json", f"{stage_folder(identity)}/done.json"
    yield Check(path, partial(_describes, store.storage, path, identity), partial(store.stage_json, identity))
    if any(file.path == marker for file in stage.files):
        yield Check(marker, partial(_says, store.storage, marker, ("attempt", "files")), partial(store.done, identity))
    for attempt, files in stage.attempts.items():
        counts = attempt == stage.attempt
        yield from (_counting_checks if counts else _other_checks)(contents, identity, attempt)
        for file in files:
            name, path = name_of(file), file.path
            if name == "begun.json":
                looking = partial(_says, store.storage, path, ("started_at", "facts"))
                yield Check(path, looking, partial(store.begun, identity, attempt))
            elif name.startswith("state-"):
                aside = partial(set_aside, store.storage, path, "torn", "The state before it is used.")
                yield Check(path, partial(_is_state, store.storage, path), aside)


def _counting_checks(contents: Contents, identity: str, attempt: str) -> Iterator[Check]:
    """The checks of the attempt that its stage's marker names."""
    store, folder = contents.store, attempt_folder(identity, attempt)
    files = contents.json(f"{stage_folder(identity)}/done.json")["files"]
    for name, entry in files.items():
        path = f"{folder}/{name}"
        yield Check(path, partial(_has, store.storage, path, entry["sha256"]), partial(store.read, identity, name))


def _other_checks(contents: Contents, identity: str, attempt: str) -> Iterator[Check]:
    """The checks of an attempt that came second, failed, or has not ended."""
    store, folder = contents.store, attempt_folder(identity, attempt)
    path = f"{folder}/result.json"
    if not any(file.path == path for file in contents.stages[identity].files):
        return
    yield Check(path, partial(_says, store.storage, path, RESULT_KEYS), partial(store.outcome, identity, attempt))
    for name, entry in contents.json(path).get("files", {}).items():
        path, sha256 = f"{folder}/{name}", entry["sha256"]
        mending = partial(store.read_of, identity, attempt, name, sha256)
        yield Check(path, partial(_has, store.storage, path, sha256), mending)


def _has(storage: Storage, path: str, sha256: str) -> None:
    """ValueError if a file does not have this SHA-256; large files are not held in memory."""
    found = hashlib.sha256()
    with storage.open(path) as file:
        while chunk := file.read(_CHUNK_BYTES):
            found.update(chunk)
    if found.hexdigest() != sha256:
        raise ValueError(f"its SHA-256 is {found.hexdigest()}, was written as {sha256}")


def _says(storage: Storage, path: str, keys: Iterable[str]) -> None:
    """ValueError if a file is no JSON, or lacks a key."""
    said = json.loads(storage.read(path))
    if lacking := [key for key in keys if key not in said]:
        raise ValueError(f"it lacks {', '.join(lacking)}")


def _describes(storage: Storage, path: str, identity: str) -> None:
    """ValueError if a stage's description does not have the stage's identity."""
    _says(storage, path, ("label", "canonical", "description"))
    found = digest(json.loads(storage.read(path))["canonical"])
    if found != identity:
        raise ValueError(f"what it says has the identity {found}")


def _is_state(storage: Storage, path: str) -> None:
    unpack_state(storage.read(path))


def _has_rows(contents: Contents, records: Records) -> None:
    """ValueError if rows of an attempt that has ended are missing."""
    ended = [
        (identity, attempt)
        for identity, attempt in records.without_rows()
        if identity in contents.stages and _has_ended(contents, identity, attempt)
    ]
    if ended:
        raise ValueError(f"the rows of {len(ended)} attempt{'' if len(ended) == 1 else 's'} are missing")


def _has_ended(contents: Contents, identity: str, attempt: str) -> bool:
    outcome = contents.json(f"{attempt_folder(identity, attempt)}/result.json").get("outcome")
    is_marked = contents.stages[identity].attempt is not None
    return outcome in ("failed", "pruned") or (outcome == "completed" and is_marked)
