"""Designs: which arms a study compares, and the study itself."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import combinations, product
from typing import Any

from components.adapters import ALL_POINTS, without
from components.probe import Feature
from study.search.hyperparameters import Hyperparameters, tuned_stage
from study.stage import Stage
from study.trial import Source, Trial, bare_trial, probe_trial
from study.unfold import Corpora, Recipe

# What a probe of a separator hears unless something else is asked for.
DEFAULT: Sequence[Feature] = ("mixture", "estimates")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A named trial of a study; ValueError for an empty name."""

    name: str
    trial: Trial

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError(f"Arm.name is {self.name!r}; give one to read")


def bare(reference: Trial) -> Arm:
    """The reference's backend alone."""
    return Arm(name="bare", trial=bare_trial(reference))


def probes(reference: Trial, sources: Sequence[Source | None], features: Sequence[Feature] = DEFAULT) -> list[Arm]:
    """Linear probes of what separators hear, by what they were trained on; None: of the mixture alone."""
    trials = [probe_trial(reference, source, tuple(features) if source else ("mixture",)) for source in sources]
    return [Arm(name=f"probe {trial.source or 'mixture'}", trial=trial) for trial in trials]


def one_factor_off(reference: Trial, **levels: Sequence[Any]) -> list[Arm]:
    """The reference, and for every level given an arm that differs from it in that factor alone.

    Raises:
        ValueError: an unknown factor or level, a level that is the reference's own, or one that does not go with the
            reference's other factors.
    """
    _check_factors(levels)
    arms = [Arm(name="reference", trial=reference)]
    for factor, values in levels.items():
        for value in values:
            arm = _varied(reference, {factor: value})
            if arm.trial == reference:
                raise ValueError(f"{arm.name} is the reference's own level; leave it out")
            arms.append(arm)
    return arms


def full_grid(reference: Trial, **levels: Sequence[Any]) -> list[Arm]:
    """Every combination of the levels given; all other factors as in the reference.

    Raises:
        ValueError: no factor, an unknown factor or level, or a combination that is impossible.
    """
    _check_factors(levels)
    if not levels:
        raise ValueError("a full grid needs the levels of one factor at least; none was given")
    return [_varied(reference, dict(zip(levels, values, strict=True))) for values in product(*levels.values())]


def leave_one_out(reference: Trial) -> list[Arm]:
    """The reference with all insertion points, and for each of them an arm without it."""
    reference = replace(reference, insertion=ALL_POINTS)
    levels = reversed(ALL_POINTS)
    arms = [
        Arm(name=f"insertion without level {level}", trial=replace(reference, insertion=without(level)))
        for level in levels
    ]
    return [Arm(name="reference", trial=reference), *arms]


def named(prefix: str, arms: Iterable[Arm]) -> list[Arm]:
    """The same arms with a prefix to their names: for a study of several references."""
    return [replace(arm, name=f"{prefix} {arm.name}") for arm in arms]


def from_random(study: "Study") -> "Study":
    """The study with backends that start at random where they would start from weights of elsewhere."""
    arms = [replace(a, trial=replace(a.trial, weights="random")) if a.trial.weights else a for a in study.arms]
    return replace(study, arms=arms)


def _varied(reference: Trial, levels: Mapping[str, Any]) -> Arm:
    """The reference with other levels of some factors, which give the arm its name."""
    trial = replace(reference, **levels)
    return Arm(name=" ".join(f"{factor}={trial.factors[factor]}" for factor in levels), trial=trial)


def _check_factors(factors: Iterable[str]) -> None:
    names = [field.name for field in fields(Trial)]
    for factor in factors:
        if factor not in names:
            raise ValueError(f"there is no factor {factor!r}; there are: {', '.join(names)}")


@dataclass(frozen=True, kw_only=True)
class Against:
    """Planned comparisons: every other arm, probes with probes and the rest with the rest, against this one."""

    arm: str
    metrics: tuple[str, ...]


def against(arm: str, *, metrics: Sequence[str] = ("roc_auc",)) -> Against:
    """What a study sets out to tell of its arms beforehand: only such comparisons may earn a star."""
    return Against(arm=arm, metrics=tuple(metrics))


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """An arm with a seed, and its final stage."""

    arm: Arm
    seed: int
    final_stage: Stage

    @property
    def stages(self) -> list[Stage]:
        """All stages that it needs, parents first."""
        return _ancestry(self.final_stage)


@dataclass(frozen=True, kw_only=True)
class Study:
    """All runs that answer a question; `compare` are the comparisons that it is planned for.

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
        """(arm, what it is compared with, metric) of every planned comparison, no two of them each other's mirror."""
        trials = {arm.name: arm.trial for arm in self.arms}
        found: dict[tuple[str, str, str], None] = {}
        for planned in self.compare:
            others = [n for n, trial in trials.items() if n != planned.arm and _comparable(trial, trials[planned.arm])]
            pairs = [(name, planned.arm, metric) for metric in planned.metrics for name in others]
            found |= {pair: None for pair in pairs if (pair[1], pair[0], pair[2]) not in found}
        return list(found)

    def runs(
        self, recipe: Recipe, corpora: Corpora, values: Mapping[str, Hyperparameters] | None = None
    ) -> list[PlannedRun]:
        """Every arm with every seed, seed by seed; `values` are arms' own for their last stage."""
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


def _comparable(trial: Trial, other: Trial) -> bool:
    alike = trial.task == other.task and trial.backend == other.backend
    return alike and (trial.scheme == "probe") == (other.scheme == "probe")


def _check_unique(what: str, values: Iterable[Any]) -> None:
    seen: list[Any] = []
    for value in values:
        if value in seen:
            raise ValueError(f"the {what} {value!r} stands in the study twice")
        seen.append(value)


def _ancestry(stage: Stage) -> list[Stage]:
    found: dict[str, Stage] = {}
    for parent in stage.parents.values():
        found |= {ancestor.identity: ancestor for ancestor in _ancestry(parent)}
    return [*found.values(), stage]
