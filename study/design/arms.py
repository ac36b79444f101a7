"""Arms: named trials, and the functions that make the arms of a study from a reference."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any

from components.networks.adapters import ALL_POINTS, without
from components.objectives.probe import Feature
from study.design.trial import Source, Trial, bare_trial, probe_trial

DEFAULT_FEATURES: Sequence[Feature] = ("mixture", "estimates")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A named trial of a study; ValueError for an empty name."""

    name: str
    trial: Trial

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError(f"Arm.name is {self.name!r}; give a readable one")


def bare(reference: Trial) -> Arm:
    """The arm of the reference's backend alone."""
    return Arm(name="bare", trial=bare_trial(reference))


def probes(
    reference: Trial, sources: Sequence[Source | None], features: Sequence[Feature] = DEFAULT_FEATURES
) -> list[Arm]:
    """A linear probe for each source that a separator was pre-trained on; None: a probe of the mixture alone."""
    trials = [probe_trial(reference, source, tuple(features) if source else ("mixture",)) for source in sources]
    return [Arm(name=f"probe {trial.source or 'mixture'}", trial=trial) for trial in trials]


def one_factor_off(reference: Trial, **levels: Sequence[Any]) -> list[Arm]:
    """The reference, and for each given level an arm that differs from the reference in that factor alone.

    Raises:
        ValueError: an unknown factor or level, the reference's own level, or a level that does not go with the
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
    """Every combination of the given levels. All other factors are as in the reference.

    Raises:
        ValueError: no factor, an unknown factor or level, or a combination that is impossible.
    """
    _check_factors(levels)
    if not levels:
        raise ValueError("a full grid needs the levels of at least one factor; none was given")
    return [_varied(reference, dict(zip(levels, values, strict=True))) for values in product(*levels.values())]


def leave_one_out(reference: Trial) -> list[Arm]:
    """The reference with all insertion points, and for each decoder level an arm without it."""
    reference = replace(reference, insertion=ALL_POINTS)
    arms = [
        Arm(name=f"insertion without level {level}", trial=replace(reference, insertion=without(level)))
        for level in reversed(ALL_POINTS)
    ]
    return [Arm(name="reference", trial=reference), *arms]


def named(prefix: str, arms: Iterable[Arm]) -> list[Arm]:
    """The same arms with a prefix to their names, for a study with several references."""
    return [replace(arm, name=f"{prefix} {arm.name}") for arm in arms]


def _varied(reference: Trial, levels: Mapping[str, Any]) -> Arm:
    """The reference with other levels of some factors. They give the arm its name."""
    trial = replace(reference, **levels)
    return Arm(name=" ".join(f"{factor}={trial.factors[factor]}" for factor in levels), trial=trial)


def _check_factors(factors: Iterable[str]) -> None:
    names = [field.name for field in fields(Trial)]
    for factor in factors:
        if factor not in names:
            raise ValueError(f"there is no factor {factor!r}; there are: {', '.join(names)}")
