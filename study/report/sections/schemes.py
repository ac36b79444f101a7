"""The stage schemes: the same trial trained in two stages and in three."""

from study.report.blocks import Cell, Column, Section, Table, columns, label
from study.report.facts import Facts
from study.report.paper_numbers import SCHEMES, Published
from study.report.scores import percent
from study.report.sections.arms import forests
from study.report.study_comparisons import Comparison, StudyComparisons, comparison_table

SAYS = (
    "Two-stage arms start the backend from scratch in the joint finetuning; three-stage arms pre-train it on the task "
    "first. A difference may come from the order of the stages or from the longer training: this comparison cannot "
    "tell which."
)


def pairs(facts: Facts) -> list[tuple[str, str]]:
    """(two-stage, three-stage) arms that differ in nothing else."""
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for arm, factors in facts.arms.items():
        others = tuple(level for name, level in factors.items() if name != "scheme")
        found.setdefault(others, {})[factors["scheme"]] = arm
    both = [arms for arms in found.values() if {"two-stage", "three-stage"} <= arms.keys()]
    return [(arms["two-stage"], arms["three-stage"]) for arms in both]


def section(facts: Facts, comparing: StudyComparisons) -> Section | None:
    """Where an arm of each scheme is there."""
    found = pairs(facts)
    if not found:
        return None
    metrics = list(dict.fromkeys(name for arm, _ in found for name in facts.metrics_of(facts.arms[arm]["task"])))
    compared = [
        comparing.any_of(Comparison(three, two, metric))
        for metric in metrics
        for two, three in found
        if metric in facts.metrics_of(facts.arms[two]["task"])
    ]
    remark = "" if any(one.planned for one in compared) else " Post hoc: nothing here can have a star."
    differences = comparison_table(
        facts, "schemes-differences", f"Three-stage minus two-stage, paired by seed.{remark}", compared
    )
    drawn = forests(facts, "forest-schemes", compared) if len(found) > 1 else []
    blocks = [_table(facts, found, metrics), differences, *drawn]
    return Section(key="schemes", title="Two stages or three", says=SAYS, blocks=blocks)


def _table(facts: Facts, found: list[tuple[str, str]], metrics: list[str]) -> Table:
    spreads, sql = facts.spreads([arm for pair in found for arm in pair], metrics)
    titles = {name: title for task in facts.tasks for name, title in facts.metrics_of(task).items()}
    with_paper = [name for name in metrics if ("two-stage", name) in SCHEMES]
    head: list[Column] = [*columns("backend", "pre-trained on", words=2)]
    head += [Column(title=f"{titles[name]}, {scheme}") for name in metrics for scheme in ("two-stage", "three-stage")]
    rows = []
    for pair in found:
        factors = facts.arms[pair[0]]
        row = [label(factors["backend"]), label(factors["source"])]
        row += [percent(facts, arm, spreads[name].get(arm)) for name in metrics for arm in pair]
        rows.append(row)
    paper = [_published(SCHEMES.get((scheme, name))) for name in metrics for scheme in ("two-stage", "three-stage")]
    rows.append([label("cnn", faint=True), label("other (the paper)", faint=True), *paper])
    return Table(
        key="schemes",
        caption="Both schemes in percent, mean ± sd (seeds); the last row is the paper's second table.",
        columns=head,
        rows=rows,
        sql=sql,
        badge=facts.why_not_comparable if with_paper else "",
    )


def _published(found: Published | None) -> Cell:
    if found is None:
        return Cell(text="–", faint=True)
    return Cell(text=f"{found.mean:.2f} ± {found.sd:.2f}", values={"mean": found.mean, "sd": found.sd}, faint=True)
