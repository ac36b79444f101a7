"""A corpus returns what was written: its samples, table, labels, segments at random places, and tiles."""

from pathlib import Path

import numpy as np
import pytest
import torch

from components.corpora.audio import to_float
from components.corpora.corpus import Corpus
from components.corpora.corpus_writer import CorpusWriter
from tests.components.corpora.small_corpus import LENGTHS, small_waveforms, write_small

CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return Corpus.open(write_small(tmp_path / "corpus"))


@pytest.fixture
def stem_corpus(tmp_path: Path) -> Corpus:
    stems = ("mixture", "drums", "vocals")
    return Corpus.open(write_small(tmp_path / "stems", kind="separation", stems=stems, classes=(), labels=((),) * 3))


class TestRoundTrip:
    def test_every_sample_of_every_stem_comes_back(self, stem_corpus):
        for track, waveform in enumerate(small_waveforms(3)):
            segment = stem_corpus.gather(np.array([track]), np.array([0]), len(waveform))
            np.testing.assert_array_equal(segment[0].numpy(), to_float(waveform.T))

    def test_the_table_comes_back_as_arrays(self, corpus):
        assert len(corpus) == 3
        assert corpus.tracks["id"].tolist() == ["t0", "t1", "t2"]
        assert corpus.tracks["length"].tolist() == list(LENGTHS)
        assert corpus.tracks["tempo"].tolist() == [100.0, 101.0, 102.0]
        assert corpus.indices("train").tolist() == [0, 2]

    def test_the_manifest_says_what_there_is(self, tmp_path):
        with CorpusWriter(tmp_path / "corpus", name="facts", kind="genre", classes=["rock", "folk"]) as writer:
            writer.add("a", small_waveforms()[0][:, 0], split="validation", labels=["folk"])
            for _ in range(2):
                writer.exclude("not in the medium subset")
            writer.reject("b", "no audio")
        manifest = Corpus.open(tmp_path / "corpus").manifest
        assert (manifest.name, manifest.kind, manifest.sample_rate) == ("facts", "genre", 16_000)
        assert (manifest.stems, manifest.classes) == (("mixture",), ("rock", "folk"))
        assert manifest.counts == {"train": 0, "validation": 1, "test": 0}
        assert manifest.num_samples == 1000
        assert manifest.excluded == {"not in the medium subset": 2}
        assert manifest.rejects == [{"id": "b", "reason": "no audio"}]

    def test_silence_is_legal(self, tmp_path):
        corpus = Corpus.open(write_small(tmp_path / "corpus", samples=[np.zeros((50, 1), np.int16)]))
        assert not corpus.gather(np.array([0]), np.array([0]), 50).any()


class TestLabels:
    def test_tags_are_multi_hot_in_class_order(self, corpus):
        labels = corpus.labels(np.array([2, 0, 1]))
        assert labels.dtype == torch.float32
        assert labels.tolist() == [[0, 0, 1], [1, 1, 0], [0, 0, 0]]

    def test_genres_are_class_indices(self, tmp_path):
        labels = (("flute",), ("drums",), ("vocals",))
        corpus = Corpus.open(write_small(tmp_path / "corpus", kind="genre", labels=labels))
        assert corpus.labels(np.array([0, 1, 2])).tolist() == [2, 0, 1]

    def test_separation_has_none(self, stem_corpus):
        with pytest.raises(ValueError, match="separation corpus"):
            stem_corpus.labels(np.array([0]))


