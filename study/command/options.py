"""The options of an experiment's command line, and the places and resources that they describe."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from study.cluster.execution import Execution, Resources
from study.kinds.arithmetic import Arithmetic


@dataclass(frozen=True, kw_only=True)
class ExecutionOptions:
    """Where and how stages are trained, for a study or for a search."""

    preset: str = "demo"
    """Name of the sizes, schedules and corpora to use."""
    storage: str = ""
    """Folder or URI of the store. Default: $STUDY_STORAGE, else ~/studies/<study>."""
    plan: bool = False
    """Print what would run, then stop. Missing corpora and weights are made first: stages depend on them."""
    separation_corpus: str | None = None
    """Folder of a separation corpus or, with --corpus-cache, its address. Default: a generated corpus."""
    tagging_corpus: str | None = None
    """Folder or address of a tagging corpus. Default: a generated corpus."""
    genre_corpus: str | None = None
    """Folder or address of a genre corpus. Default: a generated corpus."""
    corpus_cache: str = ""
    """Folder on each machine's own disk, such as '$TMPDIR/corpora'.
    Given corpora are copied there once, for example from s3://... or from a slow mount."""
    imagenet_weights: str = ""
    """File with a vision transformer's weights (.npz or .safetensors).
    Default: downloaded from the hub that timm uses."""
    start_separator: str = ""
    """Folder of a separator that experiments/export.py made. Arms of its source take it and train none."""
    start_backend: str = ""
    """Folder of a bare backend that experiments/export.py made. Backends of its kind start from it, not at random."""
    verify: bool = False
    """First read every corpus whole and compare it with its checksum."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """Arithmetic of the networks. auto: bf16 if the CPU or the GPU supports it. Part of a stage's identity."""
    workers: int = 1
    """Number of workers that train one stage together."""
    cpus_per_worker: int = 1
    """CPUs of each worker, and so its threads."""
    gpus_per_worker: float = 0.0
    """GPUs of each worker. With a fraction, stages share a GPU."""
    compile: Literal["auto", "always", "never"] = "auto"
    """Whether training steps are compiled. auto: on a GPU, where a stage is long enough to repay it."""
    max_cpus: int | None = None
    """CPUs that the cluster can grow to. Default: what it has now."""
    max_gpus: int | None = None
    """GPUs that the cluster can grow to. Default: what it has now."""
    checkpoint_every_s: float = 60.0
    """Seconds between saved loop states. A killed stage goes on from the last one."""
    hung_after_s: float = 1800.0
    """Seconds without a sign of life after which a stage's processes count as lost. It then goes on in others."""
    stages_per_trial: int | None = None
    """Refused: it has no meaning any more. Processes stay, and take one stage after another."""

    def __post_init__(self) -> None:
        if not self.checkpoint_every_s >= 0:
            raise ValueError(f"--checkpoint-every-s is {self.checkpoint_every_s}; give at least 0")
        if not self.hung_after_s > 0:
            raise ValueError(f"--hung-after-s is {self.hung_after_s}; give more than 0")
        if self.stages_per_trial is not None:
            raise ValueError("--stages-per-trial is gone: leave it out. Processes now take one stage after another")
        for name in ("max_cpus", "max_gpus"):
            amount = getattr(self, name)
            if amount is not None and amount < 0:
                raise ValueError(f"--{name.replace('_', '-')} is {amount}; give at least 0")

    @property
    def given_corpora(self) -> dict[str, str | None]:
        """Kind -> folder or address; None: the corpus is to be generated."""
        return {"separation": self.separation_corpus, "tagging": self.tagging_corpus, "genre": self.genre_corpus}

    def execution(self, storage: str, corpora: Mapping[str, str]) -> Execution:
        """The places and resources of these options; `corpora`: content digest -> folder or address."""
        resources = Resources(
            num_workers=self.workers, cpus_per_worker=self.cpus_per_worker, gpus_per_worker=self.gpus_per_worker
        )
        return Execution(
            storage=storage,
            corpora=corpora,
            corpus_cache=self.corpus_cache,
            default_resources=resources,
            checkpoint_every_s=self.checkpoint_every_s,
            compile=self.compile,
            max_cpus=self.max_cpus,
            max_gpus=self.max_gpus,
            hung_after_s=self.hung_after_s,
        )

    def arithmetic(self) -> Arithmetic:
        """The arithmetic of these options; "auto" becomes what is fast on this machine."""
        uses_gpu = self.gpus_per_worker > 0
        precision = self.precision
        if precision == "auto":
            precision = "bf16" if uses_gpu or _cpu_has_bf16() else "float32"
        return Arithmetic(precision=precision, batch_norm="synchronised" if uses_gpu else "local")


@dataclass(frozen=True, kw_only=True)
class Options(ExecutionOptions):
    """Where and how a study runs. The same command, run again, trains what is missing and nothing else."""

    seeds: int | None = None
    """Number of seeds: n gives the seeds 0 to n-1. Default: the experiment's seeds."""
    first_seed: int = 0
    """Added to every seed: the same study once more, with others."""
    hyperparameters: str = ""
    """Winner file of a search: one set of values for the last stage of all arms, or one for each arm.
    Default: the preset's values."""
    explain: str = ""
    """A run, such as "arm/seed0". Print which of its stages are done and what changed in the others, then stop."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seeds is not None and self.seeds < 1:
            raise ValueError(f"--seeds is {self.seeds}; give at least 1")
        if not 0 <= self.first_seed < 2**31:
            raise ValueError(f"--first-seed is {self.first_seed}; give 0 to {2**31 - 1}")


def corpora_folder(storage: str) -> Path:
    """Where corpora are generated: in the store. ValueError for a bucket: a machine cannot map it into its memory."""
    if "://" in storage:
        raise ValueError(f"--storage {storage} is no folder: give the corpora's folders with --<kind>-corpus")
    return Path(storage) / "corpora"


def _cpu_has_bf16() -> bool:
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported())
