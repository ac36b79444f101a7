"""A study on a real cluster of two nodes with token authentication: as a job, and with all its data in a bucket."""

import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from components.corpora.corpus import Corpus
from experiments.presets import TINY
from study.corpora.corpora import open_corpora
from tests import ROOT
from tests.bucket import Bucket, upload
from tests.study.cluster.commands import finish, wait_until
from tests.study.cluster.ray_head import RAY, Head

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
TWO_STAGES = "tests/study/cluster/two_bare.py"


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Of the two nodes, one for each."""
    return [tmp_path_factory.mktemp(name) for name in ("first", "second")]


@pytest.fixture(scope="module")
def head(disks: list[Path], bucket: Bucket) -> Iterator[Head]:  # it has the bucket's settings in its environment
    with Head(num_cpus=1, OWN_DISK=str(disks[0])) as head:
        yield head


def submit(head: Head, storage: Path, script: str, *options: str) -> str:
    """What the job printed; its runs are done and have scores."""
    done = head.submit(*options, entry=f"python {script} --preset tiny --seeds 2 --storage {storage}")
    assert done.returncode == 0, done.stdout
    assert "succeeded" in done.stdout
    runs = pq.ParquetDataset(storage / "records" / "runs").read().to_pylist()
    assert runs and {run["state"] for run in runs} == {"done"}
    assert all(0 <= dict(run["metrics"])["roc_auc"] <= 1 for run in runs)
    return done.stdout


@pytest.mark.slow
def test_a_job_with_a_working_directory_ends_in_parquet(head: Head, tmp_path: Path):
    output = submit(head, tmp_path, TWO_STAGES, "--working-dir", ".")

    said = output.split("Tailing logs until the job exits")[1]
    assert "stages trained by this command" in said
    for noise in ("Traceback", "WARNING", "(raylet)"):
        assert noise not in said
    stages = pq.ParquetDataset(tmp_path / "records" / "stages").read().to_pylist()
    assert {stage["state"] for stage in stages} == {"done"}


def test_whoever_has_no_token_is_refused(head: Head):
    without = head.env | {"RAY_AUTH_TOKEN_PATH": "/nonexistent", "RAY_AUTH_MODE": "disabled"}
    denied = subprocess.run([RAY, "job", "list", "--address", head.address], env=without, cwd=ROOT, check=False)
    assert denied.returncode != 0


@pytest.mark.parametrize("path", ["/api/jobs/", "/nodes?view=summary", "/api/cluster_status", "/api/v0/logs"])
def test_without_the_token_job_server_and_dashboard_answer_401(head: Head, path: str):
    for method, headers, status in (
        ("GET", {}, 401),
        ("POST", {}, 401),
        ("GET", {"Authorization": "Bearer wrong"}, 403),
    ):
        connection = HTTPConnection(head.address.removeprefix("http://"), timeout=30)
        connection.request(method, path, '{"entrypoint": "id"}' if method == "POST" else None, headers)
        assert connection.getresponse().status == status
        connection.close()


@pytest.mark.slow
def test_every_node_brings_the_corpus_to_its_own_disk(head: Head, disks: list[Path], tmp_path: Path, bucket: Bucket):
    generated = open_corpora(["tagging"], {}, TINY.generated, tmp_path / "here", lambda *progress: None)
    corpus = generated.of("tagging")
    upload(corpus.folder, bucket.address("tagging"))
    own = tmp_path / "driver"
    head.add_node(1, OWN_DISK=str(disks[1]))
    # So many that the first node's group cannot take them all before the second one's has started.
    command = [sys.executable, TWO_STAGES, "--preset", "tiny", "--seeds", "10"]
    command += ["--storage", bucket.address("study"), "--tagging-corpus", bucket.address("tagging")]
    done = subprocess.run(
        [*command, "--corpus-cache", "$OWN_DISK/corpora"],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        env=head.env | {"RAY_ADDRESS": head.cluster, "OWN_DISK": str(own), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout

    for disk in (own, *disks):
        assert sorted(path.name for path in (disk / "corpora").iterdir()) == [corpus.digest, f"{corpus.digest}.lock"]
        Corpus.open(disk / "corpora" / corpus.digest).verify()
    server, place = fs.FileSystem.from_uri(bucket.address("study/records/stages"))
    stages = pq.ParquetDataset(place, server).read().to_pylist()
    assert [stage["state"] for stage in stages] == ["done"] * 10


@pytest.mark.slow
def test_a_machine_that_is_lost_costs_no_stage(head: Head, disks: list[Path], tmp_path: Path):
    head.add_node(1, OWN_DISK=str(disks[1]))
    command = [
        sys.executable,
        "experiments/ablation.py",
        "--preset",
        "tiny",
        "--seeds",
        "1",
        "--checkpoint-every-s",
        "0",
    ]
    study = subprocess.Popen(
        [*command, "--storage", str(tmp_path)],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=head.env | {"RAY_ADDRESS": head.cluster, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    wait_until(lambda: len(list(tmp_path.glob("stages/*/done.json"))) >= 2, study)
    head.kill_node()
    assert "failed" not in finish(study)


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--working-dir", ".")], ids=["from the head's folder", "uploaded"])
def test_the_ablation_as_a_job_on_a_head_started_from_the_repository(head: Head, tmp_path: Path, options):
    submit(head, tmp_path, "experiments/ablation.py", *options)
