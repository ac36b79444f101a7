"""The options of an experiment's command line, and what they say about places and resources."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from study.cluster.execution import Execution, Resources
from study.kinds.arithmetic import Arithmetic


@dataclass(frozen=True, kw_only=True)
class ExecutionOptions:
    """Where and how stages are trained, whatever they are for."""

    preset: str = "demo"
    """Sizes, schedules and corpora by name."""
    storage: str = ""
    """Folder or URI of the store. Default: $STUDY_STORAGE, else ~/studies/<study>."""
    plan: bool = False
    """Print what would run, then stop. What stages are known by is made first: corpora, weights."""
    separation_corpus: str | None = None
    """Folder of a separation corpus or, with a cache, its address. Default: generated."""
    tagging_corpus: str | None = None
    """Folder or address of a tagging corpus. Default: generated."""
    genre_corpus: str | None = None
    """Folder or address of a genre corpus. Default: generated."""
    corpus_cache: str = ""
    """Folder on every machine's own disk, such as '$TMPDIR/corpora', to which given corpora are copied once: from
    s3://..., or a slow mount."""
    imagenet_weights: str = ""
    """File of a vision transformer's weights (.npz or .safetensors). Default: fetched from the hub that timm uses."""
    verify: bool = False
    """Read every corpus whole and compare it with its checksum first."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """Arithmetic of the networks; auto: bf16 where the CPU or the GPU computes in it. Part of a stage's identity."""
    workers: int = 1
    """Workers that train one stage together."""
    cpus_per_worker: int = 1
    """CPUs, and so threads, of each worker."""
    gpus_per_worker: float = 0.0
    """GPUs of each worker; a fraction lets stages share one."""
    max_cpus: int | None = None
    """CPUs that the cluster can grow to. Default: what it has."""
    max_gpus: int | None = None
    """GPUs that the cluster can grow to. Default: what it has."""
    checkpoint_every_s: float = 60.0
    """Seconds between the loop states from which a killed stage goes on."""
    stages_per_trial: int = 16
    """At most so many stages run one after the other in the same processes, which saves their start."""

    def __post_init__(self) -> None:
        if not self.checkpoint_every_s >= 0:
            raise ValueError(f"--checkpoint-every-s is {self.checkpoint_every_s}; give at least 0")
        for name in ("max_cpus", "max_gpus"):
            amount = getattr(self, name)
            if amount is not None and amount < 0:
                raise ValueError(f"--{name.replace('_', '-')} is {amount}; give at least 0")

    @property
    def given_corpora(self) -> dict[str, str | None]:
        """Folders by kind; None where the corpus is to be generated."""
        return {"separation": self.separation_corpus, "tagging": self.tagging_corpus, "genre": self.genre_corpus}

    def execution(self, storage: str, corpora: Mapping[str, str]) -> Execution:
        """What these options say about places and resources; `corpora` maps content digests to folders."""
        resources = Resources(
            num_workers=self.workers, cpus_per_worker=self.cpus_per_worker, gpus_per_worker=self.gpus_per_worker
        )
        return Execution(
            storage=storage,
            corpora=corpora,
            corpus_cache=self.corpus_cache,
            default_resources=resources,
            checkpoint_every_s=self.checkpoint_every_s,
            max_cpus=self.max_cpus,
            max_gpus=self.max_gpus,
            stages_per_trial=self.stages_per_trial,
        )

    def arithmetic(self) -> Arithmetic:
        """The arithmetic that is asked for or, for "auto", the one that this machine is quick at."""
        uses_gpu = self.gpus_per_worker > 0
        precision = self.precision
        if precision == "auto":
            precision = "bf16" if uses_gpu or _cpu_has_bf16() else "float32"
        return Arithmetic(precision=precision, batch_norm="synchronised" if uses_gpu else "local")


@dataclass(frozen=True, kw_only=True)
class Options(ExecutionOptions):
    """Where and how a study runs. Running the same command again does what is missing and nothing else."""

    seeds: int | None = None
    """Number of seeds, 0 to n-1. Default: the experiment's own."""
    hyperparameters: str = ""
    """File of a search's winner: its values for the last stage of all arms, or of each arm its own. Default: the
    preset's."""
    explain: str = ""
    """A run, as "arm/seed0": which of its stages are done, and what changed in the others. Then stop."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seeds is not None and self.seeds < 1:
            raise ValueError(f"--seeds is {self.seeds}; give at least 1")


def corpora_folder(storage: str) -> Path:
    """Where corpora are generated: in the store. ValueError for a bucket, which no machine can map into its memory."""
    if "://" in storage:
        raise ValueError(f"--storage {storage} is no folder: give the corpora's folders with --<kind>-corpus")
    return Path(storage) / "corpora"


def _cpu_has_bf16() -> bool:
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported())
