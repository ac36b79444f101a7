"""What frozen networks make of segments, computed once per segment and kept in memory up to a limit.

A pure memory: it changes how often a feature is computed, never its value (up to the batch it was computed in).
"""

from collections.abc import Callable, Hashable, Sequence

import numpy as np
import torch

from components.backend import BackendInput


class FeatureMemo:
    """Keeps at most `max_bytes`; what does not fit is computed each time."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.num_bytes = max_bytes, 0
        self._kept: dict[Hashable, BackendInput] = {}

    def features(self, keys: Sequence[Hashable], compute: Callable[[np.ndarray], BackendInput]) -> BackendInput:
        """The batched features of the segments `keys`; `compute` is given the positions of those that are not kept."""
        missing = np.array([i for i, key in enumerate(keys) if key not in self._kept], dtype=np.int64)
        fresh: dict[Hashable, BackendInput] = {}
        if len(missing):
            with torch.no_grad():
                computed = compute(missing)
            fresh = {keys[i]: _row(computed, row) for row, i in enumerate(missing)}
            self._keep(fresh)
        return _batch([fresh[key] if key in fresh else self._kept[key] for key in keys])

    def _keep(self, fresh: dict[Hashable, BackendInput]) -> None:
        for key, row in fresh.items():
            size = sum(t.numel() * t.element_size() for t in (row.log_mel, *row.maps.values()))
            if self.num_bytes + size <= self.max_bytes:
                self._kept[key] = BackendInput(row.log_mel.clone(), {level: t.clone() for level, t in row.maps.items()})
                self.num_bytes += size


def _row(features: BackendInput, row: int) -> BackendInput:
    return BackendInput(features.log_mel[row], {level: t[row] for level, t in features.maps.items()})


def _batch(rows: list[BackendInput]) -> BackendInput:
    levels = rows[0].maps
    return BackendInput(
        torch.stack([row.log_mel for row in rows]),
        {level: torch.stack([row.maps[level] for row in rows]) for level in levels},
    )
