"""What every kind of stage needs to run: its arithmetic and device, its corpus there, and tables of its scores."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from components.classification import TrackScores
from components.corpus import Corpus
from components.metrics import GenreScores, TaggingScores
from components.training import Compute
from study.corpus_cache import at_hand
from study.stage import StageRun

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """How numbers are computed, as far as it gives a result its meaning; resolved before the identity is taken.

    `batch_norm`: statistics of each worker's share of a batch, or of the whole batch (GPU only).
    """

    precision: Literal["float32", "bf16"] = "float32"
    batch_norm: Literal["local", "synchronised"] = "local"

    def __str__(self) -> str:
        return f"{self.precision} arithmetic, {self.batch_norm} BatchNorm statistics"


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A file of weights that were trained elsewhere."""

    name: str
    sha256: str


def compute(config: Any, run: StageRun) -> Compute:
    """The stage's arithmetic on the site's device."""
    arithmetic: Arithmetic = config.arithmetic
    return Compute(
        device=device(run),
        precision=arithmetic.precision,
        synchronise_batch_norm=arithmetic.batch_norm == "synchronised",
    )


def device(run: StageRun) -> str:
    """Where the stage's workers compute."""
    return "cuda" if run.site.resources_of(run.stage.kind.name).gpus_per_worker else "cpu"


def placed(network: nn.Module, run: StageRun) -> Any:
    """The network on the stage's device."""
    return network.to(device(run), memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def corpus_of(run: StageRun) -> Corpus:
    """The corpus on the stage's device; ValueError if the folder holds another one than the identity says."""
    corpus = Corpus.open(at_hand(run.corpus_path, run.site.corpus_cache))
    if corpus.digest != run.stage.corpus:
        raise ValueError(f"{run.corpus_path} has the digest {corpus.digest}, the stage needs {run.stage.corpus}")
    return corpus.to(device(run))


def metrics_of(measured: TaggingScores | GenreScores) -> dict[str, float]:
    """The scores over all classes."""
    return {name: value for name, value in vars(measured).items() if name != "tags"}


def score_tables(corpus: Corpus, scores: TrackScores, measured: TaggingScores | GenreScores) -> dict[str, pa.Table]:
    """The records' tables of a test: each track's scores and, for tagging, each tag's."""
    num_tracks, num_classes = scores.probabilities.shape
    targets = scores.targets if scores.targets.ndim == 2 else np.eye(num_classes)[scores.targets]
    tables = {
        "track_scores": pa.table(
            {
                "track": np.repeat(corpus.tracks["id"][scores.tracks], num_classes).tolist(),
                "class": list(corpus.classes) * num_tracks,
                "target": targets.astype(np.int8).ravel(),
                "score": scores.probabilities.ravel(),
            }
        )
    }
    if isinstance(measured, TaggingScores):
        rows = [{"class": tag.tag, "split": "test"} | vars(tag) for tag in measured.tags]
        tables["tag_metrics"] = pa.Table.from_pylist([{k: v for k, v in row.items() if k != "tag"} for row in rows])
    return tables
