"""Do the stars keep their promise? Simulated studies through the functions that judge real ones.

    python -m tests.benchmarks.calibration --studies 2000 --seed 0

A study has the bare backend and 12 arms (six kinds of separator, two schemes), all compared with bare, over 5 seeds
and 50 correlated tags. A run's macro ROC-AUC varies with sd 0.0007, about that of the paper's table. Three things vary
it: what all arms share at a seed (order, crops, the backend's first weights), the separator, which both schemes share,
and the run itself. Replicated, each seed trains its own separators; otherwise one of each serves all seeds.

A second kind of study plans single comparisons, each source on its own group of four tags, with margins, as the demo
may: 4 arms, 4 seeds, 4 comparisons.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from jaxtyping import Bool, Float

from study.statistics.comparisons import Comparison, ComparisonResult, compare
from study.statistics.measurements import Measurements
from study.statistics.over_seeds import holm

SOURCES = ("none", "bass", "drums", "other", "vocals", "multiple")
SCHEMES = ("two-stage", "three-stage")
ARMS = ["bare", *(f"{source} {scheme}" for source in SOURCES for scheme in SCHEMES)]
PLANNED = [Comparison(arm, "bare", "roc_auc") for arm in ARMS[1:]]
# Of a random U-Net there is nothing to share; it counts as drawn with the run.
SEPARATED = SOURCES[1:]
NUM_SEEDS, NUM_TAGS, TAG_CORRELATION = 5, 50, 0.3
SD = 0.0007
SHARES = {"seed": 0.3, "separator": 0.3, "run": 0.4}
BARE_ROC_AUC = 0.9147
PLANTED = ("vocals two-stage", "vocals three-stage")
EFFECTS = (0.0005, 0.001, 0.002, 0.003, 0.004)


def macro_noise(rng: np.random.Generator, share: str, *shape: int) -> Float[np.ndarray, "..."]:
    """The mean over correlated tags of a noise that has its share of the variance of a run."""
    common = rng.normal(size=(*shape, 1)) * np.sqrt(TAG_CORRELATION)
    tags = common + rng.normal(size=(*shape, NUM_TAGS)) * np.sqrt(1 - TAG_CORRELATION)
    sd_of_mean = np.sqrt(TAG_CORRELATION + (1 - TAG_CORRELATION) / NUM_TAGS)
    return tags.mean(axis=-1) / sd_of_mean * SD * np.sqrt(SHARES[share])


def simulated(
    rng: np.random.Generator, num_studies: int, effect: float, *, replicated: bool
) -> Float[np.ndarray, "study arm seed"]:
    """Macro ROC-AUC of every run."""
    values = BARE_ROC_AUC + macro_noise(rng, "run", num_studies, len(ARMS), NUM_SEEDS)
    values += macro_noise(rng, "seed", num_studies, 1, NUM_SEEDS)
    for source in SEPARATED:
        separator = macro_noise(rng, "separator", num_studies, NUM_SEEDS if replicated else 1)
        for scheme in SCHEMES:
            values[:, ARMS.index(f"{source} {scheme}")] += separator
    values[:, [ARMS.index(name) for name in PLANTED]] += effect
    return values


def stages(*, replicated: bool) -> dict[str, dict[int, tuple[str, ...]]]:
    """The identities that such a study's runs have."""
    return {
        arm: {seed: (*separator(arm, seed, replicated), f"finetuning {arm} {seed}") for seed in range(NUM_SEEDS)}
        for arm in ARMS
    }


def source_of(arm: str) -> str:
    return arm.split(maxsplit=1)[0]


