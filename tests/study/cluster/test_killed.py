"""A study that is killed and run again ends with the same rows, bit for bit."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from study.records.records import Records
from study.store.store import Store
from tests.study.cluster.commands import family, finish, gone, interrupt, start, wait_until, workers

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1800)]

# What may differ between two studies of equal content: when, how long, by which attempt, where.
MAY_DIFFER = {"attempt", "num_attempts", "started_at", "ended_at", "duration_s", "cpu_s", "facts", "host"}


def rows(storage: Path, table: str) -> list[str]:
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


def test_two_studies_on_one_storage_at_once_do_no_harm(undisturbed: dict[str, list[str]], tmp_path: Path):
    finish(start(tmp_path, "--plan"))  # the corpora
    both = [start(tmp_path), start(tmp_path)]
    for process in both:
        finish(process)

    assert {table: rows(tmp_path, table) for table in undisturbed} == undisturbed


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
