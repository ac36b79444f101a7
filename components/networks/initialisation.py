"""First values of parameters: drawn, or copied by name from another network's state.

Each parameter has its own generator, addressed by seed, stream and name: a further module changes no other draw.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from components.random_streams import torch_generator

_CONVOLUTIONS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)
_NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)
# Learned inputs of a transformer, and the standard deviation that they start with.
_LEARNED_INPUTS = {"cls_token": 0.0, "pos_embed": 0.02}


def initialise(module: nn.Module, seed: int, stream: str, *, std: float | None = None) -> None:
    """Draws every parameter of a module.

    Weights are Glorot uniform, or normal with the standard deviation `std`; biases 0; norms 1 and 0, with fresh running
    statistics; of a transformer positions are normal and the class token 0. Any other parameter: ValueError that names
    it.
    """
    for prefix, layer in module.named_modules():
        if isinstance(layer, _NORMS):
            _reset_norm(layer)
        else:
            for name, parameter in layer.named_parameters(prefix, recurse=False):
                _require_known(layer, name)
                learned_input = _LEARNED_INPUTS.get(name.rpartition(".")[2])
                _draw(parameter, torch_generator(seed, stream, name), std if learned_input is None else learned_input)


def load_strictly(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copies a state by name; ValueError names the first tensor that is missing, unexpected or of another shape."""
    expected = module.state_dict()
    for name, tensor in expected.items():
        if name not in state:
            raise ValueError(f"the state has no tensor {name!r}, which {type(module).__name__} needs")
        if state[name].shape != tensor.shape:
            shapes = f"{tuple(state[name].shape)} in the state and {tuple(tensor.shape)} in {type(module).__name__}"
            raise ValueError(f"{name!r} is {shapes}")
    if unexpected := sorted(state.keys() - expected.keys()):
        raise ValueError(f"the state has a tensor {unexpected[0]!r}, which {type(module).__name__} has not")
    module.load_state_dict(state)


def submodule_state(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The state of a submodule, `prefix` and its dot cut off; ValueError if the state has none of it."""
    start = f"{prefix}."
    tensors = {name.removeprefix(start): tensor for name, tensor in state.items() if name.startswith(start)}
    if not tensors:
        raise ValueError(f"the state has no tensor under {start!r}; its first: {next(iter(state), 'none')!r}")
    return tensors


def widen_first_convolution(state: Mapping[str, Tensor], name: str, num_channels: int) -> dict[str, Tensor]:
    """The state with the one-channel kernel `name` tiled, unscaled, over `num_channels` channels (PAPER section 6)."""
    if name not in state:
        raise ValueError(f"the state has no tensor {name!r}")
    kernel = state[name]
    if kernel.ndim != 4 or kernel.shape[1] != 1:
        raise ValueError(f"{name!r} is {tuple(kernel.shape)}; needed: (channels, 1, frames, bins)")
    return {**state, name: kernel.repeat(1, num_channels, 1, 1)}


def _reset_norm(norm: nn.Module) -> None:
    if isinstance(norm, _BatchNorm):
        norm.reset_running_stats()
    for name, parameter in norm.named_parameters():
        nn.init.constant_(parameter, 1.0 if name == "weight" else 0.0)


def _require_known(layer: nn.Module, name: str) -> None:
    if not isinstance(layer, _CONVOLUTIONS) and name.rpartition(".")[2] not in _LEARNED_INPUTS:
        raise ValueError(f"there is no rule to draw {name!r} of a {type(layer).__name__}")


@torch.no_grad()
def _draw(parameter: nn.Parameter, generator: torch.Generator, std: float | None) -> None:
    """Drawn on the CPU in float32, so that device and precision do not change the draw."""
    drawn = torch.zeros(parameter.shape)
    if parameter.ndim > 1:
        if std is None:
            nn.init.xavier_uniform_(drawn, generator=generator)
        else:
            nn.init.normal_(drawn, std=std, generator=generator)
    parameter.copy_(drawn)
