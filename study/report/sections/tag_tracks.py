"""Intervals over songs: what another draw of test songs would change, with the networks as they are."""

from collections.abc import Sequence

import numpy as np

from study.records.query import Query
from study.report.facts import Facts
from study.statistics.comparisons import Comparison, ComparisonResult
from study.statistics.over_both import over_seeds_and_tracks
from study.statistics.over_seeds import Interval
from study.statistics.over_tracks import TrackROCAUC, roc_auc_over_tracks

# Tracks, tags, and the ROC-AUC of each tag.
_Measured = tuple[list[str], list[str], TrackROCAUC]
# If the tags' mean is farther from the recorded difference than this, it is the mean of other tags.
ROUNDING = 1e-6


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


def over_seeds_and_songs(facts: Facts, compared: Sequence[ComparisonResult]) -> dict[Comparison, Interval]:
    """Comparison -> the interval of its difference for other seeds and another draw of songs, in ROC-AUC alone.

    It is left out where a tag has too few songs to tell how they vary.
    """
    finals = _finals(facts)
    known: dict[tuple[str, ...], _Measured | None] = {}
    found = {}
    for one in compared:
        if one.contrast is None or one.comparison.metric not in ("roc_auc", *facts.groups):
            continue
        sides = []
        for arm in (one.comparison.arm, one.comparison.against):
            stages = tuple(finals[arm][seed] for seed in one.seeds)
            if stages not in known:
                known[stages] = _measured(facts, stages)
            sides.append(known[stages])
        error = _track_error(*sides, tags=facts.groups.get(one.comparison.metric), difference=one.difference)
        if error is not None:
            found[one.comparison] = over_seeds_and_tracks(np.array(one.differences), error)
    return found


def _track_error(
    arm: _Measured | None, other: _Measured | None, *, tags: Sequence[str] | None, difference: float | None
) -> float | None:
    """The standard error over tracks of the mean over these tags, or all; None if they do not give the difference."""
    if arm is None or other is None or arm[:2] != other[:2]:
        return None
    places = [place for place, tag in enumerate(arm[1]) if tags is None or tag in tags]
    interval = (arm[2] - other[2]).of_tags(places).macro().interval if places else None
    if interval is None or difference is None or abs(interval.estimate - difference) > ROUNDING:
        return None
    return interval.standard_error


def _finals(facts: Facts) -> dict[str, dict[int, str]]:
    finals: dict[str, dict[int, str]] = {}
    for run in facts.runs:
        if run["state"] == "done":
            finals.setdefault(run["arm"], {})[run["seed"]] = run["final_stage"]
    return finals


def _measured(facts: Facts, stages: Sequence[str]) -> _Measured | None:
    """Mean over these stages; None without scores or with other tracks in each."""
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
