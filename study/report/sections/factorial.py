"""Crossed factors: where all levels of two factors were combined, whether one's effect depends on the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from matplotlib.figure import Figure as Canvas

from study.report import drawing
from study.report.blocks import Figure, Section, Table, columns, difference_cell, interval_cell, label, p_cell
from study.report.facts import Facts
from study.statistics.factorial import Change, Factorial
from study.statistics.over_seeds import Contrast

Values = Mapping[str, Mapping[int, float]]
TITLE = "Crossed factors"
SAYS = (
    "Two factors of which every combination was trained. Parallel lines mean that their effects add up. Interactions "
    "are tested over seeds only; they were not planned and cannot have a star."
)
# A factor's first level is what its others are compared with, unless one of these is there.
_FIRST = ("none", "two-stage", "random", "frozen")
# More is not looked at in one figure.
MOST_FIGURES, MOST_LEVELS = 3, 8


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """Two factors and the arm of each combination of their levels."""

    task: str
    factors: tuple[str, str]
    levels: tuple[tuple[str, ...], tuple[str, ...]]
    arms: Mapping[tuple[str, str], str]


def crossings(facts: Facts) -> list[Crossing]:
    """Of all pairs of factors those that are crossed completely and can be drawn, the largest of each pair."""
    names = [name for name in next(iter(facts.arms.values()), {}) if name not in ("task", "probe")]
    joint = [arm for arm, factors in facts.arms.items() if factors["scheme"] not in ("probe", "-")]
    found = [one for pair in combinations(names, 2) for one in [_largest(facts, joint, pair)] if one is not None]
    drawn = [one for one in found if max(map(len, one.levels)) <= MOST_LEVELS]
    return sorted(drawn, key=lambda one: -len(one.arms))


def _largest(facts: Facts, arms: Sequence[str], pair: tuple[str, str]) -> Crossing | None:
    cells: dict[tuple[str, ...], dict[tuple[str, str], str]] = {}
    for arm in arms:
        factors = facts.arms[arm]
        others = tuple(level for name, level in factors.items() if name not in pair)
        cells.setdefault(others, {})[(factors[pair[0]], factors[pair[1]])] = arm
    whole = [grid for one in cells.values() if (grid := _largest_grid(one))]
    if not whole:
        return None
    chosen = max(whole, key=len)
    levels = [
        tuple(sorted(dict.fromkeys(column), key=lambda level: level not in _FIRST))
        for column in zip(*chosen, strict=True)
    ]
    task = facts.arms[next(iter(chosen.values()))]["task"]
    return Crossing(task=task, factors=pair, levels=(levels[0], levels[1]), arms=chosen)


def _largest_grid(cells: Mapping[tuple[str, str], str]) -> dict[tuple[str, str], str]:
    """The most cells whose levels are all combined, two levels of each factor at least; empty where there are none."""
    partners: dict[str, set[str]] = {}
    for first, second in cells:
        partners.setdefault(first, set()).add(second)
    best: dict[tuple[str, str], str] = {}
    for wanted in partners.values():
        rows = [first for first, found in partners.items() if wanted <= found]
        if len(wanted) > 1 and len(rows) > 1 and len(wanted) * len(rows) > len(best):
            best = {cell: arm for cell, arm in cells.items() if cell[0] in rows and cell[1] in wanted}
    return best


def section(facts: Facts) -> Section | None:
    """Where there is a complete crossing."""
    blocks: list[Table | Figure] = []
    there = crossings(facts)
    for crossing in there[:MOST_FIGURES]:
        metric = next(iter(facts.metrics_of(crossing.task)), None)
        values = facts.values(metric) if metric else {}
        if metric and all(values.get(arm) for arm in crossing.arms.values()):
            title = facts.metrics_of(crossing.task)[metric]
            contrasts, why_none = _contrasts(crossing, values)
            common = context(facts, crossing)
            blocks.append(_figure(crossing, title, values, why_none, common))
            blocks += [_table(facts, crossing, metric, contrasts)] if contrasts else []
    rest = ", ".join(" × ".join(crossing.factors) for crossing in there[MOST_FIGURES:])
    says = f"{SAYS} Also crossed, but not drawn: {rest}." if rest else SAYS
    return Section(key="crossed", title=TITLE, says=says, blocks=blocks) if blocks else None


def context(facts: Facts, crossing: Crossing) -> str:
    """The levels of the other factors, which all arms of a crossing share."""
    factors = facts.arms[next(iter(crossing.arms.values()))]
    names = ("task", "backend", "source", "scheme", "insertion", "unet")
    return ", ".join(f"{name} {factors[name]}" for name in names if name not in crossing.factors)


def _figure(crossing: Crossing, title: str, values: Values, why_none: str, context: str) -> Figure:
    lines, places = crossing.factors
    names, ticks = crossing.levels

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        drawing.light_grid(axes, "y")
        for number, name in enumerate(names):
            colour = drawing.SERIES[number % len(drawing.SERIES)]
            seeds = [list(values[crossing.arms[(name, tick)]].values()) for tick in ticks]
            means = [float(np.mean(found)) for found in seeds]
            axes.plot(range(len(ticks)), means, color=colour, marker="os^Dv"[number % 5], markersize=5, label=name)
            for place, found in enumerate(seeds):
                axes.scatter([place] * len(found), found, s=9, color=colour, alpha=0.45, linewidth=0)
        axes.set_xticks(range(len(ticks)), [drawing.short(tick, 20) for tick in ticks])
        axes.tick_params(axis="x", labelcolor=drawing.INK)
        axes.set_xlim(-0.3, len(ticks) - 0.7)
        axes.set(xlabel=places, ylabel=title)
        axes.legend(title=lines, loc="center left", bbox_to_anchor=(1, 0.5), labelcolor=drawing.INK)

    return drawing.draw(
        f"crossed-{lines}-{places}",
        f"{context}: {title} by {places} and {lines}; means over seeds, small dots are single seeds.{why_none}",
        f"Interaction plot of {lines} and {places}; the numbers are in the tables of the arms.",
        paint,
        height=2.7,
    )


def _table(facts: Facts, crossing: Crossing, metric: str, contrasts: Sequence[tuple[str, Contrast]]) -> Table:
    rows = [
        [
            label(name),
            difference_cell(one.interval.estimate, facts.digits),
            interval_cell(one.interval, facts.digits),
            p_cell(one.p),
        ]
        for name, one in contrasts
    ]
    lines, places = crossing.factors
    _, sql = facts.spreads(list(crossing.arms.values()), [metric])
    return Table(
        key=f"crossed-{lines}-{places}",
        caption=f"{lines} × {places}: main effects, over the other factor's levels, and interactions. Post hoc.",
        columns=columns("change", "difference", "95 % over seeds", "p"),
        rows=rows,
        sql=sql,
    )


def _contrasts(crossing: Crossing, values: Values) -> tuple[list[tuple[str, Contrast]], str]:
    """Main effects and interactions by name; none, and why, where a seed is missing or nothing spreads."""
    try:
        factorial = Factorial.from_cells(crossing.factors, {cell: values[arm] for cell, arm in crossing.arms.items()})
        return _named_contrasts(crossing, factorial), ""
    except ValueError as error:
        return [], f" No effects are tested: {error}."


def _named_contrasts(crossing: Crossing, factorial: Factorial) -> list[tuple[str, Contrast]]:
    sides = [
        [Change(factor=factor, level=level, against=levels[0]) for level in levels[1:]]
        for factor, levels in zip(crossing.factors, crossing.levels, strict=True)
    ]
    named = [(_named(one), factorial.main_effect(one)) for side in sides for one in side]
    pairs = list(product(*sides))
    return named + [(f"{_named(a)} × {_named(b)}", factorial.interaction(a, b)) for a, b in pairs]


def _named(change: Change) -> str:
    return f"{change.factor} {change.level} against {change.against}"
