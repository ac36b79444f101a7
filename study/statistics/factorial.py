"""Factorial designs: main effects and interactions, over seeds, of factors whose levels were all combined."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Float

from study.statistics.over_seeds import Contrast, paired_t


@dataclass(frozen=True, kw_only=True)
class Change:
    """From one level of a factor to another."""

    factor: str
    level: str
    against: str


@dataclass(frozen=True, kw_only=True)
class Factorial:
    """A complete factorial design: every combination of the factors' levels has a value at every seed.

    Attributes:
        levels: factor -> its levels, in the order of the values' axes.
    """

    levels: Mapping[str, Sequence[str]]
    seeds: Sequence[int]
    values: Float[np.ndarray, "*level seed"]

    @classmethod
    def from_cells(cls, factors: Sequence[str], cells: Mapping[tuple[str, ...], Mapping[int, float]]) -> "Factorial":
        """The design from its cells: for each combination of levels, in the order of the factors, the values by seed.

        Raises:
            ValueError: no cell, or, naming it, a combination that is missing, a seed at which one lacks a finite value,
                or a key of another length.
        """
        if not cells:
            raise ValueError("a factorial design needs cells; none was given")
        for cell in cells:
            if len(cell) != len(factors):
                raise ValueError(f"the cell {cell} has {len(cell)} levels; the factors are {', '.join(factors)}")
        columns = zip(*cells, strict=True)
        levels = {name: tuple(dict.fromkeys(column)) for name, column in zip(factors, columns, strict=True)}
        seeds = sorted({seed for by_seed in cells.values() for seed in by_seed})
        values = [_cell(factors, cells, cell, seeds) for cell in product(*levels.values())]
        return cls(levels=levels, seeds=seeds, values=np.reshape(values, [*map(len, levels.values()), len(seeds)]))

    def main_effect(self, change: Change, *, confidence: float = 0.95) -> Contrast:
        """The effect of the change: the mean over all combinations of the other factors' levels."""
        return self._contrast([change], confidence)

    def interaction(self, first: Change, second: Change, *, confidence: float = 0.95) -> Contrast:
        """How much larger the first change's effect is at the second change's new level than at its old one.

        ValueError for two changes of one factor.
        """
        if first.factor == second.factor:
            raise ValueError(f"an interaction is of two factors, got {first.factor!r} twice")
        return self._contrast([first, second], confidence)

    def _contrast(self, changes: Sequence[Change], confidence: float) -> Contrast:
        values = self.values
        for change in changes:
            if change.factor not in self.levels:
                raise ValueError(f"there is no factor {change.factor!r}; there are: {', '.join(self.levels)}")
            levels = self.levels[change.factor]
            if not {change.level, change.against} <= set(levels) or change.level == change.against:
                raise ValueError(f"{change} is no change between two of the levels {', '.join(levels)}")
            axis = list(self.levels).index(change.factor)
            own, other = levels.index(change.level), levels.index(change.against)
            # The axis stays, with length 1, so that the others keep their places.
            values = np.take(values, [own], axis) - np.take(values, [other], axis)
        return paired_t(values.reshape(-1, len(self.seeds)).mean(axis=0), confidence=confidence)


def _cell(
    factors: Sequence[str],
    cells: Mapping[tuple[str, ...], Mapping[int, float]],
    cell: tuple[str, ...],
    seeds: Sequence[int],
) -> list[float]:
    """The values of a combination of levels, by seed."""
    named = ", ".join(f"{factor}={level}" for factor, level in zip(factors, cell, strict=True))
    if cell not in cells:
        raise ValueError(f"the design is incomplete: there is no {named}")
    lacking = [seed for seed in seeds if not np.isfinite(cells[cell].get(seed, np.nan))]
    if lacking:
        raise ValueError(f"the design is incomplete: {named} has no finite value for seed {lacking[0]}")
    return [cells[cell][seed] for seed in seeds]
