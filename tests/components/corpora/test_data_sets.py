"""Data sets as they are downloaded: what is listed, what is left out and why, and what their files become."""

from pathlib import Path

import av
import numpy as np
import pytest
from scipy import signal

from components.corpora.audio import SAMPLE_RATE, decode
from components.corpora.audio_folder import audio_folder
from components.corpora.data_set import AudioStream, DataSetTrack
from components.corpora.fma import GENRES, UNREADABLE, fma
from components.corpora.magnatagatune import TOP_50, magnatagatune
from components.corpora.musdb18 import STEMS, musdb18
from components.corpora.track_decoding import ExcludedError, UnusableError, declared_duration, decode_track
from tests.components.corpora.downloads import (
    MUSDB18_STEMS,
    song_stem,
    tone,
    write_audio,
    write_fma,
    write_magnatagatune,
    write_musdb18,
)

CLIPS = {
    "2": ("0", ("guitar", "no vocals"), 2.0),
    "10": ("b", ("jazzy",), 2.0),
    "6": ("c", ("choral", "guitar"), 2.0),
    "29": ("f", ("opera",), 2.0),
    "35644": ("0", ("guitar",), 2.0),
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    return write_magnatagatune(tmp_path_factory.mktemp("mtat"), CLIPS)


class TestMagnaTagATune:
    def test_fifty_different_tags_the_most_frequent_first(self):
        assert len(set(TOP_50)) == 50 and TOP_50[:3] == ("guitar", "classical", "slow") and TOP_50[-1] == "choral"

    def test_the_published_split_leaves_out_clips_without_a_top_50_tag_and_short_ones(self, clips):
        listed = magnatagatune(clips)
        assert [(track.id, track.split) for track in listed.tracks] == [
            ("2", "train"),
            ("6", "validation"),
            ("29", "test"),
        ]
        assert set(listed.tracks[1].labels) == {"guitar", "choral"}
        assert listed.excluded == {"no top-50 tag": 1} and listed.longer_than_s == 29.1
        assert listed.rejects == [("35644", "known to be corrupt")]
        assert sum(listed.expected.values()) == 21_105

    def test_the_folder_split_takes_all_clips(self, clips):
        listed = magnatagatune(clips, "folder")
        assert [track.id for track in listed.tracks] == ["2", "6", "10", "29"] and listed.longer_than_s == 0
        assert sum(listed.expected.values()) == 25_863 - 3

    def test_an_own_split_is_a_list(self, clips, tmp_path):
        (tmp_path / "mine.csv").write_text("clip_id,split\n10,test\n2,validation\n")
        listed = magnatagatune(clips, own_split=tmp_path / "mine.csv")
        assert {track.id: track.split for track in listed.tracks} == {"10": "test", "2": "validation"}
        assert listed.excluded == {"not in the split's list": 2} and not listed.expected

    def test_what_no_row_tells_of_is_named(self, tmp_path):
        root = write_magnatagatune(tmp_path / "mtat", CLIPS)
        (root / "0" / "stray.mp3").write_bytes(b"")
        assert magnatagatune(root).rejects[0] == ("0/stray.mp3", "not in the metadata")
        (tmp_path / "mine.csv").write_text("clip_id,split\n002,test\n2,train\n")
        assert ("002", "not in the metadata") in magnatagatune(root, own_split=tmp_path / "mine.csv").rejects

    def test_annotations_that_are_cut_off_are_refused(self, tmp_path):
        path = write_magnatagatune(tmp_path, CLIPS) / "annotations_final.csv"
        lines = path.read_text(encoding="utf-8").splitlines()
        path.write_text("\n".join([*lines[:-1], lines[-1][:40]]), encoding="utf-8")
        with pytest.raises(ValueError, match="line 6: it is cut off"):
            magnatagatune(tmp_path)

    def test_a_table_that_is_no_text_is_refused_by_its_name(self, tmp_path):
        path = write_magnatagatune(tmp_path, CLIPS) / "annotations_final.csv"
        path.write_bytes(path.read_bytes() + b"\xff\xfe")
        with pytest.raises(ValueError, match=r"annotations_final\.csv cannot be read: 'utf-8' codec can't decode"):
            magnatagatune(tmp_path)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("clip,split\n2,train\n", "needed: clip_id, split"),
            ("clip_id,split\n2,dev\n", "clip '2' has the split 'dev'"),
            ("clip_id,split\n2,test\n2,test\n", "or stands there twice"),
        ],
    )
    def test_a_list_of_another_form_is_refused(self, clips, tmp_path, text, message):
        (tmp_path / "mine.csv").write_text(text)
        with pytest.raises(ValueError, match=message):
            magnatagatune(clips, own_split=tmp_path / "mine.csv")

    def test_another_folder_is_refused(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"has no annotations_final\.csv"):
            magnatagatune(tmp_path)
        with pytest.raises(FileNotFoundError, match="nowhere is no folder"):
            magnatagatune(tmp_path / "nowhere")
        (tmp_path / "annotations_final.csv").write_text("clip_id\tguitar\tmp3_path\n")
        with pytest.raises(ValueError, match="has no column 'classical'"):
            magnatagatune(tmp_path)


