"""What the equations in NumPy once gave: a change that they and the networks share would show here."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from components.networks.adapters import AdapterConfig
from components.networks.joint_network import JointConfig, JointNetwork
from components.networks.separator import SeparatorConfig
from components.networks.short_chunk_cnn import ShortChunkCNNConfig
from components.networks.unet import UNetConfig
from tests.components.networks import equations
from tests.components.networks import equations_transformer as transformer
from tests.components.networks.drawn import drawn, shapes_of, state_of, uniform, waveform

NUM_SAMPLES = 127 * 160 + 512  # 128 frames
CNN = ShortChunkCNNConfig(num_frames=128, last_pool=(2, 2)).scaled(1 / 16)
UNET = UNetConfig(num_sources=4).scaled(1 / 8)
SOURCES = ("vocals", "other", "drums", "bass")
WIDTH, NUM_HEADS, DEPTH = 24, 3, 11
KERNELS = {0: (2, 2), 1: (1, 2), 2: (2, 4), 3: (4, 8), 4: (8, 16)}
NORM = ("weight", "bias", "running_mean", "running_var")
Shapes = dict[str, tuple[int, ...]]

X = uniform(2, 3, 8, 12)
SPECTRUM = equations.stft(waveform(NUM_SAMPLES), 160)
LOG_MEL = equations.log_mel(equations.magnitude(SPECTRUM))[:, None]
ADAPTERS = AdapterConfig(points=CNN.insertion_points)
JOINT = JointNetwork(JointConfig(separator=SeparatorConfig(sources=SOURCES, unet=UNET), backend=CNN, adapters=ADAPTERS))


def layer(weight: tuple[int, ...], num_outputs: int | None = None) -> dict[str, NDArray[Any]]:
    """A drawn weight and bias."""
    return drawn({"weight": weight, "bias": (num_outputs or weight[0],)})


def under(prefix: str, shapes: Shapes) -> Shapes:
    return {f"{prefix}.{name}": shape for name, shape in shapes.items()}


def both(*weight: int) -> Shapes:
    return {"weight": weight, "bias": weight[:1]}


def transformer_shapes(num_channels: int) -> Shapes:
    """Those of a transformer for 128 frames and 128 mels, by timm's names."""
    block = under("norm1", both(WIDTH)) | under("norm2", both(WIDTH))
    block |= under("attn.qkv", both(3 * WIDTH, WIDTH)) | under("attn.proj", both(WIDTH, WIDTH))
    block |= under("mlp.fc1", both(4 * WIDTH, WIDTH)) | under("mlp.fc2", both(WIDTH, 4 * WIDTH))
    shapes: Shapes = {"cls_token": (1, 1, WIDTH), "pos_embed": (1, 65, WIDTH)}
    shapes |= under("patch_embed.proj", both(WIDTH, num_channels, 16, 16))
    shapes |= under("norm", both(WIDTH)) | under("head", both(5, WIDTH))
    return shapes | {name: x for k in range(DEPTH) for name, x in under(f"blocks.{k}", block).items()}


def joint_transformer_state() -> dict[str, NDArray[Any]]:
    """That of the joint network with a transformer: the U-Net, adapters and backend."""
    shapes = under("backend", transformer_shapes(5))
    for level, kernel in KERNELS.items():
        channels = tuple(reversed(UNET.channels))[level]
        weight = (channels, WIDTH, *kernel) if level == 0 else (WIDTH, channels, *kernel)
        shapes |= under(f"adapters.convolutions.{level}", {"weight": weight, "bias": (WIDTH,)})
    return drawn(shapes | under("separator", shapes_of(JOINT.separator)))


def first_attention() -> dict[str, NDArray[Any]]:
    return equations.part(drawn(transformer_shapes(1)), "blocks.0.attn")


@cache
def joint_transformer() -> equations.JointMaps:
    return transformer.joint_ast(waveform(NUM_SAMPLES), joint_transformer_state(), num_heads=NUM_HEADS)


@cache
def joint_cnn() -> equations.JointMaps:
    return equations.joint_cnn(waveform(NUM_SAMPLES), state_of(JOINT), last_pool=CNN.last_pool)


