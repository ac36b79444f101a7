"""How many labels: what pre-training gains over the backend alone, by the number of labelled tracks to train on."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import NullFormatter, NullLocator

from study.design.baselines import baselines
from study.report import drawing
from study.report.arm_names import in_words
from study.report.blocks import Figure, Section, Table, columns, label, number
from study.report.facts import Facts
from study.report.study_comparisons import Comparison, StudyComparisons, gain_cell, pairs_sql, title_of
from study.statistics.comparisons import ComparisonResult

TITLE = "How many labels"
SAYS = (
    "What an arm gains over its backend alone on the same labelled tracks, by their number. The tracks of a smaller "
    "number are a part of those of a larger one. Where the interval holds zero, no gain is shown; that is no proof of "
    "none."
)
MOST_PANELS = 3

# Number of labels -> metric -> the arm against the backend alone.
Gains = dict[int, dict[str, ComparisonResult]]


def section(facts: Facts, comparing: StudyComparisons) -> Section | None:
    """For every task in which arms differ in their labels alone."""
    blocks: list[Table | Figure] = []
    for task in facts.tasks:
        chosen = {name: arms for name, arms in _series(facts, task).items() if len(arms) > 1}
        metrics = [*list(facts.metrics_of(task))[:1], *(facts.groups if task == "tagging" else ())]
        gains = {name: _gains(facts, comparing, task, arms, metrics) for name, arms in chosen.items()}
        if any(one.differences for by_num in gains.values() for by in by_num.values() for one in by.values()):
            blocks += [_figure(facts, task, gains, metrics), _table(facts, task, gains, metrics)]
    return Section(key="labels", title=TITLE, says=SAYS, blocks=blocks) if blocks else None


def _series(facts: Facts, task: str) -> dict[str, dict[str, tuple[str, str]]]:
    """In words what arms have in common that differ in their labels alone -> labels -> (arm, backend alone)."""
    alone = {arm: other for arm, other in baselines(facts.arms).items() if facts.arms[other]["source"] == "-"}
    without = {arm: factors | {"labels": "all"} for arm, factors in facts.arms.items()}
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for arm, other in alone.items():
        if facts.arms[arm]["task"] == task and "labels" in facts.arms[arm]:
            series = found.setdefault(in_words(without, arm).removeprefix("the "), {})
            series[facts.arms[arm]["labels"]] = (arm, other)
    return found


def _gains(
    facts: Facts,
    comparing: StudyComparisons,
    task: str,
    arms: Mapping[str, tuple[str, str]],
    metrics: Sequence[str],
) -> Gains:
    by_num = {_num_labels(facts, task, level): pair for level, pair in arms.items()}
    return {
        num: {metric: comparing.any_of(Comparison(*by_num[num], metric)) for metric in metrics}
        for num in sorted(by_num)
    }


def _num_labels(facts: Facts, task: str, level: str) -> int:
    if level.isdecimal():
        return int(level)
    total = facts.corpora[task]["counts"]["train"]
    return total if level == "all" else round(float(level) * total)


def _table(facts: Facts, task: str, gains: Mapping[str, Gains], metrics: Sequence[str]) -> Table:
    rows = [
        [label(name), number(num), *(gain_cell(one, facts.digits) for one in by_metric.values())]
        for name, by_num in gains.items()
        for num, by_metric in by_num.items()
    ]
    compared = [one for by_num in gains.values() for by in by_num.values() for one in by.values()]
    return Table(
        key=f"labels-{task}",
        caption=f"{task.capitalize()}: gain over the backend alone with as many labels. In small print: the 95 % "
        "interval over seeds, and the number of seeds with a gain.",
        columns=columns("arm", "labelled tracks", *(title_of(facts, metric) for metric in metrics)),
        rows=rows,
        sql=pairs_sql(facts, compared),
        note="* planned, and significant after Holm's correction.",
    )


def _figure(facts: Facts, task: str, gains: Mapping[str, Gains], metrics: Sequence[str]) -> Figure:
    shown = metrics[:MOST_PANELS]
    nums = sorted({num for by_num in gains.values() for num in by_num})

    def paint(canvas: Canvas) -> None:
        panels = canvas.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for axes, metric in zip(panels, shown, strict=True):
            for place, (name, by_num) in enumerate(gains.items()):
                _line(axes, {num: by[metric] for num, by in by_num.items()}, place, len(gains), name)
            axes.axhline(0, color=drawing.MUTED, linewidth=0.8)
            axes.set_xscale("log")
            axes.set_xticks(nums, [f"{num:,}" for num in nums])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_xlabel("labelled tracks")
            axes.set_title(title_of(facts, metric))
        panels[0].set_ylabel("gain over the backend alone")
        canvas.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)

    return drawing.draw(
        f"labels-{task}",
        f"{task.capitalize()}: gain by the number of labelled tracks. A dot: the mean over seeds; a line through it: "
        f"the 95 % interval over seeds.{drawing.left_out(MOST_PANELS, len(metrics))}",
        "Line plots of the gain against the number of labelled tracks; the numbers are in the table below.",
        paint,
        height=2.5 + 0.2 * ((len(gains) + 1) // 2),
    )


def _line(axes: Axes, by_num: Mapping[int, ComparisonResult], place: int, of: int, name: str) -> None:
    """A series; its dots stand a little beside each other's."""
    beside = 1.04 ** (place - (of - 1) / 2)
    points = [(num * beside, one) for num, one in by_num.items()]
    colour = drawing.SERIES[place % len(drawing.SERIES)]
    means = [(x, one.difference) for x, one in points if one.difference is not None]
    axes.plot([x for x, _ in means], [mean for _, mean in means], "o-", color=colour, markersize=4, label=name)
    for x, one in points:
        if one.interval is not None:
            axes.plot([x, x], [one.interval.low, one.interval.high], color=colour, linewidth=1.1)
