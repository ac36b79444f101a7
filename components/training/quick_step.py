"""How a step's loss and gradients are computed: as written, by compiled kernels, or replayed from a CUDA graph.

A quicker way is tried on the first batch, before the first step. It is taken only if it gives the loss of the way
before it; otherwise one line says why not, and training goes on without it. A trial leaves no trace: statistics,
gradients and random numbers are as before.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

# Takes a step's inputs, returns its loss; the gradients then stand at the parameters.
Differentiate = Callable[..., Float[Tensor, ""]]

# A compiled step rounds at other places: where bf16's rounding grows through BatchNorm over few examples, losses
# differ by some per cent. A replayed one has the same kernels.
COMPILED_TOLERANCE, REPLAYED_TOLERANCE = 0.1, 0.01
WARM_UPS = 3  # calls before a capture, in which libraries choose kernels and take memory


class QuickStep:
    """The quickest of the wanted ways that works, found at the first call. All calls have inputs of the same shapes.

    `plain` is the step as written; `compiled` a quicker form of it, if one is wanted; `capture`: whether the best of
    both is captured on the GPU. `say` gets a line for each way: whether it is taken, and why not.
    """

    def __init__(
        self,
        network: nn.Module,
        plain: Differentiate,
        *,
        compiled: Differentiate | None,
        capture: bool,
        say: Callable[[str], None],
    ) -> None:
        self._network, self._way, self._say = network, plain, say
        self._left: list[tuple[str, Callable[[tuple[Any, ...]], Differentiate], float]] = []
        if compiled is not None:
            self._left.append(("compiled", lambda _: compiled, COMPILED_TOLERANCE))
        if capture:
            self._left.append(("captured", lambda inputs: CapturedStep(network, self._way, inputs), REPLAYED_TOLERANCE))

    def __call__(self, *inputs: Any) -> Float[Tensor, ""]:
        while self._left:
            self._try(*self._left.pop(0), inputs)
        return self._way(*inputs)

    def _try(
        self,
        name: str,
        make: Callable[[tuple[Any, ...]], Differentiate],
        tolerance: float,
        inputs: tuple[Any, ...],
    ) -> None:
        try:
            with untouched(self._network):
                expected = self._way(*inputs).item()
            with untouched(self._network):
                way = make(inputs)
            with untouched(self._network):
                loss = way(*inputs).item()
        except torch.AcceleratorError:
            # The GPU is lost to this process.
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
        else:
            # A loss that is not finite is the training's to report.
            if abs(loss - expected) <= tolerance * abs(expected) or not math.isfinite(expected):
                self._way = way
                self._say(f"steps are {name}")
                return
            reason = f"its loss is {loss:.6g} where {expected:.6g} was expected"
        self._say(f"steps are not {name}, only slower for it: {reason}")


class CapturedStep:
    """Replays the kernels of one step on the GPU, which then waits for no Python: a CUDA graph.

    The graph holds its own inputs, loss and gradients. The optimiser stays outside: its learning rate changes.
    """

    def __init__(self, network: nn.Module, step: Differentiate, inputs: tuple[Any, ...]) -> None:
        kinds = {type(leaf).__name__ for leaf in tree_leaves(inputs) if not isinstance(leaf, Tensor)}
        if kinds:
            raise TypeError(f"inputs hold {', '.join(sorted(kinds))}; only tensors can be replaced in a graph")
        self._inputs = tree_map(torch.clone, inputs)
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                step(*self._inputs)
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads of the process, such as Ray's, may use the GPU meanwhile.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._loss = step(*self._inputs)
        self._gradients = [(p, p.grad) for p in network.parameters() if p.grad is not None]

    def __call__(self, *inputs: Any) -> Float[Tensor, ""]:
        for kept, new in zip(tree_leaves(self._inputs), tree_leaves(inputs), strict=True):
            kept.copy_(new, non_blocking=True)
        self._graph.replay()
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        return self._loss.clone()


def compiled(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`forward` by kernels that are compiled at its first call; the same ones every time, with torch's own dropout."""
    # Each stage compiles its own: what earlier ones left would count against torch's limit of versions.
    torch.compiler.reset()
    options: dict[str, Any] = {"fallback_random": True, "deterministic": True}
    inner = torch.compile(forward, fullgraph=True, dynamic=False, options=options)

    def quiet(*inputs: Any) -> Tensor:
        with warnings.catch_warnings():
            # The Fourier transform stays as it is, and float32 products keep their precision.
            warnings.filterwarnings("ignore", message=".*complex operators")
            warnings.filterwarnings("ignore", message="TensorFloat32 tensor cores")
            return inner(*inputs)

    return quiet


@contextmanager
def untouched(network: nn.Module) -> Iterator[None]:
    """Afterwards buffers and random numbers are as before, and there are no gradients."""
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    devices = {buffer.device for buffer, _ in buffers if buffer.device.type == "cuda"}
    with torch.random.fork_rng(devices=list(devices)):
        try:
            yield
        finally:
            for buffer, before in buffers:
                buffer.copy_(before)
            network.zero_grad(set_to_none=True)