ARCHIVE = {
    2: ("training", "small", "Hip-Hop"),
    10: ("validation", "medium", "Old-Time / Historic"),
    30: ("test", "medium", "Spoken"),
    40: ("training", "large", "Rock"),
    50: ("training", "medium", ""),
    1486: ("training", "medium", "Rock"),
}


class TestFMA:
    def test_medium_holds_small_and_leaves_out_what_is_known(self, tmp_path):
        listed = fma(write_fma(tmp_path, ARCHIVE))
        assert [(track.id, track.split, track.labels) for track in listed.tracks] == [
            ("000002", "train", ("Hip-Hop",)),
            ("000010", "validation", ("Old-Time / Historic",)),
            ("000030", "test", ("Spoken",)),
        ]
        assert listed.tracks[0].audio["mixture"].path == tmp_path / "fma_medium" / "000" / "000002.mp3"
        assert listed.excluded == {"not in fma_medium": 1}
        assert listed.rejects == [("000050", "no root genre in the metadata"), ("001486", "known to be unreadable")]

    def test_sixteen_genres_and_twenty_one_known_files(self):
        assert len(set(GENRES)) == 16 and len(UNREADABLE) == 21

    def test_small_asks_for_its_own_folder(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="has no fma_small"):
            fma(write_fma(tmp_path, ARCHIVE), "small")

    def test_a_file_that_no_row_tells_of_is_named(self, tmp_path):
        write_fma(tmp_path, ARCHIVE)
        (tmp_path / "fma_medium" / "000" / "000999.mp3").write_bytes(b"")
        assert ("000999", "not in the metadata") in fma(tmp_path).rejects

    def test_a_table_that_is_cut_off_is_refused(self, tmp_path):
        path = write_fma(tmp_path, ARCHIVE) / "fma_metadata" / "tracks.csv"
        path.write_text(path.read_text(encoding="utf-8") + "60,album", encoding="utf-8")
        with pytest.raises(ValueError, match="track 60 has 2 columns of 6; is the file complete"):
            fma(tmp_path)

    def test_a_table_that_is_no_text_is_refused_by_its_name(self, tmp_path):
        path = write_fma(tmp_path, ARCHIVE) / "fma_metadata" / "tracks.csv"
        path.write_bytes(path.read_bytes() + b"\xff\xfe")
        with pytest.raises(ValueError, match=r"tracks\.csv cannot be read: 'utf-8' codec can't decode"):
            fma(tmp_path)

    def test_what_the_archive_does_not_have_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="track 7 has the genre 'Polka'"):
            fma(write_fma(tmp_path, {7: ("training", "medium", "Polka")}))


SONGS = {"ANiMAL - Rockshow": "train", "A - Ünder": "train", "Z - Last": "test"}


