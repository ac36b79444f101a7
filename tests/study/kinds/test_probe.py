"""A probe's stage: what it is given, chooses and leaves."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from components.corpora.labels import with_labels
from components.networks.batch_norm import calibrate_batch_norm
from components.networks.initialisation import initialise, load_strictly
from components.objectives.metrics import tagging_scores
from components.objectives.probe import LinearProbe, ProbeNetwork, track_features
from components.random_streams import numpy_generator
from components.training.checkpoint import weights_from_bytes
from study.design.trial import probe_trial
from study.design.trial_to_stages import final_stage
from study.kinds.weights import WEIGHTS
from study.records.store_to_tables import check_result
from study.stages.stage import Stage, StageResult
from tests.study.toy_study import REFERENCE, TAGS, Bench, genre_recipe, open_all, recipe, write_corpora

TRIALS = {
    "mixture": probe_trial(REFERENCE, None, ("mixture",)),
    "random": probe_trial(REFERENCE, "none", ("mixture", "estimates")),
    "vocals": probe_trial(REFERENCE, "vocals", ("mixture", "estimates", "maps")),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_corpora(tmp_path_factory.mktemp("corpora"))


@pytest.fixture(scope="module")
def bench(folders):
    torch.set_num_threads(1)
    return Bench(folders)


@pytest.fixture(scope="module")
def stages(folders) -> dict[str, Stage]:
    return {name: final_stage(trial, 0, recipe(), open_all(folders)) for name, trial in TRIALS.items()}


def without_durations(result: StageResult) -> list[dict]:
    return [{name: value for name, value in row.items() if name != "duration_s"} for row in result.epochs]


@pytest.mark.parametrize("name", TRIALS)
def test_the_regularisation_that_is_best_on_the_validation_split_is_taken(name, bench, stages):
    result = bench.result(stages[name])
    check_result(result)
    strengths = stages[name].config.probe.inverse_regularisations
    assert [row["inverse_regularisation"] for row in result.epochs] == list(strengths)
    scores = [row["roc_auc"] for row in result.epochs]
    assert result.metrics["validation_roc_auc"] == max(scores)
    assert result.metrics["inverse_regularisation"] == strengths[scores.index(max(scores))]


def test_a_part_of_the_labels_is_all_that_is_fitted(bench, folders):
    trial = replace(TRIALS["mixture"], labels=6)
    stage = final_stage(trial, 0, recipe(), open_all(folders))
    result = bench.result(stage)
    check_result(result)
    part = with_labels(open_all(folders).of("tagging"), stage.config.labels)
    network = ProbeNetwork(stage.config.probe).eval()
    (tracks, features), (_, tested) = (track_features(network, part, split) for split in ("train", "test"))
    assert len(tracks) == 6
    probe = LinearProbe.fit(features, part.labels(tracks).numpy(), result.metrics["inverse_regularisation"])
    scores = result.tables["track_scores"]["score"].to_numpy().reshape(len(tested), -1)
    np.testing.assert_allclose(scores, probe.probabilities(tested), rtol=1e-6)


def heard(stage: Stage, bench: Bench, folders, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Features and targets of a split, by a network that is put together here."""
    corpus, config = open_all(folders).of("tagging"), stage.config
    network = ProbeNetwork(config.probe).eval()
    if "separator" in stage.parents:
        weights = weights_from_bytes(bench.result(stage.parents["separator"]).files[WEIGHTS])
        load_strictly(network.separator, weights)
    elif network.separator is not None:
        initialise(network.separator, 0, "separator")
        starts = [numpy_generator(0, "order", batch).permutation(corpus.indices("train")) for batch in range(2)]
        zeros = np.zeros(8, dtype=np.int64)
        segments = [corpus.gather(tracks, zeros, config.probe.num_samples)[:, 0] for tracks in starts]
        calibrate_batch_norm(network.separator, segments)
    tracks, features = track_features(network, corpus, split)
    return features, corpus.labels(tracks).numpy()


@pytest.mark.parametrize("name", TRIALS)
def test_the_scores_are_those_of_a_fit_on_the_training_split_at_the_chosen_strength(name, bench, stages, folders):
    result = bench.result(stages[name])
    train, test = (heard(stages[name], bench, folders, split) for split in ("train", "test"))
    probe = LinearProbe.fit(*train, result.metrics["inverse_regularisation"])
    found = np.reshape(result.tables["track_scores"]["score"].to_pylist(), (8, len(TAGS)))
    np.testing.assert_allclose(found, probe.probabilities(test[0]), atol=1e-6)


@pytest.mark.parametrize("name", TRIALS)
def test_the_regularisation_is_judged_on_the_validation_split(name, bench, stages, folders):
    result = bench.result(stages[name])
    train, (features, targets) = (heard(stages[name], bench, folders, split) for split in ("train", "validation"))
    for row in (result.epochs[0], result.epochs[-1]):
        probabilities = LinearProbe.fit(*train, row["inverse_regularisation"]).probabilities(features)
        expected = tagging_scores(targets, probabilities, classes=TAGS, split="validation").roc_auc
        assert row["roc_auc"] == pytest.approx(expected)


@pytest.mark.parametrize("name", TRIALS)
def test_the_kept_weights_give_the_scores(name, bench, stages, folders):
    result = bench.result(stages[name])
    kept = {key: tensor.numpy() for key, tensor in weights_from_bytes(result.files[WEIGHTS]).items()}
    features = heard(stages[name], bench, folders, "test")[0]
    logits = (features - kept["mean"]) / kept["scale"] @ kept["weights"].T + kept["offsets"]
    found = np.reshape(result.tables["track_scores"]["score"].to_pylist(), (8, len(TAGS)))
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), atol=1e-6)


def test_features_are_counted(bench, stages):
    num_features = {name: bench.result(stages[name]).metrics["num_features"] for name in TRIALS}
    assert num_features == {"mixture": 2 * 128, "random": 2 * 2 * 128, "vocals": 2 * 2 * 128 + 2 * 6 * 2}


def test_run_again_it_gives_the_same_bits(bench, stages, folders):
    other = Bench(folders)
    other.results = bench.results
    for name in TRIALS:
        first, second = bench.result(stages[name]), other.run(stages[name])
        assert dict(first.files) == dict(second.files) and dict(first.tables) == dict(second.tables)
        assert without_durations(first) == without_durations(second)


def test_progress_is_told_over_all_splits(bench, stages):
    bench.result(stages["random"])
    bench.reports.clear()
    bench.run(stages["random"])
    assert bench.reports == [{"step": step, "num_steps": 3} for step in (1, 2, 3)]


def test_genres_are_probed_too(bench, folders):
    trial = probe_trial(replace(REFERENCE, task="genre"), "none", ("mixture", "estimates"))
    result = bench.result(final_stage(trial, 0, genre_recipe(), open_all(folders)))
    check_result(result)
    assert set(result.metrics) >= {"accuracy", "balanced_accuracy", "validation_accuracy"}
    assert "tag_metrics" not in result.tables
