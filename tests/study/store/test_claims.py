"""Claims: one of several commands gets a stage; a holder that renews keeps it, one that is gone loses it."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from study.store import claims
from study.store.attempt import begin_attempt
from study.store.claims import Claims
from study.store.store import Store
from tests import ROOT
from tests.bucket import Bucket
from tests.study.toy_stages import toy_result, toy_stage

STAGE = toy_stage(label="contested")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    monkeypatch.setattr(claims, "SETTLE_S", 0.2)
    return Clock()


@pytest.fixture(params=["folder", "bucket"])
def location(request, tmp_path, bucket: Bucket) -> str:
    return str(tmp_path) if request.param == "folder" else bucket.address(tmp_path.name)


def file_of(folder: Path) -> Path:
    return max((folder / "claims" / STAGE.identity).iterdir())


def other_machine(monkeypatch) -> None:
    """From now on, claims come from a machine whose processes cannot be seen."""
    monkeypatch.setattr(claims, "_this_process", lambda: "unknown")


def test_the_first_has_it_until_it_gives_it_back(location, clock):
    first, second = (Claims(Store(location), name, clock=clock) for name in ("a", "b"))
    assert first.take(STAGE.identity) is None and first.take(STAGE.identity) is None
    told = second.take(STAGE.identity)
    assert told is not None and told.endswith("(command a)")
    assert second.holder(STAGE.identity) == told and first.holder(STAGE.identity) is None

    first.release(STAGE.identity)
    assert second.holder(STAGE.identity) is None
    assert second.take(STAGE.identity) is None
    assert first.take(STAGE.identity) is not None


def test_of_many_at_the_same_moment_one_has_it(location, clock):
    commands = [Claims(Store(location), str(number), clock=clock) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for stage in (toy_stage(seed=seed) for seed in range(5)):
            told = list(pool.map(lambda command, stage=stage: command.take(stage.identity), commands))
            assert told.count(None) == 1


def test_whoever_renews_keeps_it_however_long_and_whoever_does_not_loses_it(tmp_path, clock, monkeypatch):
    other_machine(monkeypatch)
    slow, waiting = (Claims(Store(tmp_path), name, clock=clock, expires_after_s=90) for name in ("slow", "waiting"))
    assert slow.take(STAGE.identity) is None
    for _ in range(20):
        assert waiting.take(STAGE.identity) is not None
        clock.now += 80
        slow.renew()
    assert waiting.take(STAGE.identity) is not None
    clock.now += 89
    assert waiting.take(STAGE.identity) is not None
    clock.now += 2
    assert waiting.take(STAGE.identity) is None


def test_time_counts_from_when_a_claim_was_first_seen(tmp_path, clock, monkeypatch):
    other_machine(monkeypatch)
    Claims(Store(tmp_path), "gone", clock=clock).take(STAGE.identity)
    clock.now += 1e6
    assert Claims(Store(tmp_path), "new", clock=clock).take(STAGE.identity) is not None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"version": 1, "comm', "is damaged"),
        (b"", "is damaged"),
        (b"[]", "is damaged"),
        (b'{"version": 1}', "is damaged"),
        (json.dumps({"version": 2, "holder": "x"}).encode(), "a newer version of this code"),
    ],
)
def test_a_claim_that_cannot_be_read_is_named_and_nobodys_after_the_full_time(tmp_path, clock, content, told):
    Claims(Store(tmp_path), "a", clock=clock).take(STAGE.identity)
    file = file_of(tmp_path)
    file.write_bytes(content)
    command = Claims(Store(tmp_path), "b", clock=clock, expires_after_s=90)
    said = command.take(STAGE.identity)
    assert said is not None and told in said and str(file) in said
    clock.now += 80
    assert command.take(STAGE.identity) == said
    file.write_bytes(content + b" ")  # somebody is alive
    clock.now += 80
    assert command.take(STAGE.identity) == said
    clock.now += 91
    assert command.take(STAGE.identity) is None


def test_a_process_of_this_machine_that_is_gone_is_not_waited_for(tmp_path, clock):
    lines = ["from study.store.claims import Claims", "from study.store.store import Store"]
    lines += [f"Claims(Store({str(tmp_path)!r}), 'dead').take({STAGE.identity!r})"]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, cwd=ROOT)
    assert file_of(tmp_path).exists()
    assert Claims(Store(tmp_path), "next", clock=clock).take(STAGE.identity) is None


def test_of_what_is_done_nothing_remains(location, clock):
    store = Store(location)
    command = Claims(store, "a", clock=clock)
    command.take(STAGE.identity)
    begin_attempt(store, STAGE).finish(toy_result())
    command.release(STAGE.identity)
    assert store.storage.names(f"claims/{STAGE.identity}") == []


def test_its_end_releases_all_and_in_between_it_renews(tmp_path, clock):
    other = toy_stage(seed=5)
    with Claims(Store(tmp_path), "a", renew_every_s=0.05) as command:
        for stage in (STAGE, other):
            assert command.take(stage.identity) is None
        before = file_of(tmp_path).read_bytes()
        while file_of(tmp_path).read_bytes() == before:
            pass
    assert json.loads(file_of(tmp_path).read_text())["is_released"]
    assert Claims(Store(tmp_path), "b", clock=clock).take(other.identity) is None


def test_a_storage_that_fails_for_a_while_ends_nothing(tmp_path, clock, monkeypatch, caplog):
    command = Claims(Store(tmp_path), "a", clock=clock)
    command.take(STAGE.identity)

    def fail(path: str, data: bytes) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(command._storage, "write", fail)
        command.renew()
        assert "could not be renewed: no space left" in caplog.text
    command.renew()
    assert json.loads(file_of(tmp_path).read_text())["num_renewals"] == 1
