"""Tensors to bytes and back, without unrestricted pickle.

Weights are safetensors; the loop's state (which also holds numbers and lists) uses torch's restricted loader.
"""

import io
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from torch import Tensor


def weights_to_bytes(weights: Mapping[str, Tensor]) -> bytes:
    """A state dict as safetensors: names, values and types; the order and the memory layout are not kept."""
    return safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})


def weights_from_bytes(data: bytes) -> dict[str, Tensor]:
    """Reads `weights_to_bytes`; the tensors lie on the CPU."""
    return safetensors.torch.load(data)


def state_to_bytes(state: Mapping[str, Any]) -> bytes:
    """A nested dict of tensors, numbers, strings and lists; memory layouts are kept."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    return buffer.getvalue()


def state_from_bytes(data: bytes) -> dict[str, Any]:
    """Reads `state_to_bytes`; the tensors lie on the CPU.

    Raises:
        pickle.UnpicklingError: the bytes hold anything but plain values and tensors, such as code to be run.
    """
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
