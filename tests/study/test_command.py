"""The command: what it refuses, what it would do and why, what it tells at the end; all of it without training."""

import ast
import dataclasses
import inspect
import io
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from toy_study import REFERENCE, TAGS, recipe, study, write_corpora

from components.corpora.generated.config import GeneratedConfig
from study.command import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, Command, Preset, main
from study.design import bare, one_factor_off
from study.options import Options
from study.progress import Progress
from study.record_schemas import SCHEMA_VERSION, VERSION_KEY
from study.stage import Stage, StageResult
from study.store import Store

PRESETS = {"toy": Preset(description="toy", generated=GeneratedConfig(), recipe=recipe())}
GROUPS = {"sung tags": ("sung",), "tags of another corpus": ("yodelled",)}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    folders = write_corpora(tmp_path_factory.mktemp("corpora"))
    return {f"{kind}_corpus": str(folder) for kind, folder in folders.items()}


@pytest.fixture
def options(corpora, tmp_path) -> Options:
    return Options(preset="toy", storage=str(tmp_path / "store"), precision="float32", **corpora)


def command(options: Options, *arms, columns: int = 100, presets=None, **fields) -> Command:
    console = Console(file=io.StringIO(), width=columns)
    return Command(study(*arms, **fields), presets or PRESETS, options, console)


def text_of(command: Command) -> str:
    return command.console.file.getvalue()


def finish(store: Store, stages) -> None:
    """Results as the kinds would leave them, without training."""
    for stage in stages:
        if not store.done(stage.identity):
            store.begin(stage).finish(result_of(stage))


@pytest.fixture(scope="module")
def finished(corpora, tmp_path_factory) -> Path:
    """A store in which the default study is done."""
    folder = tmp_path_factory.mktemp("finished")
    made = command(Options(preset="toy", storage=str(folder), precision="float32", **corpora))
    finish(made.store, made.graph)
    return folder


@pytest.fixture
def done(options, finished) -> Options:
    """Options for a store of its own in which the default study is done."""
    shutil.copytree(finished, options.storage)
    return options


def result_of(stage: Stage) -> StageResult:
    if stage.kind.name == "separation":
        return StageResult(metrics={"si_sdr_vocals": 4.0, "si_sdr_mixture_vocals": -1.0})
    value = 0.5 + 0.01 * stage.config.seed
    counts = {"num_positives": [4] * 3, "num_tracks": [8] * 3}
    scores = {"roc_auc": [value] * 3, "pr_auc": [value] * 3}
    tags = pa.table({"class": list(TAGS), "split": ["test"] * 3, **counts, **scores})
    return StageResult(metrics={"roc_auc": value, "pr_auc": value}, tables={"tag_metrics": tags})


def files_below(folder: str) -> set[str]:
    return {str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()}


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
    def refuse(self) -> Progress:
        raise AssertionError("training was started")

    monkeypatch.setattr(Command, "_train", refuse)


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


@pytest.mark.usefixtures("no_training")
def test_records_of_a_newer_schema_are_refused_before_training(done, monkeypatch, capsys):
    path = Path(done.storage) / "records" / "runs" / "one.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"arm": ["x"]}).replace_schema_metadata({VERSION_KEY: str(SCHEMA_VERSION + 1)}), path)
    assert call(monkeypatch, done) == EXIT_USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert f"one.parquet: schema version {SCHEMA_VERSION + 1} is newer" in line


def test_an_interruption_says_how_to_go_on(options, monkeypatch, capsys):
    def interrupt(self) -> Progress:
        raise KeyboardInterrupt

    monkeypatch.setattr(Command, "_train", interrupt)
    assert call(monkeypatch, options) == EXIT_INTERRUPTED == 130
    assert "the same command goes on from here" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [["--workers", "two"], ["--precision", "int8"], ["--seeds", "0"], ["--nonsense"]])
def test_unknown_options_and_values_are_exit_code_2(options, monkeypatch, capsys, flags):
    with pytest.raises(SystemExit) as caught:
        call(monkeypatch, options, *flags)
    assert caught.value.code == EXIT_USAGE
    assert flags[0] in capsys.readouterr().err


# Identity


SITE_OPTIONS = {
    "workers": 2,
    "cpus_per_worker": 2,
    "max_cpus": 64,
    "max_gpus": 8,
    "checkpoint_every_s": 1.0,
    "stages_per_trial": 1,
    "storage": None,
    "tagging_corpus": None,
}


@pytest.mark.parametrize("name", SITE_OPTIONS)
def test_site_facts_change_no_identity(options, tmp_path, name):
    change = SITE_OPTIONS[name]
    if name == "storage":
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
    decisive = {"preset", "seeds", "separation_corpus", "tagging_corpus", "genre_corpus", "precision"}
    # GPUs compute in bf16 with synchronised statistics, unless the precision is given.
    decisive |= {"gpus_per_worker"}
    neither = {"plan", "explain"}
    assert {field.name for field in dataclasses.fields(Options)} == {*SITE_OPTIONS} | decisive | neither


def test_precision_and_seeds_decide_what_is_trained(options):
    before = set(command(options).graph.identities)
    assert before.isdisjoint(command(replace(options, precision="bf16")).graph.identities)
    assert set(command(replace(options, seeds=1)).graph.identities) < before
    assert before < set(command(replace(options, seeds=3)).graph.identities)


def test_the_studys_name_holds_the_preset(options):
    assert command(options).study.name == "toy-toy"


