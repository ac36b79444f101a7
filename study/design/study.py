"""A study: its arms and seeds, the comparisons that it plans, and its runs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from study.corpora.corpora import Corpora
from study.design.arms import Arm
from study.design.hyperparameters import Hyperparameters, tuned_stage
from study.design.recipe import Recipe
from study.design.trial import Trial
from study.stages.stage import Stage


def with_random_weights(study: "Study") -> "Study":
    """The study with all backends at random weights instead of downloaded ones."""
    arms = [replace(a, trial=replace(a.trial, weights="random")) if a.trial.weights else a for a in study.arms]
    return replace(study, arms=arms)


@dataclass(frozen=True, kw_only=True)
class Against:
    """Planned comparisons of every other arm with this one; probes are compared with probes alone."""

    arm: str
    metrics: tuple[str, ...]


def against(arm: str, *, metrics: Sequence[str] = ("roc_auc",)) -> Against:
    """Comparisons that a study plans before it is run. Only planned comparisons may earn a star."""
    return Against(arm=arm, metrics=tuple(metrics))


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """An arm with a seed and its final stage."""

    arm: Arm
    seed: int
    final_stage: Stage

    @property
    def stages(self) -> list[Stage]:
        """All stages of the run, parents first."""
        return _ancestry(self.final_stage)


@dataclass(frozen=True, kw_only=True)
class Study:
    """All runs that answer a question; `compare` are its planned comparisons.

    Raises:
        ValueError: no arm, no seed, a name given twice, a trial that two arms share, or a comparison with no such arm.
    """

    name: str
    arms: Sequence[Arm]
    seeds: Sequence[int]
    compare: Sequence[Against] = ()

    def __post_init__(self) -> None:
        if not self.arms or not self.seeds:
            raise ValueError(f"Study {self.name!r} has {len(self.arms)} arms and {len(self.seeds)} seeds; give some")
        _check_unique("arm name", [arm.name for arm in self.arms])
        _check_unique("seed", list(self.seeds))
        for first, second in combinations(self.arms, 2):
            if first.trial == second.trial:
                raise ValueError(f"the arms {first.name!r} and {second.name!r} of the study are one trial")
        for planned in self.compare:
            if planned.arm not in [arm.name for arm in self.arms]:
                raise ValueError(f"Study.compare names {planned.arm!r}; no arm of the study has that name")

    @property
    def comparisons(self) -> list[tuple[str, str, str]]:
        """(arm, arm that it is compared with, metric) of every planned comparison; of mirror images only the first."""
        trials = {arm.name: arm.trial for arm in self.arms}
        found: dict[tuple[str, str, str], None] = {}
        for planned in self.compare:
            others = [n for n, t in trials.items() if n != planned.arm and _is_comparable(t, trials[planned.arm])]
            triples = [(name, planned.arm, metric) for metric in planned.metrics for name in others]
            found |= {triple: None for triple in triples if (triple[1], triple[0], triple[2]) not in found}
        return list(found)

    def runs(
        self, recipe: Recipe, corpora: Corpora, values: Mapping[str, Hyperparameters] | None = None
    ) -> list[PlannedRun]:
        """Every arm with every seed, seed by seed; `values`: arm -> hyperparameters of its last stage."""
        own = values or {}
        return [
            PlannedRun(
                arm=arm,
                seed=seed,
                final_stage=tuned_stage(arm.trial, seed, recipe, corpora, own.get(arm.name, Hyperparameters())),
            )
            for seed in self.seeds
            for arm in self.arms
        ]


def _is_comparable(trial: Trial, other: Trial) -> bool:
    alike = trial.task == other.task and trial.backend == other.backend
    return alike and (trial.scheme == "probe") == (other.scheme == "probe")


def _check_unique(what: str, values: Iterable[Any]) -> None:
    seen: list[Any] = []
    for value in values:
        if value in seen:
            raise ValueError(f"the {what} {value!r} is in the study twice")
        seen.append(value)


def _ancestry(stage: Stage) -> list[Stage]:
    found: dict[str, Stage] = {}
    for parent in stage.parents.values():
        found |= {ancestor.identity: ancestor for ancestor in _ancestry(parent)}
    return [*found.values(), stage]
