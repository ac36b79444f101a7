"""Corpora are opened where they are given and generated once where they are not; what is unfit is named."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from components.corpora.corpus import Corpus
from components.corpora.generated.config import GeneratedConfig
from study.corpora import corpora
from study.corpora.corpora import open_corpora
from tests import ROOT
from tests.study.toy_study import write_corpora

SMALL = GeneratedConfig(
    song_s=2.0, num_songs=3, num_held_out_songs=1, num_train=12, num_validation=12, num_test=12, seed=5
)


def nothing_told(kind: str, done: int, total: int) -> None:
    raise AssertionError(f"a {kind} corpus was generated")


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    return {kind: str(folder) for kind, folder in write_corpora(tmp_path_factory.mktemp("corpora")).items()}


@pytest.fixture
def in_this_process(monkeypatch):
    """Songs are generated one after the other: processes take seconds to start."""

    @contextmanager
    def processes():
        yield map

    monkeypatch.setattr(corpora, "_processes", processes)


def test_given_corpora_are_opened_by_kind(given, tmp_path):
    opened = open_corpora(["separation", "tagging"], given, SMALL, tmp_path / "none", nothing_told)
    assert set(opened.by_kind) == {"separation", "tagging"}
    assert opened.of("tagging").kind == "tagging"
    assert opened.places == {Corpus.open(given[kind]).digest: given[kind] for kind in ("separation", "tagging")}
    assert not (tmp_path / "none").exists()


def test_places_are_absolute(given, tmp_path, monkeypatch):
    monkeypatch.chdir(Path(given["tagging"]).parent)
    opened = open_corpora(["tagging"], {"tagging": "tagging"}, SMALL, tmp_path, nothing_told)
    assert list(opened.places.values()) == [given["tagging"]]


def test_a_missing_folder_is_named_before_anything_is_generated(given, tmp_path):
    wrong = {"tagging": str(tmp_path / "nowhere"), "separation": None}
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_corpora(["separation", "tagging"], wrong, SMALL, tmp_path / "corpora", nothing_told)
    assert not (tmp_path / "corpora").exists()


@pytest.mark.parametrize("lost", ["manifest.json", "tracks.parquet", "waveform.int16"])
def test_a_half_written_folder_is_refused(given, tmp_path, lost):
    shutil.copytree(given["tagging"], tmp_path / "half")
    (tmp_path / "half" / lost).unlink()
    with pytest.raises((ValueError, FileNotFoundError), match=f"half.*{lost}"):
        open_corpora(["tagging"], {"tagging": str(tmp_path / "half")}, SMALL, tmp_path, nothing_told)


def test_a_torn_waveform_is_refused(given, tmp_path):
    shutil.copytree(given["tagging"], tmp_path / "torn")
    waveform = tmp_path / "torn" / "waveform.int16"
    os.truncate(waveform, waveform.stat().st_size - 2)
    with pytest.raises(ValueError, match=r"torn/waveform\.int16: size in bytes is \d+, expected \d+"):
        open_corpora(["tagging"], {"tagging": str(tmp_path / "torn")}, SMALL, tmp_path, nothing_told)


def test_another_kind_is_refused(given, tmp_path):
    for kind, other in (("tagging", "genre"), ("separation", "tagging")):
        with pytest.raises(ValueError, match=rf"--{kind}-corpus .*{other} holds a {other} corpus"):
            open_corpora([kind], {kind: given[other]}, SMALL, tmp_path, nothing_told)


def test_generated_once_and_reused(in_this_process, tmp_path):
    told: list[tuple[str, int, int]] = []
    first = open_corpora(["separation"], {}, SMALL, tmp_path, lambda *report: told.append(report))
    assert told == [("separation", done, 3) for done in (1, 2, 3)]
    again = open_corpora(["separation"], {}, SMALL, tmp_path, nothing_told)
    assert again.places == first.places
    assert again.of("separation").name == "generated-separation"


def test_another_recipe_is_another_corpus(in_this_process, tmp_path):
    recipes = [SMALL, replace(SMALL, seed=6), replace(SMALL, num_songs=4)]
    opened = [open_corpora(["separation"], {}, recipe, tmp_path, lambda *_: None) for recipe in recipes]
    assert len({each.of("separation").digest for each in opened}) == 3
    assert len(list(tmp_path.iterdir())) == 3


def test_of_two_that_generate_at_once_both_get_the_corpus(in_this_process, tmp_path):
    others: list[dict[str, str]] = []

    def meanwhile(kind: str, done: int, total: int) -> None:
        if done == total:
            others.append(open_corpora(["separation"], {}, SMALL, tmp_path, lambda *_: None).places)

    assert open_corpora(["separation"], {}, SMALL, tmp_path, meanwhile).places == others[0]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_broken_generation_leaves_nothing(in_this_process, tmp_path):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_corpora(["separation"], {}, SMALL, tmp_path, interrupt)
    assert list(tmp_path.iterdir()) == []


GENERATE = """
import multiprocessing, sys
from pathlib import Path
from components.corpora.generated.config import GeneratedConfig
from study.corpora.corpora import open_corpora

def told(kind, done, total):
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)

if __name__ == "__main__":
    config = GeneratedConfig(num_songs=400, num_held_out_songs=1)
    open_corpora(["separation"], {}, config, Path(sys.argv[1]), told)
"""


def test_a_killed_generation_leaves_nothing_that_looks_finished_and_nobody_at_work(in_this_process, tmp_path):
    script, place = tmp_path / "generate.py", tmp_path / "corpora"
    script.write_text(GENERATE)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, str(script), str(place)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    with process, process.stdout:
        children = [int(pid) for pid in process.stdout.readline().split()]
        process.send_signal(signal.SIGKILL)
    assert children and [path.name for path in place.iterdir() if ".partial-" not in path.name] == []
    # One may still be importing, which takes its time on a busy machine.
    deadline = time.monotonic() + 120
    while any(map(_works, children)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(_works, children))
    assert open_corpora(["separation"], {}, SMALL, place, lambda *_: None).of("separation").kind == "separation"


def _works(pid: int) -> bool:
    """Whether a process is there and no zombie, which nobody may have collected yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_unfinished_folder_beside_it_is_not_the_corpus(in_this_process, tmp_path):
    opened = open_corpora(["separation"], {}, SMALL, tmp_path, lambda *_: None)
    place = Path(opened.of("separation").folder)
    place.rename(place.with_name(place.name + ".partial-1f9c2a7e"))
    told: list[object] = []
    assert open_corpora(["separation"], {}, SMALL, tmp_path, lambda *report: told.append(report)).places
    assert told
