"""Preparing as a command: a killed one goes on, and what cannot be used is one line."""

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
    lines.append("lost,gone.mp3,train,rock")
    (folder / "labels.csv").write_text("\n".join(["id,path,split,labels", *lines]), encoding="utf-8")
    return folder


def start(songs: Path, corpus: Path, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "experiments/prepare.py", "folder", str(songs), str(corpus), "--kind", "tagging"]
    return subprocess.Popen(
        [*command, "--table", str(songs / "labels.csv"), *options],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def parts_of(corpus: Path) -> dict[Path, int]:
    """Outcomes of tracks that are decoded already, with the time at which each was written."""
    found = corpus.with_name(f"{corpus.name}.parts").glob("*.json")
    return {path: path.stat().st_mtime_ns for path in found if path.name != "data-set.json"}


def stop_after(num_parts: int, process: "subprocess.Popen[str]", corpus: Path, sent: signal.Signals) -> tuple[str, str]:
    """What a preparation printed that was stopped when it had so many parts."""
    ends = time.monotonic() + WITHIN_S
    while len(parts_of(corpus)) < num_parts:
        assert process.poll() is None and time.monotonic() < ends
        time.sleep(0.02)
    process.send_signal(sent)
    return process.communicate(timeout=WITHIN_S)


@pytest.mark.cluster
@pytest.mark.slow
def test_a_preparation_that_was_interrupted_and_killed_goes_on_where_it_was(songs, tmp_path):
    corpus = tmp_path / "corpus"
    first = start(songs, corpus, "--max-rejects", "0.2")
    printed, errors = stop_after(1, first, corpus, signal.SIGINT)
    assert first.returncode == 130, errors
    assert "The same command goes on from here." in printed and not corpus.exists()
    kept = parts_of(corpus)

    second = start(songs, corpus, "--max-rejects", "0.2")
    printed, errors = stop_after(len(kept) + 1, second, corpus, signal.SIGKILL)
    assert second.returncode == -signal.SIGKILL, errors
    assert "goes on from here" not in printed and not corpus.exists()
    assert {path: parts_of(corpus)[path] for path in kept} == kept

    third = start(songs, corpus, "--max-rejects", "0.2")
    printed, errors = third.communicate(timeout=WITHIN_S)
    assert third.returncode == 0, errors
    assert "10 train, 10 validation, 10 test tracks, 0.8 h" in printed and errors == ""
    assert "Rejected: 1 tracks" in printed
    found = Corpus.open(corpus)
    found.verify()
    assert len(found.tracks["id"]) == NUM_TRACKS and found.classes == ("loud", "rock")
    assert found.manifest.rejects == [{"id": "lost", "reason": "no such file"}] and not parts_of(corpus)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("path,split\na.mp3,train\n", "labels"),
        ("path,split,labels\na.mp3,dev,rock\n", "'dev'"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_line(tmp_path, table, message):
    (tmp_path / "labels.csv").write_text(table)
    process = start(tmp_path, tmp_path / "corpus")
    told, errors = process.communicate(timeout=WITHIN_S)
    (line,) = errors.splitlines()
    assert process.returncode == 2 and line.startswith("prepare.py: ") and message in line, (line, told)
    assert not (tmp_path / "corpus").exists()
