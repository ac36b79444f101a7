"""Copies of corpora: made once per machine, compared with their digest, and used in the place of what is far away."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest

from components.corpora.corpus import Corpus
from components.corpora.corpus_format import MANIFEST_FILE, WAVEFORM_FILE
from study.corpora import cache
from study.corpora.cache import local_copy
from study.corpora.corpora import open_corpora
from study.design.arms import bare
from study.design.trial import bare_trial
from study.design.trial_to_stages import final_stage
from tests.bucket import upload
from tests.study.toy_command import command
from tests.study.toy_study import REFERENCE, Bench, recipe, write_corpora


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    return write_corpora(tmp_path_factory.mktemp("corpora"))


def test_without_a_cache_a_corpus_is_where_it_is(folders):
    assert local_copy(str(folders["tagging"]), "") == folders["tagging"]


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_the_copy_is_the_corpus_and_is_made_once(folders, tmp_path, monkeypatch, scheme):
    address = f"{scheme}{folders['tagging']}"
    copy = local_copy(address, str(tmp_path / "cache"))
    assert copy.parent == tmp_path / "cache" and copy.name == Corpus.open(folders["tagging"]).digest
    Corpus.open(copy).verify()
    monkeypatch.setattr(cache, "_copy", None)
    assert local_copy(address, str(tmp_path / "cache")) == copy
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {"", ".lock"}


def test_processes_that_ask_at_once_get_one_copy(folders, tmp_path):
    ask = partial(local_copy, cache=str(tmp_path / "cache"))
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        found = set(pool.map(ask, [str(folders["tagging"])] * 6))
    assert len(found) == 1
    Corpus.open(found.pop()).verify()


def test_what_a_killed_process_left_is_replaced(folders, tmp_path):
    digest = Corpus.open(folders["tagging"]).digest
    left = tmp_path / "cache" / f"{digest}.unfinished"
    left.mkdir(parents=True)
    (left / WAVEFORM_FILE).write_bytes(b"half")
    Corpus.open(local_copy(str(folders["tagging"]), str(tmp_path / "cache"))).verify()
    assert not left.exists()


def test_a_copy_that_does_not_fit_its_digest_is_refused(tmp_path):
    source = write_corpora(tmp_path / "corpora")["tagging"]
    data = bytearray((source / WAVEFORM_FILE).read_bytes())
    data[100] ^= 1
    (source / WAVEFORM_FILE).write_bytes(data)
    with pytest.raises(ValueError, match="digest"):
        local_copy(str(source), str(tmp_path / "cache"))
    assert not (tmp_path / "cache" / Corpus.open(source).digest).exists()


@pytest.mark.parametrize(
    ("address", "cache", "error", "message"),
    [
        ("s3://lab/corpus", "", ValueError, "s3://lab/corpus is no folder: say with --corpus-cache"),
        ("/nowhere", "cache", FileNotFoundError, r"/nowhere holds no corpus: it has no manifest\.json"),
        ("/nowhere", "$NOT_SET_HERE/cache", ValueError, r"\$NOT_SET_HERE/cache names an environment variable"),
    ],
)
def test_what_is_no_corpus_is_refused(tmp_path, address, cache, error, message):
    with pytest.raises(error, match=message):
        local_copy(address, cache and str(tmp_path / cache))


@pytest.mark.parametrize("harm", ["shortened", "removed", "named otherwise"])
def test_a_copy_that_was_harmed_is_made_anew(folders, tmp_path, harm):
    cache = str(tmp_path / "cache")
    copy = local_copy(str(folders["tagging"]), cache)
    if harm == "removed":
        (copy / WAVEFORM_FILE).unlink()
    elif harm == "shortened":
        (copy / WAVEFORM_FILE).write_bytes(b"short")
    else:
        manifest = copy / MANIFEST_FILE
        manifest.write_text(manifest.read_text().replace("toy-tagging", "another"))
    assert local_copy(str(folders["tagging"]), cache) == copy
    Corpus.open(copy).verify()
    assert Corpus.open(copy).name == "toy-tagging"


def test_a_machine_names_its_own_disk(folders, tmp_path, monkeypatch):
    monkeypatch.setenv("OWN_DISK", str(tmp_path / "disk"))
    copy = local_copy(str(folders["tagging"]), "$OWN_DISK/cache")
    assert copy.parent == tmp_path / "disk" / "cache"


def test_a_corpus_comes_from_a_bucket(folders, tmp_path, bucket):
    address = bucket.address(f"corpora{tmp_path}")
    upload(folders["tagging"], address)
    copy = local_copy(address, str(tmp_path / "cache"))
    Corpus.open(copy).verify()
    assert copy.name == Corpus.open(folders["tagging"]).digest
    with pytest.raises(FileNotFoundError, match=r"s3://lab/nothing holds no corpus: it has no manifest\.json"):
        local_copy(bucket.address("nothing"), str(tmp_path / "cache"))


def test_a_stage_trains_on_the_copy_and_is_the_same_stage(folders, tmp_path):
    cache = str(tmp_path / "cache")
    given = {kind: f"file://{folder}" for kind, folder in folders.items() if kind == "tagging"}
    found = open_corpora(["tagging"], given, None, tmp_path, lambda *_: None, cache=cache)  # pyright: ignore[reportArgumentType]
    assert found.places == {found.of("tagging").digest: given["tagging"]}
    assert Path(cache) in found.of("tagging").folder.parents
    stage = final_stage(bare_trial(REFERENCE), 0, recipe(), found)
    there, here = Bench(folders, corpus_cache=cache), Bench(folders)
    there.execution = replace(there.execution, corpora=found.places)
    assert there.result(stage).metrics == here.result(stage).metrics


def test_the_command_takes_it(folders, options, tmp_path):
    address = f"file://{folders['tagging']}"
    made = command(
        replace(options, tagging_corpus=address, separation_corpus=None, corpus_cache=str(tmp_path / "cache")),
        bare(REFERENCE),
    )
    assert made.execution.corpora == {made.corpora.of("tagging").digest: address}
    assert made._description()["corpora"]["tagging"]["place"] == address
