"""MTG-Jamendo as its repository and its download have it."""

from pathlib import Path

import pytest

from components.corpora.frequent_classes import with_frequent_classes
from components.corpora.mtg_jamendo import HEADER, SPLITS, mtg_jamendo

LINES = {
    "train": ["track_2\tartist_1\talbum_1\t02/2.mp3\t100.0\tgenre---rock\tinstrument---guitar"],
    "validation": ["track_1\tartist_2\talbum_2\t01/1.mp3\t50.5\tgenre---rock"],
    "test": ["track_3\tartist_3\talbum_3\t03/3.mp3\t31.0\tgenre---rock\tmood/theme---happy"],
}


def write(folder: Path, stem: str = "autotagging_top50tags", lines=LINES) -> Path:
    (folder / "data" / "splits" / "split-0").mkdir(parents=True)
    for split in SPLITS:
        path = folder / "data" / "splits" / "split-0" / f"{stem}-{split}.tsv"
        path.write_text("\n".join(["\t".join(HEADER), *lines[split]]) + "\n")
    return folder


def test_tracks_splits_tags_and_facts(tmp_path):
    listed = mtg_jamendo(write(tmp_path))
    assert [(track.id, track.split) for track in listed.tracks] == [
        ("track_1", "validation"),
        ("track_2", "train"),
        ("track_3", "test"),
    ]
    assert listed.classes == ("genre---rock", "instrument---guitar", "mood/theme---happy")
    assert listed.tracks[1].labels == ("genre---rock", "instrument---guitar")
    assert listed.tracks[1].columns == {"artist": "artist_1", "album": "album_1"}


def test_audio_lies_elsewhere_if_said_and_may_be_the_smaller_download(tmp_path):
    repository, audio = write(tmp_path / "repository"), tmp_path / "audio"
    (audio / "02").mkdir(parents=True)
    (audio / "02" / "2.low.mp3").write_bytes(b"")
    one, two, _ = mtg_jamendo(repository, audio=audio).tracks
    assert two.streams["mixture"][0].path == audio / "02" / "2.low.mp3"
    assert one.streams["mixture"][0].path == audio / "01" / "1.mp3"


def test_moods_and_themes_have_their_own_files(tmp_path):
    write(tmp_path, "autotagging_moodtheme")
    assert mtg_jamendo(tmp_path, "moodtheme").name == "mtg-jamendo-moodtheme-0"
    with pytest.raises(FileNotFoundError, match="autotagging_top50tags-train"):
        mtg_jamendo(tmp_path)


def test_another_split_header_or_line_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--split is 5; allowed: 0 to 4"):
        mtg_jamendo(tmp_path, split=5)
    cut = {**LINES, "test": ["track_3\tartist_3"]}
    with pytest.raises(ValueError, match=r"-test\.tsv, line 2: it is cut off, 2 cells of at least 6"):
        mtg_jamendo(write(tmp_path / "cut", lines=cut))
    (write(tmp_path / "odd") / "data/splits/split-0/autotagging_top50tags-train.tsv").write_text("a,b\n")
    with pytest.raises(ValueError, match=r"-train\.tsv begins with 'a,b'; needed: TRACK_ID"):
        mtg_jamendo(tmp_path / "odd")


def test_rare_tags_are_left_out_and_told(tmp_path):
    data_set, left_out = with_frequent_classes(mtg_jamendo(write(tmp_path)), 1)
    assert data_set.classes == ("genre---rock",) and len(data_set.tracks) == 3
    assert left_out["mood/theme---happy"] == {"train": 0, "validation": 0, "test": 1}
    assert data_set.recipe["min_tracks"] == 1
    assert with_frequent_classes(data_set, 0) == (data_set, {})
    with pytest.raises(ValueError, match="--min-tracks 2 leaves no class; the best one, 'genre---rock', has"):
        with_frequent_classes(data_set, 2)
