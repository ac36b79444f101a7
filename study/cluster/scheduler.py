"""The scheduler: one Ray Tune run over the graph of stages.

A `Searcher` hands out stages whose parents are done, as many as the cluster can run at once, returns None while
nothing is ready, and FINISHED at the end. Each Tune trial runs a list of stages in one Ray Train `TorchTrainer`. The
store says what is done: the searcher is built from it at every start and keeps nothing that matters.
"""

import math
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from ray import tune
from ray.exceptions import RayActorError, RayError
from ray.train import TrainingFailedError
from ray.tune.search import Searcher

from study.cluster import connection
from study.cluster.execution import Execution
from study.records.records import Records
from study.stages.graph import StageGraph
from study.stages.progress import LOST, Progress
from study.stages.stage import Stage, StoppingRule
from study.store.store import Store

Resource = Mapping[str, float]


class Feed(Protocol):
    """Supplies stages that depend on the results of others, as a search does."""

    def more(self) -> Sequence[Stage]:
        """New stages; none while it waits for those that it gave before, and none at the end."""
        ...

    def rule_of(self, identity: str) -> StoppingRule | None:
        """When to stop one of its stages early."""
        ...


class StageSearcher(Searcher):
    """Hands out the stages of a graph, parents first. Stages may be added while it runs.

    `limit` and `present` give the CPUs and GPUs that the cluster can have and has; both are called each time.
    `feed` is asked for more stages before any is handed out.
    """

    def __init__(
        self,
        *,
        graph: StageGraph,
        store: Store,
        execution: Execution,
        progress: Progress,
        limit: Callable[[], Resource],
        present: Callable[[], Resource],
        feed: Feed | None = None,
    ) -> None:
        super().__init__(metric=None, mode=None)
        self._graph, self._store, self._execution, self._progress = graph, store, execution, progress
        self._limit, self._present, self._feed = limit, present, feed
        self._running: dict[str, list[Stage]] = {}
        progress.add(graph, store.done_identities(graph.identities))

    def add(self, stages: Iterable[Stage]) -> None:
        """Adds stages; those that need a stage that has failed under this command are skipped."""
        new = self._graph.add(stages)
        self._progress.add(self._graph, self._store.done_identities(stage.identity for stage in new))
        for stage in self._progress.of_state("failed"):
            self._skip_descendants(stage.stage)

    def suggest(self, trial_id: str) -> Any:
        """The configuration of the next Tune trial, None while there is nothing to do, FINISHED at the end."""
        while self._feed is not None and (more := self._feed.more()):
            self.add(more)
        ready = self._ready()
        self._note_shortage(ready)
        if not ready:
            return None if self._running else Searcher.FINISHED
        stages = self._batch(ready)
        resources, used, limit = self._execution.resources_of(stages[0].kind.name), self._used(), self._limit()
        if any(used[name] + amount > limit[name] + 1e-9 for name, amount in resources.total.items()):
            return None
        self._running[trial_id] = stages
        self._progress.start(stages[0].identity)
        config = {"stages": pickle.dumps(stages), "num_stages": len(stages), "resources": resources}
        if self._feed is None:
            return config
        rules = {stage.identity: self._feed.rule_of(stage.identity) for stage in stages}
        return config | {"rules": pickle.dumps(rules)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Restarted workers report stages again that have ended already. Such reports are ignored."""
        identity, state, error = result["stage"], result["state"], result.get("error", "")
        if state == "lost":
            self._lose(trial_id, error)
        elif identity in self._remaining(trial_id):
            if state == "running":
                self._progress.report(identity, result)
            elif state == "done" and self._store.done(identity) is None:
                self._end(
                    identity, "failed", f"done, but not seen in {self._execution.storage} from here: is it shared?"
                )
                self._start_next(trial_id)
            else:
                self._end(identity, state, error)
                self._start_next(trial_id)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if result and "stage" in result:
            self.on_trial_result(trial_id, result)
        self._lose(trial_id, LOST)
        del self._running[trial_id]

    def _lose(self, trial_id: str, error: str) -> None:
        """The first remaining stage fails: its processes were lost too often. The others wait again."""
        for identity in self._remaining(trial_id):
            if self._store.done(identity) is not None:
                self._end(identity, "done", "")
                continue
            Records(self._store).write_failure(self._graph[identity], error, {})
            self._end(identity, "failed", error)
            break
        untried = self._remaining(trial_id)
        self._running[trial_id] = [stage for stage in self._running[trial_id] if stage.identity not in untried]

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its searcher to restore it later. This one is built from the store instead."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store holds the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a searcher is built from the store."""

    def _remaining(self, trial_id: str) -> list[str]:
        identities = [stage.identity for stage in self._running[trial_id]]
        return [i for i in identities if self._progress.stages[i].state in ("waiting", "running")]

    def _ready(self) -> list[Stage]:
        """Stages that could run now. Those that most others wait for come first."""
        ready = [stage for stage in self._waiting() if self._is_open(stage, set())]
        return sorted(ready, key=lambda stage: -len(self._graph.descendants(stage.identity)))

    def _waiting(self) -> list[Stage]:
        """Stages that wait and have not been handed out."""
        given = {stage.identity for stages in self._running.values() for stage in stages}
        states = self._progress.stages
        return [s for s in self._graph if states[s.identity].state == "waiting" and s.identity not in given]

    def _is_open(self, stage: Stage, before: set[str]) -> bool:
        """Whether each of its parents is done or among those that run before it."""
        states = self._progress.stages
        parents = [parent.identity for parent in stage.parents.values()]
        return all(parent in before or states[parent].state == "done" for parent in parents)

    def _batch(self, ready: list[Stage]) -> list[Stage]:
        """The first ready stage, and others that run after it in the same processes, its descendants first.

        The list is one slot's share of all that is left. But one stage stays back for every other slot, so that no slot
        is idle while another one holds work.
        """
        batch, need = [ready[0]], self._execution.resources_of(ready[0].kind.name)
        waiting = [stage for stage in self._waiting() if self._execution.resources_of(stage.kind.name) == need]
        limit, amounts = self._limit(), need.total.items()
        # How many stages like the first one the cluster can run at once.
        slots = max(min(int(limit[name] // amount) for name, amount in amounts if amount), 1)
        given = sum(len(self._remaining(trial)) for trial in self._running)
        share = min(math.ceil((len(waiting) + given) / slots), len(waiting) - (slots - 1))
        length = min(self._execution.stages_per_trial, share)
        while len(batch) < length:
            taken = {stage.identity for stage in batch}
            open_now = [s for s in waiting if s.identity not in taken and self._is_open(s, taken)]
            if not open_now:
                break
            batch.append(max(open_now, key=lambda stage: any(p.identity in taken for p in stage.parents.values())))
        return batch

    def _used(self) -> dict[str, float]:
        """What the running stages take."""
        totals = [self._execution.resources_of(stages[0].kind.name).total for stages in self._running.values()]
        return {name: sum(total[name] for total in totals) for name in ("CPU", "GPU")}

    def _note_shortage(self, ready: list[Stage]) -> None:
        """Sets the notice while stages wait for machines that are not there yet."""
        wanted, present = self._used(), self._present()
        if ready and not self._running:
            wanted = self._execution.resources_of(ready[0].kind.name).total
        short = [
            f"{amount:g} {name} asked for, {present[name]:g} there"
            for name, amount in wanted.items()
            if amount > present[name]
        ]
        self._progress.notice = f"waiting for machines: {', '.join(short)}" if short else ""

    def _end(self, identity: str, state: Any, error: str) -> None:
        self._progress.end(identity, state, error)
        if state == "failed":
            self._skip_descendants(self._graph[identity])

    def _skip_descendants(self, failed: Stage) -> None:
        for descendant in self._graph.descendants(failed.identity):
            if self._progress.stages[descendant].state == "waiting":
                self._progress.end(descendant, "skipped", f"its parent failed: {failed.label}")

    def _start_next(self, trial_id: str) -> None:
        """Marks the first remaining stage of a list as running."""
        for identity in self._remaining(trial_id)[:1]:
            self._progress.start(identity)


def _cause(error: Any) -> str:
    """One line of what Ray says about lost processes."""
    failures = [*getattr(error, "worker_failures", {}).values(), getattr(error, "controller_failure", error)]
    lines = str(failures[0]).strip().splitlines()
    return lines[0 if isinstance(failures[0], RayError) else -1] if lines else type(failures[0]).__name__


class _Release(tune.Callback):
    """Gives back the CPUs and GPUs of a trial whose own process is lost. No other process does."""

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        connection.release_placement_group(trial.trial_id)


def schedule(
    searcher: StageSearcher, *, execution: Execution, command: str, facts: Mapping[str, str], scratch: str
) -> None:
    """Runs all stages of the searcher. `scratch`: where Tune and Train keep files that are not needed afterwards."""

    def run_trial(config: dict[str, Any]) -> None:
        group = tune.get_context().get_trial_id() or ""
        try:
            from study.cluster.worker import Work, train

            train(Work(**config, execution=execution, command=command, facts=dict(facts)), group=group, scratch=scratch)
        except Exception as error:
            connection.release_placement_group(group)
            lost = isinstance(error, TrainingFailedError | RayActorError)
            cause = f"{LOST}: {_cause(error)}" if lost else f"{type(error).__name__}: {error}"
            tune.report({"stage": "", "state": "lost", "error": cause})

    tuner = tune.Tuner(
        tune.with_resources(run_trial, {"memory": 1}),
        tune_config=tune.TuneConfig(
            search_alg=searcher, num_samples=-1, reuse_actors=True, trial_dirname_creator=lambda trial: trial.trial_id
        ),
        run_config=tune.RunConfig(name=f"tune-{command}", storage_path=scratch, verbose=0, callbacks=[_Release()]),
    )
    tuner.fit()
