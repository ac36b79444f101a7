"""The worker: it runs in Ray Train's processes, one stage after the other, and writes all results into the store.

An error in a stage is an outcome, not a crash: it is recorded and reported, and the next stage runs. Ray Train retries
only lost processes and nodes.
"""

import os
import pickle
import platform
import socket
import time
import uuid
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import ray.train
import torch
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.collective import broadcast_from_rank_zero
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.tune.integration.ray_train import TuneReportCallback
from torch import distributed

from study.cluster.connection import NoProcessGroup, PlacementGroupRecorder
from study.cluster.execution import Execution, Resources
from study.records.records import Records
from study.records.stage_log import StageLog, log_path
from study.records.store_to_tables import check_result
from study.records.tensorboard import TensorBoardLog
from study.stages.progress import LOST
from study.stages.stage import Pruned, Stage, StageRun, StoppingRule
from study.store.attempt import Attempt, begin_attempt
from study.store.store import Store

LOST_WORKER_RETRIES = 3
REPORT_EVERY_S = 8.0


@dataclass(frozen=True, kw_only=True)
class Work:
    """The stages that a group of workers runs. Each process has `resources`.

    `stages` (`num_stages` of them) are pickled, so that Tune's process need not import their classes. So are `rules`,
    by the identities of the stages that may be stopped early. `command`: the id of the command that asked for them. A
    failure is final for that command only.
    """

    stages: bytes
    rules: bytes = pickle.dumps({})
    num_stages: int
    resources: Resources
    execution: Execution
    command: str
    facts: dict[str, str]


class StageTrainer(TorchTrainer):
    """A TorchTrainer without two processes per run that do nothing for stages.

    One serves Ray Data. The other polls the controller to free its placement group, as `release_placement_group` does
    here.
    """

    def _create_default_callbacks(self) -> list[Any]:
        unused = (DatasetsCallback, PlacementGroupCleanerCallback)
        return [callback for callback in super()._create_default_callbacks() if not isinstance(callback, unused)]


def train(work: Work, *, group: str, scratch: str) -> None:
    """Runs the stages in a group of workers, which the Tune trial `group` starts and which report to it."""
    resources = work.resources
    uses_gpu = resources.gpus_per_worker > 0
    per_worker = {"CPU": resources.cpus_per_worker} | ({"GPU": resources.gpus_per_worker} if uses_gpu else {})
    alone = resources.num_workers == 1
    trainer = StageTrainer(
        lambda config: run_stages(pickle.loads(config["work"])),
        # Pickled, so that Train's controller need not import its classes.
        train_loop_config={"work": pickle.dumps(work)},
        torch_config=NoProcessGroup() if alone else TorchConfig(backend="nccl" if uses_gpu else "gloo"),  # pyright: ignore[reportArgumentType]
        scaling_config=ScalingConfig(
            num_workers=resources.num_workers, use_gpu=uses_gpu, resources_per_worker=per_worker
        ),
        run_config=RunConfig(
            # A name that was used before would load what Train left there.
            name=f"train-{uuid.uuid4().hex}",
            storage_path=scratch,
            # The workers count the losses of each stage; Train must not give up before they have.
            failure_config=FailureConfig(max_failures=work.num_stages * (LOST_WORKER_RETRIES + 1)),
            callbacks=[TuneReportCallback(), PlacementGroupRecorder(group)],  # pyright: ignore[reportArgumentType]
        ),
    )
    trainer.fit()


def run_stages(work: Work) -> None:
    """Ray Train's loop per worker: runs what is not done yet; reports each stage's progress and its end."""
    torch.set_num_threads(work.resources.cpus_per_worker)
    # Another launcher, such as torchrun, may have set this in the environment that Ray was started in.
    os.environ["WORLD_SIZE"] = str(_num_workers())
    try:
        store, stages = Store(work.execution.storage), pickle.loads(work.stages)
    except Exception as error:
        # Another try would fail as well: this machine lacks the code or the storage.
        ray.train.report({"stage": "", "state": "lost", "error": f"on {socket.gethostname()}: {error!r}"})
        return
    for stage in stages:
        outcome = _run_unless_settled(stage, store, work)
        ray.train.report({"stage": stage.identity, **outcome})


def _run_unless_settled(stage: Stage, store: Store, work: Work) -> dict[str, Any]:
    plan: dict[str, Any] = broadcast_from_rank_zero(_plan(stage, store, work) if _rank() == 0 else None)  # pyright: ignore[reportAssignmentType]
    if "outcome" in plan:
        return plan["outcome"]
    attempt = Attempt(store, stage.identity, plan["attempt"])
    with StageLog(store.storage, stage, _rank()) as log:
        log.info("attempt %s on %s", attempt.name, socket.gethostname())
        reports = _Reports(stage, pickle.loads(work.rules).get(stage.identity))
        try:
            outcome = _run(stage, store, attempt, work, state=plan["state"], reports=reports)
        except Pruned:
            outcome = {"state": "pruned"}
            log.info("stopped early after %d epochs", len(reports.all_epochs))
            if _rank() == 0:
                attempt.prune(reports.all_epochs)
        except Exception as error:
            if _num_workers() == 1 and store.done(stage.identity):
                log.info("another command has finished it")
                return {"state": "done"}
            log.exception("failed")
            if _is_no_fault_of_the_stage(error):
                # New processes try it again, or find the failure that another worker has recorded.
                raise
            attempt.fail(error)
            Records(store).write_attempt(stage.identity, attempt.name)
            if _num_workers() > 1:
                # The others wait inside a collective call: only the end of their processes frees them. The restarted
                # group finds the recorded failure and goes on with the next stage.
                raise
            return _failure(f"{type(error).__name__}: {error}")
        if _rank() == 0:
            Records(store).write_attempt(stage.identity, attempt.name)
    return outcome


