"""The tags' figures: the differential of each source, and its intervals over seeds and over songs."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from study.report import drawing
from study.report.blocks import Figure
from study.report.sections.tag_differential import Differential
from study.statistics.over_seeds import Interval

MOST_PANELS = 6


def bars(found: Differential) -> Figure:
    """A panel for each source, a bar for each tag, a dot for each seed."""
    arms = list(found.names)[:MOST_PANELS]
    reach = drawing.reach_of([v for arm in arms for values in found.differences[arm].values() for v in values])

    def paint(canvas: Canvas) -> None:
        panels = canvas.subplots(1, len(arms), sharey=True, squeeze=False)[0]
        for place, (axes, arm) in enumerate(zip(panels, arms, strict=True)):
            _tag_rows(axes, found, arm, reach)
            colour = drawing.SERIES[place % len(drawing.SERIES)]
            for row, (_, tag) in enumerate(found.tags):
                values = found.differences[arm][tag]
                if values:
                    axes.barh(row, float(np.mean(values)), height=0.62, color=colour, alpha=0.75, linewidth=0)
                axes.scatter(values, [row] * len(values), s=6, color=drawing.INK, alpha=0.6, linewidth=0, zorder=3)

    return drawing.draw(
        f"tag-bars-{found.backend}",
        f"{found.backend.upper()}: ROC-AUC of each tag minus that of the bare backend, by what the U-Net was "
        "pre-trained on. A bar is the mean over seeds, a dot one seed."
        + drawing.left_out(MOST_PANELS, len(found.names)),
        "Bars of the differences by tag and source; the numbers are in the table below.",
        paint,
        height=0.9 + 0.185 * len(found.tags),
    )


def intervals(found: Differential) -> Figure:
    """Below each other for every tag: the interval over seeds, and that over songs."""
    arms = [arm for arm in found.names if arm in found.tracks][:MOST_PANELS]
    ends = [end for arm in arms for one in found.tracks[arm].values() for end in (one.low, one.high)]
    means = [float(np.mean(values)) for arm in arms for values in found.differences[arm].values() if values]
    reach = drawing.reach_of([*ends, *means])

    def paint(canvas: Canvas) -> None:
        panels = canvas.subplots(1, len(arms), sharey=True, squeeze=False)[0]
        for axes, arm in zip(panels, arms, strict=True):
            _tag_rows(axes, found, arm, reach)
            for row, (_, tag) in enumerate(found.tags):
                _two(axes, row, found.seeds[arm][tag], found.tracks[arm].get(tag))
                _mean(axes, row, found.differences[arm][tag])
        _legend(canvas, panels[0])

    return drawing.draw(
        f"tag-intervals-{found.backend}",
        f"{found.backend.upper()}: the same differences with two 95 % intervals. Over seeds: what other initial "
        "weights, order and crops would change on these songs. Over songs (DeLong): what other test songs would "
        "change for these networks. An arrow: longer than the "
        "scale." + drawing.left_out(MOST_PANELS, len(found.tracks)),
        "Intervals over seeds and over songs by tag and source; the numbers are in the table below.",
        paint,
        height=1.2 + 0.2 * len(found.tags),
    )


def _tag_rows(axes: Axes, found: Differential, arm: str, reach: float) -> None:
    drawing.rows(axes, [tag for _, tag in found.tags])
    axes.set_xlim(-reach, reach)
    drawing.light_grid(axes)
    drawing.zero_line(axes)
    axes.set_title(f"U-Net: {found.names[arm]}")
    axes.locator_params(axis="x", nbins=4)
    for row in range(1, len(found.tags)):
        if found.tags[row][0] != found.tags[row - 1][0]:
            axes.axhline(row - 0.5, color=drawing.MUTED, linewidth=0.6, linestyle=(0, (2, 2)))


def _two(axes: Axes, row: int, seeds: Interval | None, tracks: Interval | None) -> None:
    if tracks is not None:
        drawing.clipped_interval(axes, row + 0.17, tracks.low, tracks.high, color=drawing.SERIES[1], linewidth=2.4)
    if seeds is not None:
        drawing.clipped_interval(axes, row - 0.17, seeds.low, seeds.high, color=drawing.SERIES[0], linewidth=0.9)


def _mean(axes: Axes, row: int, values: Sequence[float]) -> None:
    if values:
        axes.scatter([float(np.mean(values))], [row], s=10, color=drawing.INK, linewidth=0, zorder=4)


def _legend(canvas: Canvas, axes: Axes) -> None:
    handles = [
        axes.plot([], [], color=drawing.SERIES[0], linewidth=0.9, label="varies: seeds")[0],
        axes.plot([], [], color=drawing.SERIES[1], linewidth=2.4, label="varies: test songs")[0],
        axes.plot([], [], ".", color=drawing.INK, label="mean over seeds")[0],
    ]
    canvas.legend(handles=handles, loc="outside upper center", ncols=3, labelcolor=drawing.INK)