RENDERED: dict[str, Callable[[], NDArray[Any]]] = {
    "hann": equations.hann,
    "stft": lambda: SPECTRUM,
    "inverse_stft": lambda: equations.inverse_stft(SPECTRUM, 160, NUM_SAMPLES),
    "mel_filterbank": equations.mel_filterbank,
    "log_mel": lambda: LOG_MEL,
    "convolution 3x3": lambda: equations.convolution(X, layer((4, 3, 3, 3)), padding=1),
    "convolution 1x1": lambda: equations.convolution(X, layer((4, 3, 1, 1))),
    "convolution 2x4 strided": lambda: equations.convolution(X, layer((4, 3, 2, 4)), stride=(2, 4)),
    "transposed_convolution": lambda: equations.transposed_convolution(X, layer((3, 4, 2, 2), 4), (2, 2)),
    "transposed_convolution (2, 1)": lambda: equations.transposed_convolution(X, layer((3, 4, 2, 2), 4), (2, 1)),
    "linear": lambda: equations.linear(X, layer((4, 12))),
    "batch_norm": lambda: equations.batch_norm(X, drawn(dict.fromkeys(NORM, (3,)))),
    "leaky_relu": lambda: equations.leaky_relu(X),
    "relu": lambda: equations.relu(X),
    "max_pool": lambda: equations.max_pool(X, (2, 3)),
    "unet mask": lambda: joint_cnn().separation.mask,
    "unet map 0": lambda: joint_cnn().separation.decoder[0],
    "unet map 5": lambda: joint_cnn().separation.decoder[5],
    "estimates": lambda: equations.estimates(waveform(NUM_SAMPLES), equations.part(state_of(JOINT), "separator"), 160),
    "short_chunk_cnn": lambda: equations.short_chunk_cnn(LOG_MEL, state_of(CNN.build()), last_pool=(2, 2)).logits,
    "joint_cnn log-mel": lambda: joint_cnn().log_mel,
    "joint_cnn addition to block 1": lambda: joint_cnn().additions[1],
    "joint_cnn": lambda: joint_cnn().classified.logits,
    "layer_norm": lambda: transformer.layer_norm(X, drawn(both(12)), 1e-3),
    "gelu": lambda: transformer.gelu(3 * X),
    "scaled": lambda: transformer.scaled(X),
    "attention": lambda: transformer.attention(uniform(2, 7, WIDTH), first_attention(), NUM_HEADS),
    "ast": lambda: transformer.ast(LOG_MEL, drawn(transformer_shapes(1)), NUM_HEADS).logits,
    "joint_ast addition to block 10": lambda: joint_transformer().additions[10],
    "joint_ast addition to block 2": lambda: joint_transformer().additions[2],
    "joint_ast": lambda: joint_transformer().classified.logits,
}


PINNED: dict[str, tuple[float, float, float]] = {
    "hann": (0.5, 0.3535533906, 0.0009784735812),
    "stft": (4.210226185e-05, 3.851618591, -0.0001215283505),
    "inverse_stft": (-0.002129015667, 0.3891042149, -0.0005857440866),
    "mel_filterbank": (0.007435085963, 0.07007401365, -0.0001161387216),
    "log_mel": (0.5949846543, 0.5488057937, -0.00575065796),
    "convolution 3x3": (0.07723667455, 0.7462008848, -0.01494981524),
    "convolution 1x1": (0.002595324412, 0.684583853, 0.009520399125),
    "convolution 2x4 strided": (0.0598819926, 0.8225239878, 0.02828677198),
    "transposed_convolution": (0.02764710677, 0.3301945594, 4.832863271e-05),
    "transposed_convolution (2, 1)": (0.03136218715, 0.4438680585, -0.002990371886),
    "linear": (0.01953232456, 0.7433096597, -0.008512614988),
    "batch_norm": (-0.08947422329, 0.6737148938, 0.01675744853),
    "leaky_relu": (0.2215787303, 0.3106111311, 0.01170735121),
    "relu": (0.2242003901, 0.3086952134, 0.01166386269),
    "max_pool": (0.6813522675, 0.24953539, 0.007105496478),
    "unet mask": (0.5006506408, 0.2292042949, 0.01810597072),
    "unet map 0": (-0.09916576593, 1.207369569, -0.02258841339),
    "unet map 5": (-1.036657428, 1.071275429, -0.04516906828),
    "estimates": (-0.001123001301, 0.2122890143, -0.0003319889471),
    "short_chunk_cnn": (-0.02374223511, 0.8413328429, -0.05679231263),
    "joint_cnn log-mel": (0.3287643506, 0.5888000679, 0.03512775503),
    "joint_cnn addition to block 1": (1.163653411, 1.290998768, 0.06300438372),
    "joint_cnn": (0.3061533451, 6.726971505, 0.1236505769),
    "layer_norm": (0.02596938853, 1.083134965, -0.003546265916),
    "gelu": (0.5887045438, 0.9440330711, 0.03731852171),
    "scaled": (-0.03600566537, 0.5726083078, 0.01817146045),
    "attention": (-0.003905698677, 0.5147855524, -0.00918674303),
    "ast": (0.1227191708, 1.325105147, 0.02612713079),
    "joint_ast addition to block 10": (0.07998610796, 0.5407442655, -0.006699976805),
    "joint_ast addition to block 2": (0.1441029761, 1.413655404, 0.0362645365),
    "joint_ast": (-0.2421472935, 2.227225602, -0.03734844744),
}


def summary(x: NDArray[Any]) -> tuple[float, float, float]:
    """Mean, standard deviation, and the mean with weights from -1 to 1, which tells the order of the values.

    Of complex numbers those of the real and imaginary parts.
    """
    values = np.ascontiguousarray(x).view(np.float64).ravel()
    weighted = values * np.linspace(-1, 1, values.size)
    return float(values.mean()), float(values.std()), float(weighted.mean())


@pytest.mark.parametrize("name", RENDERED)
def test_the_equations_give_what_they_gave(name):
    np.testing.assert_allclose(summary(RENDERED[name]()), PINNED[name], rtol=1e-9, atol=1e-12)
