"""The paper's equations in float64 NumPy, written apart from the networks that they check (PAPER sections 3 to 5).

Axes: waveforms are batch, sample; spectra batch, frame, bin; maps batch, channel, frame, bin. A `state` is a plain
mapping from the networks' parameter names to arrays. Everything is in evaluation mode.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.float64]
State = Mapping[str, NDArray[Any]]

SAMPLE_RATE = 16_000
NUM_UNET_BLOCKS = 6
NUM_CNN_BLOCKS = 7
CNN_POINTS = {0: 5, 1: 4, 2: 3, 3: 2, 4: 1}


def part(state: State, prefix: str) -> dict[str, NDArray[Any]]:
    """What stands under `prefix` and a dot, with both cut off."""
    start = prefix + "."
    return {name[len(start) :]: array for name, array in state.items() if name.startswith(start)}


# Front end


def hann(num_samples: int = 512) -> Array:
    """The periodic Hann window: (sample,)."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(num_samples) / num_samples)


def stft(waveform: Array, hop: int, window: int = 512) -> NDArray[np.complex128]:
    """Frame k begins at sample k * hop: (batch, frame, window / 2 + 1), the Nyquist bin last."""
    frames = sliding_window_view(waveform, window, axis=-1)[:, ::hop]
    return np.fft.rfft(frames * hann(window))


def magnitude(spectrum: NDArray[np.complex128]) -> Array:
    """Without the Nyquist bin: (batch, frame, window / 2)."""
    return np.abs(spectrum[..., :-1])


def inverse_stft(spectrum: NDArray[np.complex128], hop: int, num_samples: int) -> Array:
    """Overlap-add; the Hann window over what all squared windows sum up to in the middle: (batch, num_samples)."""
    frames = np.fft.irfft(spectrum)
    window = frames.shape[-1]
    sums = np.array([np.square(hann(window))[sample % hop :: hop].sum() for sample in range(window)])
    waveform = np.zeros((len(frames), num_samples))
    for k in range(frames.shape[1]):
        waveform[:, k * hop : k * hop + window] += frames[:, k] * hann(window) / sums
    return waveform


def mel_filterbank(num_mels: int = 128, low: float = 100.0, high: float = 7800.0, window: int = 512) -> Array:
    """Triangles of peak 1, equally spaced in HTK mels, at the bins' true frequencies: (bin, mel)."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (low, high))
    edges = 700 * (10 ** (np.linspace(low, high, num_mels + 2) / 2595) - 1)
    hz = (np.arange(window // 2) * SAMPLE_RATE / window)[:, None]
    rising = (hz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hz) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling))


def log(magnitudes: Array) -> Array:
    """log10(. + 1e-4), any shape."""
    return np.log10(magnitudes + 1e-4)


def log_mel(magnitudes: Array) -> Array:
    """From 256 bins to the logarithm of 128 mels: (..., frame, mel)."""
    return log(magnitudes @ mel_filterbank())


# Layers


def convolution(x: Array, layer: State, stride: tuple[int, int] = (1, 1), padding: int = 0) -> Array:
    """y[o, f, b] = bias[o] + sum over c, i, j of weight[o, c, i, j] x[c, stride f + i, stride b + j]."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = sliding_window_view(x, layer["weight"].shape[2:], axis=(2, 3))[:, :, :: stride[0], :: stride[1]]
    y = np.tensordot(windows, layer["weight"], axes=((1, 4, 5), (1, 2, 3)))
    return np.moveaxis(y + layer["bias"], -1, 1)


def transposed_convolution(x: Array, layer: State, stride: tuple[int, int]) -> Array:
    """y[o, stride f + i, stride b + j] gets bias[o] and, of each f, b, i, j, x[c, f, b] weight[c, o, i, j]."""
    height, width = layer["weight"].shape[2:]
    frames, bins = ((size - 1) * step + 1 for size, step in zip(x.shape[2:], stride, strict=True))
    y = np.zeros((len(x), layer["weight"].shape[1], frames + height - 1, bins + width - 1))
    for i, j in np.ndindex(height, width):
        image = np.einsum("bcfk,co->bofk", x, layer["weight"][:, :, i, j])
        y[:, :, i : i + frames : stride[0], j : j + bins : stride[1]] += image
    return y + layer["bias"][:, None, None]


def linear(x: Array, layer: State) -> Array:
    """Over the last axis."""
    return x @ layer["weight"].T + layer["bias"]


def batch_norm(x: Array, layer: State, epsilon: float = 1e-3) -> Array:
    """By the running statistics, over the second axis."""
    shape = (-1,) + (1,) * (x.ndim - 2)
    mean, variance = layer["running_mean"].reshape(shape), layer["running_var"].reshape(shape)
    normal = (x - mean) / np.sqrt(variance + epsilon)
    return layer["weight"].reshape(shape) * normal + layer["bias"].reshape(shape)


