"""How many seeds more would show a comparison, and what they cost."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from study.report.facts import Facts
from study.report.sections.stages import compute_of, planned_stages
from study.report.study_comparisons import StudyComparisons
from study.statistics.comparisons import Comparison, ComparisonResult
from study.statistics.power import ALPHA


@dataclass(frozen=True, kw_only=True)
class FurtherSeeds:
    """`num` seeds beyond those that there are; `hours` of CPU or GPU for both arms, None where nothing was timed."""

    num: int
    hours: float | None
    unit: str

    def __str__(self) -> str:
        seeds = f"about {self.num:,} further seed{'' if self.num == 1 else 's'} would show it"
        if self.hours is None:
            return seeds
        hours = f"{self.hours:.1g}" if self.hours < 1 else f"{self.hours:,.0f}"
        return f"{seeds}, in {hours} {self.unit}-hours"


def further_seeds(
    facts: Facts, comparing: StudyComparisons, compared: Iterable[ComparisonResult]
) -> dict[Comparison, FurtherSeeds]:
    """For an effect and a spread as observed, at 80 % power and Bonferroni's level; nothing for what is shown already.

    A comparison is left out if it would need more seeds than anyone will train.
    """
    stages, _ = planned_stages(facts)
    found = {}
    for one in compared:
        needed = None if one.star or one.reasons else one.seeds_needed(alpha=ALPHA / comparing.family_size)
        if needed is not None and needed > len(one.seeds):
            num = needed - len(one.seeds)
            seconds, unit = _seconds_a_seed(facts, one, stages)
            hours = None if seconds is None else num * seconds / 3600
            found[one.comparison] = FurtherSeeds(num=num, hours=hours, unit=unit)
    return found


def _seconds_a_seed(facts: Facts, one: ComparisonResult, stages: dict[str, dict[str, Any]]) -> tuple[float | None, str]:
    """What a seed of both arms took on average, a stage of both counted once; GPU-seconds if there are any."""
    arms = (one.comparison.arm, one.comparison.against)
    used = {stage for run in facts.runs if run["arm"] in arms and run["seed"] in one.seeds for stage in run["stages"]}
    parts = [compute_of(stages[stage]) for stage in used if stage in stages]
    unit = "GPU" if any(kind == "GPU" for _, kind in parts) else "CPU"
    seconds = [value for value, kind in parts if kind == unit]
    return (sum(seconds) / len(one.seeds) if seconds else None), unit
