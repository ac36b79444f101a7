"""The arms: what each scored, and its difference to what the study planned to compare it with."""

from collections.abc import Sequence

from matplotlib.figure import Figure as Canvas

from study.report import drawing
from study.report.blocks import Cell, Figure, Section, Table, columns, label, number, p_cell
from study.report.facts import Facts
from study.report.further_seeds import FurtherSeeds, further_seeds
from study.report.scores import score
from study.report.sections.tag_tracks import over_seeds_and_songs
from study.report.study_comparisons import Comparison, StudyComparisons, comparison_table, pairs_sql, title_of
from study.statistics.comparisons import ComparisonResult
from study.statistics.power import ALPHA

SAYS = (
    "Every arm with its planned comparisons, paired by seed. The intervals over seeds cover what other seeds would "
    "change, those over seeds and songs also another draw of test songs. None covers another corpus."
)
# More rows than this are not looked at in one figure; the table has them all.
MOST_ROWS = 60


def section(facts: Facts, comparing: StudyComparisons) -> Section | None:
    """Scores, planned comparisons and the forest plot of each task; then what is post hoc."""
    blocks: list[Table | Figure] = []
    for task in facts.tasks:
        arms = facts.of_task(task)
        if arms:
            blocks += _scores(facts, task, arms)
            blocks += _planned(facts, comparing, task, arms)
            blocks += _post_hoc(facts, comparing, task, arms)
    return Section(key="arms", title="The arms", says=SAYS, blocks=blocks) if blocks else None


def differs_in(facts: Facts, arm: str, reference: str) -> str:
    """The levels in which an arm is not the reference."""
    own, other = facts.arms[arm], facts.arms[reference]
    if own["source"] == "-" and other["source"] != "-":
        return "the backend alone"
    return ", ".join(f"{name} {level}" for name, level in own.items() if level != other[name])


def reference_of(arms: Sequence[str]) -> str:
    """What the names of the other arms refer to."""
    return next((name for name in ("reference", "bare") if name in arms), arms[0])


def _scores(facts: Facts, task: str, arms: list[str]) -> list[Table]:
    metrics = facts.metrics_of(task)
    spreads, sql = facts.spreads(arms, metrics)
    reference = reference_of(arms)
    rows = [
        [
            label(arm),
            label(differs_in(facts, arm, reference) if arm != reference else "the reference of this column"),
            *(score(facts, arm, spreads[name].get(arm)) for name in metrics),
        ]
        for arm in arms
    ]
    factors = ", ".join(f"{name} {level}" for name, level in facts.arms[reference].items() if level != "-")
    return [
        Table(
            key=f"arms-{task}",
            caption=f"{task.capitalize()}: mean ± sd over {len(facts.seeds)} seeds, test split. "
            f"{reference}: {factors}.{facts.macro_note(task)}",
            columns=columns("arm", f"differs from {reference} in", *metrics.values(), words=2),
            rows=rows,
            sql=sql or [f"SELECT arm, seed, state\nFROM runs\nWHERE {facts.planned(arms)}"],
            sortable=True,
        )
    ]


def _planned(facts: Facts, comparing: StudyComparisons, task: str, arms: list[str]) -> list[Table | Figure]:
    compared = [one for one in comparing.planned if one.comparison.arm in arms]
    if not compared:
        return []
    table = comparison_table(
        facts,
        f"planned-{task}",
        f"Planned comparisons, {task}: the arm minus the one in the column “against”.",
        compared,
        over_both=over_seeds_and_songs(facts, compared),
        note=f"* p (Holm) at most 0.05, adjusted over all {len(comparing.planned)} planned comparisons of the "
        "study. Each interval stands for its comparison alone. Differences and seeds come from the SQL below; "
        "intervals and p are those of the paired t test on the same differences.",
    )
    return [table, *forests(facts, f"forest-{task}", compared), _power(facts, comparing, task, compared)]


