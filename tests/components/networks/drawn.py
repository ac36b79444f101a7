"""Inputs and states for comparisons: by NumPy's PCG64 with one seed, in the order of the sorted names.

Only the generator's `random` is used, whose stream is the least likely to change.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from tests.components.networks.equations import Array

SEED = 20241


def uniform(*shape: int) -> Array:
    """Between -1 and 1."""
    return 2 * np.random.Generator(np.random.PCG64(SEED)).random(shape) - 1


def waveform(num_samples: int) -> Array:
    """A tone in noise that grows, and another that fades: (2, sample)."""
    time = np.arange(num_samples) / 16_000
    tones = 0.3 * np.sin(2 * np.pi * np.array([[440], [3000]]) * time)
    return tones + uniform(2, num_samples) * np.stack([time, time[::-1]]) / time[-1]


def drawn(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """Arrays of these shapes by name."""
    generator = np.random.Generator(np.random.PCG64(SEED))
    return {name: _value(name, generator.random(shapes[name])) for name in sorted(shapes)}


def _value(name: str, values: Array) -> Array:
    """Weights by which signals last; scales and variances of norms in [0.5, 1.5], means and biases in [-0.2, 0.2]."""
    if values.ndim > 1:
        return (2 * values - 1) * np.sqrt(6 / np.prod(values.shape[1:]))
    return values + 0.5 if name.endswith(("weight", "running_var")) else 0.4 * values - 0.2


def shapes_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shapes of a network's state, without the counted batches."""
    tensors = network.state_dict().items()
    return {name: tuple(x.shape) for name, x in tensors if not name.endswith("num_batches_tracked")}


def state_of(network: nn.Module) -> dict[str, Array]:
    """Drawn values for a network's state."""
    return drawn(shapes_of(network))


def load_drawn(network: nn.Module, dtype: torch.dtype) -> None:
    """Gives a network its drawn state, in `dtype` and in evaluation mode."""
    state = {name: torch.from_numpy(array) for name, array in state_of(network).items()}
    network.to(dtype).eval().requires_grad_(False)
    network.load_state_dict({**network.state_dict(), **state})
