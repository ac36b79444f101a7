"""Networks as programs that run without this project: for `torch.export`, and for ONNX."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from components.networks.classifier import Classifier
from components.networks.joint_network import JointNetwork
from components.networks.separator import Separator
from components.networks.spectrogram import log_magnitude

# How far a program's outputs may be from the network's.
TOLERANCE = 1e-4
MOST_SEGMENTS = 65_536


class Probabilities(nn.Module):
    """Segments of waveform to the probabilities of their classes."""

    def __init__(self, network: Classifier | JointNetwork, task: str) -> None:
        super().__init__()
        self.network, self._is_genre = network, task == "genre"

    def forward(self, waveform: Float[Tensor, "segment sample"]) -> Float[Tensor, "segment class"]:
        logits = self.network(waveform)
        return logits.softmax(dim=1) if self._is_genre else logits.sigmoid()


class Estimates(nn.Module):
    """Segments of a mixture's waveform to those of its sources."""

    def __init__(self, network: Separator, num_samples: int) -> None:
        super().__init__()
        self.network, self._num_samples = network, num_samples

    def forward(self, waveform: Float[Tensor, "segment sample"]) -> Float[Tensor, "segment source sample"]:
        return self.network.waveforms(self.network(waveform), self._num_samples)


class Masks(nn.Module):
    """Magnitudes of a mixture to the masks of its sources: the separator between its Fourier transforms."""

    def __init__(self, network: Separator) -> None:
        super().__init__()
        self.unet = network.unet

    def forward(self, magnitude: Float[Tensor, "segment frame bin"]) -> Float[Tensor, "segment source frame bin"]:
        return self.unet(log_magnitude(magnitude)[:, None]).mask


def write_torch_program(program: nn.Module, example: Tensor, path: Path) -> None:
    """A `torch.export` archive for any number of segments; ValueError if it does not answer as the network does."""
    with _quiet():
        torch.export.save(_exported(program, example), path)
        loaded = torch.export.load(path).module()
        _check(path, program, loaded, example)


def write_onnx_program(program: nn.Module, example: Tensor, path: Path) -> None:
    """An ONNX file for any number of segments; ValueError without ONNX, or if it answers otherwise."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"--onnx needs the extra: pip install 'separation-pretraining-study[onnx]' ({error})"
        ) from None
    with _quiet():
        converted = torch.onnx.export(_exported(program, example), dynamo=True, verbose=False)
        assert converted is not None
        converted.save(path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        _check(path, program, lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0]), example)


def _exported(program: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    segments = torch.export.Dim("segment", max=MOST_SEGMENTS)
    return torch.export.export(program, (example,), dynamic_shapes=({0: segments},))


@torch.no_grad()
def _check(path: Path, program: nn.Module, written: Any, example: Tensor) -> None:
    """Compares outputs, also for other numbers of segments than the example has."""
    for x in (example[:1], example, torch.cat([example, example.flip(0) / 2, example[:1]])):
        expected, found = program(x).numpy(), written(x).detach().numpy()
        worst = float(np.abs(found - expected).max())
        if not worst <= TOLERANCE:
            raise ValueError(f"{path.name} differs from the network by {worst:g}, more than {TOLERANCE:g}")


@contextmanager
def _quiet() -> Iterator[None]:
    """No word of the exporters' about their own insides."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        yield
