"""The separation of a whole song, however long: chunks that overlap are separated and faded into each other."""

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from components.corpora.audio import SAMPLE_RATE
from components.corpora.windows import windows
from components.networks.separator import Separator

CHUNK_FRAMES = 1024
OVERLAP_SAMPLES = SAMPLE_RATE  # 1 s


def separate_song(
    network: Separator, blocks: Iterable[Float32[np.ndarray, " _"]]
) -> Iterator[Float32[np.ndarray, "source _"]]:
    """The estimates of a mixture at 16 kHz that comes block by block, block by block and as long as the mixture.

    The network is in evaluation mode, on any device. Where two chunks overlap, one fades into the other. What the
    inverse transform tapers at a chunk's ends is not heard.
    """
    config, device = network.config, next(network.parameters()).device
    divisor = config.unet.divisor
    size = config.spectrogram.num_samples(divisor * max(1, CHUNK_FRAMES // divisor))
    hop, length, begin = size - OVERLAP_SAMPLES, 0, -OVERLAP_SAMPLES
    fade = _fade(size, config.spectrogram.window_samples).to(device)
    tail: Tensor | float = 0.0

    def counted() -> Iterator[np.ndarray]:
        nonlocal length
        for block in blocks:
            length += len(block)
            yield block

    # Silence before the song, so that its first sample is heard in full, and behind it, so that its last one is.
    before, behind = np.zeros(OVERLAP_SAMPLES, dtype=np.float32), np.zeros(size - 1, dtype=np.float32)
    for window in windows(chain([before], counted(), [behind]), size, hop):
        estimate = _estimate(network, torch.from_numpy(window).to(device)) * fade
        estimate[:, :OVERLAP_SAMPLES] += tail
        tail = estimate[:, hop:].clone()
        yield estimate[:, max(0, -begin) : min(hop, length - begin)].cpu().numpy()
        begin += hop


@torch.no_grad()
def _estimate(network: Separator, chunk: Float[Tensor, " sample"]) -> Float[Tensor, "source sample"]:
    return network.waveforms(network(chunk[None]), len(chunk))[0]


def _fade(size: int, window_samples: int) -> Float[Tensor, " {size}"]:
    """A chunk's weight: neighbours add up to one, and the length of a window at both ends has none."""
    ramp = (torch.arange(OVERLAP_SAMPLES) - window_samples + 0.5) / (OVERLAP_SAMPLES - 2 * window_samples)
    ramp = ramp.clamp(0, 1)
    fade = torch.ones(size)
    fade[:OVERLAP_SAMPLES], fade[-OVERLAP_SAMPLES:] = ramp, ramp.flip(0)
    return fade
