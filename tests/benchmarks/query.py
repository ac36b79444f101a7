"""How long SQL takes over a million track scores, read from records as a study leaves them.

    python -m tests.benchmarks.query

40 runs of 10 arms, 500 tracks x 50 tags each.
"""

from dataclasses import dataclass
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import pyarrow as pa

from study.records.query import Query
from study.records.records import Records, Run
from study.stages.stage import Stage, StageKind, StageResult, StageRun
from study.store.attempt import begin_attempt
from study.store.store import Store

RUNS, ARMS, TRACKS, TAGS = 40, 10, 500, 50
QUESTION = "SELECT arm, avg(score), count(*) FROM track_scores JOIN runs ON stage = final_stage GROUP BY arm"


@dataclass(frozen=True, kw_only=True)
class Config:
    seed: int


def nothing(run: StageRun) -> StageResult:
    raise NotImplementedError


def fill(store: Store) -> None:
    """A study that is done."""
    rng, kind = np.random.default_rng(0), StageKind(name="toy", version=1, run=nothing)
    for number in range(RUNS):
        stage = Stage(kind=kind, config=Config(seed=number), corpus="c0ffee", label=str(number))
        scores = pa.table(
            {
                "track": np.repeat([f"track {index}" for index in range(TRACKS)], TAGS).tolist(),
                "class": [f"tag {index}" for index in range(TAGS)] * TRACKS,
                "target": rng.integers(0, 2, TRACKS * TAGS).astype(np.int8),
                "score": rng.random(TRACKS * TAGS),
            }
        )
        begin_attempt(store, stage).finish(StageResult(tables={"track_scores": scores}))
        run = Run(study="toy", arm=f"arm {number % ARMS}", seed=number // ARMS, factors={},
                  final_stage=stage.identity, stages=(stage.identity,))  # fmt: skip
        Records(store).write_runs([run])
    Records(store).rebuild()


def main() -> None:
    with TemporaryDirectory() as folder:
        store = Store(folder)
        fill(store)
        begin = perf_counter()
        query = Query(store)
        print(f"{1000 * (perf_counter() - begin):7.0f} ms  open {RUNS * TRACKS * TAGS:,} rows")
        for turn in ("first", "warm", "warm", "warm"):
            begin = perf_counter()
            assert query.run(QUESTION).num_rows == ARMS
            print(f"{1000 * (perf_counter() - begin):7.0f} ms  group by arm, {turn}")


if __name__ == "__main__":
    main()
