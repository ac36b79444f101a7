"""A study whose corpus and store are in a bucket, on a cluster of two nodes with a disk each."""

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from components.corpora.corpus import Corpus
from experiments.presets import TINY
from study.corpora.corpora import open_corpora
from tests.bucket import Bucket, upload
from tests.study.cluster.ray_head import ROOT, Head

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def run(head: Head, storage: str, corpus: str, disk: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "tests/cluster/two_bare.py", "--preset", "tiny", "--stages-per-trial", "1"]
    return subprocess.run(
        [*command, "--storage", storage, "--tagging-corpus", corpus, "--corpus-cache", "$OWN_DISK/corpora"],
        cwd=ROOT, env=head.env | {"RAY_ADDRESS": head.cluster, "OWN_DISK": str(disk), "PYTHONPATH": str(ROOT)},
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip


def test_every_node_brings_the_corpus_to_its_own_disk(tmp_path: Path, bucket: Bucket):
    generated = open_corpora(["tagging"], {}, TINY.generated, tmp_path / "here", lambda *progress: None)
    corpus = generated.of("tagging")
    upload(corpus.folder, bucket.address("tagging"))
    disks = [tmp_path / name for name in ("driver", "first", "second")]
    with Head(num_cpus=1, OWN_DISK=str(disks[1])) as head:
        head.add_node(1, OWN_DISK=str(disks[2]))
        done = run(head, bucket.address("study"), bucket.address("tagging"), disks[0])
    assert done.returncode == 0, done.stdout

    for disk in disks:
        assert sorted(path.name for path in (disk / "corpora").iterdir()) == [corpus.digest, f"{corpus.digest}.lock"]
        Corpus.open(disk / "corpora" / corpus.digest).verify()
    server, place = fs.FileSystem.from_uri(bucket.address("study/records/stages"))
    stages = pq.ParquetDataset(place, server).read().to_pylist()
    assert [stage["state"] for stage in stages] == ["done", "done"]
