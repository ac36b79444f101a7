"""Measurements: the values of a study's runs, and the stages of each run. The stages show what the seeds replicate."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Values of runs, and the stages of every planned run.

    Attributes:
        values: metric -> arm -> seed -> value. A missing or failed run has none; a value that is not finite counts as
            failed.
        stages: arm -> seed -> identities of all stages of the planned run.
        kinds: identity -> name of the stage's kind.
        deterministic: kinds in which nothing is drawn, so that running them once is enough.

    Raises:
        ValueError: a value of a run that is not planned, or a stage without a kind.
    """

    values: Mapping[str, Mapping[str, Mapping[int, float]]]
    stages: Mapping[str, Mapping[int, Collection[str]]]
    kinds: Mapping[str, str]
    deterministic: Collection[str] = ()

    def __post_init__(self) -> None:
        for by_arm in self.values.values():
            for arm, by_seed in by_arm.items():
                extra = sorted(by_seed.keys() - self.stages.get(arm, {}).keys())
                if extra:
                    raise ValueError(f"there is a value of {arm!r} at seed {extra[0]}, of which no stages are given")
        for by_seed in self.stages.values():
            unknown = sorted({stage for run in by_seed.values() for stage in run} - self.kinds.keys())
            if unknown:
                raise ValueError(f"the stage {unknown[0]!r} has no kind")

    def finite(self, metric: str, arm: str) -> dict[int, float]:
        """An arm's values by seed, without those that are not finite."""
        by_seed = self.values[metric].get(arm, {})
        return {seed: value for seed, value in by_seed.items() if np.isfinite(value)}

    def missing_runs(self, metric: str, *arms: str) -> list[str]:
        """In plain words: which arms lack values at seeds that any of them was planned with."""
        planned = sorted({seed for arm in arms for seed in self.stages[arm]})
        lacking = {arm: [seed for seed in planned if seed not in self.finite(metric, arm)] for arm in arms}
        return [f"incomplete: {arm} is missing or failed at {_named(seeds)}" for arm, seeds in lacking.items() if seeds]

    def not_replicated(self, arm: str, against: str, seeds: Sequence[int]) -> list[str]:
        """In plain words: stages in which the arms differ but which several seeds share. These are not replicated."""
        reasons = []
        for own, other in ((arm, against), (against, arm)):
            for stage, users in self._shared(own, seeds).items():
                if any(stage not in self.stages[other][seed] for seed in users):
                    which = "all seeds" if len(users) == len(seeds) else _named(users)
                    reasons.append(f"{own} has one {self.kinds[stage]} for {which}")
        return list(dict.fromkeys(f"conditional on that one checkpoint: {reason}" for reason in reasons))

    def shared_checkpoint_note(self, arm: str, against: str, seeds: Sequence[int]) -> str:
        """In plain words: which stages both arms share at all seeds; empty if none."""
        both = self._shared(arm, seeds).items() & self._shared(against, seeds).items()
        kinds = sorted({self.kinds[stage] for stage, users in both if len(users) == len(seeds)})
        return f"holds for one checkpoint: both arms have the same {' and '.join(kinds)} at all seeds" if kinds else ""

    def _shared(self, arm: str, seeds: Iterable[int]) -> dict[str, tuple[int, ...]]:
        """Stages that draw random numbers and that several of these seeds of an arm share, with those seeds."""
        users: dict[str, tuple[int, ...]] = {}
        for seed in seeds:
            for stage in dict.fromkeys(self.stages[arm][seed]):
                users[stage] = (*users.get(stage, ()), seed)
        drawn = {stage: by for stage, by in users.items() if self.kinds[stage] not in self.deterministic}
        return {stage: by for stage, by in drawn.items() if len(by) > 1}


def _named(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
