"""Random streams: independent generators addressed by (run seed, stream name, position).

A draw depends on its address alone, never on how many draws came before it or on which stage asks. Arms with one seed
therefore share crops, order and initial weights (common random numbers), and a new module shifts no other stream.
"""

import hashlib

import numpy as np
import torch


def _entropy(seed: int, stream: str, position: tuple[int | str, ...]) -> int:
    address = "\x1f".join([str(seed), stream, *map(str, position)])
    return int.from_bytes(hashlib.sha256(address.encode()).digest()[:16], "big")


def numpy_generator(seed: int, stream: str, *position: int | str) -> np.random.Generator:
    """The NumPy generator at an address, for example `numpy_generator(seed, "crop", step, example)`."""
    return np.random.Generator(np.random.PCG64(_entropy(seed, stream, position)))


def torch_generator(seed: int, stream: str, *position: int | str) -> torch.Generator:
    """The torch generator (CPU) at an address, for example `torch_generator(seed, "backend", "head.weight")`."""
    return torch.Generator().manual_seed(_entropy(seed, stream, position) % 2**63)
