"""Intervals over songs: what another draw of test songs would change, with the networks as they are."""

from collections.abc import Sequence

import numpy as np

from study.records.query import Query
from study.report.facts import Facts
from study.statistics.over_seeds import Interval
from study.statistics.over_tracks import TrackROCAUC, roc_auc_over_tracks


def contrast_over_tracks(facts: Facts, bare: str, arms: Sequence[str]) -> dict[str, dict[str, Interval]]:
    """Arm -> tag -> the interval of its difference to the bare backend; tags with too few songs are left out.

    Scores are read arm by arm: those of a large study do not fit into memory at once.
    """
    found = {}
    finals = _finals(facts)
    for arm in arms:
        seeds = sorted(finals.get(arm, {}).keys() & finals.get(bare, {}).keys())
        sides = [_measured(facts, [finals[name][seed] for seed in seeds]) for name in (arm, bare)] if seeds else []
        if sides and all(sides):
            found[arm] = _difference(*sides)
    return found


def _finals(facts: Facts) -> dict[str, dict[int, str]]:
    finals: dict[str, dict[int, str]] = {}
    for run in facts.runs:
        if run["state"] == "done":
            finals.setdefault(run["arm"], {})[run["seed"]] = run["final_stage"]
    return finals


def _measured(facts: Facts, stages: Sequence[str]) -> tuple[list[str], list[str], TrackROCAUC] | None:
    """(tracks, tags, ROC-AUC of each tag, mean over these stages); None without scores or with other tracks in each."""
    table = Query(facts.store, ("track_scores",), stages=stages).run(
        'SELECT stage, track, "class", target, score FROM track_scores ORDER BY stage, track, "class"'
    )
    tracks, tags = (sorted(set(table[name].to_pylist())) for name in ("track", "class"))
    shape = (len(set(stages)), len(tracks), len(tags))
    if not table.num_rows or table.num_rows != np.prod(shape):
        return None
    scores = table["score"].to_numpy().reshape(shape)
    targets = table["target"].to_numpy().reshape(shape)[0]
    num_positive = targets.sum(axis=0)
    enough = (num_positive > 1) & (num_positive < len(tracks) - 1)
    tags = [tag for tag, there in zip(tags, enough, strict=True) if there]
    if not tags or not np.isfinite(scores).all():
        return None
    return tracks, tags, roc_auc_over_tracks(targets[:, enough], scores[:, :, enough], tags=tags)


def _difference(arm, bare) -> dict[str, Interval]:
    if arm[:2] != bare[:2]:
        return {}
    difference = arm[2] - bare[2]
    return {tag: difference.of_tag(place).interval for place, tag in enumerate(arm[1])}
