"""The study as a job on a real one-node cluster with token authentication."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests import ROOT
from tests.study.cluster.ray_head import RAY, Head

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


@pytest.fixture
def head() -> Iterator[Head]:
    with Head() as head:
        yield head


def runs_in(storage: Path) -> list[dict]:
    return pq.ParquetDataset(storage / "records" / "runs").read().to_pylist()


def submit(head: Head, storage: Path, *options: str) -> str:
    entry = f"python experiments/ablation.py --preset tiny --seeds 1 --storage {storage}"
    done = head.submit(*options, entry=entry)
    assert done.returncode == 0, done.stdout
    assert "succeeded" in done.stdout
    runs = runs_in(storage)
    assert runs and {run["state"] for run in runs} == {"done"}
    assert all(0 <= dict(run["metrics"])["roc_auc"] <= 1 for run in runs)
    return done.stdout


def test_a_job_with_a_working_directory_ends_in_parquet(head: Head, tmp_path: Path):
    output = submit(head, tmp_path, "--working-dir", ".")

    said = output.split("Tailing logs until the job exits")[1]
    assert "stages trained by this command" in said
    for noise in ("Traceback", "WARNING", "(raylet)"):
        assert noise not in said
    stages = pq.ParquetDataset(tmp_path / "records" / "stages").read().to_pylist()
    assert {stage["state"] for stage in stages} == {"done"}
    without = head.env | {"RAY_AUTH_TOKEN_PATH": "/nonexistent", "RAY_AUTH_MODE": "disabled"}
    denied = subprocess.run([RAY, "job", "list", "--address", head.address], env=without, cwd=ROOT, check=False)
    assert denied.returncode != 0


@pytest.mark.slow
def test_a_bare_job_on_a_head_started_from_the_repository(head: Head, tmp_path: Path):
    submit(head, tmp_path)
