"""The command of a study: what it refuses, what decides an identity, what it prints; all without training."""

import ast
import dataclasses
import inspect
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.corpora.corpus_format import SPLITS, WAVEFORM_FILE
from components.corpora.corpus_writer import CorpusWriter
from study.command.exit_code import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE
from study.command.options import ExecutionOptions, Options
from study.command.study import StudyCommand, main
from study.design.arms import bare
from study.records.schemas import SCHEMA_VERSION, VERSION_KEY
from study.stages.progress import Progress
from study.store.attempt import begin_attempt
from tests.study.toy_command import PRESETS, command, finish, text_of
from tests.study.toy_study import REFERENCE, SEGMENT, study, write_songs, write_tracks

GROUPS = {"sung tags": ("sung",), "tags of another corpus": ("yodelled",)}


# Bad input


def test_an_unknown_preset_is_refused(options):
    with pytest.raises(ValueError, match="--preset 'huge' does not exist; there are: toy"):
        command(replace(options, preset="huge"))
    assert not Path(options.storage).exists()


def call(monkeypatch, options: Options, *arguments: str) -> int:
    given = {"preset": "toy", "storage": options.storage, "precision": "float32"}
    given |= {f"{kind}-corpus": getattr(options, f"{kind}_corpus") for kind in ("separation", "tagging")}
    flags = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    monkeypatch.setattr(sys, "argv", ["/somewhere/ablation.py", *flags, *arguments])
    return main(study(), PRESETS, GROUPS, "A toy.")


@pytest.fixture
def no_training(monkeypatch):
    def refuse(self, records) -> Progress:
        raise AssertionError("training was started")

    monkeypatch.setattr(StudyCommand, "_train", refuse)


@pytest.mark.usefixtures("no_training")
def test_storage_that_cannot_be_written_is_one_line_and_exit_code_2(options, monkeypatch, capsys, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("here is no room for a folder")
    assert call(monkeypatch, replace(options, storage=str(blocked / "store"))) == EXIT_USAGE == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith(f"ablation.py: storage {blocked / 'store'} is not writable: ")
    assert captured.out == ""


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tagging_corpus": "/nowhere/tags"}, "/nowhere/tags"),
        ({"storage": "gopher://lab/study"}, "gopher"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_exit_code_2(options, monkeypatch, capsys, change, message):
    assert call(monkeypatch, replace(options, **change)) == EXIT_USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        ({"splits": ("train", "test")}, "backend tagging cnn, seed 0: .* has no track in split 'validation'"),
        ({"num_samples": SEGMENT - 1}, f"backend tagging cnn, seed 0: a segment of {SEGMENT} samples is longer than"),
    ],
)
def test_a_corpus_that_no_stage_can_be_trained_on_is_refused_before_training(options, tmp_path, corpus, message):
    write_tracks(tmp_path / "tags", **corpus)
    with pytest.raises(ValueError, match=message):
        command(replace(options, tagging_corpus=str(tmp_path / "tags")))


def test_a_corpus_without_the_stem_that_an_arm_needs_is_refused_before_training(options, tmp_path):
    write_songs(tmp_path / "songs", ("mixture", "drums", "bass", "other"))
    with pytest.raises(ValueError, match="songs has no stem 'vocals', which source 'vocals' needs"):
        command(replace(options, separation_corpus=str(tmp_path / "songs")))


def test_a_corpus_without_tagged_tracks_is_refused_before_training(options, tmp_path):
    with CorpusWriter(tmp_path / "tags", name="silent", kind="tagging", classes=("sung",)) as writer:
        for number in range(24):
            waveform = np.ones(2 * SEGMENT, dtype=np.int16)
            writer.add(str(number), waveform, split=SPLITS[number % 3], labels=[])
    with pytest.raises(ValueError, match="of 1 tags, each has none or all of the 8 validation tracks"):
        command(replace(options, tagging_corpus=str(tmp_path / "tags")))


def test_a_batch_that_does_not_divide_among_the_workers_is_refused_before_training(options):
    with pytest.raises(ValueError, match="seed 0: batch_size 4 does not divide among 3 workers"):
        command(replace(options, workers=3))


def test_what_is_done_is_not_checked_again(done):
    command(replace(done, workers=3))


