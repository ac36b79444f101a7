"""Learning curves: loss and validation metric of every arm's last stage, epoch by epoch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from study.report import drawing
from study.report.blocks import Figure, Section
from study.report.facts import Facts

SAYS = (
    "The last stage of each arm, epoch by epoch. The curves show whether training had settled. They cannot show how it "
    "would have continued."
)
# arm -> seed -> [(epoch, value)]
Curves = Mapping[str, Mapping[int, list[tuple[int, float]]]]
MOST_ARMS, NUM_COLUMNS, MOST_POINTS = 20, 4, 32


def section(facts: Facts) -> Section | None:
    """For every task: the training loss, the validation loss and the first metric, as far as they were recorded."""
    figures: list[Figure] = []
    for task in facts.tasks:
        arms = facts.of_task(task)
        metric = next(iter(facts.metrics_of(task).items()), None)
        asked = {"train_loss": "training loss", "loss": "validation loss"}
        asked |= {metric[0]: f"validation {metric[1]}"} if metric else {}
        for column in (name for name in asked if facts.has("epochs", name)):
            found = _curves(facts, arms, column)
            if found:
                figures.append(_figure(f"curves-{task}-{column}", f"{task}: {asked[column]}", found))
    return Section(key="curves", title="Learning curves", says=SAYS, blocks=figures) if figures else None


def _curves(facts: Facts, arms: list[str], column: str) -> dict[str, dict[int, list[tuple[int, float]]]]:
    rows = facts.ask(
        f"SELECT arm, runs.seed, e.epoch, e.{column} AS value\nFROM epochs e JOIN runs ON e.stage = runs.final_stage\n"
        f"WHERE {facts.where(arms)} AND isfinite(e.{column})\nORDER BY ALL"
    ).rows
    found: dict[str, dict[int, list[tuple[int, float]]]] = {arm: {} for arm in arms}
    for row in rows:
        found[row["arm"]].setdefault(row["seed"], []).append((row["epoch"], row["value"]))
    return {arm: by_seed for arm, by_seed in found.items() if by_seed}


def _figure(key: str, title: str, curves: Curves) -> Figure:
    arms = list(curves)[:MOST_ARMS]
    num_columns = min(NUM_COLUMNS, len(arms))
    num_rows = -(-len(arms) // num_columns)

    def paint(canvas: Canvas) -> None:
        panels = canvas.subplots(num_rows, num_columns, sharex=True, sharey=True, squeeze=False).ravel()
        for place, axes in enumerate(panels):
            if place < len(arms):
                _panel(axes, arms[place], curves, arms[0])
            else:
                axes.set_visible(False)
        canvas.supxlabel("epoch", fontsize=8, color=drawing.MUTED)

    rest = f" The first {MOST_ARMS} of {len(curves)} arms." if len(curves) > MOST_ARMS else ""
    return drawing.draw(
        key,
        f"{title[:1].upper()}{title[1:]}: thin lines are seeds, the thick one their mean; grey is {arms[0]}.{rest}",
        f"Curves of the {title} by arm.",
        paint,
        height=0.35 + 1.3 * num_rows,
    )


def _panel(axes: Axes, arm: str, curves: Curves, base: str) -> None:
    drawing.light_grid(axes, "y")
    for points in curves[arm].values():
        axes.plot(*_thinned(points), color=drawing.SERIES[0], linewidth=0.7, alpha=0.4)
    axes.plot(*_mean(curves[base]), color=drawing.MUTED, linewidth=1.0)
    if arm != base:
        axes.plot(*_mean(curves[arm]), color=drawing.SERIES[0], linewidth=1.6)
    axes.set_title(drawing.short(arm, 20), fontweight="normal", fontsize=8)
    axes.tick_params(labelsize=7, length=2)
    axes.locator_params(nbins=4)


def _mean(by_seed: Mapping[int, list[tuple[int, float]]]) -> tuple[Any, Any]:
    """Over the seeds that got as far, at the epochs of all of them."""
    by_epoch: dict[int, list[float]] = {}
    for points in by_seed.values():
        for epoch, value in points:
            by_epoch.setdefault(epoch, []).append(value)
    whole = [(epoch, float(np.mean(found))) for epoch, found in sorted(by_epoch.items()) if len(found) == len(by_seed)]
    return _thinned(whole)


def _thinned(points: list[tuple[int, float]]) -> tuple[Any, Any]:
    """At most `MOST_POINTS` of them, the first and the last among them."""
    kept = sorted({round(place) for place in np.linspace(0, len(points) - 1, min(len(points), MOST_POINTS))})
    return [points[place][0] for place in kept], [points[place][1] for place in kept]
