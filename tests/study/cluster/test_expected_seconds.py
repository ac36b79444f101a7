"""Expected seconds: what was measured, on which device, else scaled by work; and the forecast made of them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from study.cluster.execution import Execution, Resources
from study.cluster.expected_seconds import CPU_RATE, GPU_RATE, ExpectedSeconds
from study.cluster.forecast import makespan
from study.stages.graph import StageGraph
from study.stages.identity import to_json
from study.stages.stage import Stage, StageKind
from tests.study.toy_stages import toy_run, toy_stage


def work(config: Any, corpus_path: str) -> float:
    assert corpus_path == "/corpus"
    return 1e12 * config.weight_decay


TRAIN, PROBE = (StageKind(name=name, version=1, run=toy_run, work=work) for name in ("train", "probe"))
MUTE = StageKind(name="mute", version=1, run=toy_run)
EXECUTION, CORPORA = Execution(storage="/store"), {"c0ffee": "/corpus"}


def row(stage: Stage, seconds: float, *, device: str = "epyc", at: int = 1, **changes: Any) -> dict[str, Any]:
    facts = {"device": device, "num_workers": "1", "threads": "1", "gpus_per_worker": "0"}
    return {
        "kind": stage.kind.name,
        "state": "done",
        "attempt_number": 1,
        "config": to_json(stage.description["config"]),
        "corpus": stage.corpus,
        "facts": list(facts.items()),
        "duration_s": seconds,
        "ended_at": datetime(2026, 1, at, tzinfo=UTC),
        **changes,
    }


def test_stages_of_one_class_take_their_median_whatever_their_seed():
    rows = [row(toy_stage(TRAIN, seed=seed), seconds) for seed, seconds in enumerate((10.0, 30.0, 11.0))]
    expected = ExpectedSeconds(EXECUTION, CORPORA, rows)

    assert expected.explained(toy_stage(TRAIN, seed=9)) == (11.0, "measured")
    assert expected.explained(toy_stage(TRAIN, seed=9, augmented=True))[1] == "scaled"


def test_others_are_scaled_by_their_work_first_within_their_kind():
    rows = [row(toy_stage(TRAIN), 10.0), row(toy_stage(PROBE), 2.0)]
    expected = ExpectedSeconds(EXECUTION, CORPORA, rows)
    for stage in (toy_stage(TRAIN), toy_stage(PROBE)):
        expected(stage)

    assert expected.explained(toy_stage(TRAIN, weight_decay=3.0)) == (30.0, "scaled")
    assert expected.explained(toy_stage(PROBE, weight_decay=3.0)) == (6.0, "scaled")
    other = StageKind(name="other", version=1, run=toy_run, work=work)
    assert expected.explained(toy_stage(other, weight_decay=3.0)) == (3 * 12 / 2, "transferred")


def test_without_measurements_it_is_guessed_from_the_resources():
    assert ExpectedSeconds(EXECUTION, CORPORA).explained(toy_stage(TRAIN)) == (1e12 / CPU_RATE, "guessed")
    gpus = Execution(storage="/store", default_resources=Resources(num_workers=2, gpus_per_worker=1.0))
    assert ExpectedSeconds(gpus, CORPORA)(toy_stage(TRAIN)) == 1e12 / (2 * GPU_RATE)
    assert ExpectedSeconds(EXECUTION, CORPORA).explained(toy_stage(MUTE)) == (60.0, "guessed")


@pytest.mark.parametrize(
    "changes",
    [
        {"attempt_number": 2},  # it began from a saved state
        {"state": "failed"},
        {"facts": [("device", "epyc"), ("num_workers", "2"), ("threads", "1"), ("gpus_per_worker", "0")]},
        {"corpus": "another"},
    ],
)
def test_what_cannot_be_compared_does_not_count(changes):
    expected = ExpectedSeconds(EXECUTION, CORPORA, [row(toy_stage(TRAIN), 10.0, **changes)])
    assert expected.explained(toy_stage(TRAIN))[1] == "guessed"


def test_the_device_that_was_used_last_counts():
    rows = [row(toy_stage(TRAIN), 10.0, device="old", at=1), row(toy_stage(TRAIN), 3.0, device="new", at=2)]
    assert ExpectedSeconds(EXECUTION, CORPORA, rows)(toy_stage(TRAIN)) == 3.0


def test_it_learns_and_says_when_that_changes_much():
    expected = ExpectedSeconds(EXECUTION, CORPORA)
    assert expected.learn(toy_stage(TRAIN), 10.0)
    assert expected(toy_stage(TRAIN, weight_decay=2.0)) == 20.0
    assert not expected.learn(toy_stage(TRAIN, seed=1), 10.5)
    assert expected.learn(toy_stage(TRAIN, weight_decay=2.0), 200.0)


def test_the_forecast_takes_the_longest_way_first_and_needs_room():
    seconds = {0: 4.0, 1: 1.0, 2: 3.0, 3: 3.0}
    a, b, c = (toy_stage(TRAIN, seed=seed) for seed in (0, 1, 2))
    d = toy_stage(PROBE, seed=3, parents={"a": b})

    def forecast(cpus: float, **resources: Resources) -> float:
        execution = Execution(storage="/store", resources=resources)
        return makespan(
            StageGraph([a, c, d]), done=(), seconds_of=lambda stage: seconds[stage.config.seed],
            resources_of=lambda stage: execution.resources_of(stage.kind.name), limit={"CPU": cpus, "GPU": 0.0},
        )  # fmt: skip

    assert (forecast(1), forecast(2), forecast(3), forecast(9)) == (11.0, 7.0, 4.0, 4.0)
    assert forecast(2, probe=Resources(num_workers=2)) == 7.0
    with pytest.raises(ValueError, match="does not fit"):
        forecast(2, probe=Resources(num_workers=3))
