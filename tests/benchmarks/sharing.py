"""How many segments a second several trainings do together on one GPU, or on the cores of one CPU.

python -m tests.benchmarks.sharing --device cuda --processes 1 2 4 8
python -m tests.benchmarks.sharing --device cuda --processes 1 2 4 8 --mps
python -m tests.benchmarks.sharing --processes 1 --threads 2       # one of two threads ...
python -m tests.benchmarks.sharing --processes 2 --threads 1       # ... against two of one

Each process trains a network of its own, as stages that share a GPU do. They start counting together, and each counts
the steps that it finishes in the same seconds. `--mps` starts NVIDIA's multi-process service for the time of the run.
"""

import argparse
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch

from components.corpora.corpus import Corpus
from components.training.loop import Compute, Precision, Training
from tests.benchmarks.counting import synchronise
from tests.benchmarks.step import BATCHES, NETWORKS, append, build, endless, machine, write_corpus

OUT = Path("results/benchmarks/sharing.parquet")
WARM_UPS = 3
PATIENCE_S = 600


class Task(NamedTuple):
    """What each process does. `folder` holds the corpora."""

    network: str
    folder: str
    batch_size: int
    compute: Compute
    threads: int
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--networks", nargs="+", default=("unet", "cnn", "joint-cnn-frozen", "joint-cnn"))
    parser.add_argument("--precision", default="bf16", choices=get_args(Precision))
    parser.add_argument("--processes", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--plain", action="store_true", help="do not capture steps on a GPU")
    parser.add_argument("--mps", action="store_true")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    if unknown := {*args.networks} - {*NETWORKS}:
        parser.error(f"--networks: there is no {unknown.pop()}; there are {', '.join(NETWORKS)}")
    compute = Compute(device=args.device, precision=args.precision, capture=args.device == "cuda" and not args.plain)
    facts = machine(args.device, args.threads) | {"mps": args.mps, "captured": compute.capture}
    print(" ".join(f"{value}" for value in facts.values()))
    print(f"{'network':18}{'batch':>6}{'processes':>11}{'segments/s':>12}{'GiB each':>10}")
    batches = BATCHES["small" if args.device == "cpu" else "paper"]
    with tempfile.TemporaryDirectory() as folder, mps(wanted=args.mps):
        for kind in ("separation", "tagging"):
            write_corpus(Path(folder) / kind, kind)
        for name in args.networks:
            for number in args.processes:
                task = Task(name, folder, batches[name], compute, args.threads, args.seconds)
                found = together(number, task)
                rate, gib = sum(steps for steps, _ in found) / args.seconds * batches[name], max(g for _, g in found)
                print(f"{name:18}{batches[name]:6}{number:11}{rate:12.1f}{gib:10.2f}", flush=True)
                row = {"network": name, "batch": batches[name], "precision": args.precision, "processes": number}
                append(args.out, facts | row | {"segments_per_s": rate, "gib_each": gib})
    print(f"Rows: {args.out}")


def together(number: int, task: Task) -> list[tuple[int, float]]:
    """Steps and peak GiB of GPU memory of each of `number` processes."""
    context = get_context("spawn")
    start, results = context.Barrier(number), context.Queue()
    processes = [context.Process(target=train, args=(task, start, results)) for _ in range(number)]
    for process in processes:
        process.start()
    found = [results.get(timeout=PATIENCE_S) for _ in processes]
    for process in processes:
        process.join()
    return found


def train(task: Task, start: Any, results: Any) -> None:
    torch.set_num_threads(task.threads)
    compute = task.compute
    corpora = {kind: Corpus.open(Path(task.folder) / kind).to(compute.device) for kind in ("separation", "tagging")}
    objective = build(task.network, corpora, compute.device)
    training = Training(objective, endless(task.batch_size), seed=0, compute=compute, say=str)
    for _ in range(WARM_UPS):
        training.step()
    synchronise(compute.device)
    start.wait(PATIENCE_S)
    num_steps, end = 0, time.perf_counter() + task.seconds
    while time.perf_counter() < end:
        training.step()
        num_steps += 1
        if compute.device != "cpu" and num_steps % 8 == 0:
            # Only finished steps count.
            synchronise(compute.device)
    results.put((num_steps, 0.0 if compute.device == "cpu" else torch.cuda.max_memory_reserved() / 2**30))


@contextmanager
def mps(*, wanted: bool) -> Iterator[None]:
    """NVIDIA's multi-process service: processes then share the GPU at the same time, not in turns."""
    if not wanted:
        yield
        return
    subprocess.run(["nvidia-cuda-mps-control", "-d"], check=True)
    try:
        yield
    finally:
        subprocess.run(["nvidia-cuda-mps-control"], input="quit\n", text=True, check=True)


if __name__ == "__main__":
    main()
