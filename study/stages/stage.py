"""A stage: one training that ends in one result. What it computes gives it its identity.

A stage's identity covers its kind and version, its configuration, its corpus' content and its parents. What does not
change the result (label, device, paths, number of workers) is not part of it.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa

from study.stages.identity import canonical, digest

_NAME = re.compile(r"[a-z][a-z0-9_-]*")


def _accept(config: Any, corpus_path: str, num_workers: int) -> None:
    """Nothing is refused."""


@dataclass(frozen=True, kw_only=True)
class StageKind:
    """What a stage does. `run` is a top-level function, so that it pickles; raise `version` when its results change.

    `check` gets a stage's configuration, the place of its corpus and the number of workers. It raises ValueError for
    what `run` would refuse, and is called before anything starts. `work` gets the first two and returns the stage's
    work in FLOPs. `memory` gets the first three, and how many bytes of features a worker may keep; it returns the bytes
    that each worker needs on a GPU.
    """

    name: str
    version: int
    run: "Callable[[StageRun], StageResult]" = field(compare=False)
    check: "Callable[[Any, str, int], None]" = field(default=_accept, compare=False)
    work: "Callable[[Any, str], float] | None" = field(default=None, compare=False)
    memory: "Callable[[Any, str, int, int], int] | None" = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"StageKind.name must be lower-case letters, digits, '-' and '_', got {self.name!r}")
        if type(self.version) is not int or self.version < 1:
            raise ValueError(f"StageKind.version must be an integer of at least 1, got {self.version!r}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """A kind with everything that gives its result meaning; stages of equal identity are equal.

    Attributes:
        config: a frozen dataclass, the run's seed included.
        corpus: content digest of the corpus.
        parents: the stages whose files this one reads, by role ("separator", "backend").
        label: for people, no part of the identity.
    """

    kind: StageKind
    config: Any
    corpus: str
    parents: "Mapping[str, Stage]" = field(default_factory=dict)
    label: str = ""

    def __post_init__(self) -> None:
        if not dataclasses.is_dataclass(self.config) or isinstance(self.config, type):
            raise ValueError(f"Stage.config must be a dataclass instance, got {self.config!r}")
        if not self.corpus:
            raise ValueError("Stage.corpus must be the corpus' content digest, got an empty string")
        object.__setattr__(self, "parents", dict(self.parents))

    @cached_property
    def canonical(self) -> dict[str, Any]:
        """What the identity is the SHA-256 of."""
        return {
            "kind": self.kind.name,
            "version": self.kind.version,
            "config": canonical(self.config),
            "corpus": self.corpus,
            "parents": {role: parent.identity for role, parent in self.parents.items()},
        }

    @cached_property
    def identity(self) -> str:
        """SHA-256 of the canonical form, 64 hexadecimal digits."""
        return digest(self.canonical)

    @cached_property
    def description(self) -> dict[str, Any]:
        """The canonical form with the fields at their legacy values too: for people, records and `difference`."""
        return self.canonical | {"config": canonical(self.config, with_legacy=True)}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stage) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    @cached_property
    def slug(self) -> str:
        """A file name for people, for example separation-vocals-seed-0-1f9c2a7e."""
        words = re.sub(r"[^a-z0-9]+", "-", (self.label or self.kind.name).lower()).strip("-")
        return f"{words}-{self.identity[:8]}"

    def __str__(self) -> str:
        return f"{self.label or self.kind.name} ({self.identity[:8]})"


class Pruned(Exception):  # noqa: N818 - no error: what has been trained so far is as it should be
    """Stops a stage early because its epochs promise little."""


# Takes the rows of the epochs so far; says whether to stop the stage after the last of them.
StoppingRule = Callable[[Sequence[Mapping[str, Any]]], bool]


@dataclass(frozen=True, kw_only=True)
class StageRun:
    """What a kind's `run` gets: its stage, its surroundings, and functions to read, save and report.

    Attributes:
        corpus_path: where this machine finds the corpus.
        execution: where and with what it runs; must not change the result's meaning.
        state: the last loop state that was saved for this stage, None at its first start.
        read_parent: (role, file name) -> the file of that parent's result.
        read_input: SHA-256 -> a file that the study was given.
        save_state: keeps a loop state from which the stage can go on.
        report: reports progress: "step", "num_steps", "metric", "value"; as "epoch" the row of the epoch that has
            just ended, as in `StageResult.epochs`; as "history" all rows since the stage's first start. Raises Pruned
            if the stage is not worth continuing.
    """

    stage: Stage
    corpus_path: str
    execution: Any = None
    state: bytes | None = None
    read_parent: Callable[[str, str], bytes]
    read_input: Callable[[str], bytes]
    save_state: Callable[[bytes], None]
    report: Callable[[dict[str, Any]], None]

    def read(self, role: str, name: str) -> bytes:
        """A file of the parent in a role; ValueError if the stage has no such parent."""
        if role not in self.stage.parents:
            raise ValueError(f"{self.stage} has no parent {role!r}; it has {sorted(self.stage.parents)}")
        return self.read_parent(role, name)


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What a kind's `run` returns.

    Attributes:
        metrics: the stage's final numbers.
        epochs: one row per epoch: "epoch", "step" (int), "phase" (str), "duration_s" [s]; any other key is a metric.
        tables: rows for the records by table name, without the columns that name the stage.
        files: what children and reports read, by name, for example weights.
        facts: what is recorded and not hashed: device, precision, versions.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    facts: Mapping[str, str | int | float] = field(default_factory=dict)
