"""The paper's first table in its own form, with its published numbers beside ours."""

from collections.abc import Iterable, Mapping

from study.report.blocks import Cell, Column, Section, Table, label
from study.report.facts import Facts, Spread
from study.report.paper_numbers import COLUMNS, PAPER_SCHEME, ROWS, TABLE, TITLES, published
from study.report.scores import percent
from study.report.study_comparisons import StudyComparisons

Key = tuple[str, str]


def section(facts: Facts, comparing: StudyComparisons) -> Section | None:
    """Where a bare backend stands beside at least one joint network."""
    chosen = {key: arms for key in _keys(facts) if len(arms := same_but_source(facts, *key)) > 1 and "-" in arms}
    if not chosen:
        return None
    table = _table(facts, comparing, chosen)
    says = (
        "As in the paper, rows are what the U-Net was pre-trained to separate, columns are backend and metric. A star "
        "marks a planned comparison with the bare backend that is significant after Holm's correction. The table "
        "cannot show why two rows differ."
    )
    return Section(key="table-one", title="The paper's Table 1", says=says, blocks=[table])


def _keys(facts: Facts) -> list[Key]:
    pairs = [(factors["task"], factors["backend"]) for factors in facts.arms.values() if factors["scheme"] != "probe"]
    return list(dict.fromkeys(pairs))


def same_but_source(facts: Facts, task: str, backend: str) -> dict[str, str]:
    """Source -> arm, of arms that differ in the source alone: of such sets the largest, then the paper's scheme.

    The bare backend is the source "-".
    """
    sets: dict[tuple[str, ...], dict[str, str]] = {}
    bare: dict[tuple[str, str | None, str], str] = {}
    for arm in facts.of_task(task):
        factors = facts.arms[arm]
        if factors["backend"] == backend and factors["source"] == "-":
            bare.setdefault((factors["weights"], factors.get("labels"), "-"), arm)
        elif factors["backend"] == backend:
            others = tuple(level for name, level in factors.items() if name != "source")
            sets.setdefault(others, {}).setdefault(factors["source"], arm)
    if not sets:
        return dict(zip("-", bare.values(), strict=False))
    best = max(sets.values(), key=lambda arms: (len(arms), _as_paper(facts, arms.values(), backend)))
    factors = facts.arms[next(iter(best.values()))]
    own = bare.get((factors["weights"], factors.get("labels"), "-"))
    best = dict(sorted(best.items(), key=lambda item: ROWS.index(item[0]) if item[0] in ROWS else len(ROWS)))
    return ({"-": own} if own else {}) | best


def _as_paper(facts: Facts, arms: Iterable[str], backend: str) -> bool:
    return all(facts.arms[arm]["scheme"] == PAPER_SCHEME.get(backend) for arm in arms)


def _table(facts: Facts, comparing: StudyComparisons, chosen: Mapping[Key, Mapping[str, str]]) -> Table:
    head, body = [Column(title="pre-trained on", number=False)], {row: [label(TITLES[row])] for row in ROWS}
    questions: list[str] = []
    for (task, backend), arms in chosen.items():
        metrics = facts.metrics_of(task)
        spreads, sql = facts.spreads(list(arms.values()), metrics)
        questions += sql
        for metric in (name for name in metrics if (backend, task, name) in COLUMNS):
            head += [
                Column(title=f"{backend.upper()} {metrics[metric]}, ours"),
                Column(title=f"{backend.upper()} {metrics[metric]}, paper"),
            ]
            for row in ROWS:
                body[row] += [
                    _ours(facts, comparing, arms, (row, metric), spreads[metric]),
                    _theirs(row, (backend, task, metric)),
                ]
    return Table(
        key="table-one",
        caption=f"In percent, mean ± sd (seeds). {' '.join(_described(facts, key, chosen[key]) for key in chosen)}",
        columns=head,
        rows=list(body.values()),
        sql=questions,
        note="The paper's numbers: Garoufis, Zlatintsi and Maragos (EUSIPCO 2024), MagnaTagATune and FMA-medium, over "
        "5 runs; * as published there.",
        badge=facts.why_not_comparable,
    )


def _ours(
    facts: Facts,
    comparing: StudyComparisons,
    arms: Mapping[str, str],
    cell: tuple[str, str],
    spreads: Mapping[str, Spread],
) -> Cell:
    """The cell of (row, metric)."""
    row, metric = cell
    arm = arms.get(row)
    if arm is None:
        return Cell(text="–", faint=True)
    star = row != "-" and comparing.star(arm, arms["-"], metric)
    return percent(facts, arm, spreads.get(arm), star=star)


def _theirs(row: str, column: tuple[str, str, str]) -> Cell:
    found = published(row, column)
    values = {"mean": found.mean, "sd": found.sd}
    return Cell(
        text=f"{found.mean:.2f} ± {found.sd:.2f}", values=values, mark="*" if found.star else "", faint=True
    )  # fmt: skip


def _described(facts: Facts, key: Key, arms: Mapping[str, str]) -> str:
    """What all rows with a U-Net have in common."""
    factors = facts.arms[next(arm for source, arm in arms.items() if source != "-")]
    return (
        f"{key[1].upper()} {key[0]}: {factors['scheme']}, adapters {factors['insertion']}, U-Net {factors['unet']} in "
        f"the finetuning (the paper's: {PAPER_SCHEME.get(key[1], '?')}, adapters all, finetuned)."
    )


__all__ = ["TABLE", "same_but_source", "section"]
