"""How long the statistics of a study of the paper's size take on one core.

    python -m tests.benchmarks.statistics

12 contrasts over seeds; 13 arms x 50 tags x 4,300 tracks, as in the MagnaTagATune test split, over tracks.
"""

from collections.abc import Callable
from time import perf_counter

import numpy as np

from study.statistics.comparisons import Comparison, compare
from study.statistics.measurements import Measurements
from study.statistics.over_seeds import sign_flip_p
from study.statistics.over_tracks import roc_auc_over_tracks
from study.statistics.track_bootstrap import bootstrap, pr_auc

ARMS, TAGS, TRACKS = 13, 50, 4300


def timed(what: str, call: Callable[[], object]) -> None:
    """Calls once, and prints the wall time."""
    begin = perf_counter()
    call()
    print(f"{perf_counter() - begin:8.2f} s  {what}", flush=True)


def seeds(rng: np.random.Generator, num_seeds: int) -> None:
    """12 arms against one, all that a row can tell."""
    names = [f"arm {index}" for index in range(ARMS)]
    values = {name: dict(enumerate(rng.normal(0.91, 0.0007, num_seeds))) for name in names}
    stages = {name: {seed: (f"{name} {seed}",) for seed in range(num_seeds)} for name in names}
    kinds = {f"{name} {seed}": "finetuning" for name in names for seed in range(num_seeds)}
    measured = Measurements(values={"roc_auc": values}, stages=stages, kinds=kinds)
    planned = [Comparison(name, names[0], "roc_auc") for name in names[1:]]
    for row in compare(measured, planned):
        assert row.effect_size is not None and row.smallest_detectable() is not None
        assert (row.seeds_needed(), row.p_sign_flip) is not None


def sign_flips(rng: np.random.Generator) -> None:
    """50,000 random flips of 20 seeds for 12 contrasts."""
    for _ in range(ARMS - 1):
        sign_flip_p(rng.normal(0, 1, 20), num_resamples=50_000)


def tracks(targets: np.ndarray, scores: np.ndarray) -> None:
    """Of every arm each tag and the mean, and both of the difference to the first arm."""
    tags = [f"tag {index}" for index in range(TAGS)]
    arms = [roc_auc_over_tracks(targets, own, tags=tags) for own in scores]
    for found in [*arms, *(arm - arms[0] for arm in arms[1:])]:
        found.macro()
        for column in range(TAGS):
            found.of_tag(column)


def main() -> None:
    rng = np.random.default_rng(0)
    targets = rng.random((TRACKS, TAGS)) < rng.uniform(0.02, 0.2, TAGS)
    scores = rng.normal(size=(ARMS, TRACKS, TAGS)) + 1.9 * targets
    for num_seeds in (5, 16, 20):
        timed(f"12 comparisons over {num_seeds} seeds, all columns", lambda n=num_seeds: seeds(rng, n))
    timed("12 sign-flip tests of 20 seeds with 50,000 flips", lambda: sign_flips(rng))
    timed("ROC-AUC over tracks: 13 arms, 50 tags, macro, differences", lambda: tracks(targets, scores))
    by_seed = scores[:, None] + rng.normal(0, 0.1, (ARMS, 5, TRACKS, TAGS))
    timed("the same with 5 seeds' scores each", lambda: tracks(targets, by_seed))
    macro = [lambda counts, own=own: pr_auc(targets, own, counts).mean(axis=1) for own in scores]
    timed("macro PR-AUC over tracks: 1 arm, 1000 resamples", lambda: bootstrap(macro[0], TRACKS))
    timed("the same of 13 arms", lambda: [bootstrap(arm, TRACKS) for arm in macro])


if __name__ == "__main__":
    main()
