"""Budget: how long a search goes on."""

import warnings
from dataclasses import dataclass

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.terminator import EMMREvaluator, MedianErrorEvaluator, Terminator

TERMINATOR = "terminator"
FEWEST_FOR_TERMINATOR = 20
# The terminator is slow: it fits Gaussian processes to all trials.
TERMINATOR_EVERY = 5


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The end of a search: so many trials, so many seconds of training, or Optuna's terminator.

    Exactly one of them is given. The seconds are those of the trials' last stages. The terminator ends a search when
    another trial promises less improvement than noise gives.
    """

    trials: int | None = None
    stage_seconds: float | None = None
    until_terminator: bool = False

    @classmethod
    def parsed(cls, text: str) -> "Budget":
        """From "30", "3600s" or "terminator"; ValueError for anything else."""
        if text == TERMINATOR:
            return cls(until_terminator=True)
        number, is_time = text.removesuffix("s"), text.endswith("s")
        try:
            amount = float(number) if is_time else int(number)
        except ValueError:
            amount = -1
        if not 0 < amount < float("inf"):
            raise ValueError(f"--budget {text!r}: give trials (30), seconds of training (3600s), or {TERMINATOR}")
        return cls(stage_seconds=amount) if is_time else cls(trials=int(amount))

    def __str__(self) -> str:
        if self.trials is not None:
            return f"{self.trials} trials"
        return (
            f"{self.stage_seconds:g} s of training" if self.stage_seconds is not None else "until Optuna's terminator"
        )

    def allows(self, num_asked: int, seconds: float, *, terminated: bool) -> bool:
        """Whether one more trial may be asked for."""
        if self.trials is not None:
            return num_asked < self.trials
        return seconds < self.stage_seconds if self.stage_seconds is not None else not terminated


def should_terminate(study: optuna.Study) -> bool:
    """Whether Optuna's terminator expects less improvement from one more trial than noise gives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        improvement = EMMREvaluator(seed=0)
        error = MedianErrorEvaluator(improvement, n_initial_trials=FEWEST_FOR_TERMINATOR)
        terminator = Terminator(improvement, error_evaluator=error, min_n_trials=FEWEST_FOR_TERMINATOR)
        return bool(terminator.should_terminate(study))
