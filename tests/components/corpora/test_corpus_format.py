"""A corpus's digest covers what a result can depend on, and a folder that does not fit it is refused."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from components.corpora.corpus import Corpus
from tests.components.corpora.small_corpus import small_waveforms, write_small


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return Corpus.open(write_small(tmp_path / "corpus"))


class TestDigest:
    def test_name_place_and_recipe_leave_it_alone(self, tmp_path, corpus):
        other = Corpus.open(write_small(tmp_path / "elsewhere", name="other", recipe={"seed": 3}))
        assert other.digest == corpus.digest

    @pytest.mark.parametrize(
        "changes",
        [
            {"samples": [small_waveforms()[0] ^ np.int16(1), *small_waveforms()[1:]]},
            {"samples": [small_waveforms()[1], small_waveforms()[0], small_waveforms()[2]]},
            {"labels": (("vocals",), (), ("flute",))},
            {"classes": ("vocals", "drums", "flute")},
            {"stems": ("vocals",)},
        ],
    )
    def test_whatever_a_result_depends_on_changes_it(self, tmp_path, corpus, changes):
        assert Corpus.open(write_small(tmp_path / "changed", **changes)).digest != corpus.digest

    def test_the_order_in_which_labels_are_given_leaves_it_alone(self, tmp_path, corpus):
        labels = (("drums", "vocals"), (), ("flute",))
        assert Corpus.open(write_small(tmp_path / "other", labels=labels)).digest == corpus.digest


def edit_manifest(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        facts = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**facts, **changes}))

    return edit


def truncate(name: str, num_bytes: int) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / name, num_bytes)


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def move_a_track_to_another_split(folder: Path) -> None:
    table = pq.read_table(folder / "tracks.parquet")
    column = table.column_names.index("split")
    pq.write_table(table.set_column(column, "split", [["train"] * 3]), folder / "tracks.parquet")


class TestOpening:
    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (remove("manifest.json"), r"no manifest\.json"),
            (remove("tracks.parquet"), r"no tracks\.parquet"),
            (remove("waveform.int16"), r"no waveform\.int16"),
            (truncate("manifest.json", 100), r"manifest\.json is not readable"),
            (truncate("tracks.parquet", 100), r"tracks\.parquet is not readable"),
            (truncate("waveform.int16", 5998), r"waveform\.int16: size in bytes is 5998, expected 6000"),
            (edit_manifest(sample_rate=44_100), r"manifest\.json: sample_rate is 44100, expected 16000"),
            (edit_manifest(version=2), r"manifest\.json has format version 2, .* reads version 1"),
            (edit_manifest(version=None), r"manifest\.json has format version None"),
            (edit_manifest(surprise=1), r"manifest\.json has missing or unknown fields: \['surprise'\]"),
            (edit_manifest(classes=["vocals", "drums", "flute"]), r"manifest\.json: digest of the facts is"),
            (edit_manifest(digest="0" * 64), r"manifest\.json: digest of the facts is .* expected 0000"),
            (edit_manifest(counts={"train": 3}), r"manifest\.json: digest of the facts is"),
            (move_a_track_to_another_split, r"tracks\.parquet: digest is"),
        ],
    )
    def test_what_does_not_fit_is_refused_with_file_and_both_values(self, corpus, damage, message):
        damage(corpus.folder)
        with pytest.raises(ValueError, match=message):
            Corpus.open(corpus.folder)

    def test_a_missing_folder_is_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no corpus at .*absent"):
            Corpus.open(tmp_path / "absent")

    def test_a_waveform_that_changed_after_its_digest_fails_the_full_check(self, corpus):
        corpus.verify()
        with (corpus.folder / "waveform.int16").open("r+b") as file:
            file.seek(3000)
            file.write(b"\x01\x02\x03")
        with pytest.raises(ValueError, match=r"waveform\.int16: digest is .*, expected"):
            Corpus.open(corpus.folder).verify()

    def test_a_folder_named_like_a_partition_adds_no_column(self, tmp_path):
        folder = write_small(tmp_path / "year=2024" / "corpus")
        assert "year" not in Corpus.open(folder).tracks
