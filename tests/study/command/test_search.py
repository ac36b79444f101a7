"""The command of a search: what it refuses, what it writes, and what an ablation makes of it; nothing is trained."""

import io
import json
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from study.cluster import run_graph as run_graph_module
from study.command.search import Search, SearchCommand
from study.command.search_options import SearchOptions
from study.design.arms import Arm, bare
from study.kinds.held_out_test import TEST
from study.records.query import Query
from study.search.space import Choice, Real, Space
from study.stages.identity import difference
from study.stages.progress import State
from study.stages.stage import StageResult
from study.store.attempt import begin_attempt
from study.store.store import Store
from tests.study.toy_command import PRESETS
from tests.study.toy_command import command as ablation
from tests.study.toy_study import REFERENCE

SPACE = Space(
    {"backend_learning_rate": Real(low=1e-3, high=1e-1, log=True), "schedule": Choice(("constant", "one_cycle"))}
)
ARMS = [bare(REFERENCE), Arm(name="reference", trial=REFERENCE)]


@pytest.fixture
def search_options(options) -> SearchOptions:
    given = {name: getattr(options, name) for name in ("storage", "separation_corpus", "tagging_corpus")}
    return SearchOptions(preset="toy", precision="float32", budget="6", grace_epochs=1, arms=("reference",), **given)


def made(options: SearchOptions, stack: ExitStack, space: Space = SPACE) -> SearchCommand:
    console = Console(file=io.StringIO(), width=100)
    return SearchCommand(Search(name="rates", arms=ARMS, space=space), PRESETS, options, console, stack)


def text_of(command: SearchCommand) -> str:
    assert isinstance(command.console.file, io.StringIO)
    return command.console.file.getvalue()


@pytest.fixture
def by_formula(monkeypatch):
    """Stages end with a score that their learning rate gives, in the order in which they are asked for."""

    def train(graph, *, store: Store, progress, feed, **rest: Any) -> None:
        while True:
            while new := feed.more():
                graph.add(new)
                progress.add(graph, store.done_identities(graph.identities))
            waiting = progress.of_state("waiting")
            if not waiting:
                return
            for entry in waiting:
                progress.end(entry.stage.identity, *finish(store, entry.stage))

    monkeypatch.setattr(run_graph_module, "run_graph", train)


def finish(store: Store, stage) -> tuple[State, str]:
    metrics = {"roc_auc": 0.61, "pr_auc": 0.31}
    epochs = []
    if stage.kind.name in ("classification", "finetuning"):
        rate = stage.config.training.phases[0].learning_rate
        metrics = {"validation_roc_auc": 0.9 - rate, "validation_pr_auc": rate}
        row = {"step": 1, "phase": "0", "duration_s": 1.0}
        epochs = [{"epoch": n, "roc_auc": 0.9 - rate, **row} for n in range(2)]
    begin_attempt(store, stage, {"purpose": "search"}).finish(StageResult(metrics=metrics, epochs=epochs))
    return "done", ""


def run(options: SearchOptions) -> SearchCommand:
    with ExitStack() as stack:
        command = made(options, stack)
        assert command.run() == 0, text_of(command)
        return command


@pytest.mark.usefixtures("by_formula")
def test_a_search_leaves_a_winner_records_and_a_page(search_options):
    command = run(search_options)
    store = command.store
    winner = json.loads(store.storage.read("searches/rates-toy-winner.json"))["arms"]["reference"]
    rows = Query(store).run("SELECT * FROM trials ORDER BY roc_auc DESC").to_pylist()
    assert len(rows) == 6 and rows[0]["number"] == winner["trial"]
    assert winner["values"]["backend_learning_rate"] == rows[0]["backend_learning_rate"]
    assert winner["values"]["schedule"] == rows[0]["schedule"] and winner["value"] == pytest.approx(rows[0]["roc_auc"])
    assert winner["budget"] == "6 trials" and winner["test"] == {"roc_auc": 0.61, "pr_auc": 0.31}
    assert set(winner["corpora"]) == {"separation", "tagging"}
    page = store.storage.read("report/rates-toy/report.html").decode()
    assert "Hyperparameter search" in page and f"trial {winner['trial']} did best" in page and page.count("<svg") >= 2
    assert store.storage.exists("report/rates-toy/tables/search-rates-toy-reference-best.csv")
    counts = command.searches[0].counts()
    assert sum(counts.values()) == 6 and f"{counts['complete']} complete" in text_of(command)


@pytest.mark.usefixtures("by_formula")
def test_the_next_command_writes_again_what_a_stage_was(search_options):
    store = run(search_options).store
    paths = [f"stages/{identity}/stage.json" for identity in store.identities()]
    written = {path: store.storage.read(path) for path in paths}
    for path in paths:
        store.storage.delete(path)
    run(search_options)
    assert {path: store.storage.read(path) for path in paths} == written


