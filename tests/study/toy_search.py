"""Searches whose stages are a formula: what a search asks for, in whatever order its stages end, without training."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from study.cluster.successive_halving import Halving
from study.design.hyperparameters import Hyperparameters
from study.search.ask_tell import AskTell
from study.search.budget import Budget
from study.search.method import Method
from study.search.space import Choice, Real, Space
from study.stages.graph import StageGraph
from study.stages.progress import Progress
from study.stages.stage import Stage, StageKind, StageResult, StageRun
from study.store.attempt import begin_attempt
from study.store.store import Store

NUM_EPOCHS = 9
SPACE = Space({"backend_learning_rate": Real(low=1e-4, high=1e-1, log=True), "dropout": Real(low=0.0, high=0.5)})
CHOICES = Space({"batch_size": Choice((4, 8, 16)), "schedule": Choice(("one_cycle", "constant"))})


@dataclass(frozen=True, kw_only=True)
class FormulaStage:
    values: Hyperparameters


def _never(run: StageRun) -> StageResult:
    raise AssertionError("a formula is not run")


FORMULA = StageKind(name="formula", version=1, run=_never)


def stage_of(values: Hyperparameters) -> Stage:
    return Stage(kind=FORMULA, config=FormulaStage(values=values), corpus="formula", label=str(values.given))


def score(values: Hyperparameters, epoch: int) -> float:
    """Best at a learning rate of 0.01 without dropout, and a little better with every epoch."""
    rate, size = values.backend_learning_rate or 0.01, values.batch_size or 8
    distance = abs(rate - 0.01) * 5 + abs(values.dropout or 0.0) + abs(size - 8) * 0.02
    return 0.9 - 0.3 * min(distance, 1.0) - 0.1 / epoch + (0.01 if values.schedule == "constant" else 0.0)


def rows(values: Hyperparameters, num_epochs: int = NUM_EPOCHS) -> list[dict[str, Any]]:
    """What a stage would have reported of its epochs."""
    return [
        {"epoch": n, "step": n + 1, "phase": "0", "duration_s": 1.0, "roc_auc": score(values, n + 1)}
        for n in range(num_epochs)
    ]


class Bench:
    """A search that may be killed: `made` is what a command makes of the same storage every time it starts."""

    def __init__(self, folder: Path, space: Space = SPACE, *, budget: str = "14", **method: Any) -> None:
        self.folder, self.space, self.budget = folder, space, Budget.parsed(budget)
        defaults: dict[str, Any] = {"sampler": "tpe", "objectives": {"roc_auc": True}, "seed": 1, "parallel": 3}
        defaults |= {"halving": Halving(grace_epochs=1), "num_epochs": NUM_EPOCHS}
        self.method = Method(**{**defaults, **method})

    def made(self, settings: Mapping[str, Any] | None = None) -> tuple[AskTell, Progress, Store]:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        store, progress = Store(self.folder / "store"), Progress()
        ask_tell = AskTell(
            name="toy",
            storage=optuna.storages.get_storage(f"sqlite:///{self.folder}/optuna.db"),
            space=self.space,
            method=self.method,
            budget=self.budget,
            settings=settings or {"space": "toy"},
            stage_of=stage_of,
            store=store,
            progress=progress,
        )
        return ask_tell, progress, store

    def run(self, *, order: int = 0, num_stages: int | None = None) -> AskTell:
        """Ends its stages in an order of chance; after `num_stages` of them it is as if it were killed."""
        ask_tell, progress, store = self.made()
        graph, chance, running, ended = StageGraph(), random.Random(order), [], 0
        while ended != num_stages:
            while new := ask_tell.more():
                running += graph.add(new)
                progress.add(graph, store.done_identities(graph.identities))
                running = [stage for stage in running if progress.stages[stage.identity].state == "waiting"]
            if not running:
                break
            end(running.pop(chance.randrange(len(running))), ask_tell, progress, store)
            ended += 1
        return ask_tell


def end(stage: Stage, ask_tell: AskTell, progress: Progress, store: Store) -> None:
    """Trains to the end, or until the rule says that it is enough."""
    values, rule = stage.config.values, ask_tell.rule_of(stage.identity)
    attempt = begin_attempt(store, stage)
    for number in range(1, NUM_EPOCHS + 1):
        found = rows(values, number)
        if rule is not None and rule(found):
            attempt.prune(found)
            progress.end(stage.identity, "pruned")
            return
    found = rows(values)
    attempt.finish(
        StageResult(metrics={"validation_roc_auc": found[-1]["roc_auc"], "validation_pr_auc": 0.5}, epochs=found)
    )
    progress.end(stage.identity, "done")


def told(ask_tell: AskTell) -> list[tuple[dict[str, Any], TrialState, list[float] | None]]:
    """What was asked for, and what came of it."""
    return [(trial.params, trial.state, trial.values) for trial in ask_tell.ended]
