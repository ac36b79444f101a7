"""Hyperparameter searches: what was tried, what it cost, and what mattered; no effect is computed from any of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from study.design.metrics import METRICS
from study.records.query import Query
from study.records.records import Records
from study.report import drawing
from study.report.blocks import Block, Cell, Page, Section, Table, columns, label, number
from study.report.facts import Facts, text
from study.report.sections.search_trials import Trials, importance
from study.store.store import Store

TITLE = "Hyperparameter search"
SAYS = (
    "What searches tried, scored on the validation split. Only each winner was scored on the test split, once. This "
    "shows which values did well within the space. It shows no effect of any factor: no other section uses these "
    "trials."
)
NUM_BEST = 5
FEWEST_FOR_IMPORTANCE = 4


def section(facts: Facts) -> Section | None:
    """All searches of the store, and what this study took from them."""
    searches = Records(facts.store).searches()
    blocks = [block for one in searches for block in _blocks(Trials(Query(facts.store, ["trials"]), one))]
    taken = _taken(facts)
    if not blocks and taken is None:
        return None
    return Section(key="search", title=TITLE, says=SAYS, blocks=[*([taken] if taken else []), *blocks])


def page_of(store: Store, name: str, searches: Sequence[str]) -> Page:
    """The page of some searches alone."""
    found = [Trials(Query(store, ["trials"]), one) for one in Records(store).searches() if one["name"] in searches]
    return Page(
        title=name,
        studied=f"{TITLE}: {len(found)} arm{'' if len(found) == 1 else 's'}, {found[0].budget} each.",
        answer=[_answer(trials) for trials in found],
        sections=[Section(key="search", title=TITLE, says=SAYS, blocks=[b for t in found for b in _blocks(t)])],
        storage=store.storage.name,
        until="",
    )


def _answer(trials: Trials) -> str:
    best = trials.winner
    if best is None:
        return f"No trial of “{trials.arm}” was completed."
    values = ", ".join(f"{name} {shown(best[name])}" for name in trials.names)
    tested = [f"{METRICS[trials.task].get(name, name)} {value:.3f}" for name, value in trials.tested.items()]
    return (
        f"For “{trials.arm}” trial {best['number']} did best on the validation split, with {trials.titles[0]} "
        f"{best[trials.first]:.3f}: {values}. On the test split it has {', '.join(tested)}."
    )


def _blocks(trials: Trials) -> list[Block]:
    if not trials.rows:
        return []
    blocks: list[Block] = [_best(trials), _history(trials)]
    complete = trials.complete
    if len(complete) >= FEWEST_FOR_IMPORTANCE and trials.varied:
        blocks.append(_importance(trials))
    if len(complete) > 1 and len(trials.names) > 1:
        blocks.append(_parallel(trials))
    return blocks


def shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _value(value: Any) -> Cell:
    return Cell(text=shown(value), values={"": value})


def _best(trials: Trials) -> Table:
    rows = [
        [
            label(f"trial {row['number']}", small="winner" if row is trials.winner else ""),
            *(number(row[name], 4) for name in trials.objectives),
            *(_value(row[name]) for name in trials.names),
            number(row["duration_s"], 0, unit=" s"),
        ]
        for row in trials.ranked[:NUM_BEST]
    ]
    return Table(
        key=f"search-{trials.key}-best",
        caption=f"{trials.arm}: the best of {trials.counts} ({trials.method}).{trials.saved}",
        columns=columns("trial", *trials.titles, *trials.names, "took"),
        rows=rows,
        sql=[trials.sql],
    )


def _history(trials: Trials) -> Block:
    def paint(canvas: Canvas) -> None:
        left, right = canvas.subplots(1, 2, sharey=True)
        _draw_trials(left, trials, [row["number"] for row in trials.rows], "trial")
        _draw_trials(
            right, trials, list(np.cumsum([row["duration_s"] for row in trials.rows]) / 60), "minutes of stages"
        )
        left.set_ylabel(f"validation {trials.titles[0]}")

    return drawing.draw(
        f"search-{trials.key}-history",
        f"{trials.arm}: every trial in its order, and against what had been spent by then; the line is the best so "
        "far; crosses were stopped early.",
        f"Optimisation history of {trials.arm}.",
        paint,
        height=2.3,
    )


def _draw_trials(axes: Axes, trials: Trials, places: Sequence[float], title: str) -> None:
    drawing.light_grid(axes, "y")
    complete = [
        (place, row[trials.first]) for place, row in zip(places, trials.rows, strict=True) if trials.is_complete(row)
    ]
    pruned = [(p, row["reached"]) for p, row in zip(places, trials.rows, strict=True) if row["state"] == "pruned"]
    if complete:
        x, y = zip(*complete, strict=True)
        best = np.maximum.accumulate(y) if trials.large else np.minimum.accumulate(y)
        axes.step([*x, places[-1]], [*best, best[-1]], where="post", color=drawing.SERIES[0], linewidth=1.4)
        axes.scatter(x, y, s=12, color=drawing.SERIES[0], linewidths=0)
    known = [(place, value) for place, value in pruned if value is not None]
    if known:
        axes.scatter(*zip(*known, strict=True), s=14, marker="x", color=drawing.MUTED, linewidths=0.9)
    axes.set_xlabel(title)


def _importance(trials: Trials) -> Block:
    found = importance(trials)

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        names = sorted(found, key=lambda name: found[name])
        axes.barh(names, [found[name] for name in names], color=drawing.SERIES[0], height=0.55)
        drawing.light_grid(axes, "x")
        axes.set_xlabel("share of importance")

    return drawing.draw(
        f"search-{trials.key}-importance",
        f"{trials.arm}: how much each hyperparameter decides whether a trial is among the best tenth (PED-ANOVA over "
        "the "
        f"{len(trials.complete)} trials that were completed); with few trials that is a hint.",
        f"Importance of hyperparameters of {trials.arm}.",
        paint,
        height=0.6 + 0.28 * len(found),
    )


def _parallel(trials: Trials) -> Block:
    scales = {name: trials.scale(name) for name in trials.names}
    values = np.array([row[trials.first] for row in trials.complete])
    spread = float(np.ptp(values)) or 1.0

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        for row in sorted(trials.complete, key=lambda row: row[trials.first], reverse=not trials.large):
            good = abs(row[trials.first] - (values.min() if trials.large else values.max())) / spread
            heights = [*(scales[name](row[name]) for name in trials.names), good]
            chosen = row is trials.winner
            colour = drawing.SERIES[1] if chosen else drawing.SERIES[0]
            axes.plot(
                heights, color=colour, linewidth=1.6 if chosen else 0.9, alpha=1.0 if chosen else 0.15 + 0.6 * good
            )
        axes.set_xticks(range(len(trials.names) + 1), [*map(trials.axis, trials.names), trials.axis_of_value(values)])
        axes.set_yticks([])
        for place in range(len(trials.names) + 1):
            axes.axvline(place, color=drawing.RULE, linewidth=0.8, zorder=0)
        axes.spines["left"].set_visible(False)

    return drawing.draw(
        f"search-{trials.key}-parallel",
        f"{trials.arm}: each line is a completed trial, from its values on the left to its score on the right; the "
        "stronger, the better, and the winner stands out.",
        f"Parallel coordinates of {trials.arm}.",
        paint,
        height=2.6,
    )


def _taken(facts: Facts) -> Table | None:
    """The values that this study was trained with."""
    arms = facts.hyperparameters.get("arms", {})
    if not arms:
        return None
    names = list(dict.fromkeys(name for entry in arms.values() for name in entry["values"]))
    rows = [
        [
            label("all arms" if len(facts.hyperparameters["searched"]) == 1 else arm),
            *(_value(entry["values"].get(name, "–")) for name in names),
            label(f"{entry['search']}, trial {entry['trial']}"),
            label(entry["budget"]),
        ]
        for arm, entry in arms.items()
    ]
    return Table(
        key="search-taken",
        caption="The values that replace the preset's in this study, for every arm that has the part. "
        + ("Every arm's values were searched for with an equal budget." if len(arms) > 1 else ""),
        columns=columns("arm", *names, "from", "budget"),
        rows=rows,
        sql=[f"SELECT * FROM trials WHERE search = {text(entry['search'])}" for entry in arms.values()],
    )
