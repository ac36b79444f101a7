"""How and where a stage computes: its arithmetic and device, its network and corpus there."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from components.corpora.corpus import Corpus
from components.training.loop import Compute
from study.corpora.cache import local_copy
from study.stages.stage import StageRun


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
    return corpus.to(device_of(run))
