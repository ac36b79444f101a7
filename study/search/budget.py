"""Budget: how long a search goes on."""

import warnings
from dataclasses import dataclass

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.terminator import EMMREvaluator, MedianErrorEvaluator, Terminator

TERMINATOR = "terminator"
FEWEST_FOR_TERMINATOR = 20
# It fits Gaussian processes to all trials.
TERMINATOR_EVERY = 5


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Trials, seconds that their last stages train, or until Optuna's terminator expects less of more than noise gives.

    Exactly one of them is given.
    """

    trials: int | None = None
    stage_seconds: float | None = None
    until_worthless: bool = False

    @classmethod
    def parsed(cls, text: str) -> "Budget":
        """From "30", "3600s" or "terminator"; ValueError for anything else."""
        if text == TERMINATOR:
            return cls(until_worthless=True)
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

    def allows(self, num_asked: int, seconds: float, *, is_worthless: bool) -> bool:
        """Whether one trial more may be asked for."""
        if self.trials is not None:
            return num_asked < self.trials
        return seconds < self.stage_seconds if self.stage_seconds is not None else not is_worthless


def is_worthless(study: optuna.Study) -> bool:
    """Whether Optuna's terminator expects less of one trial more than what noise makes of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        improvement = EMMREvaluator(seed=0)
        error = MedianErrorEvaluator(improvement, n_initial_trials=FEWEST_FOR_TERMINATOR)
        terminator = Terminator(improvement, error_evaluator=error, min_n_trials=FEWEST_FOR_TERMINATOR)
        return bool(terminator.should_terminate(study))
