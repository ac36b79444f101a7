"""BatchNorm: the layer, and its statistics in a network that is not trained, such as a random, frozen U-Net."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm


class BatchNorm2d(nn.BatchNorm2d):
    """Torch's, without a count of its batches: at a fixed momentum none is needed, and each would be a kernel."""

    def forward(self, input: Tensor) -> Tensor:
        if self.momentum is None or not self.training:
            return super().forward(input)
        mean, variance = self.running_mean, self.running_var
        return functional.batch_norm(input, mean, variance, self.weight, self.bias, True, self.momentum, self.eps)


@torch.no_grad()
def calibrate_batch_norm(module: nn.Module, batches: Iterable[Tensor]) -> None:
    """Sets the running statistics to their plain average over `batches`, each of which is passed to `module`.

    Only the normalisations are in training mode meanwhile; afterwards every mode is as before. No batch: ValueError.
    """
    num_batches = 0
    with _averaging(module):
        for batch in batches:
            module(batch)
            num_batches += 1
    if not num_batches:
        raise ValueError("batches is empty; at least one is needed to calibrate by")


@contextmanager
def _averaging(module: nn.Module) -> Iterator[None]:
    """Normalisations start again and average all batches alike (momentum None); the rest is in evaluation mode."""
    norms = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    modes = [(layer, layer.training) for layer in module.modules()]
    momenta = [norm.momentum for norm in norms]
    module.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for layer, mode in modes:
            layer.training = mode
