"""The writer refuses what does not fit, and a corpus is never seen half-finished."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from components.corpora.corpus import Corpus
from components.corpora.corpus_writer import CorpusWriter
from tests import ROOT
from tests.components.corpora.small_corpus import SPLITS, small_waveforms, write_small


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return Corpus.open(write_small(tmp_path / "corpus"))


class TestWriter:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"track_id": "t0"}, "'t0' is in the corpus already"),
            ({"track_id": ""}, "track id is ''"),
            ({"split": "dev"}, "split is 'dev', allowed: train, validation, test"),
            ({"labels": ["cello"]}, r"unknown labels \['cello'\], allowed: drums, vocals"),
            ({"labels": "drums"}, "labels is the text 'drums'"),
            ({"labels": ["drums", "drums"]}, "repeated labels"),
            ({"waveform": np.zeros((9, 1), np.float32)}, "waveform is float32, allowed: int16"),
            ({"waveform": np.zeros((9, 2), np.int16)}, r"shape \(9, 2\), allowed: .* 1 stems"),
            ({"waveform": np.zeros((0, 1), np.int16)}, r"shape \(0, 1\), allowed: \(at least one sample"),
            ({"tempo": "fast"}, "column tempo is 'fast', allowed: float"),
            ({"tempo": float("nan")}, "column tempo is nan"),
            ({"key": "C"}, r"columns \['key', 'tempo'\], the tracks before it \['tempo'\]"),
            ({"start": 3}, r"columns \['start'\] belong to every corpus"),
        ],
    )
    def test_a_track_that_does_not_fit_is_refused_and_leaves_no_trace(self, tmp_path, corpus, arguments, message):
        with CorpusWriter(tmp_path / "new", name="new", kind="tagging", classes=corpus.classes) as writer:
            for index, waveform in enumerate(small_waveforms()):
                labels = (("vocals", "drums"), (), ("flute",))[index]
                writer.add(f"t{index}", waveform, split=SPLITS[index], labels=labels, tempo=100.0 + index)
            good = {"track_id": "t9", "waveform": np.zeros((9, 1), np.int16), "split": "train", "tempo": None}
            with pytest.raises(ValueError, match=message):
                writer.add(**{**good, **arguments})
        assert Corpus.open(tmp_path / "new").digest == corpus.digest

    @pytest.mark.parametrize("labels", [[], ["drums", "vocals"]])
    def test_a_genre_track_has_exactly_one_label(self, tmp_path, labels):
        writer = CorpusWriter(tmp_path / "c", name="c", kind="genre", classes=["drums", "vocals"])
        with pytest.raises(ValueError, match=f"has {len(labels)} labels"), writer:
            writer.add("a", np.zeros(9, np.int16), split="train", labels=labels)

    @pytest.mark.parametrize(
        ("facts", "message"),
        [
            ({"kind": "mood"}, "kind is 'mood', allowed: separation, tagging, genre"),
            ({"classes": ()}, "tagging corpus needs classes"),
            ({"kind": "separation"}, "separation corpus has no classes"),
            ({"stems": ()}, "stems is empty"),
            ({"classes": ("a", "a")}, "classes must be different"),
            ({"recipe": {"path": Path()}}, "recipe must hold JSON values"),
        ],
    )
    def test_facts_that_do_not_fit_are_refused_before_any_work(self, tmp_path, facts, message):
        with pytest.raises(ValueError, match=message):
            CorpusWriter(tmp_path / "c", **{"name": "c", "kind": "tagging", "classes": ("a",), **facts})
        assert not list(tmp_path.iterdir())

    def test_an_existing_folder_is_kept(self, corpus):
        with pytest.raises(FileExistsError, match="exists already"):
            write_small(corpus.folder, samples=small_waveforms()[:1])
        assert Corpus.open(corpus.folder).digest == corpus.digest

    def test_of_two_writers_the_first_wins_and_the_second_leaves_nothing(self, tmp_path):
        folder = tmp_path / "c"
        with (
            pytest.raises(FileExistsError),
            CorpusWriter(folder, name="second", kind="separation") as second,
        ):
            second.add("b", np.ones(9, np.int16), split="train")
            with CorpusWriter(folder, name="first", kind="separation") as first:
                first.add("a", np.ones(9, np.int16), split="train")
        assert [path.name for path in tmp_path.iterdir()] == ["c"]
        assert Corpus.open(folder).name == "first"

    def test_a_corpus_without_tracks_is_refused(self, tmp_path):
        with (
            pytest.raises(ValueError, match="no track was added"),
            CorpusWriter(tmp_path / "c", name="c", kind="separation") as writer,
        ):
            writer.exclude("too short")
        assert not list(tmp_path.iterdir())

    def test_an_exception_leaves_nothing(self, tmp_path):
        with (
            pytest.raises(RuntimeError),
            CorpusWriter(tmp_path / "c", name="c", kind="separation") as writer,
        ):
            writer.add("a", np.ones(9, np.int16), split="train")
            raise RuntimeError
        assert not list(tmp_path.iterdir())

    def test_a_killed_preparation_leaves_nothing_that_looks_finished(self, tmp_path):
        program = (
            "import sys, time, numpy as np\n"
            "from components.corpora.corpus_writer import CorpusWriter\n"
            "with CorpusWriter(sys.argv[1], name='c', kind='separation') as writer:\n"
            "    for index in range(100_000):\n"
            "        writer.add(str(index), np.ones(16_000, np.int16), split='train')\n"
            "        if index == 20: print('writing', flush=True)\n"
            "        if index > 20: time.sleep(0.01)\n"
        )
        folder = tmp_path / "c"
        command = [sys.executable, "-c", program, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "writing\n"
            process.kill()
        assert process.returncode == -signal.SIGKILL
        (leftover,) = tmp_path.iterdir()
        assert leftover.name.startswith("c.partial-")
        assert (leftover / "waveform.int16").stat().st_size > 0
        with pytest.raises(FileNotFoundError):
            Corpus.open(folder)
        with pytest.raises(ValueError, match=r"no manifest\.json"):
            Corpus.open(leftover)
        Corpus.open(write_small(folder)).verify()
