"""The paper's tables and insertion points: their runs, what they share, and schedules as published."""

from dataclasses import replace

import pytest

from experiments import insertion
from experiments.paper import study
from experiments.presets import PAPER
from study.kinds.weights import Weights
from study.stages.graph import StageGraph
from tests.study.toy_study import corpora_in_name

RECIPE = replace(PAPER.recipe, weights=Weights(name="ImageNet", sha256="1a" * 32))


@pytest.fixture(scope="module")
def runs():
    return study.runs(RECIPE, corpora_in_name())


def test_every_unique_stage_of_the_two_tables_is_there_once(runs):
    graph = StageGraph(run.final_stage for run in runs)
    kinds = [stage.kind.name for stage in graph]
    assert len(runs) == 260 and len(graph) == 285
    assert sum(len(run.stages) for run in runs) == 580
    counts = {kind: kinds.count(kind) for kind in set(kinds)}
    # Five sources, five seeds; two tasks and two backends alone; each of them joint, six U-Nets, two schemes.
    assert counts == {"separation": 25, "classification": 20, "finetuning": 240}


def test_every_joint_network_is_compared_with_its_own_backend():
    pairs = [(arm, against) for arm, against, _ in study.comparisons]
    assert all(arm.split()[:2] == against.split()[:2] for arm, against in pairs)
    assert len(study.comparisons) == 2 * 12 * 2 + 2 * 12


def test_the_transformer_starts_from_imagenet_and_the_cnn_at_random():
    assert {(arm.trial.backend, arm.trial.weights) for arm in study.arms} == {("cnn", "random"), ("ast", "imagenet")}


def test_leaving_points_out_shares_what_the_tables_have(runs):
    more = insertion.study.runs(RECIPE, corpora_in_name())
    tables, points = (StageGraph(run.final_stage for run in found).identities for found in (runs, more))
    # Of each backend and seed only the arm without points and five that lack one are new.
    assert len(more) == 2 * 8 * 5 and len({*points} - {*tables}) == 2 * 6 * 5


def test_schedules_are_the_published_ones():
    recipe = PAPER.recipe
    for training in recipe.separation_training.values():
        assert training.num_epochs * (training.steps_per_epoch or 0) == 300_000 and training.batch_size == 8
    rates = {source: training.phases[0].learning_rate for source, training in recipe.separation_training.items()}
    assert rates == {"vocals": 1e-3, "bass": 1e-4, "drums": 2e-4, "other": 3e-4, "multiple": 3e-4}
    cnn, ast = (recipe.backends[name].training for name in ("cnn", "ast"))
    assert [phase.learning_rate for phase in cnn.phases] == [1e-4, 1e-3, 1e-4, 1e-5]
    assert (cnn.max_epochs, cnn.batch_size, {phase.patience for phase in cnn.phases}) == (200, 16, {10})
    assert [phase.num_epochs for phase in ast.phases] == [5, 2, 2, 2, 2, 2, 2] and ast.num_epochs == 17
    assert ast.phases[5].learning_rate == 5e-5 / 32 and ast.phases[6].optimiser == "sgd" and ast.batch_size == 4


def test_networks_have_the_published_sizes(runs):
    backends = {run.arm.trial.backend: run.final_stage for run in runs if run.arm.name == "tagging cnn bare"}
    assert backends["cnn"].config.classifier.backend.num_frames == 384
    assert PAPER.recipe.backends["ast"].network.num_frames == 768
    assert PAPER.recipe.spectrogram.num_samples(PAPER.recipe.separation_frames) == 61_792
