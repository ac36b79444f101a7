"""Windows: equally long, overlapping pieces of a waveform that comes block by block."""

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Float32


def windows(
    blocks: Iterable[Float32[np.ndarray, " _"]], num_samples: int, hop_samples: int
) -> Iterator[Float32[np.ndarray, " _"]]:
    """Every whole window, each `hop_samples` (at most a window) after the one before; a shorter rest is left out."""
    held = np.zeros(0, dtype=np.float32)
    for block in blocks:
        held = np.concatenate([held, block])
        begin = 0
        while len(held) - begin >= num_samples:
            yield held[begin : begin + num_samples]
            begin += hop_samples
        held = held[begin:]
