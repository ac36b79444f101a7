"""What the study compares: its planned comparisons, and others on request, which are post hoc."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from study.report.blocks import Cell, Table, columns, difference_cell, interval_cell, label, p_cell, signed
from study.report.facts import Facts, quoted, text
from study.statistics.comparisons import Comparison, ComparisonResult, compare
from study.statistics.measurements import Measurements
from study.statistics.over_seeds import Interval
from study.statistics.power import ALPHA

# A probe draws nothing: two fits on the same features are the same.
DETERMINISTIC = ("probe",)


class StudyComparisons:
    """The study's comparisons, over seeds."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self.plan = [Comparison(*names) for names in dict.fromkeys(facts.comparisons)]

    @cached_property
    def planned(self) -> list[ComparisonResult]:
        return compare(self._measured, self.plan, margins=self._facts.margins)

    @property
    def family_size(self) -> int:
        """How many tests Holm's correction is for."""
        return len(self.plan) + sum(one.metric in self._facts.margins for one in self.plan)

    def post_hoc(self, comparisons: Iterable[Comparison]) -> list[ComparisonResult]:
        """Comparisons that were not planned; planned ones are left out."""
        others = [one for one in dict.fromkeys(comparisons) if one not in self.plan]
        measured = self._measured_of({one.metric for one in others})
        return compare(measured, [], post_hoc=others)

    def any_of(self, comparison: Comparison) -> ComparisonResult:
        """A comparison with its star if it was planned, else post hoc."""
        found = [one for one in self.planned if one.comparison == comparison]
        return found[0] if found else self.post_hoc([comparison])[0]

    def star(self, arm: str, against: str, metric: str) -> bool:
        return any(one.star for one in self.planned if one.comparison == Comparison(arm, against, metric))

    @cached_property
    def _measured(self) -> Measurements:
        return self._measured_of({one.metric for one in self.plan})

    def _measured_of(self, metrics: Iterable[str]) -> Measurements:
        facts = self._facts
        stages = {arm: dict.fromkeys(facts.seeds, ()) for arm in facts.arms}
        for run in facts.runs:
            stages[run["arm"]][run["seed"]] = tuple(run["stages"])
        values = {name: facts.group_values(name) if name in facts.groups else facts.values(name) for name in metrics}
        return Measurements(values=values, stages=stages, kinds=self._kinds(), deterministic=DETERMINISTIC)

    def _kinds(self) -> dict[str, str]:
        known = {row["stage"]: row["kind"] for row in self._facts.ask("SELECT DISTINCT stage, kind FROM stages").rows}
        return {stage: "stage that has not begun" for run in self._facts.runs for stage in run["stages"]} | known


def pairs_sql(facts: Facts, compared: Sequence[ComparisonResult]) -> list[str]:
    """The questions for the seeds and mean differences of comparisons, one for each metric."""
    by_metric: dict[str, list[Comparison]] = {}
    for one in compared:
        by_metric.setdefault(one.comparison.metric, []).append(one.comparison)
    return [
        _pairs_sql(facts, metric, _values_sql(facts, metric, comparisons), comparisons)
        for metric, comparisons in by_metric.items()
        if metric in facts.groups or facts.has("runs", metric)
    ]


def _values_sql(facts: Facts, metric: str, comparisons: Sequence[Comparison]) -> str:
    """Rows of arm, seed and value."""
    arms = list(dict.fromkeys(arm for one in comparisons for arm in (one.arm, one.against)))
    if metric in facts.groups:
        return facts.group_sql(metric, arms)
    column = quoted(metric)
    return f"  SELECT arm, seed, {column} AS value\n  FROM runs\n  WHERE {facts.where(arms)} AND isfinite({column})"


def _pairs_sql(facts: Facts, metric: str, values: str, comparisons: Sequence[Comparison]) -> str:
    pairs = ", ".join(f"({text(one.arm)}, {text(one.against)})" for one in comparisons)
    return (
        f"WITH scores AS (\n{values}\n)\n"
        f"SELECT a.arm, b.arm AS against, {text(metric)} AS metric, count(*) AS seeds,\n"
        "  avg(a.value - b.value) AS difference, stddev_samp(a.value - b.value) AS sd,\n"
        "  count(*) FILTER (a.value > b.value) AS seeds_above\n"
        f"FROM scores a JOIN scores b USING (seed)\nWHERE (a.arm, b.arm) IN ({pairs})\nGROUP BY ALL"
    )


