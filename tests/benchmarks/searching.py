"""Does TPE find better values than chance, and does early stopping keep the winner? On generated music, without Ray.

python -m tests.benchmarks.searching --folder /tmp/searching      # about 25 minutes on two cores

Each trial trains the demo's bare backend for nine epochs. First TPE and random search with equal budgets, three seeds
each: the best validation score, and that winner's score on the test split. Then every combination of a small space,
with and without early stopping: the winners, and what was spent.
"""

import argparse
import shutil
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import optuna
import torch

from experiments.presets import DEMO
from study.cluster.execution import Execution
from study.cluster.successive_halving import Halving
from study.corpora.corpora import Corpora, open_corpora
from study.design.hyperparameters import Hyperparameters, last_training, tuned_stage, with_last_training
from study.design.recipe import Recipe
from study.design.trial import Trial, bare_trial
from study.search.ask_tell import AskTell
from study.search.budget import Budget
from study.search.method import Method
from study.search.space import Choice, Real, Space
from study.stages.graph import StageGraph
from study.stages.progress import Progress
from study.stages.stage import Pruned, Stage, StageRun
from study.store.attempt import begin_attempt
from study.store.store import Store

NUM_EPOCHS, NUM_TRIALS, SEEDS, WIDTH = 9, 20, (0, 1, 2), 2
ARM = bare_trial(Trial())
WIDE = Space(
    {
        "backend_learning_rate": Real(low=1e-4, high=1e-1, log=True),
        "weight_decay": Real(low=1e-5, high=1e-1, log=True),
        "dropout": Real(low=0.0, high=0.6),
        "batch_size": Choice((8, 16, 32)),
        "schedule": Choice(("one_cycle", "constant")),
    }
)
SMALL = Space(
    {
        "backend_learning_rate": Choice((3e-4, 1e-3, 3e-3, 1e-2, 3e-2)),
        "batch_size": Choice((8, 32)),
        "schedule": Choice(("one_cycle", "constant")),
    }
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    folder = parser.parse_args().folder
    corpora(folder)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        against_chance = [(folder, "wide", sampler, seed, False) for seed in SEEDS for sampler in ("tpe", "random")]
        halved = [(folder, "small", "exhaustive", seed, early) for seed in SEEDS for early in (False, True)]
        for told in pool.map(search, *zip(*against_chance, *halved, strict=True)):
            print(told, flush=True)


def corpora(folder: Path) -> Corpora:
    return open_corpora(["tagging"], {}, DEMO.generated, folder / "corpora", lambda *progress: None)


def recipe() -> Recipe:
    """The demo's, nine epochs long and validated after each."""
    training = last_training(DEMO.recipe, ARM)
    phase = replace(training.phases[0], num_epochs=NUM_EPOCHS)
    shorter = replace(training, phases=(phase,), max_epochs=NUM_EPOCHS, validate_every=1)
    return replace(DEMO.recipe, backends={"cnn": with_last_training(DEMO.recipe.backends["cnn"], ARM, shorter)})


def search(folder: Path, space: str, sampler: Any, seed: int, early: bool) -> str:
    """One search from its beginning; what it found and what that took."""
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found, known = corpora(folder), recipe()
    place = folder / f"{space}-{sampler}-{seed}-{'early' if early else 'whole'}"
    shutil.rmtree(place, ignore_errors=True)

    def stage_of(values: Hyperparameters) -> Stage:
        stage = tuned_stage(ARM, seed, known, found, values)
        return replace(stage, config=replace(stage.config, scored="validation"))

    store, progress, graph = Store(place), Progress(), StageGraph()
    method = Method(
        sampler=sampler,
        objectives={"roc_auc": True},
        seed=seed,
        parallel=WIDTH,
        halving=Halving(grace_epochs=2) if early else None,
        num_epochs=NUM_EPOCHS,
    )
    ask_tell = AskTell(
        name="benchmark",
        storage=optuna.storages.InMemoryStorage(),
        space=WIDE if space == "wide" else SMALL,
        method=method,
        budget=Budget(trials=NUM_TRIALS),
        settings={},
        stage_of=stage_of,
        store=store,
        progress=progress,
    )
    started = time.process_time()
    while new := ask_tell.more():
        graph.add(new)
        progress.add(graph, set())
        for stage in new:
            progress.end(stage.identity, train(stage, ask_tell, store, found.places))  # pyright: ignore[reportArgumentType]
    spent = time.process_time() - started
    best = ask_tell.best()
    assert best is not None
    tested = stage_of(Hyperparameters(**best.params))
    result = run(replace(tested, config=replace(tested.config, scored="test")), found.places, lambda told: None)
    epochs = sum(max(trial.intermediate_values, default=0) for trial in ask_tell.ended)
    values = {name: round(value, 5) if isinstance(value, float) else value for name, value in best.params.items()}
    how = f"{space} {sampler} seed {seed}{' early stopping' if early else ''}"
    scores = f"best validation ROC-AUC {best.value:.4f}, test {result.metrics['roc_auc']:.4f}"
    return f"{how}: {len(ask_tell.ended)} trials, {epochs} epochs, {spent:.0f} CPU-s; {scores}; {values}"


def train(stage: Stage, ask_tell: AskTell, store: Store, places: Mapping[str, str]) -> str:
    """As a worker does it: to the end, or until the rule has seen enough."""
    rule, history, attempt = ask_tell.rule_of(stage.identity), [], begin_attempt(store, stage)

    def report(told: dict[str, Any]) -> None:
        history[:] = told.get("history", history)
        if rule is not None and "epoch" in told and rule(history):
            raise Pruned

    try:
        attempt.finish(run(stage, places, report))
    except Pruned:
        attempt.prune(history)
        return "pruned"
    return "done"


def run(stage: Stage, places: Mapping[str, str], report: Any) -> Any:
    return stage.kind.run(
        StageRun(
            stage=stage,
            corpus_path=places[stage.corpus],
            execution=Execution(storage="", corpora=places),
            read_parent=lambda role, name: b"",
            read_input=lambda sha256: b"",
            save_state=lambda state: None,
            report=report,
        )
    )


if __name__ == "__main__":
    main()
