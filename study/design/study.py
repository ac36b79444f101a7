"""A study: its arms and seeds, the comparisons that it plans, and its runs."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
class Planned:
    """Planned comparisons of one arm with one other, in metrics or groups of tags."""

    arm: str
    against: str
    metrics: tuple[str, ...]


def planned(arm: str, against: str, *, in_: str | Sequence[str] = "roc_auc") -> Planned:
    """A single comparison that a study plans before it is run; `in_`: a metric, a group of tags, or several."""
    return Planned(arm=arm, against=against, metrics=(in_,) if isinstance(in_, str) else tuple(in_))


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
    """All runs that answer a question.

    Attributes:
        compare: its planned comparisons.
        margins: metric or group of tags -> the largest difference that would make no difference to anyone. Each planned
            comparison in it is also tested for being within.

    Raises:
        ValueError: no arm, no seed, a name given twice, a trial that two arms share, a comparison that cannot be made,
            or a margin that is not positive or of what no comparison is planned in.
    """

    name: str
    arms: Sequence[Arm]
    seeds: Sequence[int]
    compare: Sequence[Against | Planned] = ()
    margins: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.arms or not self.seeds:
            raise ValueError(f"Study {self.name!r} has {len(self.arms)} arms and {len(self.seeds)} seeds; give some")
        _check_unique("arm name", [arm.name for arm in self.arms])
        _check_unique("seed", list(self.seeds))
        for first, second in combinations(self.arms, 2):
            if first.trial == second.trial:
                raise ValueError(f"the arms {first.name!r} and {second.name!r} of the study are one trial")
        for one in self.compare:
            _check_planned(one, {arm.name: arm.trial for arm in self.arms})
        metrics = dict.fromkeys(metric for one in self.compare for metric in one.metrics)
        for metric, margin in self.margins.items():
            if metric not in metrics:
                raise ValueError(f"Study.margins names {metric!r}; comparisons are planned in: {', '.join(metrics)}")
            if not 0 < margin < math.inf:
                raise ValueError(f"Study.margins[{metric!r}] is {margin}; give a positive number")

    @property
    def comparisons(self) -> list[tuple[str, str, str]]:
        """(arm, arm that it is compared with, metric) of every planned comparison; of mirror images only the first."""
        found: dict[tuple[str, str, str], None] = {}
        for one in self.compare:
            triples = [(*pair, metric) for metric in one.metrics for pair in self._pairs(one)]
            found |= {triple: None for triple in triples if (triple[1], triple[0], triple[2]) not in found}
        return list(found)

    def _pairs(self, one: Against | Planned) -> list[tuple[str, str]]:
        """(arm, arm that it is compared with)."""
        if isinstance(one, Planned):
            return [(one.arm, one.against)]
        trials = {arm.name: arm.trial for arm in self.arms}
        return [(n, one.arm) for n, t in trials.items() if n != one.arm and _is_comparable(t, trials[one.arm])]

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


def _check_planned(one: Against | Planned, trials: Mapping[str, Trial]) -> None:
    names = [one.arm, one.against] if isinstance(one, Planned) else [one.arm]
    for name in names:
        if name not in trials:
            raise ValueError(f"Study.compare names {name!r}; the arms of the study are: {', '.join(trials)}")
    if not one.metrics:
        raise ValueError(f"Study.compare plans {' against '.join(names)} in no metric; give some")
    if len(names) == 2 and names[0] == names[1]:
        raise ValueError(f"Study.compare plans {names[0]!r} against itself; name two arms")
    tasks = [trials[name].task for name in names]
    if len(set(tasks)) == 2:
        raise ValueError(f"Study.compare plans {names[0]!r} ({tasks[0]}) against {names[1]!r} ({tasks[1]}): one task")


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
