"""Execution: where and with what stages run. It is recorded, not hashed: it must not change what a result means."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Compile = Literal["auto", "always", "never"]


class ClusterLostError(Exception):
    """Ray itself has failed, not a stage. What is done stays done."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one stage takes: `num_workers` processes, each with its CPUs (as many threads) and GPUs."""

    num_workers: int = 1
    cpus_per_worker: int = 1
    gpus_per_worker: float = 0.0

    def __post_init__(self) -> None:
        for name in ("num_workers", "cpus_per_worker"):
            if getattr(self, name) < 1:
                raise ValueError(f"Resources.{name} is {getattr(self, name)}; it must be at least 1")
        if self.gpus_per_worker < 0:
            raise ValueError(f"Resources.gpus_per_worker is {self.gpus_per_worker}; it must be at least 0")
        if self.num_workers > 1 and 0 < self.gpus_per_worker < 1:
            raise ValueError(
                f"Resources.gpus_per_worker is {self.gpus_per_worker} with {self.num_workers} workers; "
                "NCCL refuses two workers on one GPU: give whole GPUs, or one worker"
            )

    @property
    def total(self) -> dict[str, float]:
        each = {"CPU": float(self.cpus_per_worker), "GPU": float(self.gpus_per_worker)}
        return {name: self.num_workers * amount for name, amount in each.items()}

    def __str__(self) -> str:
        gpus = f" and {self.gpus_per_worker:g} GPU" if self.gpus_per_worker else ""
        return f"{self.num_workers} worker(s) x {self.cpus_per_worker} CPU{gpus}"


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Places and resources.

    Attributes:
        storage: the store's path or URI; every machine of the cluster must reach it.
        corpora: content digest -> folder or, with a cache, the address of an object store.
        corpus_cache: a folder on every machine's own disk for copies of the corpora; "" to use them where they are.
        resources: by stage kind; `default_resources` for a kind that is not named.
        checkpoint_every_s: seconds between loop states, 0 for one after every step.
        feature_memory_bytes: how much one worker may keep of frozen networks' features.
        compile: whether training steps are compiled; "auto": on a GPU, where a stage is long enough to repay it.
        max_cpus, max_gpus: what the cluster can grow to; None for what it has now.
        hung_after_s: a worker that shows no sign of life for so long counts as lost.
    """

    storage: str
    corpora: Mapping[str, str] = field(default_factory=dict)
    corpus_cache: str = ""
    resources: Mapping[str, Resources] = field(default_factory=dict)
    default_resources: Resources = Resources()
    checkpoint_every_s: float = 60.0
    feature_memory_bytes: int = 2 * 2**30
    compile: Compile = "auto"
    max_cpus: int | None = None
    max_gpus: int | None = None
    hung_after_s: float = 1800.0

    def __post_init__(self) -> None:
        if not self.hung_after_s > 0:
            raise ValueError(f"Execution.hung_after_s is {self.hung_after_s}; it must be above 0")

    def grown(self, present: Mapping[str, float]) -> dict[str, float]:
        """CPUs and GPUs for all stages together: what the cluster may grow to if that is given, else what is there."""
        given = {"CPU": self.max_cpus, "GPU": self.max_gpus}
        return {name: amount if given[name] is None else float(given[name] or 0) for name, amount in present.items()}

    def resources_of(self, kind: str) -> Resources:
        return self.resources.get(kind, self.default_resources)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a group of workers needs to begin. Each process has `resources`.

    `group`: its name. `command`: the id of the command that it works for. A failure is final for that command only.
    """

    group: str
    resources: Resources
    execution: Execution
    command: str
    facts: dict[str, str]


def default_storage(study: str) -> str:
    """$STUDY_STORAGE, else a folder in the home directory: under a job the working directory is a temporary copy."""
    return os.environ.get("STUDY_STORAGE") or str(Path.home() / "studies" / study)