def _plan(stage: Stage, store: Store, work: Work) -> dict[str, Any]:
    """Rank zero decides for all: the stage is settled, or gets a new attempt that continues from a state."""
    if store.done(stage.identity):
        return {"outcome": {"state": "done"}}
    for parent in stage.parents.values():
        if not store.done(parent.identity):
            return {"outcome": {"state": "skipped", "error": f"its parent is not done: {parent.label}"}}
    begun = {name: store.begun(stage.identity, name) for name in store.attempts(stage.identity)}
    # A failure of another command is tried again.
    own = [name for name, facts in begun.items() if facts and facts["facts"].get("command") == work.command]
    outcomes = [store.outcome(stage.identity, name) for name in own]
    for outcome in outcomes:
        if outcome and outcome["outcome"] == "failed":
            return {"outcome": _failure(outcome["error"])}
        if outcome and outcome["outcome"] == "pruned":
            return {"outcome": {"state": "pruned"}}
    if outcomes.count(None) > LOST_WORKER_RETRIES:
        error = f"{LOST} {outcomes.count(None)} times; see {log_path(stage)}"
        Records(store).write_failure(stage, error, _facts(work))
        return {"outcome": _failure(error)}
    state = store.latest_state(stage.identity)
    return {"attempt": begin_attempt(store, stage, _facts(work)).name, "state": state}


def _run(
    stage: Stage, store: Store, attempt: Attempt, work: Work, *, state: str | None, reports: "_Reports"
) -> dict[str, Any]:
    events = reports.events = TensorBoardLog(store.storage, stage, attempt.name) if _rank() == 0 else None
    run = StageRun(
        stage=stage,
        corpus_path=work.execution.corpora.get(stage.corpus, ""),
        execution=work.execution,
        state=None if state is None else store.read_state(state),
        read_parent=lambda role, name: store.read(stage.parents[role].identity, name),
        read_input=store.read_input,
        save_state=attempt.save_state if _rank() == 0 else lambda state: None,
        report=reports,
    )
    with events or nullcontext():
        result = stage.kind.run(run)
    check_result(result)
    if _rank() == 0:
        attempt.finish(result)
    return {"state": "done"}


class _Reports:
    """Passes a running stage's reports to Train and its epochs to TensorBoard; stops the stage if a rule says so."""

    def __init__(self, stage: Stage, rule: StoppingRule | None) -> None:
        self._stage, self._rule = stage, rule
        self.events: TensorBoardLog | None = None
        self.all_epochs: list[dict[str, Any]] = []
        self._reported_at, self._epochs = time.monotonic(), []

    def __call__(self, progress: dict[str, Any]) -> None:
        if "epoch" in progress:
            self._epochs.append(progress["epoch"])
            self.all_epochs = progress.get("history", [])
            if self.events is not None:
                self.events.add(progress["epoch"])
            if self._rule is not None and self._rule(self.all_epochs):
                raise Pruned
        # A report waits until Train's controller reads it, and all workers must report equally often.
        if _num_workers() > 1 or time.monotonic() - self._reported_at >= REPORT_EVERY_S:
            numbers = {name: value for name, value in progress.items() if name not in ("epoch", "history")}
            ray.train.report({"stage": self._stage.identity, "state": "running", "epochs": self._epochs, **numbers})
            self._reported_at, self._epochs = time.monotonic(), []


def _is_no_fault_of_the_stage(error: Exception) -> bool:
    """Whether the cause lies outside: another worker raised and reported why, or a worker, Ray or a GPU was lost."""
    # Train takes the group apart as soon as it knows of the other worker's end.
    group_is_gone = _num_workers() > 1 and not distributed.is_initialized()
    is_of_gloo = isinstance(error, RuntimeError) and "gloo" in str(error)
    # After an AcceleratorError the process has no GPU any more. Running out of memory is no AcceleratorError.
    return group_is_gone or is_of_gloo or isinstance(error, distributed.DistError | RayError | torch.AcceleratorError)


def _failure(error: str) -> dict[str, Any]:
    return {"state": "failed", "error": error}


def _facts(work: Work) -> dict[str, str]:
    """The facts that are recorded with an attempt even if it fails."""
    resources = work.resources
    return {
        **work.facts,
        "command": work.command,
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "ray": ray.__version__,
        "num_workers": str(resources.num_workers),
        "threads": str(resources.cpus_per_worker),
        "gpus_per_worker": f"{resources.gpus_per_worker:g}",
        "device": torch.cuda.get_device_name()
        if resources.gpus_per_worker
        else platform.processor() or os.uname().machine,
    }


def _rank() -> int:
    return ray.train.get_context().get_world_rank()


def _num_workers() -> int:
    return ray.train.get_context().get_world_size()