class TestMUSDB18:
    @pytest.mark.parametrize("hq", [False, True])
    def test_the_packages_validation_list_and_five_stems(self, tmp_path, hq):
        listed = musdb18(write_musdb18(tmp_path, SONGS, hq=hq), hq=hq)
        assert [(track.id, track.split) for track in listed.tracks] == [
            ("A - Ünder", "train"),
            ("ANiMAL - Rockshow", "validation"),
            ("Z - Last", "test"),
        ]
        waveform = decode_track(listed.tracks[0])
        assert waveform.shape[1] == 5 and abs(len(waveform) / SAMPLE_RATE - 3.0) < 0.1
        mixture, stems = waveform[:, 0].astype(float), waveform[:, 1:].astype(float).sum(axis=1)
        assert np.corrcoef(mixture, stems)[0, 1] > 0.99
        # Each name stands for what was written as that stem, and all of them begin at the same time, late by whatever
        # the codec adds.
        lags = []
        for place, name in enumerate(STEMS[1:], 1):
            sound = song_stem(1, MUSDB18_STEMS.index(name))
            write_audio(tmp_path / "one.wav", sound, 44_100, "pcm_s16le")
            alone = decode(tmp_path / "one.wav")
            found = [signal.correlate(waveform[:, other].astype(float), alone) for other in range(1, 5)]
            assert int(np.argmax([one.max() for one in found])) + 1 == place
            lags.append(int(np.argmax(found[place - 1])) - len(alone) + 1)
        assert len(set(lags)) == 1 and 0 <= lags[0] < 1_024

    def test_the_release_of_the_other_form_is_told(self, tmp_path):
        write_musdb18(tmp_path / "mp4", SONGS)
        write_musdb18(tmp_path / "wav", SONGS, hq=True)
        with pytest.raises(FileNotFoundError, match="Then with --hq"):
            musdb18(tmp_path / "wav")
        with pytest.raises(FileNotFoundError, match="Then without --hq"):
            musdb18(tmp_path / "mp4", hq=True)

    def test_a_file_without_stems_is_named(self, tmp_path):
        root = write_musdb18(tmp_path, SONGS)
        (root / "train" / "Dot.mp4").write_bytes(b"")
        assert musdb18(root).rejects == [("Dot.mp4", "no .stem.mp4")]

    def test_a_stem_that_is_missing_is_named(self, tmp_path):
        root = write_musdb18(tmp_path, {"A - B": "train"}, hq=True)
        (root / "train" / "A - B" / "bass.wav").unlink()
        assert musdb18(root, hq=True).rejects == [("A - B", "no bass.wav")]