def separator(arm: str, seed: int, replicated: bool) -> list[str]:
    source = source_of(arm)
    return [f"separation {source} {seed if replicated else 0}"] if source in SEPARATED else []


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of each planned comparison of each study."""

    stars: Bool[np.ndarray, "study comparison"]
    unguarded: Bool[np.ndarray, "study comparison"]
    single: Bool[np.ndarray, "study comparison"]
    covered: Bool[np.ndarray, "study comparison"]
    refused: Bool[np.ndarray, "study comparison"]


def judged(values: Float[np.ndarray, "study arm seed"], effect: float, *, replicated: bool) -> Outcome:
    """Every study through `compare`."""
    made_of = stages(replicated=replicated)
    kinds = {stage: stage.split()[0] for runs in made_of.values() for run in runs.values() for stage in run}
    truth = np.array([effect if comparison.arm in PLANTED else 0.0 for comparison in PLANNED])
    found: list[list[ComparisonResult]] = []
    for study in values:
        by_arm = {arm: dict(enumerate(by_seed.tolist())) for arm, by_seed in zip(ARMS, study, strict=True)}
        found.append(compare(Measurements(values={"roc_auc": by_arm}, stages=made_of, kinds=kinds), PLANNED))
    p = np.array([[row.p for row in rows] for rows in found], dtype=np.float64)
    low = np.array([[row.contrast.interval.low for row in rows if row.contrast] for rows in found])
    high = np.array([[row.contrast.interval.high for row in rows if row.contrast] for rows in found])
    return Outcome(
        stars=np.array([[row.star for row in rows] for rows in found]),
        unguarded=np.array([holm(of_study) for of_study in p]) <= 0.05,
        single=p <= 0.05,
        covered=(low <= truth) & (truth <= high),
        refused=np.array([[bool(row.reasons) for row in rows] for rows in found]),
    )


def any_of(hits: Bool[np.ndarray, "study comparison"]) -> Bool[np.ndarray, "study 1"]:
    """Whether a study has any."""
    return np.asarray(hits.any(axis=1, keepdims=True))


def percent(hits: Bool[np.ndarray, "study comparison"]) -> str:
    """Mean over the studies with its Monte Carlo standard error; comparisons of one study are not independent."""
    by_study = hits.mean(axis=1)
    return f"{100 * by_study.mean():6.2f} ± {100 * by_study.std(ddof=1) / np.sqrt(len(by_study)):.2f} %"


def show_null(outcome: Outcome, title: str) -> None:
    of_separated = np.array([source_of(comparison.arm) in SEPARATED for comparison in PLANNED])
    print(f"\nNo effect at all, {title}")
    print(f"  studies with a false star                     {percent(any_of(outcome.stars))}")
    print(f"  the same if nothing were refused              {percent(any_of(outcome.unguarded))}")
    print(f"  single tests of trained separators, p <= 0.05 {percent(outcome.single[:, of_separated])}")
    print(f"  95 % intervals with the truth, all            {percent(outcome.covered)}")
    print(f"  of arms with a trained separator              {percent(outcome.covered[:, of_separated])}")
    print(f"  comparisons that may have no star             {percent(outcome.refused)}")
    print(f"  stars among those                             {outcome.stars[outcome.refused].sum():6d}")


def show_power(effect: float, outcome: Outcome) -> None:
    planted = np.array([comparison.arm in PLANTED for comparison in PLANNED])
    cells = (outcome.stars[:, planted], outcome.single[:, planted], any_of(outcome.stars[:, ~planted]))
    print(f"  {effect:.4f}   " + "   ".join(map(percent, (*cells, outcome.covered))), flush=True)


GROUP_ARMS = ("bare", "none", "vocals", "drums")
GROUP_PLAN = [
    Comparison(source, other, f"{source} tags") for source in ("vocals", "drums") for other in ("bare", "none")
]
GROUP_SEEDS, TAGS_OF_GROUP, MARGIN_IN_SDS = 4, 4, 4.0


def groups_simulated(
    rng: np.random.Generator, num_studies: int, shift: float
) -> Float[np.ndarray, "study group arm seed"]:
    """Mean ROC-AUC of two groups of tags, in standard deviations of a run; each source is off by `shift` in its own."""
    shape = (num_studies, len(GROUP_ARMS), GROUP_SEEDS)
    common = rng.normal(size=(num_studies, 1, *shape[1:])) * np.sqrt(TAG_CORRELATION)
    own = rng.normal(size=(num_studies, 2, *shape[1:], TAGS_OF_GROUP)).mean(axis=-1) * np.sqrt(1 - TAG_CORRELATION)
    values = (common + own) / np.sqrt(TAG_CORRELATION + (1 - TAG_CORRELATION) / TAGS_OF_GROUP)
    for group, source in enumerate(("vocals", "drums")):
        values[:, group, GROUP_ARMS.index(source)] += shift
    return values


def groups_judged(values: Float[np.ndarray, "study group arm seed"]) -> tuple[np.ndarray, np.ndarray]:
    """Stars and equivalences of each study's comparisons."""
    made_of = {arm: {seed: (f"{arm} {seed}",) for seed in range(GROUP_SEEDS)} for arm in GROUP_ARMS}
    kinds = {stage: "finetuning" for runs in made_of.values() for run in runs.values() for stage in run}
    names = ("vocals tags", "drums tags")
    stars, same = [], []
    for study in values:
        by_metric = {
            name: {arm: dict(enumerate(by_seed.tolist())) for arm, by_seed in zip(GROUP_ARMS, group, strict=True)}
            for name, group in zip(names, study, strict=True)
        }
        measured = Measurements(values=by_metric, stages=made_of, kinds=kinds)
        rows = compare(measured, GROUP_PLAN, margins=dict.fromkeys(names, MARGIN_IN_SDS))
        stars.append([row.star for row in rows])
        same.append([row.equivalent for row in rows])
    return np.array(stars), np.array(same)


def show_groups(rng: np.random.Generator, num_studies: int) -> None:
    print(
        f"\n{len(GROUP_PLAN)} comparisons in groups of tags, {GROUP_SEEDS} seeds, margin {MARGIN_IN_SDS:g} sd of a run"
    )
    stars, same = groups_judged(groups_simulated(rng, num_studies, 0.0))
    print(f"  no effect: studies with a false star              {percent(any_of(stars))}")
    print(f"  no effect: comparisons called equivalent, rightly {percent(same)}")
    stars, same = groups_judged(groups_simulated(rng, num_studies, MARGIN_IN_SDS))
    print(f"  off by the margin: studies with a false equivalence {percent(any_of(same))}")
    print(f"  off by the margin: comparisons with a star, rightly {percent(stars)}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    rng, begin = np.random.default_rng(options.seed), perf_counter()
    print(f"{options.studies} studies, {len(PLANNED)} comparisons, {NUM_SEEDS} seeds; ± is the Monte Carlo error")
    for replicated, title in ((True, "each seed its own separators"), (False, "one separator of a kind for all seeds")):
        values = simulated(rng, options.studies, 0.0, replicated=replicated)
        show_null(judged(values, 0.0, replicated=replicated), title)
    print("\nAn effect in both vocals arms, each seed its own separators")
    print("  effect   starred            single p <= 0.05   false star elsewhere   intervals with the truth")
    for effect in EFFECTS:
        values = simulated(rng, options.studies, effect, replicated=True)
        show_power(effect, judged(values, effect, replicated=True))
    show_groups(rng, options.studies)
    print(f"\n{perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
