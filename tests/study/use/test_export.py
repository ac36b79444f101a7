"""An exported network needs neither the store nor this project, and answers as it did in the study."""

import json
import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from components.corpora.audio import decode
from components.corpora.audio_writer import AudioWriter
from study.kinds.trained_networks import TrainedTagger, trained_separator
from study.kinds.weights import WEIGHTS
from study.use.export import export
from study.use.finished import separator, taggers
from study.use.programs import write_torch_program
from study.use.songs import find_songs
from study.use.tagging import Heard, tag
from tests.study.toy_study import TAGS


def example(folder, song) -> str:
    """What the folder's own script prints for a song, where this project cannot be imported."""
    with AudioWriter(folder / "song.wav", "wav") as writer:
        writer.write(decode(song))
    command = [sys.executable, "-I", "example.py", "song.wav"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=200).stdout


@pytest.mark.slow
def test_a_taggers_folder_gives_the_studys_scores(trained, songs, tmp_path):
    chosen = taggers(trained, seed=1)
    files = export(trained, chosen.networks[0], chosen.classes, str(tmp_path / "out"), onnx=True)
    assert files == ["README.md", "config.json", "example.py", "network.onnx", "network.pt2", "weights.safetensors"]
    (song,) = find_songs([str(songs / "test3.flac")]).songs
    heard = tag(song, chosen, trained.location)
    assert isinstance(heard, Heard)
    printed = {line.split()[1]: float(line.split()[0]) for line in example(tmp_path / "out", song.path).splitlines()}
    assert printed == pytest.approx(dict(zip(TAGS, heard.means, strict=True)), abs=1e-5)
    weights = (tmp_path / "out" / WEIGHTS).read_bytes()
    assert weights == trained.read(chosen.networks[0].stage, WEIGHTS) and safetensors.torch.load(weights)
    facts = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (facts["classes"], facts["arm"], facts["seed"]) == (list(TAGS), "reference", 1)
    assert facts["configuration"]["class"] == "FinetuningStage"


def test_an_onnx_file_answers_as_the_network_does_for_any_number_of_segments(trained, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    chosen = taggers(trained, arm="bare", seed=0)
    (network,) = chosen.networks
    export(trained, network, chosen.classes, str(tmp_path / "out"), onnx=True)
    tagger = TrainedTagger(trained, network.stage, network.config)
    segments = torch.randn(7, tagger.num_samples) / 3
    session = onnxruntime.InferenceSession(tmp_path / "out" / "network.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: segments.numpy()})
    np.testing.assert_allclose(found, tagger.probabilities(segments), atol=1e-4)


def test_a_separators_folder_gives_its_estimates(trained, songs, tmp_path):
    network = separator(trained)
    export(trained, network, (), str(tmp_path / "out"), onnx=True)
    example(tmp_path / "out", songs / "test1.flac")
    separator_ = trained_separator(trained, network.stage, network.config)
    facts = json.loads((tmp_path / "out" / "config.json").read_text())
    mixture = torch.from_numpy(decode(songs / "test1.flac"))[None, : facts["num_samples"]]
    with torch.no_grad():
        expected = separator_.waveforms(separator_(mixture), facts["num_samples"])[0, 0]
    np.testing.assert_allclose(np.load(tmp_path / "out" / "vocals.npy"), expected, atol=1e-5)


def test_the_card_says_what_it_is_and_leaves_the_licence_to_its_owner(trained, tmp_path):
    chosen = taggers(trained, seed=0)
    export(trained, chosen.networks[0], chosen.classes, str(tmp_path / "out"), onnx=False)
    card = (tmp_path / "out" / "README.md").read_text()
    run = next(run for run in _runs(trained) if run["arm"] == "reference" and run["seed"] == 0)
    assert "license: # to be filled in by the owner" in card
    assert "# The U-Net pre-trained on vocals, seed 0" in card
    assert f"ROC-AUC on the test split: {run['roc_auc']:.4f}; the arm's mean over 2 seeds " in card
    assert "- tagging: toy-tagging, digest " in card and f"- stage {chosen.networks[0].stage}" in card


def _runs(store) -> list[dict]:
    from study.records.query import Query

    return Query(store).run("SELECT * FROM runs").to_pylist()


def test_what_is_there_is_not_overwritten(trained, tmp_path):
    chosen = taggers(trained, seed=0)
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError, match="out exists already: give another --out"):
        export(trained, chosen.networks[0], chosen.classes, str(tmp_path / "out"), onnx=False)


def test_a_program_that_answers_otherwise_is_refused(tmp_path):
    class Moody(nn.Module):
        """Another answer once it is exported."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + (0.001 if torch.compiler.is_exporting() else 0.0)

    with pytest.raises(ValueError, match=r"network\.pt2 differs from the network by 0\.001"):
        write_torch_program(Moody(), torch.zeros(2, 5), tmp_path / "network.pt2")
