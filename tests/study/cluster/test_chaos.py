"""The campaign of `make chaos` in small: one study on one node, disturbed in four ways."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from experiments.presets import PRESETS
from study.command.options import Options
from study.command.study import StudyCommand
from study.records.records import Records
from study.store.attempt import begin_attempt
from tests.chaos.checks import rows
from tests.chaos.rounds import play
from tests.study.cluster.two_bare import TWO
from tests.study.toy_study import Bench

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
KINDS = ("worker", "driver", "worker, writing a state", "worker, writing a marker")


def undisturbed(folder: Path) -> tuple[dict[str, list[str]], str]:
    """What the study comes to in this process, and the place of its corpus."""
    options = Options(preset="tiny", seeds=1, storage=str(folder))
    command = StudyCommand(TWO, PRESETS, options, Console(file=io.StringIO()))
    corpus = command.corpora.of("tagging").folder
    bench = Bench({"tagging": corpus})
    for stage in command.graph:
        attempt = begin_attempt(command.store, stage)
        attempt.finish(bench.result(stage))
        Records(command.store).write_attempt(stage.identity, attempt.name)
    Records(command.store).write_runs(command._run_records())
    return rows(folder), str(corpus)


def test_a_study_that_is_killed_at_random_moments_ends_as_if_undisturbed(tmp_path, one_thread):
    expected, corpus = undisturbed(tmp_path)
    assert all(expected[table] for table in ("runs", "epochs", "tag_metrics", "track_scores"))
    script = ("tests/study/cluster/two_bare.py", "--preset", "tiny", "--seeds", "1", "--tagging-corpus", corpus)
    assert play(script, KINDS, seed=1, most=2, expected=expected, num_nodes=1).killed
