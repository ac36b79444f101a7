"""Quicker steps: taken only where they give the same loss, left out with one line where they fail."""

import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from components.training import loop
from components.training.loop import Compute, Training
from components.training.quick_step import CapturedStep, QuickStep, untouched
from tests.components.tiny import ToyObjective, adam, labelled_corpus, lasting, separation_corpus
from tests.components.training.test_step_counts import KINDS, objective
from tests.components.training.traced import TRACED, traced


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    return {"songs": separation_corpus(folder / "songs"), "tags": labelled_corpus(folder / "tags")}


def trained(learnt, said: list[str] | None = None, **compute) -> Training:
    said = [] if said is None else said
    training = Training(
        learnt, adam(num_epochs=2, steps_per_epoch=4), seed=3, compute=Compute(**compute), say=said.append
    )
    training.run()
    return training


@pytest.fixture
def trace(monkeypatch):
    monkeypatch.setattr(torch, "compile", traced)


@pytest.mark.parametrize("num", [1, pytest.param(len(TRACED), marks=pytest.mark.slow)])
def test_each_objective_is_one_graph_with_the_same_bits(num):
    command = [sys.executable, "-m", "tests.components.training.traced", str(num)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(lines) == num
    for line, (kind, precision) in zip(lines, TRACED, strict=False):
        assert line.startswith(f"{kind}, {precision}: steps are compiled, {'same' if precision == 'float32' else ''}")


def test_dropout_and_statistics_are_the_same_when_compiled(trace):
    assert lasting(trained(ToyObjective(), compile=True)) == lasting(trained(ToyObjective()))


def test_a_resumed_training_ends_with_the_same_bits_when_compiled(trace):
    whole = trained(ToyObjective(), compile=True)
    first, second = (
        Training(ToyObjective(), adam(num_epochs=2, steps_per_epoch=4), seed=3, compute=Compute(compile=True), say=str)
        for _ in range(2)
    )
    for _ in range(5):
        first.step()
    second.load_state(first.state())
    second.run()
    assert lasting(second) == lasting(whole)


def test_a_failing_compiler_costs_one_line_and_no_result(monkeypatch):
    def fails(*_):
        raise RuntimeError("no compiler here\nand a long story")

    monkeypatch.setattr(loop, "compiled", lambda forward: fails)
    said = []
    assert lasting(trained(ToyObjective(), said, compile=True)) == lasting(trained(ToyObjective()))
    assert said == ["steps are not compiled, only slower for it: RuntimeError: no compiler here"]


@pytest.mark.parametrize("wrong", [0.5, math.nan])
def test_a_compiled_step_with_another_loss_is_not_taken(wrong, monkeypatch):
    monkeypatch.setattr(loop, "compiled", lambda forward: lambda *inputs: forward(*inputs) * wrong)
    said = []
    assert lasting(trained(ToyObjective(), said, compile=True)) == lasting(trained(ToyObjective()))
    assert len(said) == 1 and "was expected" in said[0]


def test_without_a_gpu_a_step_is_not_captured():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    said = []
    assert lasting(trained(ToyObjective(), said, capture=True)) == lasting(trained(ToyObjective()))
    assert len(said) == 1 and said[0].startswith("steps are not captured")


def test_a_graph_takes_only_tensors():
    with pytest.raises(TypeError, match="inputs hold int; only tensors"):
        CapturedStep(nn.Linear(1, 1), lambda *_: torch.zeros(()), (torch.zeros(1), 3))


def test_a_lost_gpu_is_not_taken_for_a_failed_compiler():
    def lost(*_):
        raise torch.AcceleratorError("device-side assert")

    step = QuickStep(nn.Linear(1, 1), lambda: torch.zeros(()), compiled=lost, capture=False, say=print)
    with pytest.raises(torch.AcceleratorError):
        step()


def test_a_trial_leaves_no_trace_even_if_it_fails():
    network = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout())
    before = network.state_dict() | {"random": torch.get_rng_state()}
    before = {name: tensor.clone() for name, tensor in before.items()}
    with pytest.raises(RuntimeError), untouched(network):
        network(torch.randn(4, 2)).sum().backward()
        raise RuntimeError
    after = network.state_dict() | {"random": torch.get_rng_state()}
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_captured_step_has_the_same_bits(kind, precision, corpora):
    weights = []
    for capture in (False, True):
        said = []
        training = trained(objective(kind, corpora, "cuda"), said, device="cuda", precision=precision, capture=capture)
        assert said == (["steps are captured"] if capture else [])
        weights.append({name: tensor.cpu() for name, tensor in training.network.state_dict().items()})
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
