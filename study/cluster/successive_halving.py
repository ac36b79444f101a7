"""Successive halving: Ray Tune's ASHA decides which stages go on, by the trials that ended before.

Trials that run at the same time do not count. With them, decisions would depend on which trial is faster, and no search
could be repeated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Halving:
    """When stages are judged: after `grace_epochs`, then `factor` times as many epochs each time.

    A stage goes on if it is then better than all but the best 1/`factor` of the trials before it.
    """

    grace_epochs: int
    factor: int = 3

    def __post_init__(self) -> None:
        if self.grace_epochs < 1 or self.factor < 2:
            raise ValueError(
                f"grace {self.grace_epochs} epochs and factor {self.factor}: at least 1 epoch and factor 2 are needed"
            )

    def rungs(self, num_epochs: int) -> list[int]:
        """The epochs after which a stage of this length may be stopped."""
        found, epoch = [], self.grace_epochs
        while epoch < num_epochs:
            found.append(epoch)
            epoch *= self.factor
        return found


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """All that Tune's scheduler needs to know of a trial."""

    trial_id: str


@dataclass(frozen=True, kw_only=True)
class HalvingRule:
    """The rule of one stage. `before`: of every trial that ended before it, the validated epochs and their values."""

    halving: Halving
    metric: str
    num_epochs: int
    before: Sequence[Mapping[int, float]]

    def __call__(self, epochs: Sequence[Mapping[str, Any]]) -> bool:
        from ray.tune.schedulers import ASHAScheduler

        scheduler: Any = ASHAScheduler(
            time_attr="epochs",
            metric=self.metric,
            mode="max",
            max_t=self.num_epochs,
            grace_period=self.halving.grace_epochs,
            reduction_factor=self.halving.factor,
        )
        own = validated(epochs, self.metric)
        stopped = False
        for number, values in enumerate([*self.before, own]):
            trial = _Trial(trial_id=str(number))
            scheduler.on_trial_add(None, trial)
            for epoch, value in sorted(values.items()):
                stopped = False
                if epoch < self.num_epochs:
                    decision = scheduler.on_trial_result(None, trial, {"epochs": epoch, self.metric: value})
                    stopped = decision == scheduler.STOP
        return stopped and bool(epochs) and int(epochs[-1]["epoch"]) + 1 in own


def validated(epochs: Sequence[Mapping[str, Any]], metric: str) -> dict[int, float]:
    """Number of epochs trained -> the metric, of those that were validated."""
    return {int(epoch["epoch"]) + 1: float(epoch[metric]) for epoch in epochs if metric in epoch}
