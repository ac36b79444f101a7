"""How fast training steps are, for every network and precision, and how far from what the machine could do.

python -m tests.benchmarks.step                                  # two minutes on two cores
python -m tests.benchmarks.step --device cuda --batches large
python -m tests.benchmarks.step --device cuda --plain            # neither captured nor compiled
python -m tests.benchmarks.step --device cuda --compile          # compiled, then captured
python -m tests.benchmarks.step --networks joint-cnn --precisions bf16 --steps 20

Sizes are the paper's. Every row is appended to a Parquet file, with machine, versions and commit. "roofline" is the
share that the shortest possible time has in a step's: the larger of FLOPs over the machine's FLOP/s and unfused memory
traffic over its bytes/s. Both ceilings are measured first, by a matrix product and a copy.
"""

import argparse
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from components.corpora.corpus import Corpus
from components.corpora.corpus_writer import CorpusWriter
from components.networks.adapters import ALL_POINTS, AdapterConfig, points_of
from components.networks.classifier import Classifier, ClassifierConfig
from components.networks.initialisation import initialise
from components.networks.joint_network import JointConfig, JointNetwork, initialise_joint
from components.networks.separator import Separator, SeparatorConfig
from components.objectives.classification import ClassificationObjective, SegmentConfig
from components.objectives.separation import RemixConfig, SeparationLossConfig, SeparationObjective
from components.training.loop import Compute, Objective, Precision, Training
from components.training.training_config import Phase, TrainingConfig
from experiments.presets import PAPER
from study.records.provenance import source_facts
from tests.benchmarks.counting import count, synchronise

RECIPE, NUM_TAGS, NUM_TRACKS, TRACK_S = PAPER.recipe, 50, 96, 10
NETWORKS = ("unet", "cnn", "joint-cnn", "joint-cnn-frozen", "ast", "joint-ast")
# Examples a step: the paper's on a GPU, and more; on two cores, few.
BATCHES = {
    "small": dict.fromkeys(NETWORKS, 4) | {"ast": 2, "joint-ast": 2},
    "paper": {"unet": 8, "cnn": 16, "joint-cnn": 16, "joint-cnn-frozen": 16, "ast": 4, "joint-ast": 4},
    "large": {"unet": 32, "cnn": 64, "joint-cnn": 64, "joint-cnn-frozen": 64, "ast": 16, "joint-ast": 16},
}
OUT = Path("results/benchmarks/step.parquet")


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """What the machine does at best, in a precision."""

    flops_per_s: float
    bytes_per_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    parser.add_argument("--precisions", nargs="+", default=get_args(Precision), choices=get_args(Precision))
    parser.add_argument("--batches", choices=BATCHES, help="default: small on a CPU, paper on a GPU")
    parser.add_argument("--steps", type=int, default=0, help="default: 4 on a CPU, 40 on a GPU")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--plain", action="store_true", help="do not capture steps on a GPU")
    parser.add_argument("--compile", action="store_true", help="compile steps")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    is_cpu = args.device == "cpu"
    batches, num_steps = BATCHES[args.batches or ("small" if is_cpu else "paper")], args.steps or (4 if is_cpu else 40)
    is_captured = not is_cpu and not args.plain
    facts = machine(args.device, args.threads) | {"captured": is_captured, "compiled": args.compile}
    print(" ".join(f"{value}" for value in facts.values()))
    print(f"{'network':18}{'batch':>6} {'precision':10}{'step ms':>9}{'segments/s':>11}{'operators':>10}", end="")
    print(f"{'kernels':>9}{'roofline':>9}{'input':>7}{'peak GiB':>9}")
    with tempfile.TemporaryDirectory() as folder:
        corpora = {kind: write_corpus(Path(folder) / kind, kind).to(args.device) for kind in ("separation", "tagging")}
        for precision in args.precisions:
            ceiling = measured_ceiling(args.device, precision)
            for name in args.networks:
                compute = Compute(device=args.device, precision=precision, compile=args.compile, capture=is_captured)
                row = measure(name, corpora, batches[name], compute, num_steps=num_steps, ceiling=ceiling)
                print(
                    f"{name:18}{row['batch']:6} {precision:10}{row['step_ms']:9.1f}{row['segments_per_s']:11.1f}"
                    f"{row['operators']:10}{row['kernels'] or '-':>9}{row['roofline']:9.2f}{row['input_share']:7.1%}"
                    f"{row['peak_gib']:9.2f}",
                    flush=True,
                )
                append(args.out, facts | row)
    print(f"Rows: {args.out}")


def measure(
    name: str, corpora: dict[str, Corpus], batch_size: int, compute: Compute, *, num_steps: int, ceiling: Ceiling
) -> dict[str, Any]:
    """The row of one network: medians over `num_steps` steps after two that are not counted.

    Operators and what they need are counted in a plain step.
    """
    objective = build(name, corpora, compute.device)
    plain = Training(objective, endless(batch_size), seed=0, compute=replace(compute, compile=False, capture=False))
    plain.step()
    counts = count(plain.step)
    training = Training(objective, endless(batch_size), seed=0, compute=compute)
    for _ in range(2):
        training.step()
    if compute.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    step_s = median_s(training.step, num_steps, compute.device)
    input_s = median_s(lambda: objective.inputs(training.next_batch()), num_steps, compute.device)
    shortest = max(counts.flops / ceiling.flops_per_s, counts.num_bytes / ceiling.bytes_per_s)
    return {
        "network": name,
        "batch": batch_size,
        "precision": compute.precision,
        "step_ms": 1e3 * step_s,
        "segments_per_s": batch_size / step_s,
        "operators": counts.num_operators,
        "kernels": num_kernels(training.step) if compute.device != "cpu" else None,
        "gflop": counts.flops / 1e9,
        "traffic_mb": counts.num_bytes / 1e6,
        "roofline": shortest / step_s,
        "input_share": input_s / step_s,
        "peak_gib": peak_gib(compute.device),
    }


