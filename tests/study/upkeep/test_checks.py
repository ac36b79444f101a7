"""A damaged file is found whatever it is and wherever the store lies, and mending trains nothing."""

from collections.abc import Callable

import pytest

from study.records.records import Records
from study.records.schemas import SCHEMAS
from study.store.attempt import begin_attempt
from study.store.store import Store, attempt_folder
from study.upkeep.checks import checks_of, look, mend
from study.upkeep.contents import Contents
from tests.bucket import Bucket
from tests.study.toy_stages import toy_stage
from tests.study.toy_store import CHILD, PARENT, busy_store

BEGUN = toy_stage(seed=40, label="begun")


@pytest.fixture
def store(tmp_path) -> Store:
    return filled(Store(tmp_path / "store"))


def filled(store: Store) -> Store:
    """With stages that are done, failed and begun, a run and a search."""
    busy_store(store)
    begin_attempt(store, BEGUN).save_state(b"a state")
    store.add_input(b"weights from elsewhere")
    return store


def damaged(store: Store) -> list[str]:
    """Paths that do not pass."""
    return [finding.check.path for finding in look(checks_of(Contents(store)), lambda done, total: None)]


def everything(store: Store) -> dict[str, bytes]:
    return {file.path: store.storage.read(file.path) for file in store.storage.files()}


def rows(store: Store) -> dict[str, str]:
    """As text: NaN is no equal of NaN."""
    return {table: str(Records(store).read(table, every_attempt=True).to_pylist()) for table in SCHEMAS}


def flipped(data: bytes) -> bytes:
    """With four bytes changed in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes(byte ^ 0xFF for byte in data[middle : middle + 4]) + data[middle + 4 :]


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def first(store: Store, start: str, end: str = "") -> str:
    return next(file.path for file in store.storage.files() if file.path.startswith(start) and file.path.endswith(end))


def result_of(store: Store, name: str) -> str:
    done = store.done(CHILD.identity)
    assert done is not None
    return f"{attempt_folder(CHILD.identity, done.attempt)}/{name}"


# What is damaged -> where it lies, and whether its stage must be trained again.
PLACES: dict[str, tuple[Callable[[Store], str], bool]] = {
    "weights": (lambda store: result_of(store, "weights.bin"), True),
    "scores": (lambda store: result_of(store, "track_scores.parquet"), True),
    "result": (lambda store: result_of(store, "result.json"), True),
    "beginning": (lambda store: result_of(store, "begun.json"), False),
    "marker": (lambda store: f"stages/{CHILD.identity}/done.json", False),
    "description": (lambda store: f"stages/{PARENT.identity}/stage.json", False),
    "failed attempt": (lambda store: first(store, f"stages/{CHILD.identity}/attempts/001", "result.json"), False),
    "loop state": (lambda store: first(store, f"stages/{BEGUN.identity}/attempts/001", "state-000000000"), False),
    "input": (lambda store: first(store, "inputs/"), False),
    "plan of a run": (lambda store: first(store, "runs/"), False),
    "search": (lambda store: first(store, "trials/"), False),
    "study": (lambda store: first(store, "studies/"), False),
    "rows of a stage": (lambda store: first(store, "records/stages/"), False),
    "rows of scores": (lambda store: first(store, "records/track_scores/"), False),
    "rows of a run": (lambda store: first(store, "records/runs/"), False),
}


@pytest.mark.parametrize("damage", [flipped, truncated])
@pytest.mark.parametrize("place", PLACES)
def test_damage_is_found_without_change_and_mended_without_training(store, place, damage, caplog):
    assert damaged(store) == []
    before, (where, is_lost) = rows(store), PLACES[place]
    path = where(store)
    store.storage.write(path, damage(store.storage.read(path)))
    as_damaged = everything(store)
    if place == "beginning" and damage is flipped:
        # JSON without a checksum: what still parses is believed.
        store.storage.write(path, as_damaged[path][1:])
        as_damaged = everything(store)

    assert damaged(store) == [path]
    assert everything(store) == as_damaged

    mend(look(checks_of(Contents(store)), lambda done, total: None), store)
    # What a stage was, only its study knows.
    assert damaged(store) == ([path] if place == "description" else [])
    aside = [file.path for file in store.storage.files("quarantine")]
    assert any(name.startswith(f"quarantine/{path}-") and name.endswith(".cause") for name in aside)
    kept = next(name for name in aside if name.startswith(f"quarantine/{path}-") and not name.endswith(".cause"))
    assert store.storage.read(kept) == as_damaged[path]
    assert (store.done(CHILD.identity) is None) == is_lost
    assert store.done(PARENT.identity) is not None
    assert "set aside" in caplog.text
    if place.startswith("rows") or place in ("marker", "loop state", "input"):
        assert rows(store) == before


def test_so_it_is_in_a_bucket(tmp_path, bucket: Bucket):
    store = filled(Store(bucket.address(tmp_path.name)))
    assert damaged(store) == []
    paths = [PLACES[place][0](store) for place in ("marker", "weights", "rows of scores")]
    for path in paths:
        store.storage.write(path, truncated(store.storage.read(path)))
    assert sorted(damaged(store)) == sorted(paths)
    mend(look(checks_of(Contents(store)), lambda done, total: None), store)
    assert damaged(store) == [] and store.done(CHILD.identity) is None
    assert len(store.storage.files("quarantine")) == 8


def test_a_file_or_rows_that_are_gone_are_found(store):
    path = result_of(store, "weights.bin")
    store.storage.delete(path)
    part = first(store, "records/epochs/")
    store.storage.delete(part)
    assert damaged(store) == [path, "records"]
    mend(look(checks_of(Contents(store)), lambda done, total: None), store)
    assert damaged(store) == [] and store.done(CHILD.identity) is None
    assert store.storage.exists(part)


def test_a_marker_that_says_a_wrong_checksum_costs_no_training(store):
    path = f"stages/{CHILD.identity}/done.json"
    done = store.done(CHILD.identity)
    assert done is not None
    right = done.files["weights.bin"].sha256
    store.storage.write(path, store.storage.read(path).replace(right.encode(), right[::-1].encode()))
    assert damaged(store) == [result_of(store, "weights.bin")]
    mend(look(checks_of(Contents(store)), lambda done, total: None), store)
    assert damaged(store) == [] and store.done(CHILD.identity) == done


def test_progress_counts_every_check(store):
    told: list[tuple[int, int]] = []
    checks = list(checks_of(Contents(store)))
    look(checks, lambda done, total: told.append((done, total)))
    assert told == [(number, len(checks)) for number in range(1, len(checks) + 1)]
