"""The scheduler: one Ray Tune run over the graph of stages.

A `Searcher` hands out stages whose parents are done, as many as the cluster can run at once, returns None while
nothing is ready, and FINISHED at the end. Each Tune trial runs a list of stages in one Ray Train `TorchTrainer`. What
is done is the store's to say: the searcher is built from it at every start and keeps nothing that matters.
"""

import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ray import tune
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.search import Searcher

from study.progress import Progress
from study.site import Site
from study.stage import Stage, StageGraph
from study.store import Store
from study.worker import Work, run_stages

LOST_WORKER_RETRIES = 3


Resource = Mapping[str, float]


class StageSearcher(Searcher):
    """Unfolds the graph in the order in which it can be trained. Stages may be added while it runs.

    `limit` and `present` tell the CPUs and GPUs that the cluster can have and has; both are asked anew each time.
    """

    def __init__(
        self,
        *,
        graph: StageGraph,
        store: Store,
        site: Site,
        progress: Progress,
        limit: Callable[[], Resource],
        present: Callable[[], Resource],
    ) -> None:
        super().__init__(metric=None, mode=None)
        self._graph, self._store, self._site, self._progress = graph, store, site, progress
        self._limit, self._present = limit, present
        self._running: dict[str, list[Stage]] = {}
        progress.add(graph, store.done_identities(graph.identities))

    def add(self, stages: Iterable[Stage]) -> None:
        new = self._graph.add(stages)
        self._progress.add(self._graph, self._store.done_identities(stage.identity for stage in new))

    def suggest(self, trial_id: str) -> Any:
        """The configuration of the next Tune trial, None while there is nothing to do, FINISHED at the end."""
        self._note_shortage()
        ready = self._ready()
        if not ready:
            return None if self._running else Searcher.FINISHED
        stages = self._batch(ready)
        if not self._fits(stages[0]):
            return None
        self._running[trial_id] = stages
        self._progress.start(stages[0].identity)
        return {"stages": stages}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        identity, state = result["stage"], result["state"]
        if state == "running":
            self._progress.report(identity, result)
        else:
            self._end(trial_id, identity, state, result.get("error", ""))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Stages that a trial leaves without a word were lost with its processes, again and again."""
        if result and result.get("stage") in self._remaining(trial_id) and result["state"] != "running":
            self.on_trial_result(trial_id, result)
        for identity in self._remaining(trial_id):
            done = self._store.done(identity) is not None
            self._end(trial_id, identity, "done" if done else "failed", "" if done else "its processes were lost")
        del self._running[trial_id]

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its searcher to restore it, and this one is built from the store instead."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store holds the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a searcher is built from the store."""

    def _remaining(self, trial_id: str) -> list[str]:
        identities = [stage.identity for stage in self._running[trial_id]]
        return [i for i in identities if self._progress.stages[i].state in ("waiting", "running")]

    def _ready(self) -> list[Stage]:
        """Waiting stages whose parents are done, those that most others wait for first."""
        states = self._progress.stages
        given = {stage.identity for stages in self._running.values() for stage in stages}
        ready = [
            stage
            for stage in self._graph
            if states[stage.identity].state == "waiting"
            and stage.identity not in given
            and all(states[parent.identity].state == "done" for parent in stage.parents.values())
        ]
        return sorted(ready, key=lambda stage: -len(self._graph.descendants(stage.identity)))

    def _batch(self, ready: list[Stage]) -> list[Stage]:
        """One stage, or several if far more are ready than can run: they share the start of their processes."""
        need = self._site.resources_of(ready[0].kind.name)
        alike = [stage for stage in ready if self._site.resources_of(stage.kind.name) == need]
        slots = max(self._slots(ready[0]), 1)
        return alike[: max(1, min(self._site.stages_per_trial, len(ready) // (2 * slots)))]

    def _slots(self, stage: Stage) -> int:
        """How many stages like this one the cluster can run at once."""
        need, limit = self._site.resources_of(stage.kind.name).total, self._limit()
        return min(int(limit[name] // amount) for name, amount in need.items() if amount)

    def _used(self) -> dict[str, float]:
        """What the running stages take."""
        totals = [self._site.resources_of(stages[0].kind.name).total for stages in self._running.values()]
        return {name: sum(total[name] for total in totals) for name in ("CPU", "GPU")}

    def _fits(self, stage: Stage) -> bool:
        need, used, limit = self._site.resources_of(stage.kind.name).total, self._used(), self._limit()
        return all(used[name] + amount <= limit[name] + 1e-9 for name, amount in need.items())

    def _note_shortage(self) -> None:
        """Says so while stages wait for machines that are not there yet."""
        used, present = self._used(), self._present()
        short = [
            f"{used[name]:g} {name} asked for, {present[name]:g} there" for name in used if used[name] > present[name]
        ]
        self._progress.notice = f"waiting for machines: {', '.join(short)}" if short else ""

    def _end(self, trial_id: str, identity: str, state: Any, error: str) -> None:
        self._progress.end(identity, state, error)
        self._start_next(trial_id)
        if state == "failed":
            label = self._graph[identity].label
            for descendant in self._graph.descendants(identity):
                if self._progress.stages[descendant].state == "waiting":
                    self._progress.end(descendant, "skipped", f"its parent failed: {label}")

    def _start_next(self, trial_id: str) -> None:
        waiting = [i for i in self._remaining(trial_id) if self._progress.stages[i].state == "waiting"]
        if waiting:
            self._progress.start(waiting[0])


def schedule(searcher: StageSearcher, *, site: Site, command: str, facts: Mapping[str, str], scratch: str) -> None:
    """Runs the searcher's stages to their end. `scratch` is where Tune and Train keep what nobody needs afterwards."""

    def run_trial(config: dict[str, Any]) -> None:
        work = Work(stages=config["stages"], site=site, command=command, facts=dict(facts))
        _trainer(work, scratch).fit()

    tuner = tune.Tuner(
        tune.with_resources(run_trial, {"memory": 1}),
        tune_config=tune.TuneConfig(search_alg=searcher, num_samples=-1, trial_dirname_creator=lambda t: t.trial_id),
        run_config=tune.RunConfig(name=f"tune-{command}", storage_path=scratch, verbose=0),
    )
    tuner.fit()


def _trainer(work: Work, scratch: str) -> TorchTrainer:
    resources = work.site.resources_of(work.stages[0].kind.name)
    uses_gpu = resources.gpus_per_worker > 0
    per_worker = {"CPU": resources.cpus_per_worker} | ({"GPU": resources.gpus_per_worker} if uses_gpu else {})
    return TorchTrainer(
        lambda config: run_stages(config["work"]),
        train_loop_config={"work": work},
        torch_config=TorchConfig(backend="nccl" if uses_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=resources.num_workers, use_gpu=uses_gpu, resources_per_worker=per_worker
        ),
        run_config=RunConfig(
            name=f"train-{uuid.uuid4().hex}",
            storage_path=scratch,
            failure_config=FailureConfig(max_failures=LOST_WORKER_RETRIES),
            callbacks=[TuneReportCallback()],
        ),
    )
