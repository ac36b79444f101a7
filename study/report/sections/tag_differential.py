"""The differential of a backend's tags: each source minus the bare backend, by tag, over seeds and over songs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from study.report.facts import Facts
from study.report.sections.table_one import same_but_source
from study.report.sections.tag_tracks import contrast_over_tracks
from study.statistics.over_seeds import Interval, paired_t, vary_beyond_rounding


@dataclass(frozen=True, kw_only=True)
class Differential:
    """What a backend's joint networks gain on each tag.

    Attributes:
        tags: (group, tag) in their order.
        names: arm -> what it was pre-trained on.
        differences: arm -> tag -> differences to the bare backend, a value for each seed that both have.
        seeds, tracks: arm -> tag -> interval; where there is none, neither is its key, or it is None.
    """

    backend: str
    bare: str
    tags: Sequence[tuple[str, str]]
    names: Mapping[str, str]
    differences: Mapping[str, Mapping[str, Sequence[float]]]
    seeds: Mapping[str, Mapping[str, Interval | None]]
    tracks: Mapping[str, Mapping[str, Interval]]


def differential(facts: Facts, backend: str, tags: Sequence[tuple[str, str]]) -> Differential | None:
    """None where there is no bare backend, or nothing beside it."""
    chosen = same_but_source(facts, "tagging", backend)
    bare = chosen.pop("-", None)
    if bare is None or not chosen:
        return None
    names = {arm: source for source, arm in chosen.items()}
    values = tag_values(facts, [bare, *names])
    differences = {
        arm: {tag: _paired(values.get(tag, {}).get(arm, {}), values.get(tag, {}).get(bare, {})) for _, tag in tags}
        for arm in names
    }
    return Differential(
        backend=backend,
        bare=bare,
        tags=tags,
        names=names,
        differences=differences,
        seeds={arm: {tag: _over_seeds(found) for tag, found in by.items()} for arm, by in differences.items()},
        tracks=contrast_over_tracks(facts, bare, list(names)),
    )


def tag_values(facts: Facts, arms: Sequence[str]) -> dict[str, dict[str, dict[int, float]]]:
    """Tag -> arm -> seed -> ROC-AUC."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    asked = facts.ask(
        "SELECT t.class, arm, runs.seed, t.roc_auc\nFROM tag_metrics t JOIN runs ON t.stage = runs.final_stage\n"
        f"WHERE {facts.where(arms)} AND t.split = 'test' AND isfinite(t.roc_auc)"
    )
    for row in asked.rows:
        found.setdefault(row["class"], {}).setdefault(row["arm"], {})[row["seed"]] = row["roc_auc"]
    return found


def in_groups(facts: Facts, tags: Mapping[str, object]) -> list[tuple[str, str]]:
    """(group, tag): the study's groups first, then the other tags by name; a tag of two groups stands in the first."""
    first: dict[str, str] = {}
    for group, members in facts.groups.items():
        for tag in members:
            first.setdefault(tag, group)
    grouped = [(group, tag) for tag, group in first.items() if tag in tags]
    return grouped + [("other tags", tag) for tag in sorted(tags) if tag not in first]


def _paired(arm: Mapping[int, float], other: Mapping[int, float]) -> list[float]:
    return [arm[seed] - other[seed] for seed in sorted(arm.keys() & other.keys())]


def _over_seeds(differences: list[float]) -> Interval | None:
    array = np.array(differences)
    return paired_t(array).interval if len(array) > 1 and vary_beyond_rounding(array) else None
