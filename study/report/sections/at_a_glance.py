"""At a glance: what pre-training on each source changes against the bare backend, and what a run of it costs."""

from study.report.blocks import Cell, Section, Table, columns, label, number
from study.report.facts import Facts
from study.report.sections.stages import compute_of, planned_stages
from study.report.sections.table_one import same_but_source
from study.report.study_comparisons import StudyComparisons, gain_cell, pairs_sql, title_of
from study.statistics.comparisons import Comparison

TITLE = "At a glance"
SAYS = (
    "What the backend gains from a U-Net that hears the song first, by what this U-Net was pre-trained to separate. In "
    "small print: the 95 % interval over seeds, and the number of seeds with a gain. Only a star is significant."
)


def section(facts: Facts, comparing: StudyComparisons) -> Section | None:
    """A table for each task and backend that has a bare backend and something beside it."""
    backends = {t: dict.fromkeys(facts.arms[arm]["backend"] for arm in facts.of_task(t)) for t in facts.tasks}
    pairs = [(task, backend) for task in facts.tasks for backend in backends[task]]
    chosen = {pair: arms for pair in pairs if len(arms := same_but_source(facts, *pair)) > 1 and "-" in arms}
    tables = [_table(facts, comparing, *pair, arms) for pair, arms in chosen.items()]
    return Section(key="glance", title=TITLE, says=SAYS, blocks=tables) if tables else None


def _table(facts: Facts, comparing: StudyComparisons, task: str, backend: str, arms: dict[str, str]) -> Table:
    bare = arms["-"]
    groups = facts.group_spreads([bare])[0] if task == "tagging" else {}
    metrics = [*list(facts.metrics_of(task))[:1], *groups]
    compared = {
        source: [comparing.any_of(Comparison(arm, bare, metric)) for metric in metrics]
        for source, arm in arms.items()
        if source != "-"
    }
    unit, costs, sql = _costs(facts)
    rows = [
        [
            label("random weights" if source == "none" else source),
            *(gain_cell(one, facts.digits) for one in found),
            _times(costs.get(arms[source]), costs.get(bare)),
        ]
        for source, found in compared.items()
    ]
    titles = [title_of(facts, metric) for metric in metrics]
    return Table(
        key=f"glance-{task}-{backend}",
        caption=f"{backend.upper()}, {task}: U-Net and backend minus the backend alone (“{bare}”).",
        columns=columns("U-Net pre-trained on", *titles, f"{unit}-seconds a run"),
        rows=rows,
        sql=[*pairs_sql(facts, [one for found in compared.values() for one in found]), sql],
        note="The cost of a run counts all of its stages, as if no other run shared them, and only the attempts that "
        "count: work before an interruption is not included. × compares it with the backend alone.",
    )


def _costs(facts: Facts) -> tuple[str, dict[str, float], str]:
    """What is counted, and of each arm the mean over its runs that are done."""
    stages, sql = planned_stages(facts)
    unit = "GPU" if any(row["gpus"] for row in stages.values()) else "CPU"
    found: dict[str, list[float]] = {}
    for run in facts.runs:
        if run["state"] == "done":
            parts = [compute_of(stages[stage]) for stage in run["stages"] if stage in stages]
            found.setdefault(run["arm"], []).append(sum(value for value, kind in parts if kind == unit))
    return unit, {arm: sum(values) / len(values) for arm, values in found.items()}, sql


def _times(cost: float | None, bare: float | None) -> Cell:
    cell = number(cost)
    if not cost or not bare:
        return cell
    return Cell(text=cell.text, values=cell.values, small=f"× {cost / bare:.1f}")
