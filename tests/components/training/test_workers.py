"""Two workers do together what one does alone: shares, gradients, scores, interruptions, errors."""

import pickle
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from components.corpora.corpus import Corpus
from components.networks.backend import BackendConfig
from components.objectives.classification import ClassificationObjective, SegmentConfig
from components.objectives.separation import SeparationLossConfig, SeparationObjective
from components.training import workers
from components.training.checkpoint import state_from_bytes, state_to_bytes
from components.training.loop import NonFiniteError, Objective, Training
from tests.components.tiny import (
    BACKEND,
    REMIX,
    SEGMENT,
    TRANSFORMER,
    ToyObjective,
    adam,
    joint,
    labelled_corpus,
    lasting,
    lively,
    separation_corpus,
    separator,
)

NUM_WORKERS = 2


class Still(SeparationObjective):
    """The separator learns with BatchNorm as it is in evaluation."""

    def set_training(self, training: bool) -> None:
        super().set_training(False)


class StillJoint(ClassificationObjective):
    """The whole joint network learns, without dropout and with BatchNorm as it is in evaluation."""

    def set_training(self, training: bool) -> None:
        super().set_training(False)


class Broken(ToyObjective):
    """The second worker's loss becomes infinite, though no gradient does."""

    def forward(self, x, step=0):
        return super().forward(x) + (torch.inf if workers.rank() == 1 and step == 1 else 0)


def still(folder: Path) -> Still:
    corpus = Corpus.open(folder / "songs")
    return Still(separator(), corpus, num_frames=64, remix=REMIX, loss=SeparationLossConfig())


def still_joint(folder: Path, backend: BackendConfig) -> StillJoint:
    corpus = Corpus.open(folder / "tags")
    return StillJoint(lively(joint(backend=backend), corpus), corpus, segments=SegmentConfig())


def finetuning(folder: Path) -> ClassificationObjective:
    segments = SegmentConfig(grid_samples=SEGMENT)
    corpus = Corpus.open(folder / "tags")
    network = lively(joint(), corpus)
    return ClassificationObjective(network, corpus, segments=segments, freeze_separator=True, cache_bytes=2**24)


def gradients(objective: Objective) -> dict[str, torch.Tensor]:
    """Those of the first step of a global batch of 4."""
    training = Training(objective, adam(batch_size=4, steps_per_epoch=2), seed=0)
    training.step()
    return {name: p.grad.clone() for name, p in training.network.named_parameters() if p.grad is not None}


def resumed(after: int | None) -> dict[str, object]:
    """A training with dropout and local BatchNorm, interrupted after so many steps; the first worker saves."""

    def begun(initial: int) -> Training:
        return Training(ToyObjective(initial), adam(num_epochs=3, batch_size=8, steps_per_epoch=2), seed=0)

    training = begun(0)
    if after is not None:
        for _ in range(after):
            training.step()
        data = workers.gather(state_to_bytes(training.state()))[0]
        training = begun(9)
        training.load_state(state_from_bytes(data))
    training.run()
    return lasting(training)


def error() -> str:
    with pytest.raises(NonFiniteError) as raised:
        Training(Broken(), adam(batch_size=4, steps_per_epoch=2), seed=0).run()
    return str(raised.value)


def everything(folder: Path) -> dict[str, Any]:
    """What each worker finds, or the only one where there is no process group."""
    drifted = torch.nn.BatchNorm1d(2)
    drifted.running_mean.fill_(workers.rank())
    workers.share_buffers(drifted)
    found = {
        "rank": workers.rank(),
        "gathered": workers.gather({"rank": workers.rank()}),
        "mean": workers.mean(torch.tensor(1.0 + workers.rank())).item(),
        "share": list(workers.share_of(range(4, 10))),
        "buffer": drifted.running_mean.tolist(),
        "toy gradients": gradients(ToyObjective(norm=False)),
        "separation gradients": gradients(still(folder)),
        "joint CNN gradients": gradients(still_joint(folder, BACKEND)),
        "joint transformer gradients": gradients(still_joint(folder, TRANSFORMER)),
    }
    found["dropout seed"] = torch.initial_seed()
    separating, classifying = still(folder), finetuning(folder)
    with torch.no_grad():
        for objective in (separating, classifying):
            objective.set_training(False)
        found["separation"] = {split: separating.evaluate(split) for split in ("validation", "test")}
        found["classification"] = {split: classifying.evaluate(split) for split in ("validation", "test")}
        found["metrics"] = [classifying.validate() for _ in range(2)]
    return found


