"""Multitracks of one's own, and MoisesDB's: which files a stem is the sum of, and what becomes of them."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from components.corpora.audio import SAMPLE_RATE, to_float
from components.corpora.audio_writer import AudioWriter
from components.corpora.data_set import DataSet
from components.corpora.moisesdb import moisesdb, split_of_artist
from components.corpora.multitracks import SOURCES, STEMS, multitracks
from components.corpora.track_decoding import FittedWarning, UnusableError, decode_track

SECOND = SAMPLE_RATE


def noise(seed: int, num_samples: int = 2 * SECOND, level: float = 0.05) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(num_samples)).astype(np.float32)


def write(path: Path, waveform: np.ndarray) -> np.ndarray:
    """What the file holds, rounded to 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with AudioWriter(path, "wav") as writer:
        writer.write(waveform)
    return np.rint(waveform * 32_768) / 32_768


def write_song(folder: Path, **files: np.ndarray) -> dict[str, np.ndarray]:
    return {name: write(folder / f"{name}.wav", waveform) for name, waveform in files.items()}


def listed(root: Path, text: str = "song,split\nA,train\n", **options) -> DataSet:
    (root / "songs.csv").write_text(text)
    return multitracks(root, root / "songs.csv", **options)


def decoded(data_set: DataSet) -> dict[str, np.ndarray]:
    (track,) = data_set.tracks
    return dict(zip(STEMS, to_float(decode_track(track)).T, strict=True))


def test_files_belong_to_the_source_that_their_name_begins_with_and_are_summed(tmp_path):
    names = ["Vocals lead", "vocal_back", "Bass", "drums1", "Drum-2", "other"]
    files = write_song(tmp_path / "A", **{name: noise(seed) for seed, name in enumerate(names)})
    (tmp_path / "A" / "notes.txt").write_text("")
    stems = decoded(listed(tmp_path))
    np.testing.assert_allclose(stems["vocals"], files["Vocals lead"] + files["vocal_back"], atol=2e-5)
    np.testing.assert_allclose(stems["drums"], files["drums1"] + files["Drum-2"], atol=2e-5)
    np.testing.assert_allclose(stems["mixture"], sum(files.values()), atol=2e-5)


def test_a_mixture_that_is_there_is_taken_as_it_is(tmp_path):
    files = write_song(tmp_path / "A", mix=noise(9), **{source: noise(seed) for seed, source in enumerate(SOURCES)})
    np.testing.assert_allclose(decoded(listed(tmp_path))["mixture"], files["mix"], atol=2e-5)


def test_columns_may_name_the_files_and_others_are_kept(tmp_path):
    files = write_song(tmp_path / "A", kick=noise(0), snare=noise(1), voice=noise(2), b=noise(3), keys=noise(4))
    text = "song,split,drums,vocals,bass,other,artist\nA,test,kick.wav; snare.wav,voice.wav,b.wav,keys.wav,Me\n"
    data_set = listed(tmp_path, text)
    np.testing.assert_allclose(decoded(data_set)["drums"], files["kick"] + files["snare"], atol=2e-5)
    assert data_set.tracks[0].split == "test" and data_set.tracks[0].columns == {"artist": "Me"}


def test_a_source_without_a_file_is_a_reject_or_silent(tmp_path):
    write_song(tmp_path / "A", vocals=noise(0), drums=noise(1), bass=noise(2))
    assert listed(tmp_path).rejects == [("A", "no file of other")]
    stems = decoded(listed(tmp_path, silent_if_missing=True))
    assert not stems["other"].any() and stems["vocals"].any()
    (tmp_path / "B").mkdir()
    rejects = listed(tmp_path, "song,split\nB,train\nC,train\n", silent_if_missing=True).rejects
    assert rejects == [("B", "no file of drums and bass and other and vocals"), ("C", "no such folder")]


def test_a_file_of_no_source_is_not_left_out_in_silence(tmp_path):
    write_song(tmp_path / "A", guitar=noise(9), **{source: noise(seed) for seed, source in enumerate(SOURCES)})
    ((song, reason),) = listed(tmp_path).rejects
    assert song == "A" and reason.startswith("guitar.wav is of no source: let its name begin with one")


@pytest.mark.parametrize("with_mixture", [True, False])
def test_less_than_a_second_is_cut_or_padded_and_said(tmp_path, with_mixture):
    lengths = {"vocals": 2.0, "drums": 2.5, "bass": 2.0, "other": 1.75} | ({"mix": 2.0} if with_mixture else {})
    files = {name: noise(seed, round(length * SECOND)) for seed, (name, length) in enumerate(lengths.items())}
    write_song(tmp_path / "A", **files)
    data_set = listed(tmp_path)
    with pytest.warns(FittedWarning, match=r"^cut or padded by up to 0\.750 s$"):
        waveform = decode_track(data_set.tracks[0])
    assert len(waveform) == (2 if with_mixture else 2.5) * SECOND
    other = waveform[:, STEMS.index("other")]
    assert other[: round(1.75 * SECOND)].any() and not other[round(1.75 * SECOND) :].any()


