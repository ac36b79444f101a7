"""Sizes of networks, counted as the paper counts them."""

from torch import nn


def num_trainable(module: nn.Module) -> int:
    """Elements of all parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def num_parameters(module: nn.Module) -> int:
    """Elements of all parameters and of BatchNorm's running means and variances (PAPER section 3)."""
    statistics = (buffer for name, buffer in module.named_buffers() if name.endswith(("running_mean", "running_var")))
    return num_trainable(module) + sum(statistic.numel() for statistic in statistics)