def _power(facts: Facts, comparing: StudyComparisons, task: str, compared: Sequence[ComparisonResult]) -> Table:
    """What the seeds could have shown, and what the effects would need."""
    alpha = ALPHA / comparing.family_size
    further = further_seeds(facts, comparing, compared)
    rows = [
        [
            label(one.comparison.arm),
            label(one.comparison.against),
            label(title_of(facts, one.comparison.metric)),
            number(one.effect_size, 2),
            number(one.smallest_detectable(alpha=alpha), facts.digits),
            number(one.seeds_needed(alpha=alpha)),
            *_further(further.get(one.comparison)),
            p_cell(one.p_sign_flip),
        ]
        for one in compared
    ]
    head = [
        *columns("arm", "against", "in", words=3),
        *columns("effect size", "smallest detectable", "seeds needed", words=0),
        *columns("further seeds", "hours for these", "p (sign flips)", words=0),
    ]
    return Table(
        key=f"power-{task}",
        caption=f"What these seeds could show, {task}: with 80 % power at p = 0.05 / {comparing.family_size}.",
        columns=head,
        rows=rows,
        sql=pairs_sql(facts, compared),
        note="Effect size: Hedges' g of the paired differences. Seeds needed: to show an effect of that size. Both "
        "need 3 seeds. Hours: of CPU or GPU, for both arms, as long as a seed of them took here. "
        "Sign flips: the exact test, which needs 8 seeds, not adjusted.",
    )


def _further(seeds: FurtherSeeds | None) -> list[Cell]:
    if seeds is None:
        return [number(None), number(None)]
    return [number(seeds.num), number(seeds.hours, 1, unit=f" {seeds.unit}")]


def _post_hoc(facts: Facts, comparing: StudyComparisons, task: str, arms: list[str]) -> list[Table]:
    """The planned pairs in the metrics that were not planned."""
    pairs = dict.fromkeys((one.arm, one.against) for one in comparing.plan if one.arm in arms)
    compared = comparing.post_hoc(Comparison(*pair, metric) for metric in facts.metrics_of(task) for pair in pairs)
    if not compared:
        return []
    caption = f"Post hoc, {task}: the planned pairs in metrics that were not planned. Nothing here can have a star."
    return [comparison_table(facts, f"post-hoc-{task}", caption, compared)]


def forests(facts: Facts, key: str, compared: Sequence[ComparisonResult]) -> list[Figure]:
    """One forest plot for each metric."""
    metrics = list(dict.fromkeys(one.comparison.metric for one in compared if one.differences))
    return [
        _forest(facts, f"{key}-{place}", metric, [one for one in compared if one.comparison.metric == metric])
        for place, metric in enumerate(metrics)
    ]


def _forest(facts: Facts, key: str, metric: str, compared: Sequence[ComparisonResult]) -> Figure:
    shown = [one for one in compared if one.differences][:MOST_ROWS]
    title = title_of(facts, metric)

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        lines = _lines(shown)
        drawing.rows(axes, [line if isinstance(line, str) else line.comparison.arm for line in lines])
        reach = drawing.reach_of([value for one in shown for value in one.differences])
        axes.set_xlim(-reach, reach)
        drawing.light_grid(axes)
        drawing.zero_line(axes)
        for row, line in enumerate(lines):
            if isinstance(line, str):
                axes.get_yticklabels()[row].set(color=drawing.MUTED, fontstyle="italic")
            else:
                _forest_row(axes, row, line)
        axes.set_xlabel(f"difference in {title}")

    rest = drawing.left_out(MOST_ROWS, len(compared))
    headings = len({one.comparison.against for one in shown})
    return drawing.draw(
        key,
        f"Paired differences in {title}: a dot for each seed, a square at the mean (filled: significant), a line for "
        f"the 95 % t interval over seeds, an arrow where it is longer than the scale.{rest}",
        f"Forest plot of the differences in {title}; the numbers are in the table above.",
        paint,
        height=0.75 + 0.25 * (len(shown) + headings),
    )


def _lines(compared: Sequence[ComparisonResult]) -> list[str | ComparisonResult]:
    """The comparisons below a heading for what they are against."""
    lines: list[str | ComparisonResult] = []
    for against in dict.fromkeys(one.comparison.against for one in compared):
        lines.append(f"against {against}")
        lines += [one for one in compared if one.comparison.against == against]
    return lines


def _forest_row(axes, row: int, one: ComparisonResult) -> None:
    colour = drawing.SERIES[0]
    if one.interval is not None:
        drawing.clipped_interval(axes, row, one.interval.low, one.interval.high, color=drawing.INK, linewidth=1.1)
    axes.scatter(one.differences, [row] * len(one.differences), s=20, color=colour, alpha=0.6, linewidth=0, zorder=3)
    assert one.difference is not None
    filled = drawing.INK if one.star else drawing.PAPER
    axes.scatter([one.difference], [row], s=26, marker="s", facecolor=filled, edgecolor=drawing.INK, zorder=4)
