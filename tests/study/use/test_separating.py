"""Songs become files of their sources."""

import numpy as np
import pytest

from components.corpora.audio import decode
from study.use.finished import separator
from study.use.separating import separate, without_estimates
from study.use.songs import find_songs
from study.use.tagging import Failed


@pytest.mark.parametrize("form", ["wav", "flac"])
def test_an_estimate_is_as_long_as_its_song_and_is_not_silent(trained, songs, tmp_path, form):
    chosen, (song,) = separator(trained), find_songs([str(songs / "test5.flac")]).songs
    (path,) = separate(song, network=chosen, location=trained.location, folder=str(tmp_path / "out"), form=form)
    assert path == tmp_path / "out" / f"test5.vocals.{form}"
    estimate, mixture = decode(path), decode(song.path)
    assert len(estimate) == len(mixture) and 0 < np.abs(estimate).mean() < np.abs(mixture).mean()


def test_estimates_that_are_there_are_refused_or_kept(trained, songs, tmp_path):
    chosen, found = separator(trained), find_songs([str(songs)]).songs
    (tmp_path / "test3.vocals.wav").write_bytes(b"there")
    with pytest.raises(FileExistsError, match=r"test3\.vocals\.wav exist already: give another --out, or --keep"):
        without_estimates(found, chosen, str(tmp_path), "wav", keep=False)
    left = without_estimates(found, chosen, str(tmp_path), "wav", keep=True)
    assert [song.name for song in left] == [song.name for song in found if song.name != "test3"]


def test_what_cannot_be_separated_says_why_and_leaves_no_file(trained, tmp_path):
    (tmp_path / "broken.mp3").write_bytes(b"no audio in here, only text " * 50)
    (song,) = find_songs([str(tmp_path / "broken.mp3")]).songs
    failed = separate(song, separator(trained), trained.location, str(tmp_path / "out"), "wav")
    assert isinstance(failed, Failed) and "cannot be decoded" in failed.why
    assert list((tmp_path / "out").iterdir()) == []
