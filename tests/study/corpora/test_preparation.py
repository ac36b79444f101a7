"""Preparing: every track becomes part of the corpus or has its reason, and what was killed goes on where it was."""

import shutil
import warnings
import wave
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from components.corpora.audio import to_float
from components.corpora.corpus import Corpus
from components.corpora.data_set import AudioStream, DataSet, DataSetTrack
from components.corpora.track_decoding import decode_track
from study.corpora import preparation, track_part
from study.corpora.preparation import prepare

SPLITS = ("train", "train", "train", "validation", "test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Five songs, of which the third is none and the second is short."""
    folder = tmp_path_factory.mktemp("songs")
    generator = np.random.default_rng(0)
    for number in range(5):
        samples = (3000 * generator.standard_normal(16_000 * (2 if number == 1 else 4))).astype(np.int16)
        with wave.open(str(folder / f"{number}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(samples.tobytes())
    (folder / "2.wav").write_bytes(b"nothing")
    return folder


@pytest.fixture
def songs(folder) -> DataSet:
    tracks = [
        DataSetTrack(
            id=f"song {number}",
            audio={"mixture": AudioStream(folder / f"{number}.wav")},
            split=split,
            labels=("loud",) if number % 2 else (),
            columns={"artist": f"ärtist {number}"},
        )
        for number, split in enumerate(SPLITS)
    ]
    return DataSet(
        name="songs",
        kind="tagging",
        tracks=tracks,
        classes=("loud",),
        longer_than_s=3.0,
        excluded=Counter({"no tag": 7}),
        rejects=[("gone", "known to be corrupt")],
        expected={"train": 3, "validation": 1, "test": 1},
        recipe={"split": "own"},
    )


def one_by_one(function, items):
    yield from map(function, items)


def test_every_track_is_in_the_corpus_or_has_its_reason(songs, tmp_path):
    told = []
    prepared = prepare(
        songs, tmp_path / "corpus", spread=one_by_one, max_rejects=0.5, report=lambda *numbers: told.append(numbers)
    )
    corpus = Corpus.open(tmp_path / "corpus")
    corpus.verify()
    assert corpus.tracks["id"].tolist() == ["song 0", "song 3", "song 4"]
    assert corpus.tracks["artist"].tolist() == ["ärtist 0", "ärtist 3", "ärtist 4"]
    assert corpus.labels(np.arange(3))[:, 0].tolist() == [0, 1, 0]
    (sound,) = decode_track(songs.tracks[3]).T
    assert np.array_equal(corpus.gather(np.array([1]), np.array([0]), len(sound))[0, 0].numpy(), to_float(sound))
    manifest = corpus.manifest
    assert manifest.excluded == {"no tag": 7, "not longer than 3 s": 1}
    assert [reject["id"] for reject in manifest.rejects] == ["gone", "song 2"]
    assert manifest.rejects[1]["reason"].startswith("cannot be decoded: file ")
    assert manifest.recipe["published"] == {"train": 3, "validation": 1, "test": 1}
    assert prepared.unexpected == {"train": (1, 3)}
    assert told[-1] == (5, 5) and not (tmp_path / "corpus.parts").exists()


def test_a_killed_preparation_goes_on_and_ends_with_the_same_corpus(songs, tmp_path):
    class Killed(BaseException):
        pass

    def killed(function, items):
        for number, item in enumerate(items):
            if number == 2:
                raise Killed
            yield function(item)

    with pytest.raises(Killed):
        prepare(songs, tmp_path / "again", spread=killed, max_rejects=0.5)
    assert not (tmp_path / "again").exists()
    decoded_now: list[str] = []

    def watched(function, items):
        for item in items:
            decoded_now.append(item.track.id)
            yield function(item)

    again = prepare(songs, tmp_path / "again", spread=watched, max_rejects=0.5)
    whole = prepare(songs, tmp_path / "whole", spread=one_by_one, max_rejects=0.5)
    assert decoded_now == ["song 2", "song 3", "song 4"]
    assert again.corpus.digest == whole.corpus.digest and again.corpus.manifest.rejects == whole.corpus.manifest.rejects


def test_a_part_that_was_torn_is_decoded_again(songs, tmp_path, monkeypatch):
    """Killed between the samples and the outcome that says they are complete."""
    parts = tmp_path / "corpus.parts"
    parts.mkdir()
    preparation._check_owner(parts, songs)
    preparation._part(parts, songs.tracks[0]).samples.write_bytes(b"half")
    prepared = prepare(songs, tmp_path / "corpus", spread=one_by_one, max_rejects=0.5)
    assert "song 0" in prepared.corpus.tracks["id"]


def test_more_rejects_than_allowed_are_an_error_that_names_them_and_keeps_the_work(songs, tmp_path):
    causes = r"\(1 x known to be corrupt; 1 x .*such as gone, song 2\)"
    with pytest.raises(ValueError, match=rf"2 of 6 tracks cannot be used {causes}, more than --max-rejects 0\.01"):
        prepare(songs, tmp_path / "corpus", spread=one_by_one)
    assert not (tmp_path / "corpus").exists() and (tmp_path / "corpus.parts").is_dir()
    decoded_now: list[str] = []

    def watched(function, items):
        for item in items:
            decoded_now.append(item.track.id)
            yield function(item)

    prepare(songs, tmp_path / "corpus", spread=watched, max_rejects=0.4)
    # Only what could not be used is tried again: its file may be another one by now.
    assert decoded_now == ["song 2"]


def test_a_file_that_was_mended_or_changed_is_decoded_again(songs, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "songs")
    mine = replace(
        songs,
        tracks=[
            replace(t, audio={"mixture": AudioStream(tmp_path / "songs" / t.audio["mixture"].path.name)})
            for t in songs.tracks
        ],
    )
    with pytest.raises(ValueError, match="more than --max-rejects"):
        prepare(mine, tmp_path / "corpus", spread=one_by_one)
    shutil.copy(folder / "4.wav", tmp_path / "songs" / "2.wav")
    shutil.copy(folder / "3.wav", tmp_path / "songs" / "0.wav")
    corpus = prepare(mine, tmp_path / "corpus", spread=one_by_one, max_rejects=0.4).corpus
    assert corpus.tracks["id"].tolist() == ["song 0", "song 2", "song 3", "song 4"]
    sounds = [corpus.gather(np.array([n]), np.array([0]), 16_000)[0, 0].numpy() for n in range(4)]
    assert np.array_equal(sounds[0], sounds[2]) and np.array_equal(sounds[1], sounds[3])


def test_damage_is_written_down(songs, tmp_path, monkeypatch):
    def damaged(track, **rules):
        if track.id == "song 0":
            warnings.warn("/some/where.mp3: damaged packets, silent now: 2", stacklevel=1)
        return decode_track(track, **rules)

    monkeypatch.setattr(track_part, "decode_track", damaged)
    manifest = prepare(songs, tmp_path / "corpus", spread=one_by_one, max_rejects=0.5).corpus.manifest
    assert manifest.recipe["damaged"] == {"song 0": "damaged packets, silent now: 2"}


def test_two_preparations_at_once_do_not_disturb_each_other(songs, tmp_path):
    def meanwhile(function, items):
        with pytest.raises(ValueError, match=r"another preparation is at work on .*corpus\.parts"):
            prepare(songs, tmp_path / "corpus", spread=one_by_one, max_rejects=0.5)
        yield from map(function, items)

    prepare(songs, tmp_path / "corpus", spread=meanwhile, max_rejects=0.5)


def test_what_was_killed_while_joining_leaves_nothing(songs, tmp_path):
    parts = tmp_path / "corpus.parts"
    (parts / "corpus.partial-12345678").mkdir(parents=True)
    prepare(songs, tmp_path / "corpus", spread=one_by_one, max_rejects=0.5)
    assert {path.name for path in tmp_path.iterdir()} == {"corpus"}


def test_a_data_set_without_tracks_says_what_was_left_out(songs, tmp_path):
    with pytest.raises(ValueError, match="songs: no track is left; 7 no tag, 1 cannot be used"):
        prepare(replace(songs, tracks=[]), tmp_path / "corpus", spread=one_by_one)
    assert list(tmp_path.iterdir()) == []


def test_ids_that_stand_twice_are_rejected(songs, tmp_path):
    twice = replace(songs, tracks=[*songs.tracks, songs.tracks[0]])
    manifest = prepare(twice, tmp_path / "corpus", spread=one_by_one, max_rejects=0.9).corpus.manifest
    assert [one["id"] for one in manifest.rejects if one["reason"] == "duplicate id"] == ["song 0", "song 0"]


def test_what_is_there_is_never_overwritten(songs, tmp_path):
    (tmp_path / "corpus").mkdir()
    with pytest.raises(FileExistsError, match="exists already"):
        prepare(songs, tmp_path / "corpus", spread=one_by_one)


def test_parts_of_another_data_set_are_refused(songs, tmp_path):
    (tmp_path / "corpus.parts").mkdir()
    preparation._check_owner(tmp_path / "corpus.parts", replace(songs, recipe={"split": "another"}))
    with pytest.raises(ValueError, match=r"corpus\.parts holds parts of another data set"):
        prepare(songs, tmp_path / "corpus", spread=one_by_one)
