"""Counts what a training step asks of its device: operators, their memory traffic, and FLOPs."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

# They compute nothing: views of what is there, and memory that is not written yet.
FREE = ("view", "reshape", "expand", "slice", "select", "transpose", "permute", "alias", "detach", "unsqueeze")
FREE += ("squeeze", "unfold", "as_strided", "empty", "split", "unbind", "t.", "lift_fresh", "real", "imag")


@dataclass
class Counts:
    """Of one call: operators by name, bytes that they read and write if none are fused, and FLOPs."""

    operators: Counter[str] = field(default_factory=Counter)
    num_bytes: int = 0
    flops: int = 0

    @property
    def num_operators(self) -> int:
        return self.operators.total()


def count(step: Callable[[], object]) -> Counts:
    """Runs `step` once and counts."""
    counts = Counts()
    with FlopCounterMode(display=False) as flops, _Counting(counts):
        step()
    counts.flops = flops.get_total_flops()
    return counts


class _Counting(TorchDispatchMode):
    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self._counts = counts

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = str(func).removeprefix("aten.")
        if not name.startswith(FREE):
            self._counts.operators[name] += 1
            # Of what is indexed, as much is read as comes out.
            touched = (result, result, args[1:]) if name.startswith("index.") else (args, kwargs, result)
            self._counts.num_bytes += _num_bytes(touched)
        return result


def _num_bytes(values: Any) -> int:
    return sum(leaf.numel() * leaf.element_size() for leaf in tree_leaves(values) if isinstance(leaf, Tensor))


def synchronise(device: str) -> None:
    """Waits until a device has done all that it was asked."""
    if device != "cpu":
        torch.cuda.synchronize()