def max_pool(x: Array, pool: tuple[int, int]) -> Array:
    """The maximum of each rectangle of `pool` = (frames, bins)."""
    batch, channels, frames, bins = x.shape
    cells = x.reshape(batch, channels, frames // pool[0], pool[0], bins // pool[1], pool[1])
    return cells.max(axis=(3, 5))


def relu(x: Array) -> Array:
    """max(x, 0)."""
    return np.maximum(x, 0)


def leaky_relu(x: Array) -> Array:
    """x, or 0.01 x below zero."""
    return np.where(x > 0, x, 0.01 * x)


# The U-Net


class UNetMaps(NamedTuple):
    """Mask (batch, source, frame, bin); decoder maps, 0 the coarsest; pooled encoder maps, 0 the finest."""

    mask: Array
    decoder: dict[int, Array]
    encoder: dict[int, Array]


def unet(log_magnitude: Array, state: State) -> UNetMaps:
    """From (batch, 1, frame, bin) to masks, one per source."""
    encoder, decoder, x = {}, {}, log_magnitude
    for k in range(NUM_UNET_BLOCKS):
        x = encoder[k] = max_pool(_norm_first(x, part(state, f"encoder.{k}")), (2, 2))
    for k in range(NUM_UNET_BLOCKS):
        if k > 0:
            x = np.concatenate([x, encoder[NUM_UNET_BLOCKS - 1 - k]], axis=1)
        x = transposed_convolution(x, part(state, f"decoder.{k}.upsampling"), (2, 2))
        x = decoder[k] = _norm_first(x, part(state, f"decoder.{k}.convolutions"))
    x = _norm_first(np.concatenate([x, log_magnitude], axis=1), part(state, "final"))
    mask = 1 / (1 + np.exp(-convolution(x, part(state, "mask"), padding=1)))
    return UNetMaps(mask, decoder, encoder)


def _norm_first(x: Array, state: State) -> Array:
    """[BatchNorm, LeakyReLU, convolution 3x3] twice."""
    for norm, layer in (("0", "2"), ("3", "5")):
        x = leaky_relu(batch_norm(x, part(state, norm)))
        x = convolution(x, part(state, layer), padding=1)
    return x


def estimates(waveform: Array, state: State, hop: int) -> Array:
    """Waveforms of all sources: masked magnitudes, the mixture's phase and Nyquist bin: (batch, source, sample)."""
    spectrum = stft(waveform, hop)
    mask = unet(log(magnitude(spectrum))[:, None], part(state, "unet")).mask
    spectra = np.repeat(spectrum[:, None], mask.shape[1], axis=1)
    spectra[..., :-1] *= mask
    sources = [inverse_stft(spectra[:, k], hop, waveform.shape[1]) for k in range(mask.shape[1])]
    return np.stack(sources, axis=1)


# The short-chunk CNN, alone and joint


class Classified(NamedTuple):
    """Logits (batch, class) and the input of each block, after what is added to it."""

    logits: Array
    blocks: dict[int, Array]


NOTHING: Mapping[int, Array] = {}


def short_chunk_cnn(
    x: Array, state: State, additions: Mapping[int, Array] = NOTHING, last_pool: tuple[int, int] = (3, 2)
) -> Classified:
    """From log-mels (batch, channel, frame, mel)."""
    blocks = {}
    for k in range(NUM_CNN_BLOCKS):
        x = blocks[k] = x + additions.get(k, 0)
        for layer, norm in ((f"blocks.{k}.0", f"blocks.{k}.1"), (f"blocks.{k}.3", f"blocks.{k}.4")):
            x = relu(batch_norm(convolution(x, part(state, layer), padding=1), part(state, norm)))
        x = max_pool(x, last_pool if k == NUM_CNN_BLOCKS - 1 else (2, 2))
    hidden = linear(x.reshape(len(x), -1), part(state, "head.1"))
    return Classified(linear(relu(batch_norm(hidden, part(state, "head.2"))), part(state, "head.5")), blocks)


def cnn_adapters(maps: Mapping[int, Array], state: State, points: Mapping[int, int]) -> dict[int, Array]:
    """Max pool over frequency, then a 1x1 convolution: additions by block. `points`: block by decoder level."""
    pooled = {level: max_pool(maps[level], (1, 2)) for level in points}
    return {block: convolution(pooled[level], part(state, f"convolutions.{level}")) for level, block in points.items()}


class JointMaps(NamedTuple):
    """All that is named on the way from the waveform to the logits."""

    separation: UNetMaps
    log_mel: Array
    additions: dict[int, Array]
    classified: Classified


def joint_features(waveform: Array, state: State, hop: int) -> tuple[UNetMaps, Array]:
    """The U-Net's maps; log-mels of the estimates, then of the mixture: (batch, source + 1, frame, mel)."""
    mixture = magnitude(stft(waveform, hop))[:, None]
    separation = unet(log(mixture), part(state, "separator.unet"))
    return separation, log_mel(np.concatenate([separation.mask * mixture, mixture], axis=1))


def joint_cnn(
    waveform: Array,
    state: State,
    *,
    hop: int = 160,
    last_pool: tuple[int, int] = (3, 2),
    points: Mapping[int, int] = CNN_POINTS,
) -> JointMaps:
    """The whole joint network with the short-chunk CNN."""
    separation, x = joint_features(waveform, state, hop)
    additions = cnn_adapters(separation.decoder, part(state, "adapters"), points)
    return JointMaps(separation, x, additions, short_chunk_cnn(x, part(state, "backend"), additions, last_pool))
