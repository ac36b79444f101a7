"""What Ray's tasks make of files, all over the cluster, is what this process makes of them."""

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from components.corpora.magnatagatune import magnatagatune
from study.cluster import connection
from study.cluster.map_over_cluster import map_over_cluster
from study.corpora.preparation import prepare
from study.use.finished import taggers
from study.use.songs import find_songs, over_songs
from study.use.tagging import tag
from tests.components.corpora.downloads import write_magnatagatune
from tests.study.cluster.deadly_path import DeadlyPath

pytestmark = pytest.mark.cluster
CLIPS = {str(number): ("0cf"[number % 3], ("guitar",), 2.0) for number in range(1, 8)}


def test_ray_decodes_as_this_process_does_and_rejects_what_kills_its_processes(scratch, tmp_path):
    download = write_magnatagatune(tmp_path / "download", CLIPS)
    (download / "0" / "artist,_the-álbum-02-song-0-29.mp3").write_bytes(b"no sound")
    told = []
    listed = magnatagatune(download, "folder")
    (dies,) = (track for track in listed.tracks if track.id == "5")
    deadly = {stem: stream._replace(path=DeadlyPath(stream.path)) for stem, stream in dies.audio.items()}
    tracks = [replace(track, audio=deadly) if track is dies else track for track in listed.tracks]
    there = prepare(
        replace(listed, tracks=tracks),
        tmp_path / "there",
        spread=map_over_cluster,
        max_rejects=0.5,
        report=lambda *numbers: told.append(numbers),
    )
    # Where it kills nobody, it is unreadable.
    Path(dies.audio["mixture"].path).write_bytes(b"no sound")
    here = prepare(listed, tmp_path / "here", spread=map, max_rejects=0.5)
    assert there.corpus.digest == here.corpus.digest
    assert [one["id"] for one in here.corpus.manifest.rejects] == ["3", "5"]
    assert [one["id"] for one in there.corpus.manifest.rejects] == ["3", "5"]
    assert there.corpus.manifest.rejects[1]["reason"] == "crashed 2 processes that decoded it"
    assert told[-1] == (7, 7) and there.unexpected["train"] == (1, 18_706)


@pytest.mark.slow
def test_songs_are_tagged_all_over_the_cluster_as_they_are_here(scratch, trained, songs, monkeypatch):
    work = partial(tag, chosen=taggers(trained, seed=0), location=trained.location)
    found, told = find_songs([str(songs)]).songs, []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    here = over_songs(work, found, trained.location, lambda *numbers: None)
    monkeypatch.setenv("RAY_ADDRESS", "the one of these tests")
    monkeypatch.setattr(connection, "connected", lambda execution: nullcontext())
    there = over_songs(work, found, trained.location, lambda *numbers: told.append(numbers))
    assert [one.song for one in there] == [one.song for one in here] == [song.name for song in found]
    for one, other in zip(there, here, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-6)
    assert told == [(number, 8) for number in range(1, 9)]
