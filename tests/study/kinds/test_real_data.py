"""From a download to a trained network: every data set is prepared, and a stage of each kind trained on it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from components.corpora.audio_folder import audio_folder
from components.corpora.data_set import DataSet
from components.corpora.fma import SMALL_GENRES, fma
from components.corpora.magnatagatune import TOP_50, magnatagatune
from components.corpora.musdb18 import musdb18
from study.corpora.preparation import prepare
from study.design.trial import bare_trial, probe_trial
from study.design.trial_to_stages import final_stage
from study.kinds.weights import WEIGHTS
from tests.components.corpora.downloads import tone, write_audio, write_fma, write_magnatagatune, write_musdb18
from tests.study.toy_study import REFERENCE, Bench, genre_recipe, open_all, recipe

pytestmark = pytest.mark.usefixtures("one_thread")
SONGS = {"A - One": "train", "B - Two": "train", "ANiMAL - Rockshow": "train", "Z - Last": "test"}
FOLDERS = {"train": "0", "validation": "c", "test": "f"}


def one_by_one(function, items):
    yield from map(function, items)


def prepared(data_set: DataSet, folder: Path) -> Path:
    found = prepare(data_set, folder, spread=one_by_one)
    assert not found.corpus.manifest.rejects
    return folder


@pytest.fixture(scope="module")
def separation(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("musdb18")
    return prepared(musdb18(write_musdb18(root / "download", SONGS)), root / "corpus")


def tagging(root: Path) -> Path:
    """In each split clips that have all tags and clips that have none."""
    clips = {
        f"{number}{place}": (letter, TOP_50 if number % 2 else (), 2.0)
        for place, letter in enumerate(FOLDERS.values(), 1)
        for number in range(1, 9)
    }
    return prepared(magnatagatune(write_magnatagatune(root / "download", clips), "folder"), root / "corpus")


def genre(root: Path) -> Path:
    splits = ("training", "validation", "test")
    tracks = {
        100 * place + number: (split, "small", name)
        for place, split in enumerate(splits, 1)
        for number, name in enumerate(SMALL_GENRES)
    }
    download = write_fma(root / "download", tracks, seconds=2.0)
    (download / "fma_medium").rename(download / "fma_small")
    return prepared(fma(download, "small"), root / "corpus")


def own_songs(root: Path) -> Path:
    lines = ["path,split,labels"]
    for split in FOLDERS:
        for number in range(8):
            path = f"{split}/söng {number}.flac"
            write_audio(root / "songs" / path, tone(2.0, 22_050, seed=number, channels=2), 22_050, "flac")
            lines.append(f"{path},{split},{'loud;slow' if number % 2 else ''}")
    (root / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    return prepared(audio_folder(root / "songs", root / "labels.csv", "tagging"), root / "corpus")


@pytest.mark.parametrize(("task", "make"), [("tagging", tagging), ("genre", genre), ("tagging", own_songs)])
def test_every_kind_of_stage_trains_on_it(separation, tmp_path, task, make):
    folders = {"separation": separation, task: make(tmp_path)}
    bench, corpora = Bench(folders), open_all(folders)
    reference = replace(REFERENCE, task=task)
    trials = (bare_trial(reference), reference, probe_trial(reference, "vocals", ("mixture", "estimates")))
    for trial in trials:
        stage = final_stage(trial, 0, genre_recipe() if task == "genre" else recipe(), corpora)
        result = bench.result(stage)
        assert WEIGHTS in result.files
        metric = "roc_auc" if task == "tagging" else "accuracy"
        assert 0 <= result.metrics[metric] <= 1
        scores = result.tables["track_scores"]
        assert scores.num_rows == len(corpora.of(task).indices("test")) * len(corpora.of(task).classes)
    separators = [one for one in bench.results.values() if "si_sdr_vocals" in one.metrics]
    assert len(separators) == 1 and np.isfinite(separators[0].metrics["si_sdr_vocals"])
