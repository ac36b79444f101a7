"""Preparing as a command: a killed one goes on, and what cannot be used is one line."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.corpora.corpus import Corpus
from tests import ROOT
from tests.components.corpora.downloads import tone, write_audio

WITHIN_S = 200.0
NUM_TRACKS = 30


@pytest.fixture(scope="module")
def songs(tmp_path_factory) -> Path:
    """One recording under many names, long enough for a preparation to be interrupted."""
    folder = tmp_path_factory.mktemp("own songs")
    write_audio(folder / "söng.mp3", tone(90.0, 44_100, channels=2), 44_100)
    lines = [f"{n},söng.mp3,{('train', 'validation', 'test')[n % 3]},{'rock;loud' if n % 2 else ''}" for n in range(30)]
    (folder / "labels.csv").write_text("\n".join(["id,path,split,labels", *lines]), encoding="utf-8")
    return folder


def start(songs: Path, corpus: Path, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "experiments/prepare.py", "folder", str(songs), str(corpus), "--kind", "tagging"]
    return subprocess.Popen(
        [*command, "--table", str(songs / "labels.csv"), *options],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.cluster
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_preparation_goes_on_where_it_was(songs, tmp_path, sent):
    corpus, parts = tmp_path / "corpus", tmp_path / "corpus.parts"
    first = start(songs, corpus)
    ends = time.monotonic() + WITHIN_S
    while not (early := [path for path in parts.glob("*.json") if path.name != "data-set.json"]):
        assert first.poll() is None and time.monotonic() < ends
        time.sleep(0.02)
    kept = {path: path.stat().st_mtime_ns for path in early}
    first.send_signal(sent)
    told, errors = first.communicate(timeout=WITHIN_S)
    assert first.returncode == (130 if sent == signal.SIGINT else -signal.SIGKILL), errors
    assert ("The same command goes on from here." in told) == (sent == signal.SIGINT)
    assert not corpus.exists() and {path: path.stat().st_mtime_ns for path in kept} == kept

    again = start(songs, corpus)
    told, errors = again.communicate(timeout=WITHIN_S)
    assert again.returncode == 0, errors
    assert "10 train, 10 validation, 10 test tracks, 0.8 h" in told and errors == ""
    found = Corpus.open(corpus)
    found.verify()
    assert len(found.tracks["id"]) == NUM_TRACKS and found.classes == ("loud", "rock") and not parts.exists()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("path,split\na.mp3,train\n", "labels"),
        ("path,split,labels\na.mp3,dev,rock\n", "'dev'"),
        ("path,split,labels\nnone.mp3,train,rock\n", "1 of 1 tracks cannot be used (1 x no such file"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_line(tmp_path, table, message):
    (tmp_path / "labels.csv").write_text(table)
    process = start(tmp_path, tmp_path / "corpus")
    told, errors = process.communicate(timeout=WITHIN_S)
    (line,) = errors.splitlines()
    assert process.returncode == 2 and line.startswith("prepare.py: ") and message in line, (line, told)
    assert not (tmp_path / "corpus").exists()


def test_rejects_are_told_and_named(songs, tmp_path):
    lines = (songs / "labels.csv").read_text(encoding="utf-8").splitlines()[:7]
    (tmp_path / "labels.csv").write_text("\n".join([*lines, "lost,gone.mp3,train,rock"]), encoding="utf-8")
    (tmp_path / "söng.mp3").hardlink_to(songs / "söng.mp3")
    process = start(tmp_path, tmp_path / "corpus", "--max-rejects", "0.2")
    told, errors = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0, errors
    assert "Rejected: 1 tracks" in told
    manifest = json.loads((tmp_path / "corpus" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["rejects"] == [{"id": "lost", "reason": "no such file"}]
