"""The scheduler: Ray Tune starts groups of workers, as many as have work and fit the cluster, and replaces lost ones.

Each Tune trial is one group. It runs stages in one Ray Train `TorchTrainer` until the dispatcher tells it to end. The
store says what is done: Tune keeps nothing that matters.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from ray import tune
from ray.exceptions import RayActorError, RayError
from ray.train import TrainingFailedError
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.search import Searcher

from study.cluster import connection
from study.cluster.clerk import Clerk, open_desk
from study.cluster.connection import ray
from study.cluster.desk import desk_name
from study.cluster.dispatcher import Dispatcher
from study.cluster.execution import Execution, Work
from study.cluster.group import run_group

AGAIN_AFTER_S = 5.0


class GroupSearcher(Searcher):
    """What Tune asks for its next trial: another group if stages wait for one, None if not, FINISHED at the end."""

    def __init__(self, dispatcher: Dispatcher, check: Callable[[], None]) -> None:
        super().__init__(metric=None, mode=None)
        self._dispatcher, self._check = dispatcher, check

    def suggest(self, trial_id: str) -> Any:
        self._check()
        if self._dispatcher.finished:
            return Searcher.FINISHED
        resources = self._dispatcher.wanted_group()
        if resources is None:
            return None
        self._dispatcher.start_group(trial_id, resources)
        return {"resources": resources}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The group is gone. If it could not tell why, the process that started it is lost."""
        self._dispatcher.end_group(trial_id, "the process that started them died")

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its searcher to restore it later. This one is built from the store instead."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store holds the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a searcher is built from the store."""


class _Release(TrialProgressCallback):
    """Gives back the CPUs and GPUs of a group whose own process is lost. No other process does.

    It takes the place of Tune's own callback of this class, which prints.
    """

    def _print(self, msg: str) -> None:
        """Nothing."""

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        connection.release_placement_groups(trial.trial_id)
        # What a process of the group was about to make when its own end reached it.
        again = threading.Timer(AGAIN_AFTER_S, connection.release_placement_groups, [trial.trial_id])
        again.daemon = True
        again.start()


class _WhenFinished(tune.Stopper):
    """Stops the groups that have not even started when all stages have ended."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._dispatcher.finished and self._dispatcher.only_starting

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as the searcher's."""
        return {}


def schedule(
    dispatcher: Dispatcher, *, execution: Execution, command: str, facts: Mapping[str, str], scratch: str
) -> None:
    """Runs groups until all stages have ended. `scratch`: where Tune and Train keep what is not needed afterwards."""

    def run_trial(config: dict[str, Any]) -> None:
        group = tune.get_context().get_trial_id() or ""
        try:
            work = Work(group=group, **config, execution=execution, command=command, facts=dict(facts))
            run_group(work, scratch=scratch)
        except Exception as error:
            connection.release_placement_groups(group)
            # Not by `tune.report`: a trial that reports while a report of Train's is on its way never ends.
            ending = {"about": "end", "group": group, "cause": _cause(error), "unplaced": _is_unplaced(error)}
            ray.get(ray.get_actor(desk_name(command)).tell.remote(ending))

    clerk = Clerk(open_desk(command), dispatcher)
    tuner = tune.Tuner(
        tune.with_resources(run_trial, {"memory": 1}),
        tune_config=tune.TuneConfig(
            search_alg=GroupSearcher(dispatcher, clerk.check),
            num_samples=-1,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=f"tune-{command}",
            storage_path=scratch,
            verbose=0,
            callbacks=[_Release()],
            stop=_WhenFinished(dispatcher),
        ),
    )
    with clerk:
        tuner.fit()
    clerk.check()


def _cause(error: Exception) -> str:
    """One line of what Ray says about lost processes."""
    if not isinstance(error, TrainingFailedError | RayActorError):
        return f"{type(error).__name__}: {error}"
    failures = [*getattr(error, "worker_failures", {}).values(), getattr(error, "controller_failure", error)]
    lines = str(failures[0]).strip().splitlines()
    if not lines:
        return type(failures[0]).__name__
    # Ray's own sentence is followed by what may have been the cause.
    return lines[0].split(". ")[0] if isinstance(failures[0], RayError) else lines[-1]


def _is_unplaced(error: Exception) -> bool:
    """Whether the group ended because the cluster had no room for it."""
    return isinstance(getattr(error, "controller_failure", None), WorkerGroupStartupTimeoutError)
