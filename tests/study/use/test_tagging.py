"""Songs are tagged as the study's test tagged them."""

import numpy as np
import pytest

from components.corpora.audio_writer import AudioWriter
from study.records.query import Query
from study.use.finished import taggers
from study.use.songs import find_songs
from study.use.tagging import Failed, Heard, score_table, tag, time_table
from tests.study.toy_study import TAGS


def tagged(store, place, **chosen) -> list:
    arm = taggers(store, **chosen)
    return [tag(song, chosen=arm, location=store.location) for song in find_songs([str(place)]).songs]


@pytest.mark.parametrize("arm", ["bare", "reference"])
def test_the_scores_are_those_of_the_studys_test(trained, songs, one_thread, arm):
    found = tagged(trained, songs, arm=arm)
    sql = (
        "SELECT track, class, avg(score) AS score, stddev(score) AS sd FROM track_scores "
        f"JOIN runs ON stage = final_stage WHERE arm = '{arm}' GROUP BY ALL"
    )
    expected = {(row["track"], row["class"]): row for row in Query(trained).run(sql).to_pylist()}
    rows = score_table(found).to_pylist()
    assert len(rows) == len(expected) == 8 * len(TAGS)
    for row in rows:
        told = expected[row["song"], row["class"]]
        assert (row["score"], row["sd"]) == pytest.approx((told["score"], told["sd"]), abs=1e-6)
        assert row["networks"] == 2


def test_scores_over_time_average_to_the_songs(trained, songs):
    (one,) = tagged(trained, songs / "test1.flac")
    assert one.over_time.shape == (3, 3) and one.starts_s.tolist() == pytest.approx([0, 0.33, 0.66], abs=0.02)
    np.testing.assert_allclose(one.over_time.mean(axis=0), one.means)
    rows = time_table([one]).to_pylist()
    assert len(rows) == 9 and rows[0]["end_s"] - rows[0]["start_s"] == pytest.approx(one.segment_s)


def test_one_network_has_no_spread(trained, songs):
    (one,) = tagged(trained, songs / "test0.flac", seed=1)
    assert np.isnan(one.sds).all() and set(score_table([one])["sd"].to_pylist()) == {None}


def test_what_cannot_be_tagged_says_why_and_the_others_go_on(trained, songs, tmp_path):
    with AudioWriter(tmp_path / "short.wav", "wav") as writer:
        writer.write(np.zeros(1_000, dtype=np.float32))
    (tmp_path / "broken.mp3").write_bytes(b"no audio in here, only text " * 50)
    (tmp_path / "good.flac").write_bytes((songs / "test0.flac").read_bytes())
    broken, good, short = tagged(trained, tmp_path)
    assert isinstance(broken, Failed) and "broken.mp3 cannot be decoded" in broken.why
    assert isinstance(short, Failed) and "short.wav is shorter than the 0.66 s" in short.why
    assert isinstance(good, Heard)
