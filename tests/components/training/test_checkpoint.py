"""Tensors and loop states come back as they were, and bytes never run code."""

import pickle
from pathlib import Path

import pytest
import safetensors
import torch

from components.training.checkpoint import state_from_bytes, state_to_bytes, weights_from_bytes, weights_to_bytes


def weights():
    generator = torch.Generator().manual_seed(0)
    kernel = torch.randn(4, 3, 3, 3, generator=generator)
    return {
        "kernel": kernel.to(memory_format=torch.channels_last).requires_grad_(),
        "narrow": kernel[:, :1],
        "half": kernel.bfloat16(),
        "double": kernel.double(),
        "norm.num_batches_tracked": torch.tensor(3),
    }


def test_weights_keep_names_values_and_types():
    found = weights_from_bytes(weights_to_bytes(weights()))
    assert found.keys() == weights().keys()
    for name, tensor in weights().items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name
        assert not found[name].requires_grad


def test_equal_weights_are_equal_bytes():
    """The file's checksum is part of what the store compares; the order of a state dict is not part of its meaning."""
    assert weights_to_bytes(weights()) == weights_to_bytes(dict(reversed(weights().items())))


def test_a_state_keeps_its_structure_types_and_layouts():
    state = {
        "network": weights(),
        "optimiser": {"state": {0: {"step": torch.tensor(2.0)}}, "param_groups": [{"betas": (0.9, 0.999), "lr": 1e-3}]},
        "position": {"best_value": None, "history": [{"loss": 0.1 + 0.2, "epoch": 3}], "name": "x", "done": False},
    }
    found = state_from_bytes(state_to_bytes(state))
    assert found["position"] == state["position"]
    assert found["optimiser"]["param_groups"] == state["optimiser"]["param_groups"]
    assert found["optimiser"]["state"][0]["step"] == 2
    for name, tensor in weights().items():
        assert torch.equal(found["network"][name], tensor) and found["network"][name].dtype == tensor.dtype, name
    assert found["network"]["kernel"].is_contiguous(memory_format=torch.channels_last)


class Code:
    """Pickles into a call that leaves a file behind."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_code_is_refused_and_not_run(tmp_path):
    for data in (state_to_bytes({"network": Code(tmp_path / "ran")}), pickle.dumps(Code(tmp_path / "ran"), protocol=2)):
        with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
            state_from_bytes(data)
    assert not (tmp_path / "ran").exists()
    # The pickle would have run:
    pickle.loads(pickle.dumps(Code(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


def test_torn_bytes_are_refused():
    with pytest.raises((RuntimeError, ValueError)):
        state_from_bytes(state_to_bytes({"network": weights()})[:-100])
    with pytest.raises(safetensors.SafetensorError):
        weights_from_bytes(weights_to_bytes(weights())[:-100])