def work(rank: int, folder: Path) -> None:
    meeting, patience = f"file://{folder}/meeting", timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=NUM_WORKERS, timeout=patience)
    try:
        found = everything(folder)
        found["resumed"] = {after: resumed(after) for after in (None, 1, 2, 3, 6)}
        found["error"] = error()
    finally:
        dist.destroy_process_group()
    (folder / f"worker{rank}.pickle").write_bytes(pickle.dumps(found))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    # The test has a single segment, so that the second worker has none.
    separation_corpus(folder / "songs", num_test=SEGMENT + 100)
    labelled_corpus(folder / "tags")
    return folder


@pytest.fixture(scope="module")
def together(folder):
    """This process is the first worker; it has everything imported already."""
    second = get_context("spawn").Process(target=work, args=(1, folder))
    second.start()
    try:
        work(0, folder)
        second.join(60)
    finally:
        second.kill()
    return [pickle.loads((folder / f"worker{rank}.pickle").read_bytes()) for rank in range(NUM_WORKERS)]


@pytest.fixture(scope="module")
def alone(folder):
    return everything(folder)


class TestAlone:
    def test_every_function_is_the_identity(self, alone):
        assert (alone["rank"], alone["gathered"], alone["mean"]) == (0, [{"rank": 0}], 1.0)
        assert alone["share"] == [4, 5, 6, 7, 8, 9] and alone["buffer"] == [0, 0]
        module = torch.nn.Linear(1, 1)
        assert workers.data_parallel(module, synchronise_batch_norm=True) is module
        assert workers.num_workers() == 1 and not workers.is_distributed()

    def test_a_worker_that_outlives_its_group_is_not_alone(self, monkeypatch):
        monkeypatch.setenv("WORLD_SIZE", "2")
        for asked in (workers.rank, workers.num_workers, lambda: workers.gather(1), lambda: workers.share_of(range(4))):
            with pytest.raises(ValueError, match="process group has not been initialized"):
                asked()


class TestTogether:
    def test_each_knows_itself_and_all(self, together):
        assert [found["rank"] for found in together] == [0, 1]
        for found in together:
            assert found["gathered"] == [{"rank": 0}, {"rank": 1}]
            assert found["mean"] == 1.5 and found["buffer"] == [0, 0]

    def test_shares_are_equal_disjoint_and_whole(self, together):
        assert [found["share"] for found in together] == [[4, 6, 8], [5, 7, 9]]

    @pytest.mark.parametrize("of", ["toy", "separation", "joint CNN", "joint transformer"])
    def test_gradients_are_those_of_one_worker_at_the_same_global_batch(self, alone, together, of):
        expected = alone[f"{of} gradients"]
        assert max(gradient.abs().max() for gradient in expected.values()) > 1e-3
        for found in together:
            assert found[f"{of} gradients"].keys() == expected.keys()
            for name, gradient in found[f"{of} gradients"].items():
                torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-5)

    def test_scores_are_those_of_one_worker(self, alone, together):
        for found in together:
            for split, scores in alone["separation"].items():
                assert found["separation"][split] == pytest.approx(scores, rel=1e-4), split
            for split, scores in alone["classification"].items():
                assert np.array_equal(found["classification"][split].tracks, scores.tracks)
                assert np.array_equal(found["classification"][split].targets, scores.targets)
                np.testing.assert_allclose(found["classification"][split].probabilities, scores.probabilities, 1e-5)
            assert found["metrics"][0] == found["metrics"][1] == pytest.approx(alone["metrics"][0], rel=1e-5)

    def test_dropout_differs_from_worker_to_worker(self, alone, together):
        first, second = (found["dropout seed"] for found in together)
        assert first == alone["dropout seed"] != second

    def test_an_interrupted_training_goes_on_from_the_first_workers_state(self, together):
        for rank, found in enumerate(together):
            undisturbed = found["resumed"][None]
            for after, result in found["resumed"].items():
                assert result == undisturbed, f"worker {rank}, interrupted after {after} steps"
        assert together[0]["resumed"] == together[1]["resumed"]

    def test_all_raise_what_breaks_one(self, together):
        assert together[0]["error"] == together[1]["error"]
        assert "step 1 (phase 0, epoch 0): loss inf, all gradients finite" in together[0]["error"]
