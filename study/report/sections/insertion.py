"""Insertion points: which decoder levels entered the backend, and what that gave."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Rectangle

from study.report import drawing
from study.report.blocks import Figure, Section, Table, columns, label, signed
from study.report.facts import Facts
from study.report.scores import score
from study.report.sections.arms import reference_of

TITLE = "Insertion points"
SAYS = (
    "Which decoder levels enter the backend (0 is the coarsest), compared with the arm without any, if there is one. "
    "This shows what each choice gave here. It cannot show that a level would help in another combination."
)
NUM_LEVELS = 5


def sets(facts: Facts) -> list[dict[str, str]]:
    """Insertion -> arm, of arms that differ in nothing else; sets of one are left out."""
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for arm, factors in facts.arms.items():
        if factors["insertion"] != "-":
            others = tuple(level for name, level in factors.items() if name != "insertion")
            found.setdefault(others, {})[factors["insertion"]] = arm
    return [dict(sorted(arms.items(), key=_order)) for arms in found.values() if len(arms) > 1]


def levels_of(insertion: str) -> set[int]:
    """The decoder levels that a name stands for."""
    if insertion in ("all", "none"):
        return set(range(NUM_LEVELS)) if insertion == "all" else set()
    return {int(level) for level in insertion.split()}


def _order(item: tuple[str, str]) -> tuple[int, list[int]]:
    levels = levels_of(item[0])
    return len(levels), sorted(levels)


def section(facts: Facts) -> Section | None:
    """Where arms differ in the insertion alone."""
    blocks: list[Table | Figure] = []
    for place, arms in enumerate(sets(facts)):
        task = facts.arms[next(iter(arms.values()))]["task"]
        columns_of = measured(facts, task, list(arms.values()))
        if any(columns_of.values()):
            blocks += [_heatmap(facts, f"insertion-{place}", arms, columns_of), _table(facts, place, arms, task)]
    if not blocks and sets(facts):
        return Section(key="insertion", title=TITLE, says="Insertion points are varied, but no such run is done yet.")
    return Section(key="insertion", title=TITLE, says=SAYS, blocks=blocks) if blocks else None


def measured(facts: Facts, task: str, arms: Sequence[str]) -> dict[str, dict[str, float]]:
    """Title of a metric or group -> arm -> mean over seeds."""
    metrics = facts.metrics_of(task)
    spreads, _ = facts.spreads(arms, metrics)
    groups, _ = facts.group_spreads(arms) if task == "tagging" else ({}, [])
    named = {metrics[name]: by_arm for name, by_arm in spreads.items()} | groups
    return {title: {arm: one.mean for arm, one in by_arm.items()} for title, by_arm in named.items()}


def _table(facts: Facts, place: int, arms: Mapping[str, str], task: str) -> Table:
    metrics = facts.metrics_of(task)
    spreads, sql = facts.spreads(list(arms.values()), metrics)
    rows = [
        [
            label(insertion),
            label(arm),
            *(score(facts, arm, spreads[name].get(arm)) for name in metrics),
        ]
        for insertion, arm in arms.items()
    ]
    head = columns("levels that enter", "arm", *metrics.values(), words=2)
    caption = f"{context(facts, arms)}: mean ± sd over {len(facts.seeds)} seeds."
    return Table(key=f"insertion-{place}", caption=caption, columns=head, rows=rows, sql=sql)


def context(facts: Facts, arms: Mapping[str, str]) -> str:
    """What all arms of a set have in common."""
    factors = facts.arms[next(iter(arms.values()))]
    words = [factors["backend"], factors["task"], factors["scheme"], f"U-Net {factors['source']}"]
    return ", ".join([*words, factors["unet"]])


def _heatmap(facts: Facts, key: str, arms: Mapping[str, str], means: Mapping[str, Mapping[str, float]]) -> Figure:
    base = arms.get("none", reference_of(list(arms.values())))
    titles = [title for title, by_arm in means.items() if base in by_arm]
    differences = np.array(
        [[means[title].get(arm, np.nan) - means[title][base] for title in titles] for arm in arms.values()]
    ).reshape(len(arms), len(titles))
    reach = max(float(np.nanmax(np.abs(differences))) if np.isfinite(differences).any() else 0.0, 1e-6)

    def paint(canvas: Canvas) -> None:
        dots, cells = canvas.subplots(1, 2, sharey=True, width_ratios=[NUM_LEVELS, 2.4 * max(len(titles), 1)])
        _pattern(dots, list(arms))
        colours = mpl.colormaps["PuOr_r"]
        for (row, column), value in np.ndenumerate(differences):
            shade = colours(0.5 + 0.3 * value / reach) if np.isfinite(value) else "none"
            cells.add_patch(Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, facecolor=shade))
            shown = signed(value, facts.digits) if np.isfinite(value) else "–"
            cells.text(column, row, shown, ha="center", va="center", color="#16181b" if np.isfinite(value) else None)
        cells.set_xlim(-0.55, len(titles) - 0.45)
        cells.set_xticks(range(len(titles)), titles)
        cells.tick_params(axis="both", length=0, labelleft=False, labelcolor=drawing.INK)
        for spine in cells.spines.values():
            spine.set_visible(False)

    return drawing.draw(
        key,
        f"{context(facts, arms)}: difference of the means to “{base}”, in the metric's own unit; darker is further "
        "from zero, orange above, purple below. A filled dot: the level enters the backend.",
        "Heatmap of insertion levels against metrics; the numbers are in the table below.",
        paint,
        height=0.8 + 0.3 * len(arms),
    )


def _pattern(axes: Axes, insertions: Sequence[str]) -> None:
    """A dot for each decoder level, filled where it enters."""
    drawing.rows(axes, insertions)
    for row, insertion in enumerate(insertions):
        for level in range(NUM_LEVELS):
            inside = level in levels_of(insertion)
            face = drawing.SERIES[0] if inside else "none"
            axes.plot([level], [row], "o", markersize=6, markerfacecolor=face, markeredgecolor=drawing.SERIES[0])
    axes.set_xlim(-0.6, NUM_LEVELS - 0.4)
    axes.set_xticks(range(NUM_LEVELS), [str(level) for level in range(NUM_LEVELS)])
    axes.set_xlabel("decoder level, coarse to fine")
    axes.tick_params(axis="x", length=0)
    axes.spines["bottom"].set_visible(False)
