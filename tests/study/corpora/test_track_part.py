"""One bad file stops nothing: what crashes, hangs or fills the memory is rejected with that reason."""

import multiprocessing
import os
import signal
import time
import wave
from pathlib import Path

import numpy as np
import pytest

from components.corpora.data_set import AudioStream, DataSet, DataSetTrack
from study.corpora import track_part
from study.corpora.preparation import prepare
from study.corpora.track_part import Limits

TRIES = 4
SPLITS = ("train", "validation", "test")


def in_processes(function, items):
    """Each item in a process of its own, which is replaced if it dies, as Ray does it."""
    context = multiprocessing.get_context("fork")
    for item in items:
        for _ in range(TRIES):
            process = context.Process(target=function, args=(item,))
            process.start()
            process.join()
            if process.exitcode == 0:
                break
        else:
            raise OSError(f"{TRIES} processes died")
        yield None


def songs(folder: Path) -> DataSet:
    for name in (*SPLITS, "bad"):
        with wave.open(str(folder / f"{name}.wav"), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(np.full(32_000, 9, dtype=np.int16).tobytes())
    tracks = [
        DataSetTrack(
            id=name,
            audio={"mixture": AudioStream(folder / f"{name}.wav")},
            split=name if name != "bad" else "train",
            labels=("loud",),
            columns={},
        )
        for name in (*SPLITS, "bad")
    ]
    return DataSet(name="songs", kind="tagging", tracks=tracks, classes=("loud",), recipe={})


def rejects(folder: Path, monkeypatch, misbehave, limits: Limits) -> list[str]:
    """The reasons of the bad song, whose decoding calls `misbehave`; the others are all there."""
    decode = track_part.decode_track

    def decode_or_misbehave(track, **rules):
        if track.id == "bad":
            misbehave()
        return decode(track, **rules)

    monkeypatch.setattr(track_part, "decode_track", decode_or_misbehave)
    corpus = prepare(songs(folder), folder / "corpus", spread=in_processes, max_rejects=0.5, limits=limits).corpus
    assert sorted(corpus.tracks["id"]) == sorted(SPLITS)
    assert not list(folder.glob("corpus.parts*"))
    assert [reject["id"] for reject in corpus.manifest.rejects] == ["bad"]
    return [reject["reason"] for reject in corpus.manifest.rejects]


def test_a_file_that_crashes_the_decoder_is_rejected(tmp_path, monkeypatch):
    reasons = rejects(tmp_path, monkeypatch, lambda: os.kill(os.getpid(), signal.SIGKILL), Limits())
    assert reasons == ["crashed 2 processes that decoded it"]


def test_a_file_that_hangs_the_decoder_is_rejected_at_the_first_try(tmp_path, monkeypatch):
    """A file of 2 s may take 1 s and half its length; the other songs take far less."""
    limits = Limits(base_s=1.0, per_second=0.5)
    reasons = rejects(tmp_path, monkeypatch, lambda: time.sleep(3600), limits)
    assert reasons == ["decoding takes more than 2 s"]


def test_a_file_whose_header_cannot_be_read_to_the_end_is_rejected(tmp_path):
    data_set = songs(tmp_path)
    (tmp_path / "bad.wav").unlink()
    os.mkfifo(tmp_path / "bad.wav")
    limits = Limits(base_s=1.0)
    corpus = prepare(data_set, tmp_path / "corpus", spread=in_processes, max_rejects=0.5, limits=limits).corpus
    assert [(r["id"], r["reason"]) for r in corpus.manifest.rejects] == [("bad", "decoding takes more than 1 s")]


def test_a_file_that_takes_too_much_memory_is_rejected(tmp_path, monkeypatch):
    limits = Limits(memory_bytes=2**28)
    reasons = rejects(tmp_path, monkeypatch, lambda: np.zeros(2**28, dtype=np.int16), limits)
    assert reasons == ["decoding takes more than 0.25 GiB of memory"]


def test_whatever_a_decoder_raises_is_a_reason(tmp_path, monkeypatch):
    def overflows():
        raise OverflowError("too large\nto print")

    reasons = rejects(tmp_path, monkeypatch, overflows, Limits())
    assert reasons == ["cannot be decoded: OverflowError: too large to print"]


def test_tries_of_an_earlier_command_do_not_count(tmp_path, monkeypatch):
    """Killed with its processes: the same command may well decode what these were at."""
    dies = lambda: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731

    def once(function, items):
        for item in items:
            process = multiprocessing.get_context("fork").Process(target=function, args=(item,))
            process.start()
            process.join()
            if process.exitcode:
                raise KeyboardInterrupt
            yield None

    decode = track_part.decode_track
    monkeypatch.setattr(track_part, "decode_track", lambda track, **rules: dies() or decode(track, **rules))
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            prepare(songs(tmp_path), tmp_path / "corpus", spread=once)
    monkeypatch.setattr(track_part, "decode_track", decode)
    assert len(prepare(songs(tmp_path), tmp_path / "corpus", spread=once).corpus) == 4
