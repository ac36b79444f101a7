"""How and where a stage computes: its arithmetic and device, its network and corpus there."""

import os
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn

from components.corpora.corpus import Corpus
from components.training.loop import Compute
from study.corpora.cache import local_copy, own_folder
from study.stages.stage import StageRun

# On an H100 a compiled step is 6 to 13 ms shorter than a captured one. Compiling takes 40 to 75 s once for a network
# and machine, and some 10 s more for each stage.
COMPILE_FROM_STEPS = 4000


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """How numbers are computed, as far as results depend on it. It is resolved before the identity is computed.

    `batch_norm`: statistics over each worker's share of a batch, or over the whole batch (GPU only).
    """

    precision: Literal["float32", "bf16"] = "float32"
    batch_norm: Literal["local", "synchronised"] = "local"

    def __str__(self) -> str:
        return f"{self.precision} arithmetic, {self.batch_norm} BatchNorm statistics"


def compute_of(config: Any, run: StageRun) -> Compute:
    """The stage's arithmetic on its device."""
    arithmetic: Arithmetic = config.arithmetic
    return Compute(
        device=device_of(run),
        precision=arithmetic.precision,
        synchronise_batch_norm=arithmetic.batch_norm == "synchronised",
    )


def quickened(compute: Compute, num_steps: int, run: StageRun) -> Compute:
    """With compiled and captured steps if a stage of `num_steps` steps repays it: on a GPU, and a compiler's time.

    This is no part of the identity, as the GPU's model is none: the same numbers are computed in the same precision,
    and rounded at other places. It depends on nothing but the stage and its device, so that resume stays exact.
    """
    compile_steps, is_gpu = run.execution.compile, compute.device != "cpu"
    repays = is_gpu and num_steps >= COMPILE_FROM_STEPS
    is_compiled = compile_steps == "always" or (compile_steps == "auto" and repays)
    if is_compiled:
        _prepare_compiler(run)
    return replace(compute, compile=is_compiled, capture=is_gpu and compile_steps != "never")


def _prepare_compiler(run: StageRun) -> None:
    """Compiled steps are kept beside copies of corpora, else where torch keeps them on the machine's own disk."""
    threads = run.execution.resources_of(run.stage.kind.name).cpus_per_worker
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(threads))
    if run.execution.corpus_cache:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(own_folder(run.execution.corpus_cache) / "compiled"))


def device_of(run: StageRun) -> str:
    """Where the stage's workers compute."""
    return "cuda" if run.execution.resources_of(run.stage.kind.name).gpus_per_worker else "cpu"


def on_device(network: nn.Module, run: StageRun) -> Any:
    """The network on the stage's device."""
    return network.to(device_of(run), memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def open_corpus(run: StageRun) -> Corpus:
    """The corpus on the stage's device; ValueError if the folder holds another corpus than the identity says."""
    corpus = Corpus.open(local_copy(run.corpus_path, run.execution.corpus_cache))
    if corpus.digest != run.stage.corpus:
        raise ValueError(f"{run.corpus_path} has the digest {corpus.digest}, the stage needs {run.stage.corpus}")
    return corpus.to(device_of(run), _corpus_bytes(run))


def _corpus_bytes(run: StageRun) -> int | None:
    """How much of a GPU's memory a corpus may take: half of the worker's share. None without a GPU."""
    share = run.execution.resources_of(run.stage.kind.name).gpus_per_worker
    return round(torch.cuda.get_device_properties().total_memory * min(1.0, share) / 2) if share else None