@pytest.mark.usefixtures("by_formula")
def test_every_trial_is_told_once_with_the_best_so_far(search_options):
    shorter = run(replace(search_options, budget="4"))
    command = run(search_options)
    assert [text_of(shorter).count(f"rates-toy reference: trial {k} ") for k in range(6)] == [1, 1, 1, 1, 0, 0]
    assert [text_of(command).count(f"rates-toy reference: trial {k} ") for k in range(6)] == [0, 0, 0, 0, 1, 1]
    best = command.searches[0].ask_tell.best()
    assert best is not None
    lines = [line for line in text_of(command).splitlines() if "best so far" in line]
    assert lines[-1] == f"rates-toy reference: best so far is trial {best.number}, roc_auc {best.values[0]:.4g}"


@pytest.mark.usefixtures("by_formula")
def test_a_trial_that_raised_is_named_and_has_trained_nothing(search_options, monkeypatch):
    def breaks(store: Store, stage) -> tuple[State, str]:
        rate = stage.config.training.phases[0].learning_rate if stage.kind.name == "finetuning" else 0.0
        return ("failed", "NonFiniteError: loss nan") if rate > 0.01 else finish_well(store, stage)

    finish_well = finish
    monkeypatch.setattr(sys.modules[__name__], "finish", breaks)
    command = run(search_options)
    rows = Query(command.store).run("SELECT state, epochs FROM trials").to_pylist()
    failed = [row for row in rows if row["state"] == "failed"]
    assert 0 < len(failed) < 6 and {row["epochs"] for row in failed} == {0}
    assert {row["epochs"] for row in rows if row["state"] == "complete"} == {2}
    told = text_of(command)
    assert told.count("failed after 0 of 2 epochs") == told.count("NonFiniteError: loss nan") == len(failed)


@pytest.mark.usefixtures("by_formula")
def test_the_test_split_is_looked_at_for_the_winner_alone(search_options):
    command = run(search_options)
    stages = [command.store.stage_json(identity)["description"] for identity in command.store.identities()]
    tests = [stage for stage in stages if stage["kind"] == TEST.name]
    scored = {stage["config"]["scored"] for stage in stages if stage["kind"] == "finetuning"}
    assert len(tests) == 1 and scored == {"validation"}
    best = command.searches[0].ask_tell.best()
    assert best is not None and tests[0]["parents"] == {"trained": best.user_attrs["stage"]}


@pytest.mark.usefixtures("by_formula")
def test_no_trial_is_a_run_and_separators_are_the_ablations(search_options, options):
    command = run(search_options)
    assert Query(command.store).run("SELECT * FROM runs").num_rows == 0
    purposes = Query(command.store).run("SELECT DISTINCT purpose FROM stages").to_pylist()
    assert purposes == [{"purpose": "search"}]
    planned = ablation(options, *ARMS)
    kinds = {stage.kind.name for stage in planned.graph if command.store.done(stage.identity)}
    assert kinds == {"separation"}


@pytest.mark.usefixtures("by_formula")
def test_done_is_done_and_a_larger_budget_goes_on(search_options, monkeypatch):
    first = run(search_options)
    before = Query(first.store).run("SELECT * FROM trials ORDER BY number").to_pylist()
    train = run_graph_module.run_graph

    def never(*arguments, **rest):
        raise AssertionError("something was trained")

    monkeypatch.setattr(run_graph_module, "run_graph", never)
    assert "Nothing to train" in text_of(run(search_options))
    monkeypatch.setattr(run_graph_module, "run_graph", train)
    longer = run(replace(search_options, budget="9"))
    rows = Query(longer.store).run("SELECT * FROM trials ORDER BY number").to_pylist()
    assert rows[:6] == before and len(rows) == 9


@pytest.mark.usefixtures("by_formula")
def test_an_ablation_takes_the_values_for_all_of_its_arms(search_options, options):
    run(search_options)
    file = f"{options.storage}/searches/rates-toy-winner.json"
    plain, tuned = ablation(options, *ARMS), ablation(replace(options, hyperparameters=file), *ARMS)
    assert tuned.study.name.startswith("toy-toy-tuned-") and tuned._description()["hyperparameters"]["arms"]
    rate = json.loads(Path(file).read_text())["arms"]["reference"]["values"]["backend_learning_rate"]
    for before, after in zip(plain.runs, tuned.runs, strict=True):
        changed = difference(before.final_stage.description, after.final_stage.description)
        assert all(".training.phases" in line for line in changed) and len(changed) <= 2
        assert after.final_stage.config.training.phases[0].learning_rate == rate
        assert after.final_stage.config.scored == "test"
        assert before.final_stage.parents == after.final_stage.parents