def build(name: str, corpora: dict[str, Corpus], device: str) -> Objective[Any]:
    """What a stage of the paper's preset trains, from random weights."""
    unet = SeparatorConfig(sources=("vocals",), unet=RECIPE.unet, spectrogram=RECIPE.spectrogram)
    if name == "unet":
        separator = Separator(unet)
        initialise(separator, 0, "separator")
        return SeparationObjective(
            placed(separator, device),
            corpora["separation"],
            num_frames=RECIPE.separation_frames,
            remix=RemixConfig(),
            loss=SeparationLossConfig(),
        )
    backend = replace(RECIPE.backends["ast" if "ast" in name else "cnn"].network, num_classes=NUM_TAGS)
    if not name.startswith("joint"):
        bare = Classifier(ClassifierConfig(backend=backend, spectrogram=RECIPE.spectrogram, mel=RECIPE.mel))
        initialise(bare.backend, 0, "backend")
        return ClassificationObjective(placed(bare, device), corpora["tagging"], segments=SegmentConfig())
    adapters = AdapterConfig(points=points_of(ALL_POINTS, backend.insertion_points))
    joint = JointNetwork(JointConfig(separator=unet, backend=backend, adapters=adapters, mel=RECIPE.mel))
    initialise_joint(joint, 0, separator_seed=0)
    is_frozen = name.endswith("frozen")
    return ClassificationObjective(
        placed(joint, device), corpora["tagging"], segments=SegmentConfig(), freeze_separator=is_frozen
    )


def placed(network: Any, device: str) -> Any:
    return network.to(device, memory_format=torch.channels_last)


def endless(batch_size: int) -> TrainingConfig:
    """A training that never comes to a validation."""
    phase = Phase(learning_rate=1e-4, num_epochs=10**6)
    return TrainingConfig(
        phases=(phase,),
        batch_size=batch_size,
        steps_per_epoch=1,
        max_epochs=10**6,
        validate_every=10**6,
        monitor="loss",
        better="lower",
    )


def write_corpus(folder: Path, kind: str) -> Corpus:
    """Tracks of noise."""
    generator = np.random.default_rng(0)
    stems = ("mixture", "drums", "bass", "other", "vocals") if kind == "separation" else ("mixture",)
    classes = tuple(f"tag{i}" for i in range(NUM_TAGS)) if kind == "tagging" else ()
    splits = ("train", "train", "train", "train", "validation", "test")
    with CorpusWriter(folder, name=kind, kind=kind, stems=stems, classes=classes) as writer:
        for track in range(NUM_TRACKS):
            labels = [name for number, name in enumerate(classes) if (track // 6 + number) % 2]
            noise = generator.integers(-9000, 9000, (16_000 * TRACK_S, len(stems)), dtype=np.int16)
            writer.add(f"{track}", noise, split=splits[track % 6], labels=labels)
    return Corpus.open(folder)


def measured_ceiling(device: str, precision: str) -> Ceiling:
    """The best of a few matrix products and of a few copies of memory that no cache holds."""
    size, dtype = (8192 if device == "cuda" else 2048), torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    source = torch.zeros(2**28, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    product_s = best_s(lambda: left @ right, 10, device)
    copy_s = best_s(lambda: target.copy_(source), 10, device)
    return Ceiling(flops_per_s=2 * size**3 / product_s, bytes_per_s=2 * source.nbytes / copy_s)


def durations(action: Callable[[], object], number: int, device: str) -> list[float]:
    """Of `number` calls; on a GPU their mean, since calls follow each other without waiting."""
    action()
    synchronise(device)
    marks = [time.perf_counter()]
    for _ in range(number):
        action()
        if device == "cpu":
            marks.append(time.perf_counter())
    synchronise(device)
    if device == "cpu":
        return [after - before for before, after in pairwise(marks)]
    return [(time.perf_counter() - marks[0]) / number]


def median_s(action: Callable[[], object], number: int, device: str) -> float:
    return statistics.median(durations(action, number, device))


def best_s(action: Callable[[], object], number: int, device: str) -> float:
    return min(durations(action, number, device))


def num_kernels(step: Callable[[], object]) -> int:
    """Kernels and copies on the GPU in one step."""
    activities = [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities) as profile:
        step()
        torch.cuda.synchronize()
    return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in profile.events() or [])


def peak_gib(device: str) -> float:
    """Of the device's memory since it was last reset; on the CPU of the process since its start."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def machine(device: str, threads: int) -> dict[str, Any]:
    model = torch.cuda.get_device_name() if device == "cuda" else cpu_model()
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": model,
        "threads": threads,
        "torch": version("torch"),
        "commit": str(source_facts().get("commit", "")),
    }


def cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def append(path: Path, row: dict[str, Any]) -> None:
    """Adds a row to the file; another set of columns begins a new one."""
    table = pa.Table.from_pylist([row])
    if path.exists():
        table = pa.concat_tables([pq.read_table(path), table], promote_options="permissive")
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


if __name__ == "__main__":
    main()
