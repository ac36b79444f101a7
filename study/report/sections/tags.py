"""Tag by tag: what each source changes against the bare backend, and how sure that is over seeds and over songs."""

from collections.abc import Sequence

import numpy as np

from study.design.baselines import baselines
from study.report.blocks import (
    Figure,
    Section,
    Table,
    columns,
    difference_cell,
    interval_cell,
    label,
    number,
)
from study.report.facts import Facts, spread_of, text
from study.report.scores import score
from study.report.sections.tag_differential import Differential, differential, in_groups, tag_values
from study.report.sections.tag_figures import bars, intervals
from study.report.study_comparisons import Comparison, StudyComparisons, comparison_table

TITLE = "Tag by tag"
SAYS = (
    "ROC-AUC of single tags, minus that of the bare backend. There are many tags and none was planned, so this shows "
    "where to look; nothing here can have a star."
)
_TAGS = "FROM tag_metrics t JOIN runs ON t.stage = runs.final_stage"


def section(facts: Facts, comparing: StudyComparisons) -> Section | None:
    """Of the tagging arms."""
    arms = facts.of_task("tagging")
    if not arms:
        return None
    values = tag_values(facts, arms)
    if not values:
        return Section(
            key="tags", title=TITLE, says="Tagging is part of the study, but there are no scores of single tags yet."
        )
    tags = in_groups(facts, values)
    blocks: list[Table | Figure] = _groups(facts, comparing, arms)
    for backend in dict.fromkeys(facts.arms[arm]["backend"] for arm in arms):
        found = differential(facts, backend, tags)
        if found:
            blocks += [bars(found), *([intervals(found)] if found.tracks else []), _interval_table(facts, found)]
    blocks.append(_all(facts, arms, [tag for _, tag in tags]))
    return Section(key="tags", title=TITLE, says=f"{SAYS}{facts.macro_note('tagging')}", blocks=blocks)


def _groups(facts: Facts, comparing: StudyComparisons, arms: list[str]) -> list[Table | Figure]:
    """What every arm scores on the study's groups, and minus the bare backend."""
    spreads, sql = facts.group_spreads(arms)
    if not spreads:
        return []
    num_seeds = len(facts.seeds)
    cells = {arm: [score(facts, arm, by_arm.get(arm)) for by_arm in spreads.values()] for arm in arms}
    named = "; ".join(f"{name}: {', '.join(facts.groups[name])}" for name in spreads)
    caption = f"Groups of tags: the mean ROC-AUC of their tags, mean ± sd over {num_seeds} seeds. {named}."
    rows = [[label(arm), *row] for arm, row in cells.items()]
    table = Table(key="tag-groups", caption=caption, columns=columns("arm", *spreads), rows=rows, sql=sql)
    bases = {arm: base for arm, base in baselines(facts.arms).items() if arm in arms}
    others = [Comparison(arm, base, group) for group in spreads for arm, base in bases.items()]
    if not others:
        return [table]
    compared = [comparing.any_of(one) for one in others]
    remark = "" if any(one.planned for one in compared) else " Post hoc: nothing here can have a star."
    others = " or ".join(f"“{name}”" for name in dict.fromkeys(bases.values()))
    caption = f"Groups of tags: every arm minus {others}, paired by seed.{remark}"
    return [table, comparison_table(facts, "tag-group-differences", caption, compared)]


def _interval_table(facts: Facts, found: Differential) -> Table:
    wanted = [found.bare, *found.names]
    asked = facts.ask(
        f"SELECT t.class, any_value(t.num_positives) AS positives, any_value(t.num_tracks) AS tracks\n{_TAGS}\n"
        f"WHERE {facts.where(wanted)} AND t.split = 'test'\nGROUP BY ALL"
    )
    positives = {row["class"]: row["positives"] for row in asked.rows}
    rows = []
    for group, tag in found.tags:
        for arm, source in found.names.items():
            differences = found.differences[arm][tag]
            rows.append(
                [
                    label(tag),
                    label(group),
                    label(source),
                    number(positives.get(tag)),
                    difference_cell(float(np.mean(differences)) if differences else None, 3),
                    interval_cell(found.seeds[arm][tag]),
                    interval_cell(found.tracks.get(arm, {}).get(tag)),
                ]
            )
    numbers = columns("positives", "difference", "95 % over seeds", "95 % over songs", words=0)
    return Table(
        key=f"tag-intervals-{found.backend}",
        caption=f"{found.backend.upper()}: each source minus the bare backend. One interval varies the seeds on these "
        "songs, the other varies the songs (DeLong) for these networks. Neither covers the other's variation.",
        columns=[*columns("tag", "group", "pre-trained on", words=3), *numbers],
        rows=rows,
        sql=[_differences_sql(facts, found), asked.sql, _scores_sql(facts, wanted)],
        sortable=True,
    )


def _differences_sql(facts: Facts, found: Differential) -> str:
    """The question for the differences; intervals over seeds are t intervals of the same, seed by seed."""
    return (
        "SELECT t.class, runs.source, avg(t.roc_auc - u.roc_auc) AS difference, count(*) AS seeds\n"
        f"{_TAGS}\n  JOIN runs b ON b.study = runs.study AND b.seed = runs.seed AND b.arm = {text(found.bare)}\n"
        "  JOIN tag_metrics u ON u.stage = b.final_stage AND u.class = t.class AND u.split = t.split\n"
        f"WHERE {facts.where(found.names)}\n  AND b.state = 'done' AND t.split = 'test'\n"
        "  AND isfinite(t.roc_auc) AND isfinite(u.roc_auc)\nGROUP BY ALL"
    )


def _scores_sql(facts: Facts, arms: Sequence[str]) -> str:
    """The question for the scores that the intervals over songs are made of."""
    return (
        "SELECT runs.arm, runs.seed, t.track, t.class, t.target, t.score\n"
        "FROM track_scores t JOIN runs ON t.stage = runs.final_stage\n"
        f"WHERE {facts.where(arms)}"
    )


def _all(facts: Facts, arms: list[str], tags: Sequence[str]) -> Table:
    asked = facts.ask(
        "SELECT t.class, arm, avg(t.roc_auc) AS value_mean, stddev_samp(t.roc_auc) AS value_sd, count(*) AS value_n\n"
        f"{_TAGS}\nWHERE {facts.where(arms)} AND t.split = 'test' AND isfinite(t.roc_auc)\nGROUP BY ALL"
    )
    found = {(row["class"], row["arm"]): spread_of(row, "value") for row in asked.rows}
    rows = [[label(tag), *(score(facts, arm, found.get((tag, arm)), digits=3) for arm in arms)] for tag in tags]
    caption = f"Every tag and arm: ROC-AUC, mean ± sd over {len(facts.seeds)} seeds. A click on a heading sorts."
    return Table(
        key="all-tags", caption=caption, columns=columns("tag", *arms), rows=rows, sql=[asked.sql], sortable=True
    )
