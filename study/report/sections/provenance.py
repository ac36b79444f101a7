"""Provenance: what the numbers cost and where they come from."""

from collections.abc import Mapping
from typing import Any

from study.report.blocks import Cell, Section, Table, columns, label, number
from study.report.facts import Facts
from study.report.sections.stages import compute_of, planned_stages

COST = "Parameters and time of each arm, as measured here. Elsewhere it may cost more or less."
ORIGIN = "Code, data and machines behind every number, as far as they were recorded."
MOST_EXAMPLES = 3
_FACTS = {
    "source_digest": "sources, digest",
    "commit": "commit",
    "python": "Python",
    "torch": "torch",
    "ray": "Ray",
    "device": "device",
    "num_workers": "workers a stage",
    "threads": "threads a worker",
    "host": "host",
}


def costs(facts: Facts) -> Section | None:
    """Parameters and compute of every arm, and what is missing of it."""
    if not facts.runs:
        return None
    blocks = [_cost_table(facts), *_missing(facts)]
    return Section(key="cost", title="Cost and completeness", says=COST, blocks=blocks)


def _cost_table(facts: Facts) -> Table:
    stages, sql = planned_stages(facts)
    columns_there = [name for name in ("num_parameters", "num_steps") if facts.has("runs", name)]
    chosen = "".join(f", max({name}) AS {name}" for name in columns_there)
    asked = facts.ask(f"SELECT arm{chosen}\nFROM runs\nWHERE {facts.where(facts.arms)}\nGROUP BY arm")
    found = {row["arm"]: row for row in asked.rows}
    rows = []
    for arm in facts.arms:
        done = [run for run in facts.runs if run["arm"] == arm and run["state"] == "done"]
        own = [stages[run["final_stage"]] for run in done if run["final_stage"] in stages]
        whole = [stages[stage] for run in done for stage in run["stages"] if stage in stages]
        row = found.get(arm, {})
        rows.append(
            [
                label(arm),
                Cell(text=f"{len(done)} of {len(facts.seeds)}", values={"": len(done)}),
                *(number(row.get(name)) for name in columns_there),
                number(_mean(own, len(done))),
                number(_mean(whole, len(done))),
                number(sum(compute_of(stage)[0] for stage in whole) / len(done) if done else None),
            ]
        )
    titles = {"num_parameters": "parameters", "num_steps": "steps, last stage"}
    head = columns(
        "arm", "done", *(titles[name] for name in columns_there), "s, last stage", "s, all stages", "CPU- or GPU-s"
    )
    caption = "Parameters of the last stage's network, and mean time of a run, with all the stages that it needs."
    return Table(key="cost", caption=caption, columns=head, rows=rows, sql=[asked.sql, sql], sortable=True)


def _mean(rows: list[dict[str, Any]], runs: int) -> float | None:
    return sum(row["duration_s"] or 0 for row in rows) / runs if runs else None


def _missing(facts: Facts) -> list[Table]:
    """The runs that have no result, with the cause where a stage of theirs failed."""
    missing = [(a, s, state) for a, by_seed in facts.states.items() for s, state in by_seed.items() if state != "done"]
    if not missing:
        return []
    stages, sql = planned_stages(facts)
    runs = {(run["arm"], run["seed"]): run["stages"] for run in facts.runs}
    rows = []
    for arm, seed, state in missing:
        cause = [stages[one] for one in runs.get((arm, seed), ()) if one in stages and stages[one]["state"] == "failed"]
        causes = "; ".join(f"{row['label']}: {' '.join((row['error'] or '').split())}" for row in cause)
        rows.append(
            [label(arm), number(seed), label("failed" if cause else state), label(causes or "not begun or running")]
        )
    asked = f"SELECT arm, seed, state\nFROM runs\nWHERE {facts.planned(facts.arms)} AND state <> 'done'"
    head = [*columns("arm"), *columns("seed", words=0), *columns("state", "cause", words=2)]
    caption = f"Runs without a result: {len(missing)} of {len(facts.arms) * len(facts.seeds)}."
    return [Table(key="missing", caption=caption, columns=head, rows=rows, sql=[asked, sql])]


def origin(facts: Facts) -> Section:
    """Versions, sources, corpora and hosts."""
    return Section(key="provenance", title="Provenance", says=ORIGIN, blocks=[*_versions(facts), *_corpora(facts)])


def _versions(facts: Facts) -> list[Table]:
    there = {name: title for name, title in _FACTS.items() if facts.has("stages", name)}
    if not there:
        return []
    parts = [
        f'SELECT {place} AS place, "{name}" AS value, count(*) AS stages FROM wanted GROUP BY ALL'
        for place, name in enumerate(there)
    ]
    asked = facts.ask(
        "WITH wanted AS (\n  SELECT * FROM stages WHERE state = 'done' AND stage IN (\n"
        f"    SELECT unnest(stages) FROM runs WHERE {facts.planned(facts.arms)})\n)\n"
        + "\nUNION ALL ".join(parts)
        + "\nORDER BY place, stages DESC, value"
    )
    titles = list(there.values())
    rows = [
        [label(titles[row["place"]]), label(row["value"] or "not recorded"), number(row["stages"])]
        for row in asked.rows
    ]
    caption = "What the stages ran with. More than one value of a kind means that stages ran differently."
    head = columns("fact", "value", "stages", words=2)
    return [Table(key="versions", caption=caption, columns=head, rows=rows, sql=[asked.sql])]


def _corpora(facts: Facts) -> list[Table]:
    if not facts.corpora:
        return []
    splits = list(dict.fromkeys(split for corpus in facts.corpora.values() for split in corpus["counts"]))
    rows = [[label(kind), *_corpus(kind in facts.generated, corpus, splits)] for kind, corpus in facts.corpora.items()]
    head = [
        *columns("corpus", "name", "what it is", words=3),
        *columns(*splits, words=0),
        *columns("content digest", "place", words=2),
    ]
    caption = "Corpora, tracks by split."
    return [Table(key="corpora", caption=caption, columns=head, rows=rows, sql=[]), *_left_out(facts)]


def _left_out(facts: Facts) -> list[Table]:
    """What a corpus does not hold of its source, by cause: excluded by a rule, or rejected as unusable."""
    rows = []
    for kind, corpus in facts.corpora.items():
        for rule, tracks in corpus.get("excluded", {}).items():
            rows.append([label(kind), label("excluded"), label(rule), number(tracks), label("")])
        by_reason: dict[str, list[str]] = {}
        for reject in corpus.get("rejects", []):
            by_reason.setdefault(reject["reason"], []).append(reject["id"])
        for reason, tracks in by_reason.items():
            more = ", …" if len(tracks) > MOST_EXAMPLES else ""
            examples = ", ".join(tracks[:MOST_EXAMPLES]) + more
            rows.append([label(kind), label("rejected"), label(reason), number(len(tracks)), label(examples)])
    if not rows:
        return []
    head = [*columns("corpus", "left out", "why", words=3), *columns("tracks", words=0), *columns("such as")]
    caption = "Tracks of the data sets that are not in the corpora. The corpora's manifests name each of them."
    return [Table(key="left-out", caption=caption, columns=head, rows=rows, sql=[])]


def _corpus(generated: bool, corpus: Mapping[str, Any], splits: list[str]) -> list[Cell]:
    return [
        label(corpus["name"]),
        label("generated songs, not recordings" if generated else "as given"),
        *(number(corpus["counts"].get(split)) for split in splits),
        Cell(text=corpus["digest"][:16], values={"": corpus["digest"]}),
        label(corpus.get("place", "")),
    ]
