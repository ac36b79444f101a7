"""A study that is killed and run again ends with the same rows, bit for bit."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from experiments.presets import TINY
from study.corpora.corpora import open_corpora
from study.records.records import Records
from study.store.store import Store
from tests.bucket import Bucket
from tests.study.cluster.commands import family, finish, gone, interrupt, named, start, wait_until, workers

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1800)]

# What may differ between two studies of equal content: when, how long, by which attempt, where.
MAY_DIFFER = {"attempt", "num_attempts", "started_at", "ended_at", "duration_s", "cpu_s", "facts", "host"}


def rows(storage: Path | str, table: str) -> list[str]:
    """A table's rows, sorted, without the columns that may differ; repr tells every bit of a float."""
    content: pa.Table = Records(Store(storage)).read(table)
    columns = [name for name in content.column_names if name not in MAY_DIFFER]
    return sorted(repr(row) for row in content.select(columns).to_pylist())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    storage = tmp_path_factory.mktemp("undisturbed")
    finish(start(storage))
    found = {table: rows(storage, table) for table in ("runs", "epochs", "tag_metrics")}
    assert all(found.values())
    return found


def in_the_middle(storage: Path) -> bool:
    """Some stages have been begun, some are done, most are neither."""
    return len(list(storage.glob("stages/*/done.json"))) >= 2


def kill_driver(process) -> None:
    process.kill()


def kill_driver_and_workers(process) -> None:
    for victim in [*workers(process), process]:
        victim.kill()


def kill_workers(process) -> None:
    for victim in workers(process):
        victim.kill()
    finish(process)


@pytest.mark.parametrize("kill", [kill_driver, kill_driver_and_workers, kill_workers])
def test_a_killed_study_that_is_run_again_ends_with_the_same_rows(
    kill: Callable[..., None], undisturbed: dict[str, list[str]], tmp_path: Path
):
    process = start(tmp_path)
    wait_until(lambda: in_the_middle(tmp_path) and bool(workers(process)), process)
    children = family(process)
    kill(process)
    process.wait(60)
    assert gone(children)

    finish(start(tmp_path))

    assert {table: rows(tmp_path, table) for table in undisturbed} == undisturbed
    again = finish(start(tmp_path))
    assert "Nothing to train" in again


def test_each_kind_of_process_is_killed_once_in_one_study(undisturbed: dict[str, list[str]], tmp_path: Path):
    process = start(tmp_path)
    for name in ("RayTrainWorker", "TrainController", "ImplicitFunc", "SynchronizationActor", "Desk"):
        num_done = len(list(tmp_path.glob("stages/*/done.json")))
        wait_until(lambda known=num_done: len(list(tmp_path.glob("stages/*/done.json"))) > known, process)
        wait_until(lambda: bool(workers(process)), process)
        named(process, name)[0].kill()
    finish(process)

    assert {table: rows(tmp_path, table) for table in undisturbed} == undisturbed
    assert set(num_executions(Store(tmp_path)).values()) == {1}


def num_executions(store: Store) -> dict[str, int]:
    """How often each stage was trained to its end."""
    return {
        identity: sum((store.outcome(identity, name) or {}).get("outcome") == "completed" for name in names)
        for identity in store.identities()
        if (names := store.attempts(identity))
    }


@pytest.mark.parametrize("num_commands", [2, 4])
@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_commands_on_one_store_that_are_killed_at_random_train_each_stage_once(
    num_commands: int, place: str, undisturbed: dict[str, list[str]], tmp_path: Path, bucket: Bucket
):
    corpora = tmp_path / "corpora"
    open_corpora(["separation", "tagging"], {}, TINY.generated, corpora, lambda *progress: None)
    location = str(tmp_path / "store") if place == "folder" else bucket.address(f"{tmp_path.name}")
    options = [f"--{path.name.split('-')[1]}-corpus={path}" for path in corpora.iterdir() if path.is_dir()]
    drawn = random.Random(num_commands)
    commands = [start(location, *options) for _ in range(num_commands)]
    for _ in range(num_commands):
        time.sleep(drawn.uniform(10, 30))
        victim = drawn.randrange(num_commands)
        commands[victim].kill()
        commands[victim].wait()
        commands[victim] = start(location, *options)
    for command in commands:
        finish(command)

    assert {table: rows(location, table) for table in undisturbed} == undisturbed
    times = num_executions(Store(location))
    assert times and set(times.values()) == {1}


def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(tmp_path: Path):
    process = start(tmp_path)
    wait_until(lambda: bool(workers(process)), process)
    children = family(process)
    interrupt(process)
    output, _ = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "the same command goes on" in output
    assert "Traceback" not in output and "WARNING" not in output
    assert gone(children)
    finish(start(tmp_path))