def test_only_the_corpora_that_are_needed_are_opened(options):
    tagging_only = replace(options, separation_corpus="/nowhere", genre_corpus="/nowhere")
    opened = command(tagging_only, bare(REFERENCE)).corpora
    assert set(opened.by_kind) == {"tagging"}


# --plan


def test_the_plan_counts_and_runs_nothing(options):
    made = command(options, bare(REFERENCE), *one_factor_off(REFERENCE, source=["none"], scheme=["three-stage"]))
    before = files_below(options.storage)
    made.print_plan()
    text = text_of(made)
    assert 'Study "toy-toy": 4 arms x 2 seeds = 8 runs, 10 unique stages (14 if every run trained its own)' in text
    assert "0 of 10 stages are done; 10 would run." in text
    assert text.count("  to run  ") == 10 and "  done  " not in text
    assert files_below(options.storage) == before == {"store.json"}


def test_the_plan_knows_what_is_done(options):
    made = command(options)
    separators = [stage for stage in made.graph if stage.kind.name == "separation"]
    finish(made.store, separators)
    made.print_plan()
    lines = text_of(made).splitlines()
    assert lines[-1] == "2 of 8 stages are done; 6 would run."
    assert [line.split("  ")[-1] for line in lines if line.startswith("  done")] == [s.label for s in separators]


@pytest.mark.parametrize("columns", [20, 80])
def test_the_plans_lines_are_never_wrapped(options, columns):
    made = command(options, columns=columns)
    made.print_plan()
    lines = text_of(made).splitlines()
    arms = ["  arm ", "  bare ", "  reference ", "  source=none "]
    assert [line[: len(arm)] for line, arm in zip(lines[1:5], arms, strict=True)] == arms
    assert all(stage.label in line for stage, line in zip(made.graph, lines[5:-1], strict=True))
    places = [line.index(level) for line, level in zip(lines[1:5], ("unet", "-  ", "frozen", "frozen"), strict=True)]
    assert places[0] == places[2] == places[3]


# --explain


def explained(made: Command, name: str) -> list[str]:
    made.print_explanation(name)
    return text_of(made).splitlines()


def test_nothing_is_done_at_first(options):
    assert explained(command(options), "reference/seed0") == [
        "separation vocals, seed 0: new; no separation stage is done",
        "finetuning tagging cnn, vocals, two-stage, frozen, adapters all, seed 0: new; no finetuning stage is done",
    ]


def test_done_stages_are_reused(done):
    lines = explained(command(done), "reference/seed0")
    assert [line.rsplit(": ", 1)[1] for line in lines] == ["done, reused"] * 2


def test_a_changed_field_is_named_with_both_values(done):
    changed = {"toy": replace(PRESETS["toy"], recipe=recipe(adapters_initial_std=0.5, calibration_batches=3))}
    assert explained(command(done, presets=changed), "reference/seed0") == [
        "separation vocals, seed 0: done, reused",
        "finetuning tagging cnn, vocals, two-stage, frozen, adapters all, seed 0: new; like "
        '"finetuning tagging cnn, vocals, two-stage, frozen, adapters all, seed 0", but',
        "    calibration_batches changed from 2 to 3",
        "    joint.adapters.initial_std changed from 0.01 to 0.5",
    ]


def test_of_parents_it_says_that_they_are_others(done):
    changed = {"toy": replace(PRESETS["toy"], recipe=recipe(remix=replace(recipe().remix, excerpt_s=1.0)))}
    separation, _, finetuning, why = explained(command(done, presets=changed), "reference/seed0")[:4]
    assert separation == 'separation vocals, seed 0: new; like "separation vocals, seed 0", but'
    assert finetuning.startswith("finetuning") and why == "    its separator comes from another stage"


def test_another_seed_differs_in_the_seed(options):
    made = command(options)
    finish(made.store, made.runs[1].stages)
    lines = explained(made, "reference/seed1")
    assert lines[1] == "    seed changed from 0 to 1"


def test_failed_and_interrupted_stages_are_no_new_ones(options):
    made = command(options)
    separation, finetuning = made.runs[1].stages
    made.store.begin(separation).save_state(b"state")
    made.store.begin(finetuning).fail(ValueError("too small"))
    lines = explained(made, "reference/seed0")
    assert lines[0].endswith("begun, not done; it goes on from its last saved state")
    assert lines[1].endswith("begun, not done; the last attempt failed: ValueError: too small")


def test_an_unknown_run_is_refused_with_those_that_exist(options):
    with pytest.raises(ValueError, match=r"--explain 'reference': there is no such run; there are: bare/seed0, "):
        command(options).print_explanation("reference")


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


def test_the_second_answer_is_the_first(done):
    def answered() -> list[str]:
        made = command(done)
        assert made.run(GROUPS) == 0
        return [line for line in text_of(made).splitlines() if "It took" not in line]

    assert answered() == answered()


def test_failed_arms_are_told_with_their_cause_and_exit_code_1(options, monkeypatch):
    def train(self: Command) -> Progress:
        progress = Progress()
        progress.add(self.graph, set())
        for entry in list(progress.stages.values()):
            if "none" in entry.stage.label:
                error = ValueError("shapes [3] and [/4] differ")
                self.store.begin(entry.stage).fail(error)
                progress.end(entry.stage.identity, "failed", f"ValueError: {error}")
            else:
                finish(self.store, [entry.stage])
                progress.end(entry.stage.identity, "done")
        return progress

    monkeypatch.setattr(Command, "_train", train)
    made = command(options)
    assert made.run(GROUPS) == EXIT_FAILED == 1
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
    (cls,) = ast.parse(inspect.getsource(Options)).body
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
