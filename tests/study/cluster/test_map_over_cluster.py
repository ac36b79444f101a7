"""A data set is decoded by Ray's tasks, and is the same corpus as when it is decoded here."""

import pytest

from components.corpora.magnatagatune import magnatagatune
from study.cluster.map_over_cluster import map_over_cluster
from study.corpora.preparation import prepare
from tests.components.corpora.downloads import write_magnatagatune

pytestmark = pytest.mark.cluster
CLIPS = {str(number): ("0cf"[number % 3], ("guitar",), 2.0) for number in range(1, 8)}


def test_ray_decodes_as_this_process_does(scratch, tmp_path):
    download = write_magnatagatune(tmp_path / "download", CLIPS)
    (download / "0" / "artist,_the-álbum-02-song-0-29.mp3").write_bytes(b"no sound")
    told = []
    listed = magnatagatune(download, "folder")
    there = prepare(
        listed,
        tmp_path / "there",
        spread=map_over_cluster,
        max_rejects=0.5,
        report=lambda *numbers: told.append(numbers),
    )
    here = prepare(listed, tmp_path / "here", spread=map, max_rejects=0.5)
    assert there.corpus.digest == here.corpus.digest
    assert [one["id"] for one in there.corpus.manifest.rejects] == ["3"]
    assert told[-1] == (7, 7) and there.unexpected["train"] == (1, 18_706)
