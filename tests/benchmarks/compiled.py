"""How far compiled steps are from plain ones, beside how far bf16 is from float32.

python -m tests.benchmarks.compiled                    # on this CPU: needs a C++ compiler, some minutes
python -m tests.benchmarks.compiled --device cuda

A plain bf16 training runs for some steps. At each of them loss and gradients are also computed by the compiled bf16
step and by the plain float32 step, from the same weights and examples. "from float32" is the distance to the latter: a
compiled step rounds within bf16's rounding if it is no farther away than the plain one.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from components.corpora.corpus import Corpus
from components.training.loop import Compute, Training
from components.training.quick_step import compiled, untouched
from tests.benchmarks.step import NETWORKS, build, endless, write_corpus

BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--networks", nargs="+", default=("unet", "joint-cnn"), choices=NETWORKS)
    parser.add_argument("--steps", type=int, default=50)
    args = parser.parse_args()
    print(f"{'network':18}{'':22}{'loss, largest':>15}{'gradient, mean':>16}{'largest':>9}")
    with tempfile.TemporaryDirectory() as folder:
        corpora = {kind: write_corpus(Path(folder) / kind, kind).to(args.device) for kind in ("separation", "tagging")}
        for name in args.networks:
            for what, (losses, gradients) in distances(name, corpora, args.device, args.steps).items():
                mean = sum(gradients) / len(gradients)
                print(f"{name:18}{what:22}{max(losses):15.2e}{mean:16.2e}{max(gradients):9.2e}", flush=True)


def distances(
    name: str, corpora: dict[str, Corpus], device: str, num_steps: int
) -> dict[str, tuple[list[float], list[float]]]:
    """Relative distances of loss and of the gradient as one vector, at each step."""
    objective = build(name, corpora, device)
    training = Training(objective, endless(BATCH), seed=0, compute=Compute(device=device, precision="bf16"))
    quick = compiled(objective.forward)
    pairs = {"plain from float32": (0, 2), "compiled from float32": (1, 2), "compiled from plain": (1, 0)}
    found: dict[str, tuple[list[float], list[float]]] = {what: ([], []) for what in pairs}
    for step in range(num_steps):
        with torch.autocast(device, torch.bfloat16):
            inputs = objective.inputs(training.next_batch())
        ways = ((objective.forward, True), (quick, True), (objective.forward, False))
        results = [differentiated(objective, way, inputs, device, step, is_bf16=bf16) for way, bf16 in ways]
        for what, (one, other) in pairs.items():
            (loss, gradient), (expected, reference) = results[one], results[other]
            found[what][0].append(float((loss - expected).abs() / expected.abs()))
            found[what][1].append(float((gradient - reference).norm() / reference.norm()))
        training.step()
    return found


def differentiated(
    objective: Any, forward: Any, inputs: tuple[Any, ...], device: str, seed: int, *, is_bf16: bool
) -> tuple[Tensor, Tensor]:
    """Loss and gradient, in float64; statistics stay as they are."""
    objective.set_training(True)
    with untouched(objective.network):
        torch.manual_seed(seed)
        with torch.autocast(device, torch.bfloat16, enabled=is_bf16):
            loss = forward(*inputs)
        loss.backward()
        gradients = [p.grad.double().flatten() for p in objective.network.parameters() if p.grad is not None]
        return loss.detach().double(), torch.cat(gradients)


if __name__ == "__main__":
    main()
