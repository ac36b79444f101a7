"""The options of a search's command line."""

from dataclasses import dataclass

from study.cluster.halving import Halving
from study.command.options import ExecutionOptions
from study.search.budget import Budget
from study.search.method import SamplerName


@dataclass(frozen=True, kw_only=True)
class SearchOptions(ExecutionOptions):
    """Where and how a search runs. Running the same command again goes on with it; a larger budget makes it longer."""

    budget: str = "20"
    """For each arm: trials (30), seconds of their training (3600s), or until Optuna's terminator (terminator)."""
    sampler: SamplerName = "tpe"
    """Who asks for values; exhaustive takes every combination of a space of choices."""
    objectives: tuple[str, ...] = ()
    """Metrics of the validation split to maximise, and duration_s to minimise. Default: the task's first metric."""
    arms: tuple[str, ...] = ()
    """Which of the experiment's arms to search for. Default: all."""
    name: str = ""
    """The search's name. Default: the experiment's."""
    seed: int = 0
    """Of the sampler, and of the networks that are trained."""
    parallel: int = 2
    """Trials on their way at once. Part of what the search asks for: as many as the cluster can train is quick."""
    early_stopping: bool = True
    """Give trials up early by successive halving."""
    grace_epochs: int | None = None
    """Epochs before a trial may be given up, and between validations. Default: a quarter of a stage's."""
    reduction: int = 3
    """One in so many trials goes on from one rung to the next."""
    optuna_storage: str = ""
    """Where Optuna keeps the search, such as postgresql://... Default: a SQLite file in the storage."""
    output: str = ""
    """Where the winner is written to. Default: <storage>/searches/<name>-winner.json."""

    def __post_init__(self) -> None:
        super().__post_init__()
        Budget.parsed(self.budget)
        if self.seed < 0:
            raise ValueError(f"--seed is {self.seed}; give at least 0")
        if self.parallel < 1:
            raise ValueError(f"--parallel is {self.parallel}; give at least 1")
        if self.grace_epochs is not None and self.grace_epochs < 1:
            raise ValueError(f"--grace-epochs is {self.grace_epochs}; give at least 1")
        if self.reduction < 2:
            raise ValueError(f"--reduction is {self.reduction}; give at least 2")
        if self.early_stopping and len(self.objectives) > 1:
            raise ValueError("early stopping compares one objective, several are given: add --no-early-stopping")
        if self.early_stopping and self.objectives == ("duration_s",):
            raise ValueError("early stopping compares a metric, not duration_s: add --no-early-stopping")

    def halving(self, num_epochs: int) -> Halving | None:
        """When to give up stages of so many epochs; ValueError where none could be, or nothing to compare them with."""
        if not self.early_stopping:
            return None
        found = Halving(grace_epochs=self.grace(num_epochs), factor=self.reduction)
        if not found.rungs(num_epochs):
            raise ValueError(
                f"--grace-epochs is {found.grace_epochs}, and a stage has {num_epochs} epochs: none could be given up; "
                "give less, or --no-early-stopping"
            )
        trials = Budget.parsed(self.budget).trials
        if trials is not None and trials <= self.parallel:
            raise ValueError(
                f"--budget {trials} at --parallel {self.parallel}: no trial would have one before it to be compared "
                "with; give more trials, or --no-early-stopping"
            )
        return found

    def grace(self, num_epochs: int) -> int:
        return max(1, num_epochs // 4) if self.grace_epochs is None else self.grace_epochs
