"""The options of a search's command line."""

from dataclasses import dataclass

from study.cluster.successive_halving import Halving
from study.command.options import ExecutionOptions
from study.search.budget import Budget
from study.search.method import SamplerName


@dataclass(frozen=True, kw_only=True)
class SearchOptions(ExecutionOptions):
    """Where and how a search runs. The same command, run again, goes on with it. A larger budget makes it longer."""

    budget: str = "20"
    """Budget of each arm: a number of trials (30), seconds of training (3600s),
    or until Optuna's terminator ends the search (terminator)."""
    sampler: SamplerName = "tpe"
    """How values are drawn. exhaustive: every combination, in a space of choices."""
    objectives: tuple[str, ...] = ()
    """Metrics of the validation split, which are maximised, and duration_s, which is minimised.
    Default: the task's first metric."""
    arms: tuple[str, ...] = ()
    """The arms of the experiment to search for. Default: all."""
    name: str = ""
    """Name of the search. Default: the experiment's name and the preset."""
    seed: int = 0
    """Seed of the sampler and of the networks that are trained."""
    parallel: int = 2
    """Number of trials that run at once. Fastest: as many as the cluster can train.
    Another number is another search, since later trials learn from earlier ones."""
    early_stopping: bool = True
    """Bad trials are stopped early, by successive halving. --no-early-stopping: all trials are trained to their end."""
    grace_epochs: int | None = None
    """Epochs before a trial may be stopped early, and between validations. Default: a quarter of a stage's epochs."""
    reduction: int = 3
    """At each rung of the halving, about one in so many trials goes on."""
    optuna_storage: str = ""
    """Where Optuna keeps the search, such as postgresql://... Default: a SQLite file in the storage."""
    output: str = ""
    """File to write the winner to, as well. Default: only <storage>/searches/<name>-winner.json."""

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
        """When to stop stages of so many epochs early; None: never.

        ValueError if no stage could be stopped, or if there would be none to compare it with.
        """
        if not self.early_stopping:
            return None
        found = Halving(grace_epochs=self.grace(num_epochs), factor=self.reduction)
        if not found.rungs(num_epochs):
            raise ValueError(
                f"--grace-epochs is {found.grace_epochs}, and a stage has {num_epochs} epochs: none could be stopped "
                "early; give less, or --no-early-stopping"
            )
        trials = Budget.parsed(self.budget).trials
        if trials is not None and trials <= self.parallel:
            raise ValueError(
                f"--budget {trials} at --parallel {self.parallel}: no trial could be compared with an earlier one; "
                "give more trials, or --no-early-stopping"
            )
        return found

    def grace(self, num_epochs: int) -> int:
        return max(1, num_epochs // 4) if self.grace_epochs is None else self.grace_epochs