def test_more_than_a_second_is_a_reject(tmp_path):
    files = {source: noise(seed, (4 - (source == "bass")) * SECOND) for seed, source in enumerate(SOURCES)}
    write_song(tmp_path / "A", **files)
    with pytest.raises(UnusableError, match=r"files of 3\.0 to 4\.0 s"):
        decode_track(listed(tmp_path).tracks[0])


def test_a_sum_that_16_bits_cannot_hold_makes_its_song_quieter(tmp_path):
    loud = {source: np.full(2 * SECOND, 0.5, dtype=np.float32) for source in SOURCES}
    write_song(tmp_path / "A", **loud)
    with pytest.warns(FittedWarning, match=r"^made 6\.0 dB quieter$"):
        waveform = to_float(decode_track(listed(tmp_path).tracks[0]))
    np.testing.assert_allclose(waveform[:, 0], 1, atol=1e-4)
    np.testing.assert_allclose(waveform[:, 1:], 0.25, atol=1e-4)


class TestMoisesDB:
    def song(self, root: Path, name: str, artist: str = "Someone", lack: str = "") -> dict[str, np.ndarray]:
        folder, stems, files = root / "moisesdb_v0.1" / name, [], {}
        for seed, stem in enumerate(("vocals", "drums", "bass", "guitar", "other_keys")):
            if stem == lack:
                continue
            files[stem] = write(folder / stem / f"{stem}-1.wav", noise(seed))
            tracks = [{"id": f"{stem}-1", "trackType": "x", "extension": "wav", "has_bleed": False}]
            stems.append({"id": str(seed), "stemName": stem, "tracks": tracks})
        told = {"song": f"Song {name}", "artist": artist, "genre": "rock", "stems": stems}
        (folder / "data.json").write_text(json.dumps(told))
        return files

    def test_everything_that_is_no_voice_bass_or_drums_is_other(self, tmp_path):
        files = self.song(tmp_path, "a1")
        data_set = moisesdb(tmp_path)
        stems = decoded(data_set)
        np.testing.assert_allclose(stems["other"], files["guitar"] + files["other_keys"], atol=2e-5)
        np.testing.assert_allclose(stems["mixture"], sum(files.values()), atol=2e-5)
        assert data_set.tracks[0].columns == {"artist": "Someone", "song": "Song a1", "genre": "rock"}

    def test_an_artist_is_in_one_split_and_all_splits_have_some(self, tmp_path):
        for number in range(12):
            self.song(tmp_path, f"s{number}", artist=f"artist {number // 2}")
        by_artist: dict[str, set[str]] = {}
        for track in moisesdb(tmp_path).tracks:
            by_artist.setdefault(track.columns["artist"], set()).add(track.split)
        assert all(len(splits) == 1 for splits in by_artist.values())
        drawn = [split_of_artist(f"artist {number}") for number in range(1_000)]
        assert {split: round(drawn.count(split) / 100) for split in set(drawn)} == {
            "train": 7,
            "validation": 1,
            "test": 2,
        }

    def test_a_table_gives_the_splits_and_excludes_the_others(self, tmp_path):
        self.song(tmp_path, "a1")
        self.song(tmp_path, "a2")
        (tmp_path / "songs.csv").write_text("song;split\na2;validation\nzz;train\n")
        data_set = moisesdb(tmp_path, tmp_path / "songs.csv")
        assert [(track.id, track.split) for track in data_set.tracks] == [("a2", "validation")]
        assert data_set.excluded == {"not in the table": 1} and data_set.rejects == [("zz", "no such song")]

    def test_a_song_without_a_source_or_with_a_broken_description_is_named(self, tmp_path):
        self.song(tmp_path, "a1", lack="vocals")
        self.song(tmp_path, "a2")
        (tmp_path / "moisesdb_v0.1" / "a2" / "data.json").write_text('{"song": "x"}')
        rejects = dict(moisesdb(tmp_path).rejects)
        assert rejects["a1"] == "no file of vocals" and rejects["a2"].startswith("data.json cannot be read: KeyError")
        (track,) = moisesdb(tmp_path, silent_if_missing=True).tracks
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert not decode_track(track)[:, STEMS.index("vocals")].any()

    def test_another_folder_is_refused(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"holds no data\.json"):
            moisesdb(tmp_path)