class TestOwn:
    def test_a_folder_and_a_table(self, tmp_path):
        table = tmp_path / "labels.csv"
        table.write_text('path,split,labels,id\n"a, b/é.flac",train,rock; loud,007\nc.wav,test,,8\n', encoding="utf-8")
        listed = audio_folder(tmp_path, table, "tagging")
        assert [(one.id, one.split, one.labels) for one in listed.tracks] == [
            ("007", "train", ("rock", "loud")),
            ("8", "test", ()),
        ]
        assert listed.tracks[0].audio["mixture"] == AudioStream(tmp_path / "a, b" / "é.flac")
        assert listed.classes == ("loud", "rock")

    def test_parquet_with_lists(self, tmp_path):
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {"path": ["x/1.mp3"], "split": ["validation"], "labels": [["b", "a"]]}
        pq.write_table(pa.table(columns), tmp_path / "labels.parquet")
        (track,) = audio_folder(tmp_path, tmp_path / "labels.parquet", "tagging").tracks
        assert (track.id, track.labels) == ("x/1", ("b", "a"))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("file,split,labels\n", "no column 'path'; needed: path, split, labels; it has: file, split, labels"),
            ("path,split,labels\na.wav,dev,x\n", "row 1: split is 'dev'; allowed: train, validation, test"),
            ("path,split,labels\n ,train,x\n", "row 1: path is empty"),
            ("path,split,labels,start\na.wav,train,x,3\n", "a column 'start', a name that every corpus uses itself"),
            ("path,split,labels\n", "has 0 rows and no label"),
            ("path,split,labels\na.wav,train,x\nb.wav,train,x;y\n", "row 2: labels are .*exactly one"),
            ("path,split,labels\na.wav,train,x\nb.wav,train,\n", "row 2: labels are .*exactly one"),
            ("path,split,labels\na.wav,train\n", "row 1 has 2 cells, the header 3"),
        ],
    )
    def test_another_table_is_refused(self, tmp_path, text, message):
        (tmp_path / "labels.csv").write_text(text)
        with pytest.raises(ValueError, match=message):
            audio_folder(tmp_path, tmp_path / "labels.csv", "genre")

    def test_further_columns_are_kept_and_make_no_class(self, tmp_path):
        text = 'path;artist;split;labels;id\na.wav;Ä;train;x;1\nb.wav;;test;"x;y";2\n'
        (tmp_path / "labels.csv").write_text(text, encoding="latin-1")
        listed = audio_folder(tmp_path, tmp_path / "labels.csv", "tagging", encoding="latin-1")
        assert [one.columns for one in listed.tracks] == [{"artist": "Ä"}, {"artist": ""}]
        assert listed.tracks[1].labels == ("x", "y") and listed.classes == ("x", "y")

    def test_numbers_in_a_table_are_texts(self, tmp_path):
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {"path": ["a", "b"], "split": ["test"] * 2, "labels": [[7, None], [8, 9]], "id": [0, 1]}
        pq.write_table(pa.table(columns), tmp_path / "labels.parquet")
        listed = audio_folder(tmp_path, tmp_path / "labels.parquet", "tagging")
        assert [(track.id, track.labels) for track in listed.tracks] == [("0", ("7",)), ("1", ("8", "9"))]


def track_of(path: Path, **streams: AudioStream) -> DataSetTrack:
    return DataSetTrack(id="one", audio=streams or {"mixture": AudioStream(path)}, split="train")


