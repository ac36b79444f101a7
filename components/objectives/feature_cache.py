"""Features of frozen networks, computed once per segment and kept in memory up to a limit.

It changes how often a feature is computed, never its value. Computing in batches could change values: the last bits
depend on the batch's size, and a training that continues after an interruption first meets a segment in another batch
than an undisturbed one. So segments are computed one at a time.
"""

from collections.abc import Callable, Hashable, Sequence

import torch

from components.networks.backend import BackendInput


class FeatureCache:
    """Keeps at most `max_bytes`; what does not fit is computed each time."""

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes is {max_bytes}; it must be at least 0")
        self.max_bytes, self.num_bytes = max_bytes, 0
        self._kept: dict[Hashable, BackendInput] = {}

    def features(self, keys: Sequence[Hashable], compute: Callable[[int], BackendInput]) -> BackendInput:
        """The batched features of the segments `keys`; `compute` makes those of the one at a position, a batch of 1."""
        return _joined([self._one(key, index, compute) for index, key in enumerate(keys)])

    @torch.no_grad()
    def _one(self, key: Hashable, index: int, compute: Callable[[int], BackendInput]) -> BackendInput:
        if key in self._kept:
            return self._kept[key]
        features = compute(index)
        num_bytes = sum(tensor.nbytes for tensor in (features.log_mel, *features.maps.values()))
        if self.num_bytes + num_bytes <= self.max_bytes:
            self._kept[key] = features
            self.num_bytes += num_bytes
        return features


def _joined(parts: Sequence[BackendInput]) -> BackendInput:
    return BackendInput(
        torch.cat([part.log_mel for part in parts]),
        {level: torch.cat([part.maps[level] for part in parts]) for level in parts[0].maps},
    )