@pytest.mark.usefixtures("by_formula")
def test_searching_for_each_arm_gives_each_its_own_with_one_budget(search_options, options):
    run(replace(search_options, arms=()))
    file = f"{options.storage}/searches/rates-toy-winner.json"
    arms = json.loads(Path(file).read_text())["arms"]
    assert set(arms) == {"bare", "reference"} and len({one["budget"] for one in arms.values()}) == 1
    tuned = ablation(replace(options, hyperparameters=file), *ARMS)
    rates = {run.arm.name: run.final_stage.config.training.phases[0].learning_rate for run in tuned.runs}
    assert rates == {name: one["values"]["backend_learning_rate"] for name, one in arms.items()}
    with pytest.raises(ValueError, match="and none for another"):
        ablation(replace(options, hyperparameters=file), Arm(name="another", trial=REFERENCE))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arms": ("nobody",)}, "--arms 'nobody' does not exist; there are: bare, reference"),
        (
            {"objectives": ("accuracy",)},
            "--objectives 'accuracy' does not exist for tagging; there are: roc_auc, pr_auc, duration_s",
        ),
        ({"grace_epochs": 2}, "--grace-epochs is 2, and a stage has 2 epochs: none could be stopped early"),
        ({"budget": "2"}, "--budget 2 at --parallel 2: no trial could be compared with an earlier one"),
        ({"preset": "huge"}, "--preset 'huge' does not exist"),
        ({"sampler": "exhaustive"}, "a Real range has infinitely many"),
        ({"optuna_storage": "gopher://lab"}, "--optuna-storage gopher://lab cannot be opened"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_starts(search_options, change, message):
    with ExitStack() as stack, pytest.raises(ValueError, match=message):
        made(replace(search_options, **change), stack)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parallel": 0}, "--parallel is 0"),
        ({"seed": -1}, "--seed is -1"),
        ({"grace_epochs": 0}, "--grace-epochs is 0; give at least 1"),
        ({"reduction": 1}, "--reduction is 1; give at least 2"),
        ({"budget": "many"}, "--budget 'many': give trials"),
        ({"objectives": ("roc_auc", "pr_auc")}, "early stopping compares one objective"),
        ({"objectives": ("duration_s",)}, "early stopping compares a metric"),
    ],
)
def test_options_that_contradict_each_other_are_refused(search_options, change, message):
    with pytest.raises(ValueError, match=message):
        replace(search_options, **change)


def test_a_batch_that_the_corpus_cannot_fill_is_refused(search_options):
    space = Space({"batch_size": Choice((4, 64))})
    with (
        ExitStack() as stack,
        pytest.raises(ValueError, match=r"batch_size 64: TrainingConfig\.batch_size is 64; an epoch"),
    ):
        made(search_options, stack, space)


def test_a_search_goes_on_only_as_what_it_was(search_options):
    with ExitStack() as stack:
        made(search_options, stack)
    with (
        ExitStack() as stack,
        pytest.raises(ValueError, match=r"another one \(seed changed from 0 to 1\): give a --name"),
    ):
        made(replace(search_options, seed=1), stack)
    with ExitStack() as stack:
        made(replace(search_options, seed=1, name="other"), stack)


def test_two_commands_at_one_search_are_refused(search_options):
    with ExitStack() as stack:
        made(search_options, stack)
        with pytest.raises(ValueError, match="another command runs the search 'rates-toy'"):
            made(search_options, stack)


@pytest.mark.usefixtures("by_formula")
def test_a_budget_smaller_than_what_is_told_is_refused(search_options):
    run(search_options)
    with (
        ExitStack() as stack,
        pytest.raises(ValueError, match="--budget 4: 6 trials of 'rates-toy reference' have ended"),
    ):
        made(replace(search_options, budget="4"), stack).run()


@pytest.mark.usefixtures("by_formula")
def test_a_plan_trains_nothing_and_leaves_nothing(search_options):
    with ExitStack() as stack:
        command = made(replace(search_options, plan=True), stack)
        command.print_plan()
    run(replace(search_options, seed=1))  # the name is still to be had
    with ExitStack() as stack:
        made(replace(search_options, plan=True, name="another"), stack)
    told = text_of(command)
    assert (
        "tpe for roc_auc on the validation split, budget 6 trials, 2 at once; 2 epochs a trial, stopped early after 1"
        in told
    )
    assert "  backend_learning_rate: 0.001 to 0.1, logarithmic" in told and "  schedule: constant or one_cycle" in told


def test_gpus_where_there_are_none_are_refused(search_options, monkeypatch):
    """Asked of the cluster before any stage is handed out, with a stage such as will be asked for."""
    seen: list[Any] = []
    monkeypatch.setattr(run_graph_module, "run_graph", lambda graph, **given: seen.append(given))
    with ExitStack() as stack:
        made(replace(search_options, gpus_per_worker=1.0), stack).run()
    (given,) = seen
    assert [stage.kind.name for stage in given["examples"]] == ["finetuning"]
    from study.cluster.connection import check_fits

    with pytest.raises(ValueError, match=r"a finetuning stage needs 1 GPU .*; the cluster can have at most 0"):
        check_fits(given["examples"], given["execution"], {"CPU": 2.0, "GPU": 0.0})