def test_a_waveform_changed_at_equal_size_is_found_by_verify_before_training(options, tmp_path):
    write_tracks(tmp_path / "tags")
    changed = replace(options, tagging_corpus=str(tmp_path / "tags"))
    command(replace(changed, verify=True))
    with (tmp_path / "tags" / WAVEFORM_FILE).open("r+b") as file:
        file.write(b"\x01\x02\x03\x04")
    command(changed)
    with pytest.raises(ValueError, match=f"tags/{WAVEFORM_FILE}: digest is .* changed"):
        command(replace(changed, verify=True))


@pytest.mark.usefixtures("no_training")
def test_records_of_a_newer_schema_are_refused_before_training(done, monkeypatch, capsys):
    path = Path(done.storage) / "records" / "runs" / "one.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"arm": ["x"]}).replace_schema_metadata({VERSION_KEY: str(SCHEMA_VERSION + 1)}), path)
    assert call(monkeypatch, done) == EXIT_USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert f"one.parquet: schema version {SCHEMA_VERSION + 1} is newer" in line


def test_an_interruption_says_how_to_go_on(options, monkeypatch, capsys):
    def interrupt(self, records) -> Progress:
        raise KeyboardInterrupt

    monkeypatch.setattr(StudyCommand, "_train", interrupt)
    assert call(monkeypatch, options) == EXIT_INTERRUPTED == 130
    assert "the same command goes on from here" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags",
    [
        ["--workers", "two"],
        ["--precision", "int8"],
        ["--seeds", "0"],
        ["--max-cpus", "-1"],
        ["--checkpoint-every-s", "-5"],
        ["--nonsense"],
    ],
)
def test_unknown_options_and_values_are_exit_code_2(options, monkeypatch, capsys, flags):
    with pytest.raises(SystemExit) as caught:
        call(monkeypatch, options, *flags)
    assert caught.value.code == EXIT_USAGE
    assert flags[0] in capsys.readouterr().err


# Identity


SITE_OPTIONS = {
    "workers": 2,
    "cpus_per_worker": 2,
    "compile": "always",
    "max_cpus": 64,
    "max_gpus": 8,
    "checkpoint_every_s": 1.0,
    "hung_after_s": 60.0,
    "storage": None,
    "corpus_cache": None,
    "tagging_corpus": None,
    "verify": True,
}


@pytest.mark.parametrize("name", SITE_OPTIONS)
def test_site_facts_change_no_identity(options, tmp_path, name):
    change = SITE_OPTIONS[name]
    if name in ("storage", "corpus_cache"):
        change = str(tmp_path / "elsewhere")
    if name == "tagging_corpus":
        change = str(Path(options.tagging_corpus or "").rename(tmp_path / "moved"))
    try:
        other = command(replace(options, **{name: change}))
    finally:
        if name == "tagging_corpus":
            Path(change).rename(options.tagging_corpus or "")
    assert other.graph.identities == command(options).graph.identities


def test_every_option_is_a_site_fact_or_decides_what_is_trained():
    decisive = {"preset", "seeds", "first_seed", "precision"}
    decisive |= {"separation_corpus", "tagging_corpus", "genre_corpus"}
    # GPUs compute in bf16 with synchronised statistics, unless the precision is given.
    decisive |= {"gpus_per_worker"}
    decisive |= {"imagenet_weights", "hyperparameters", "start_separator", "start_backend"}
    neither = {"plan", "explain", "stages_per_trial"}
    assert {field.name for field in dataclasses.fields(Options)} == {*SITE_OPTIONS} | decisive | neither


def test_precision_and_seeds_decide_what_is_trained(options):
    before = set(command(options).graph.identities)
    assert before.isdisjoint(command(replace(options, precision="bf16")).graph.identities)
    assert set(command(replace(options, seeds=1)).graph.identities) < before
    assert before < set(command(replace(options, seeds=3)).graph.identities)
    assert command(replace(options, seeds=2, first_seed=100)).study.seeds == (100, 101)
    assert command(replace(options, seeds=None, first_seed=7)).study.seeds[0] == 7


def test_the_studys_name_holds_the_preset(options):
    assert command(options).study.name == "toy-toy"


def test_only_the_corpora_that_are_needed_are_opened(options):
    tagging_only = replace(options, separation_corpus="/nowhere", genre_corpus="/nowhere")
    opened = command(tagging_only, bare(REFERENCE)).corpora
    assert set(opened.by_kind) == {"tagging"}


