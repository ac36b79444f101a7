"""The search for one arm: its stages, the test of its winner, and its rows of records."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from study.corpora.corpora import Corpora
from study.design.arms import Arm
from study.design.hyperparameters import Hyperparameters, last_training, named, tuned_stage, with_last_training
from study.design.recipe import Recipe
from study.kinds.held_out_test import TEST, TestStage
from study.search.ask_tell import AskTell
from study.search.budget import Budget
from study.search.method import Method
from study.search.space import Space
from study.stages.progress import Progress
from study.stages.stage import Stage, StoppingRule
from study.store.store import Store

STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def search_recipe(recipe: Recipe, arm: Arm, validate_every: int) -> Recipe:
    """The recipe, with its last stage validated as often as the search needs."""
    name = str(arm.trial.backend)
    training = replace(last_training(recipe, arm.trial), validate_every=validate_every)
    backend = with_last_training(recipe.backends[name], arm.trial, training)
    return replace(recipe, backends={**recipe.backends, name: backend})


def stage_of(values: Hyperparameters, *, arm: Arm, recipe: Recipe, corpora: Corpora, seed: int) -> Stage:
    """The arm's last stage with these values, scored on the validation split alone."""
    stage = tuned_stage(arm.trial, seed, recipe, corpora, values)
    label = f"search {arm.name}: {named(values.given, digits=3)}"
    return replace(stage, config=replace(stage.config, scored="validation"), label=label)


def is_complete(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.COMPLETE


class ArmSearch:
    """A feed of stages: those that Optuna asks for and, once the budget is spent, the test of the best one.

    `settings`: what must stay the same when the search goes on.
    """

    def __init__(
        self,
        *,
        arm: Arm,
        name: str,
        storage: optuna.storages.BaseStorage,
        space: Space,
        method: Method,
        budget: Budget,
        recipe: Recipe,
        corpora: Corpora,
        store: Store,
        settings: Mapping[str, Any],
        progress: Progress,
    ) -> None:
        self.arm, self.name, self.method, self.budget, self.space = arm, name, method, budget, space
        self._recipe, self._corpora, self._store, self._settings = recipe, corpora, store, settings
        self.ask_tell = AskTell(
            name=name,
            storage=storage,
            space=space,
            method=method,
            budget=budget,
            settings=settings,
            stage_of=self.stage_of,
            store=store,
            progress=progress,
        )
        self.test: Stage | None = None

    def stage_of(self, values: Hyperparameters) -> Stage:
        return stage_of(values, arm=self.arm, recipe=self._recipe, corpora=self._corpora, seed=self.method.seed)

    def tried(self) -> list[Stage]:
        """The stages of the trials that have ended."""
        return [self.stage_of(Hyperparameters(**trial.params)) for trial in self.ask_tell.ended]

    def more(self) -> Sequence[Stage]:
        new = list(self.ask_tell.more())
        if self.test is None and self.ask_tell.finished and (best := self.ask_tell.best()) is not None:
            trained = self.stage_of(Hyperparameters(**best.params))
            self.test = Stage(
                kind=TEST,
                config=TestStage(seed=self.method.seed, trained=trained.config),
                corpus=trained.corpus,
                parents={"trained": trained},
                label=f"test of {trained.label}",
            )
            new.append(self.test)
        return new

    def rule_of(self, identity: str) -> StoppingRule | None:
        return self.ask_tell.rule_of(identity)

    def tested(self, store: Store) -> dict[str, float]:
        """The winner's metrics on the test split; empty until its test is done."""
        done = store.done(self.test.identity) if self.test else None
        result = store.result(done) if done else None
        return dict(result["metrics"]) if result else {}

    def check_budget(self) -> None:
        """ValueError for fewer trials than have ended: arms would seem to have had equal budgets."""
        if self.budget.trials is not None and self.budget.trials < len(self.ask_tell.ended):
            raise ValueError(
                f"--budget {self.budget.trials}: {len(self.ask_tell.ended)} trials of {self.name!r} have ended already"
            )

    def counts(self) -> dict[str, int]:
        """Number of trials by the state in which they ended."""
        states = [STATES[trial.state] for trial in self.ask_tell.ended]
        return {state: states.count(state) for state in STATES.values() if state in states}

    @property
    def num_epochs(self) -> tuple[int, int]:
        """Epochs that the trials were trained, and would have been without early stopping; failed trials left out."""
        ended = [trial for trial in self.ask_tell.ended if trial.state != TrialState.FAIL]
        return sum(self.epochs(trial) for trial in ended), self.method.num_epochs * len(ended)

    def epochs(self, trial: FrozenTrial) -> int:
        """Epochs after which the trial ended."""
        return self.method.num_epochs if is_complete(trial) else max(trial.intermediate_values, default=0)

    def rows(self) -> list[dict[str, Any]]:
        """The trials as rows of the records."""
        return [
            {
                "number": trial.number,
                "arm": self.arm.name,
                "state": STATES[trial.state],
                "final_stage": trial.user_attrs["stage"],
                # Optuna gives a trial that was stopped early the last value that it reached.
                "values": dict(zip(self.method.objectives, trial.values, strict=True)) if is_complete(trial) else {},
                "numbers": {k: float(v) for k, v in trial.params.items() if not isinstance(v, str)},
                "choices": {k: v for k, v in trial.params.items() if isinstance(v, str)},
                "reached": next(reversed(trial.intermediate_values.values()), None),
                "epochs": self.epochs(trial),
                "duration_s": trial.user_attrs["duration_s"],
            }
            for trial in self.ask_tell.ended
        ]

    def description(self) -> dict[str, Any]:
        """What the search is, and what it has found."""
        best = self.ask_tell.best()
        return {
            "name": self.name,
            "arm": self.arm.name,
            **self._settings,
            "budget": str(self.budget),
            "num_epochs": self.method.num_epochs,
            "winner": None if best is None else best.number,
            "tested": self.tested(self._store),
            "test_stage": self.test.identity if self.test else None,
        }

    def entry(self) -> dict[str, Any] | None:
        """The winner, as an entry of the winner file."""
        best = self.ask_tell.best()
        if best is None:
            return None
        return {
            "values": dict(best.params),
            "search": self.name,
            "trial": best.number,
            "metric": f"validation_{self.method.first}",
            "value": best.values[0],
            "test": self.tested(self._store),
            "seed": self.method.seed,
            "preset": self._settings["preset"],
            "budget": str(self.budget),
            "trials": self.counts(),
            "corpora": self._settings["corpora"],
        }