class TestDecoding:
    FORMATS = (
        ("mp3", 44_100, 2, "libmp3lame"),
        ("mp3", 16_000, 1, "libmp3lame"),
        ("flac", 48_000, 2, "flac"),
        ("wav", 8_000, 1, "pcm_s16le"),
        ("m4a", 22_050, 2, "aac"),
    )

    @pytest.mark.parametrize(("ending", "rate", "channels", "codec"), FORMATS)
    def test_any_format_becomes_mono_at_16_khz(self, tmp_path, ending, rate, channels, codec):
        path = tmp_path / f"a.{ending}"
        write_audio(path, tone(2.0, rate, channels=channels), rate, codec)
        waveform = decode_track(track_of(path))
        assert waveform.dtype == np.int16 and waveform.shape[1] == 1
        assert abs(len(waveform) / SAMPLE_RATE - 2.0) < 0.15 and np.abs(waveform).max() > 3_000
        assert declared_duration(path) == pytest.approx(2.0, abs=0.15)

    def test_what_cannot_be_used_says_why(self, tmp_path):
        path = tmp_path / "a.wav"
        with pytest.raises(UnusableError, match=r"^no such file$"):
            decode_track(track_of(path))
        path.write_bytes(b"no sound at all")
        with pytest.raises(UnusableError, match=r"^cannot be decoded: file "):
            decode_track(track_of(path))
        write_audio(path, tone(0.5, 16_000), 16_000, "pcm_s16le")
        with pytest.raises(UnusableError, match=r"^shorter than 1 s$"):
            decode_track(track_of(path))

    @pytest.mark.filterwarnings("ignore:.*damaged packets")
    @pytest.mark.parametrize(("ending", "codec"), [("wav", "pcm_s16le"), ("flac", "flac"), ("mp3", "libmp3lame")])
    def test_a_truncated_file_is_found_by_the_length_that_it_declares(self, tmp_path, ending, codec):
        path = tmp_path / f"a.{ending}"
        write_audio(path, tone(6.0, 16_000), 16_000, codec)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(UnusableError, match="truncated: more than 1 s shorter"):
            decode_track(track_of(path))

    @pytest.mark.parametrize(("ending", "codec", "form"), [("aac", "aac", "adts"), ("mp3", "libmp3lame", "mp3")])
    def test_a_file_that_declares_nothing_is_not_truncated(self, tmp_path, ending, codec, form):
        """Its bit rate, which a quiet beginning has low, says nothing of its length."""
        path = tmp_path / f"a.{ending}"
        sound = tone(10.0, 16_000)
        sound[:, :48_000] = 0
        write_audio(path, sound, 16_000, codec)
        if ending == "mp3":  # without the frame that counts the others
            data = path.read_bytes()
            place = max(data.find(b"Xing"), data.find(b"Info"))
            assert place > 0
            path.write_bytes(data[:place] + b"\0" * 4 + data[place + 4 :])
        assert declared_duration(path) == 0.0 and abs(len(decode_track(track_of(path))) / SAMPLE_RATE - 10.0) < 0.2

    def test_a_wav_that_was_written_as_a_stream_is_not_truncated(self, tmp_path):
        path = tmp_path / "a.wav"
        write_audio(path, tone(2.0, 16_000), 16_000, "pcm_s16le")
        data = path.read_bytes()
        for size in (0x7FFFF024, 0xFFFFFFFF, 0):
            path.write_bytes(data[:4] + size.to_bytes(4, "little") + data[8:])
            assert len(decode_track(track_of(path))) == 32_000

    def test_damage_to_one_stem_leaves_the_others_in_their_place(self, tmp_path):
        root = write_musdb18(tmp_path, {"A": "train"}, seconds=4.0)
        path = root / "train" / "A.stem.mp4"
        whole = decode_track(musdb18(root).tracks[0])
        with av.open(str(path)) as container:
            packets = [p for p in container.demux(container.streams.audio[4]) if p.pos is not None]
            places = [(packet.pos, packet.size) for packet in packets[60:64]]
        data = bytearray(path.read_bytes())
        noise = np.random.default_rng(0)
        for pos, size in places:
            data[pos : pos + size] = noise.integers(0, 256, size, dtype=np.uint8).tobytes()
        path.write_bytes(data)
        with pytest.warns(UserWarning, match="damaged packets, silent now"):
            found = decode_track(musdb18(root).tracks[0])
        assert abs(len(found) - len(whole)) < 400
        late = slice(45_000, 60_000)
        assert np.array_equal(found[late, :4], whole[late, :4])
        assert np.corrcoef(found[late, 4], whole[late, 4])[0, 1] > 0.95

    def test_samples_that_are_no_numbers_are_a_reason(self, tmp_path):
        path = tmp_path / "a.wav"
        write_audio(path, tone(2.0, 16_000), 16_000, "pcm_f32le")
        data = bytearray(path.read_bytes())
        data[5000:5004] = b"\xff\xff\xff\x7f"
        path.write_bytes(data)
        with pytest.raises(UnusableError, match="not finite"):
            decode_track(track_of(path))

    def test_stems_of_unlike_lengths(self, tmp_path):
        for name, seconds in (("a", 2.0), ("b", 2.05), ("c", 2.5)):
            write_audio(tmp_path / f"{name}.wav", tone(seconds, 16_000), 16_000, "pcm_s16le")
        a, b, c = (AudioStream(tmp_path / f"{name}.wav") for name in "abc")
        assert decode_track(track_of(tmp_path, a=a, b=b)).shape == (32_000, 2)
        with pytest.raises(UnusableError, match=r"stems of 2\.0 to 2\.5 s"):
            decode_track(track_of(tmp_path, a=a, c=c))

    def test_a_rule_excludes_what_is_not_longer(self, tmp_path):
        write_audio(tmp_path / "a.wav", tone(2.0, 16_000), 16_000, "pcm_s16le")
        with pytest.raises(ExcludedError, match=r"not longer than 2 s"):
            decode_track(track_of(tmp_path / "a.wav"), longer_than_s=2.0)
        assert len(decode_track(track_of(tmp_path / "a.wav"), longer_than_s=1.9)) == 32_000
