"""Comparisons: which arms a study set out to compare, and which of them may be called significantly different.

Only a planned comparison can earn a star, and only if the seeds replicate everything in which the two arms differ.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from study.statistics.measurements import Measurements
from study.statistics.over_seeds import (
    Contrast,
    Interval,
    effect_size,
    equivalence_p,
    fewest_pairs_for,
    holm,
    paired_t,
    sign_flip_p,
    vary_beyond_rounding,
)
from study.statistics.power import num_pairs_needed, smallest_detectable_effect

# With fewer seeds the exact sign-flip test cannot reach 1 % and adds little to the t test.
FEWEST_FOR_SIGN_FLIP = fewest_pairs_for(0.01)


@dataclass(frozen=True)
class Comparison:
    """An arm against a reference, in a metric; ValueError for an arm against itself."""

    arm: str
    against: str
    metric: str

    def __post_init__(self) -> None:
        if self.arm == self.against:
            raise ValueError(f"Comparison.against is the arm itself, {self.arm!r}")

    def __str__(self) -> str:
        return f"{self.arm} against {self.against} in {self.metric}"


@dataclass(frozen=True, kw_only=True)
class ComparisonResult:
    """The result of a comparison: the arm minus the other one, over the seeds that both have.

    Attributes:
        planned: whether it was planned; otherwise it is post hoc.
        differences: by seed, in the order of `seeds`.
        contrast: difference, interval and p of the paired t test; where it is None, `reasons` say why.
        p_holm: adjusted over all planned comparisons; None if it cannot have a star.
        star: whether it is significant.
        margin: differences within ± margin make no difference to the study; None where it states none.
        p_equivalent: of equivalence within the margin, adjusted like `p_holm`.
        equivalent: whether that is shown.
        reasons: in plain words, why it cannot have a star; empty if it can.
        note: which stages both arms share at all seeds; the result holds for these checkpoints only.
    """

    comparison: Comparison
    planned: bool
    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    contrast: Contrast | None
    p_holm: float | None = None
    star: bool = False
    margin: float | None = None
    p_equivalent: float | None = None
    equivalent: bool = False
    reasons: tuple[str, ...] = field(default=())
    note: str = ""

    @property
    def difference(self) -> float | None:
        """The mean; there is one even if a single seed gives no interval."""
        return float(np.mean(self.differences)) if self.differences else None

    @property
    def interval(self) -> Interval | None:
        return self.contrast.interval if self.contrast else None

    @property
    def p(self) -> float | None:
        """Of the paired t test, not adjusted."""
        return self.contrast.p if self.contrast else None

    @property
    def p_within(self) -> float | None:
        """Of equivalence within the margin, not adjusted."""
        return equivalence_p(self._array, self.margin) if self.contrast and self.margin else None

    @property
    def p_sign_flip(self) -> float | None:
        """Of the sign-flip test, not adjusted; None below `FEWEST_FOR_SIGN_FLIP` seeds."""
        return sign_flip_p(self._array) if len(self.seeds) >= FEWEST_FOR_SIGN_FLIP else None

    @property
    def effect_size(self) -> float | None:
        """With Hedges' correction, in standard deviations of the differences; None below three seeds."""
        return effect_size(self._array) if self.contrast and len(self.seeds) > 2 else None

    def smallest_detectable(self, *, power: float = 0.8, alpha: float = 0.05) -> float | None:
        """In the unit of the metric, at this number of seeds and the spread observed."""
        if self.contrast is None:
            return None
        return smallest_detectable_effect(len(self.seeds), self._array.std(ddof=1), power=power, alpha=alpha)

    def seeds_needed(self, *, power: float = 0.8, alpha: float = 0.05) -> int | None:
        """The seeds that would show an effect as large as the one observed; None for more than anyone will train."""
        size = self.effect_size
        return None if size is None else num_pairs_needed(size, power=power, alpha=alpha)

    @property
    def _array(self) -> np.ndarray:
        return np.array(self.differences)


def compare(
    measured: Measurements,
    planned: Sequence[Comparison],
    *,
    post_hoc: Sequence[Comparison] = (),
    margins: Mapping[str, float] | None = None,
    alpha: float = 0.05,
) -> list[ComparisonResult]:
    """The results of the planned comparisons, then of the post hoc ones. Each interval has confidence 1 - `alpha`.

    Holm's family is all planned comparisons, of every metric. A comparison that cannot have a star counts as p = 1, so
    a star does not disappear when other arms are completed. A metric in `margins` gives each of its planned comparisons
    a second member of the family: that the difference lies within the margin.

    Raises:
        ValueError: a comparison given twice, or of an arm or metric that is not there.
    """
    for comparison, times in Counter([*planned, *post_hoc]).items():
        if times > 1:
            raise ValueError(f"the comparison of {comparison} is given {times} times")
        for arm in (comparison.arm, comparison.against):
            if arm not in measured.stages:
                raise ValueError(f"there is no arm {arm!r}; there are: {', '.join(measured.stages)}")
        if comparison.metric not in measured.values:
            raise ValueError(f"there is no metric {comparison.metric!r}; there are: {', '.join(measured.values)}")
    rows = [_compared(measured, comparison, alpha, planned=True) for comparison in planned]
    bounded = [replace(row, margin=(margins or {}).get(row.comparison.metric)) for row in rows]
    return _judged(bounded, alpha) + [_compared(measured, comparison, alpha, planned=False) for comparison in post_hoc]


def _judged(rows: Sequence[ComparisonResult], alpha: float) -> list[ComparisonResult]:
    """The planned comparisons with their stars and what is shown to be equivalent."""
    within = [row for row in rows if row.margin]
    found = [1.0 if row.p is None or row.reasons else row.p for row in rows]
    found += [1.0 if row.p_within is None or row.reasons else row.p_within for row in within]
    adjusted = [float(p) for p in holm(np.array(found))]
    equivalence = dict(zip([row.comparison for row in within], adjusted[len(rows) :], strict=True))
    judged = []
    for row, p in zip(rows, adjusted[: len(rows)], strict=True):
        if row.reasons:
            judged.append(row)
            continue
        same = equivalence.get(row.comparison)
        shown = same is not None and same <= alpha
        judged.append(replace(row, p_holm=p, star=p <= alpha, p_equivalent=same, equivalent=shown))
    return judged


def _compared(measured: Measurements, comparison: Comparison, alpha: float, *, planned: bool) -> ComparisonResult:
    names = (comparison.arm, comparison.against)
    arm, against = (measured.finite(comparison.metric, name) for name in names)
    seeds = sorted(arm.keys() & against.keys())
    differences = np.array([arm[seed] - against[seed] for seed in seeds])
    testable = len(seeds) > 1 and vary_beyond_rounding(differences)
    reasons = [
        *([] if planned else ["post hoc: not among the planned comparisons"]),
        *measured.missing_runs(comparison.metric, *names),
        *([] if testable else [_untestable(len(seeds))]),
        *measured.not_replicated(*names, seeds),
    ]
    return ComparisonResult(
        comparison=comparison,
        planned=planned,
        seeds=tuple(seeds),
        differences=tuple(differences.tolist()),
        contrast=paired_t(differences, confidence=1 - alpha) if testable else None,
        reasons=tuple(reasons),
        note=measured.shared_checkpoint_note(*names, seeds),
    )


def _untestable(num_seeds: int) -> str:
    if num_seeds == 0:
        return "no seed that both arms have, and so no difference"
    if num_seeds == 1:
        return "1 seed that both arms have gives no interval; two are the fewest"
    return "all seeds give the same difference, and without spread there is no t test"