# A study that is done, and one that is not


def test_a_study_that_is_done_trains_nothing_and_answers(done, monkeypatch, capsys):
    assert call(monkeypatch, done) == 0
    text = capsys.readouterr().out
    assert "Nothing to train: 8 of 8 stages are done." in text
    assert "0 stages trained by this command, 8 unique in the study, 8 if every run trained its own." in text
    assert "0.505 ± 0.007" in text and "sung tags" in text and "tags of another corpus" not in text
    assert f"Rows: {done.storage}/records/*/*.parquet" in text
    assert "generated" not in text
    records = pq.read_table(Path(done.storage) / "records" / "runs")
    assert records.num_rows == 6 and set(records["state"].to_pylist()) == {"done"}


def test_it_ends_with_the_page_and_says_where_it_is(done):
    made = command(done, groups=GROUPS)
    assert made.run() == 0
    place = Path(done.storage, "report", "toy-toy")
    assert text_of(made).splitlines()[-1] == f"Page: {place}/report.html"
    assert "<h1>toy-toy</h1>" in (place / "report.html").read_text()
    assert (place / "tables" / "arms-tagging.csv").exists() and (place / "figures" / "stage-graph.png").exists()


def test_a_page_that_cannot_be_written_is_told_and_loses_nothing(done):
    Path(done.storage, "report").write_text("here is no room for a folder")
    made = command(done, groups=GROUPS)
    assert made.run() == 0
    assert text_of(made).splitlines()[-1].startswith("Page: not written: ")
    assert "0.505 ± 0.007" in text_of(made)


def test_the_second_answer_is_the_first(done):
    def answered() -> list[str]:
        made = command(done, groups=GROUPS)
        assert made.run() == 0
        return [line for line in text_of(made).splitlines() if "It took" not in line]

    assert answered() == answered()


def test_failed_arms_are_told_with_their_cause_and_exit_code_1(options, monkeypatch):
    def train(self: StudyCommand, records) -> Progress:
        progress = Progress()
        progress.add(self.graph, set())
        for entry in list(progress.stages.values()):
            if "none" in entry.stage.label:
                error = ValueError("shapes [3] and [/4] differ")
                begin_attempt(self.store, entry.stage).fail(error)
                progress.end(entry.stage.identity, "failed", f"ValueError: {error}")
            else:
                finish(self.store, [entry.stage])
                progress.end(entry.stage.identity, "done")
        return progress

    monkeypatch.setattr(StudyCommand, "_train", train)
    made = command(options, groups=GROUPS)
    assert made.run() == EXIT_FAILED == 1
    text = text_of(made)
    assert (
        "failed: finetuning tagging cnn, none, two-stage, frozen, adapters all, seed 0: ValueError: shapes [3]" in text
    )
    assert "2 of 6 runs are missing: source=none (seed 0), source=none (seed 1)" in text
    assert "6 stages trained by this command" in text
    (row,) = [line for line in text.split("Groups of tags", maxsplit=1)[0].splitlines() if line[:11] == "source=none"]
    assert row.split() == ["source=none", "failed", "failed"]


# --help


def option_texts() -> Iterator[tuple[str, str]]:
    for source in map(inspect.getsource, (ExecutionOptions, Options)):
        (cls,) = ast.parse(source).body
        assert isinstance(cls, ast.ClassDef)
        members = [node for node in cls.body if isinstance(node, ast.AnnAssign)]
        for field in members:
            after = cls.body[cls.body.index(field) + 1]
            assert isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant), ast.unparse(field)
            yield ast.unparse(field.target), str(after.value.value)


def test_help_explains_every_option(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ablation.py", "--help"])
    monkeypatch.setenv("COLUMNS", "140")
    with pytest.raises(SystemExit) as caught:
        main(study(), PRESETS, GROUPS, "A toy.")
    assert caught.value.code == 0
    text = "".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--presettoy:toy" in text and "Atoy." in text
    explained = dict(option_texts())
    assert set(explained) == {field.name for field in dataclasses.fields(Options)}
    for name, meaning in explained.items():
        assert "--" + name.replace("_", "-") in text
        assert len(meaning) > 20 and "".join(meaning.split()) in text, name
