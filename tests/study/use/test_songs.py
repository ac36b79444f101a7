"""Which files are songs, and what they are called."""

import pytest

from study.use.songs import find_songs


def write(*paths) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_a_folder_gives_its_audio_by_its_endings_and_counts_the_rest(tmp_path):
    write(tmp_path / "b.MP3", tmp_path / "deep" / "a.flac", tmp_path / "cover.jpg", tmp_path / ".hidden" / "c.wav")
    found = find_songs([str(tmp_path)])
    assert [song.name for song in found.songs] == ["b", "deep/a"] and found.others == 1


def test_a_file_that_is_named_is_a_song_whatever_it_is_called_and_counts_once(tmp_path):
    write(tmp_path / "a.xyz", tmp_path / "b.mp3")
    found = find_songs([str(tmp_path / "a.xyz"), str(tmp_path / "b.mp3"), str(tmp_path)])
    assert sorted(song.name for song in found.songs) == ["a", "b"]


def test_names_that_would_be_alike_keep_their_endings(tmp_path):
    write(tmp_path / "a.mp3", tmp_path / "a.wav", tmp_path / "b.wav")
    assert [song.name for song in find_songs([str(tmp_path)]).songs] == ["a.mp3", "a.wav", "b"]
    write(tmp_path / "one" / "c.mp3", tmp_path / "two" / "c.mp3")
    with pytest.raises(ValueError, match=r"two of the songs are called c\.mp3"):
        find_songs([str(tmp_path / "one"), str(tmp_path / "two")])


def test_what_is_not_there_is_named(tmp_path):
    write(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match=r"holds no audio file; known endings: \.aac"):
        find_songs([str(tmp_path)])
    with pytest.raises(FileNotFoundError, match="absent is neither a file nor a folder"):
        find_songs([str(tmp_path / "absent")])