def comparison_table(
    facts: Facts,
    key: str,
    caption: str,
    compared: Sequence[ComparisonResult],
    note: str = "",
    *,
    over_both: Mapping[Comparison, Interval] | None = None,
) -> Table:
    """Comparisons as rows: difference and seeds from SQL, then the paired t test.

    `over_both`: intervals over seeds and songs together, for a column of their own.
    """
    questions = pairs_sql(facts, compared)
    found = {(row["arm"], row["against"], row["metric"]): row for sql in questions for row in facts.ask(sql).rows}
    planned = any(one.planned for one in compared)
    several = len({one.comparison.metric for one in compared}) > 1
    titles = ["arm", "against", *(["in"] if several else [])]
    both = over_both or {}
    intervals = ["95 % over seeds", *(["95 % over seeds and songs"] if both else [])]
    numbers = ["difference", *intervals, "seeds above", "p", *(["p (Holm)"] if planned else [])]
    rows = []
    for one in compared:
        names = (one.comparison.arm, one.comparison.against, one.comparison.metric)
        words = [label(name) for name in (*names[:2], title_of(facts, names[2]))]
        cells = _cells(one, found.get(names), facts.digits, planned)
        if both:
            cells.insert(2, interval_cell(both.get(one.comparison), facts.digits))
        rows.append([*words[: len(titles)], *cells])
    head = [*columns(*titles, *numbers, words=len(titles)), *columns("why no star" if planned else "remarks")]
    if compared and not several:
        caption = f"{caption} In {title_of(facts, compared[0].comparison.metric)}."
    if not any(row[-1].text for row in rows):
        head, rows = head[:-1], [row[:-1] for row in rows]
    return Table(key=key, caption=caption, columns=head, rows=rows, sql=questions, note=note)


def _cells(one: ComparisonResult, row: dict | None, digits: int, planned: bool) -> list[Cell]:
    difference = row["difference"] if row else one.difference
    above = sum(value > 0 for value in one.differences) if row is None else row["seeds_above"]
    seeds = len(one.seeds) if row is None else row["seeds"]
    return [
        difference_cell(difference, digits, mark="*" if one.star else ""),
        interval_cell(one.interval, digits),
        Cell(text=f"{above} of {seeds}", values={"": above, "seeds": seeds}),
        p_cell(one.p),
        *([p_cell(one.p_holm)] if planned else []),
        label(remark(one), faint=True),
    ]


def gain_cell(one: ComparisonResult, digits: int) -> Cell:
    """A difference; in small print its interval over seeds, and how many seeds lie above zero."""
    if one.difference is None:
        return Cell(text="–", faint=True)
    above = sum(value > 0 for value in one.differences)
    interval = one.interval
    shown = f"[{signed(interval.low, digits)}, {signed(interval.high, digits)}] " if interval else ""
    values = {"": one.difference, "above": above, "seeds": len(one.seeds)}
    if interval:
        values |= {"low": interval.low, "high": interval.high}
    small = f"{shown}{above} of {len(one.seeds)}"
    return Cell(text=signed(one.difference, digits), values=values, mark="*" if one.star else "", small=small)


def remark(one: ComparisonResult) -> str:
    """In plain words: why there is no star, and what the answer is conditional on."""
    reasons = [reason for reason in one.reasons if not reason.startswith("post hoc")]
    if not reasons and one.planned and not one.star and one.p is not None:
        reasons = ["not after Holm's correction" if one.p <= ALPHA else "no difference shown"]
    if one.equivalent:
        reasons = [f"equivalent within {one.margin:g}"]
    elif one.p_equivalent is not None:
        reasons.append(f"not shown to be equivalent within {one.margin:g}")
    return "; ".join([*reasons, *filter(None, [one.note])])


def title_of(facts: Facts, metric: str) -> str:
    """A metric's title, or its own name."""
    return next((titles[metric] for titles in map(facts.metrics_of, facts.tasks) if metric in titles), metric)


__all__ = ["Comparison", "StudyComparisons", "comparison_table", "gain_cell", "pairs_sql", "remark", "title_of"]