class TestSegments:
    def test_segments_of_a_batch_hold_all_stems_of_their_own_places(self, stem_corpus):
        tracks, starts = np.array([2, 0, 2]), np.array([1200, 17, 0])
        segments = stem_corpus.gather(tracks, starts, 100)
        assert segments.shape == (3, 3, 100)
        assert segments.is_contiguous()
        for segment, track, start in zip(segments, tracks, starts, strict=True):
            expected = to_float(small_waveforms(3)[track][start : start + 100].T)
            np.testing.assert_array_equal(segment.numpy(), expected)

    def test_single_stems_come_in_the_order_asked_for(self, stem_corpus):
        tracks, starts = np.array([2, 0, 2]), np.array([1200, 17, 0])
        segments, (first, _, last) = stem_corpus.gather(tracks, starts, 100), stem_corpus.stems
        assert torch.equal(stem_corpus.gather(tracks, starts, 100, [last, first]), segments[:, [2, 0]])

    def test_segments_lie_within_full_scale(self, tmp_path):
        extremes = np.array([[-32_768], [32_767]], np.int16)
        segment = Corpus.open(write_small(tmp_path / "c", samples=[extremes])).gather(np.array([0]), np.array([0]), 2)
        assert segment.flatten().tolist() == [-1.0, 32_767 / 32_768]

    @pytest.mark.parametrize("start", [-1, 601])
    def test_a_segment_never_reaches_into_the_next_track(self, corpus, start):
        corpus.gather(np.array([1]), np.array([600]), 100)
        with pytest.raises(ValueError, match=rf"track 't1' starts at {start}, allowed: 0 to 600"):
            corpus.gather(np.array([0, 1]), np.array([0, start]), 100)

    def test_a_segment_longer_than_the_shortest_track_names_both(self, corpus):
        every = np.arange(3)
        for attempt in (
            lambda: corpus.gather(every, every, 701),
            lambda: corpus.crop_starts(np.zeros(3), every, 701),
            lambda: corpus.tiles(every, 701),
        ):
            with pytest.raises(ValueError, match="701 samples is longer than track 't1' with 700"):
                attempt()

    @pytest.mark.parametrize("device", ["cpu", CUDA])
    def test_a_device_gives_the_same_segments(self, stem_corpus, device):
        arguments = (np.array([1, 2]), np.array([3, 500]), 256)
        moved = stem_corpus.to(device)
        assert moved.gather(*arguments).device.type == device
        assert torch.equal(moved.gather(*arguments).cpu(), stem_corpus.gather(*arguments))

    @pytest.mark.parametrize("device", ["cpu", "meta", CUDA])
    def test_a_corpus_too_large_for_a_device_sends_its_segments_there(self, stem_corpus, device):
        there, tracks, starts = stem_corpus.to(device, max_bytes=10), np.array([2, 0]), np.array([3, 1])
        segments = there.gather(tracks, starts, 4)
        assert there.waveform.device.type == "cpu"
        assert (segments.device.type, segments.shape, segments.dtype) == (device, (2, 3, 4), torch.float32)
        if device != "meta":
            assert torch.equal(segments.cpu(), stem_corpus.gather(tracks, starts, 4))

    def test_a_split_without_tracks_is_an_error(self, corpus):
        with pytest.raises(ValueError, match="no track in split 'validation'"):
            corpus.indices("validation")
        with pytest.raises(ValueError, match="'dev', allowed: train, validation, test"):
            corpus.indices("dev")


class TestStarts:
    def test_draws_cover_every_place_evenly_to_both_ends(self, corpus):
        uniforms = (np.arange(6010) + 0.5) / 6010
        starts = corpus.crop_starts(uniforms, np.ones(6010, np.int64), 100)
        assert np.bincount(starts).tolist() == [10] * 601

    def test_the_largest_draw_still_fits(self, corpus):
        for dtype in (np.float32, np.float64):
            largest = np.nextafter(dtype(1), dtype(0))
            assert corpus.crop_starts(np.full(3, largest), np.arange(3), 100).tolist() == [900, 600, 1200]

    def test_starts_lie_on_the_grid(self, corpus):
        starts = corpus.crop_starts(
            np.linspace(0, 1, 500, endpoint=False), np.ones(500, np.int64), 100, grid_samples=160
        )
        assert sorted(set(starts.tolist())) == [0, 160, 320, 480]

    def test_a_draw_outside_the_unit_interval_is_refused(self, corpus):
        with pytest.raises(ValueError, match="uniforms"):
            corpus.crop_starts(np.array([1.0]), np.array([0]), 100)


class TestTiles:
    def test_tiles_of_each_track_in_the_given_order(self, corpus):
        tracks, starts = corpus.tiles(np.array([2, 1]), 400, overlap=0.5)
        assert tracks.tolist() == [2, 2, 2, 2, 2, 1, 1]
        assert starts.tolist() == [0, 200, 400, 600, 800, 0, 200]

    def test_tiles_without_overlap_share_no_sample_and_leave_less_than_one_tile(self, corpus):
        tracks, starts = corpus.tiles(np.arange(3), 300)
        for track, length in enumerate(LENGTHS):
            mine = starts[tracks == track]
            assert np.diff(mine).tolist() == [300] * (len(mine) - 1)
            assert 0 <= length - (mine[-1] + 300) < 300

    @pytest.mark.parametrize(
        ("num_samples", "overlap", "expected"),
        [(61_792, 0.0, 7), (61_792, 0.5, 14), (123_232, 0.0, 3), (123_232, 0.5, 6)],
    )
    def test_a_clip_of_the_paper_has_the_papers_number_of_segments(self, tmp_path, num_samples, overlap, expected):
        clip = np.zeros((512 + 2909 * 160, 1), np.int16)
        corpus = Corpus.open(write_small(tmp_path / "corpus", samples=[clip]))
        tracks, starts = corpus.tiles(np.array([0]), num_samples, overlap)
        assert len(tracks) == len(starts) == expected

    @pytest.mark.parametrize("overlap", [-0.1, 1.0, 0.9999])
    def test_an_overlap_without_a_hop_is_refused(self, corpus, overlap):
        with pytest.raises(ValueError, match=f"overlap is {overlap}"):
            corpus.tiles(np.array([0]), 100, overlap)
