"""The probe: what separators hear, before any network is finetuned."""

from matplotlib.figure import Figure as Canvas

from study.report import drawing
from study.report.blocks import Figure, Section, Table, columns, label
from study.report.facts import Facts
from study.report.scores import score
from study.report.study_comparisons import Comparison, StudyComparisons, comparison_table

TITLE = "What the separators hear"
MOST_PANELS = 3
SAYS = (
    "A logistic regression on each separator's output for a song, before any network is finetuned. It shows what can "
    "be read directly from these features. It cannot show what a network would make of them."
)


def section(facts: Facts, comparing: StudyComparisons) -> Section | None:
    """For every task that has probes."""
    arms = {task: facts.of_task(task, probes=True) for task in facts.tasks}
    if not any(arms.values()):
        return None
    blocks = [block for task, names in arms.items() if names for block in _task(facts, comparing, task, names)]
    if not blocks:
        return Section(key="probe", title=TITLE, says="Probes are part of the study, but none is done yet.")
    return Section(key="probe", title=TITLE, says=SAYS, blocks=blocks)


def _task(facts: Facts, comparing: StudyComparisons, task: str, arms: list[str]) -> list[Table | Figure]:
    metrics = facts.metrics_of(task)
    spreads, sql = facts.spreads(arms, metrics)
    groups, group_sql = facts.group_spreads(arms) if task == "tagging" else ({}, [])
    if not any(spreads.values()):
        return []
    shown = {metrics[name]: by_arm for name, by_arm in spreads.items()} | groups
    cells = [
        [
            label(arm),
            label(facts.arms[arm]["probe"]),
            label(facts.arms[arm]["source"]),
            *(score(facts, arm, by_arm.get(arm)) for by_arm in shown.values()),
        ]
        for arm in arms
    ]
    table = Table(
        key=f"probe-{task}",
        caption=f"Linear probes of {task}: mean ± sd over {len(facts.seeds)} separators. A group of tags is the mean "
        "ROC-AUC of its tags.",
        columns=columns("probe", "hears", "separator trained on", *shown, words=3),
        rows=cells,
        sql=[*sql, *group_sql],
    )
    differences = _differences(facts, comparing, task, arms)
    return [table, _figure(facts, task, arms), *([differences] if differences else [])]


def _differences(facts: Facts, comparing: StudyComparisons, task: str, arms: list[str]) -> Table | None:
    """Every probe against that of the mixture, and against that of a random separator."""
    references = [arm for arm in arms if facts.arms[arm]["source"] in ("-", "none")]
    metrics = [*list(facts.metrics_of(task))[:1], *(facts.groups if task == "tagging" else ())]
    asked = [
        Comparison(arm, against, metric)
        for against in references
        for metric in metrics
        for arm in arms
        if arm not in references[: references.index(against) + 1]
    ]
    if not asked:
        return None
    rows = [comparing.any_of(one) for one in asked]
    caption = "Each probe compared with the probe of the mixture alone and with the probe of a random separator. "
    remark = "Post hoc: nothing here can have a star. " if not any(one.planned for one in rows) else ""
    return comparison_table(facts, f"probe-{task}-differences", caption + remark, rows)


def _figure(facts: Facts, task: str, arms: list[str]) -> Figure:
    metric, title = next(iter(facts.metrics_of(task).items()))
    panels = {title: facts.values(metric)}
    panels |= {name: facts.group_values(name) for name in facts.groups} if task == "tagging" else {}

    many = list(panels.items())[:MOST_PANELS]

    def paint(canvas: Canvas) -> None:
        for axes, (name, values) in zip(
            canvas.subplots(1, len(many), sharey=True, squeeze=False)[0], many, strict=True
        ):
            drawing.rows(axes, arms)
            drawing.light_grid(axes)
            for row, arm in enumerate(arms):
                seeds = list(values.get(arm, {}).values())
                axes.scatter(seeds, [row] * len(seeds), s=16, color=drawing.SERIES[0], alpha=0.55, linewidth=0)
                if seeds:
                    axes.plot([sum(seeds) / len(seeds)] * 2, [row - 0.28, row + 0.28], color=drawing.INK, linewidth=1.6)
            axes.set_title(name)

    return drawing.draw(
        f"probe-{task}",
        f"Probes of {task}: a dot for each seed's separator, a bar at their mean."
        + drawing.left_out(MOST_PANELS, len(panels)),
        f"Dot plot of the linear probes of {task}; the numbers are in the table above.",
        paint,
        height=0.75 + 0.27 * len(arms),
    )
