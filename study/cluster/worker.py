"""The worker: it runs in Ray Train's processes, one stage after another, and writes all results into the store.

The first worker of a group asks at the desk for the next stage, and tells the others. An error in a stage is an
outcome, not a crash: it is recorded and reported, and the next stage runs. When a
group loses a worker, all of them are replaced, and the dispatcher gives its stage to whoever asks next.
"""

import gc
import os
import pickle
import platform
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import ray
import ray.train
import torch
from ray.exceptions import RayError
from ray.train.collective import broadcast_from_rank_zero
from torch import distributed

from study.cluster.desk import Assignment, desk_name
from study.cluster.execution import Work
from study.records.records import Records
from study.records.stage_log import StageLog
from study.records.store_to_tables import check_result
from study.records.tensorboard import TensorBoardLog
from study.stages.stage import Pruned, Stage, StageRun, StoppingRule
from study.store.attempt import Attempt, begin_attempt
from study.store.storage import StorageError
from study.store.store import Store

REPORT_EVERY_S = 4.0


def run_stages(work: Work) -> None:
    """Ray Train's loop per worker: asks for stages and runs them until it is told to end."""
    torch.set_num_threads(work.resources.cpus_per_worker)
    # Another launcher, such as torchrun, may have set this in the environment that Ray was started in.
    os.environ["WORLD_SIZE"] = str(_num_workers())
    store, desk, outcome = Store(work.execution.storage), ray.get_actor(desk_name(work.command)), None
    while True:
        assignment = _ask(desk, work, outcome)
        if not assignment.identity:
            return
        # Tune shows what runs. All workers must report.
        ray.train.report({"stage": assignment.label})
        outcome = _run_assigned(assignment, store, work, desk)
        # A GPU may be shared: what the stage has left behind is for all.
        gc.collect()
        torch.cuda.empty_cache()


def _ask(desk: Any, work: Work, outcome: dict[str, Any] | None) -> Assignment:
    """The group's next stage: the first worker asks, and passes the answer on to the others."""
    assignment = None
    if _rank() == 0:
        message = {"group": work.group, "worker": ray.get_runtime_context().current_actor, "outcome": outcome}
        assignment = ray.get(desk.ask.remote(f"{work.group}-{uuid.uuid4().hex[:8]}", message))
    return broadcast_from_rank_zero(assignment)  # pyright: ignore[reportArgumentType, reportReturnType]


def _run_assigned(assignment: Assignment, store: Store, work: Work, desk: Any) -> dict[str, Any]:
    """What became of the stage."""
    try:
        assert assignment.stage is not None
        stage, rule = pickle.loads(assignment.stage)
    except Exception as error:
        # Another try would fail as well: the code is not there.
        return _failure(f"on {socket.gethostname()}: {error!r}") | {"is_recorded": False}
    tell = partial(_tell, desk, work.group, stage.identity)
    try:
        return _run_unless_settled(stage, store, work, rule, tell)
    except StorageError as error:
        if _num_workers() > 1:
            # The others wait inside a collective call: only the end of their processes frees them.
            tell("failure", wait=True, outcome=_failure(str(error)) | {"is_recorded": False})
            raise
        return _failure(str(error)) | {"is_recorded": False}


def _tell(desk: Any, group: str, stage: str, about: str, *, wait: bool = False, **content: Any) -> None:
    reply = desk.tell.remote({"about": about, "group": group, "stage": stage, **content})
    if wait:
        ray.get(reply)


def _run_unless_settled(
    stage: Stage, store: Store, work: Work, rule: StoppingRule | None, tell: Callable[..., None]
) -> dict[str, Any]:
    plan: dict[str, Any] = broadcast_from_rank_zero(_plan(stage, store, work) if _rank() == 0 else None)  # pyright: ignore[reportAssignmentType]
    if "outcome" in plan:
        return plan["outcome"]
    attempt = Attempt(store, stage.identity, plan["attempt"])
    with StageLog(store.storage, stage, _rank()) as log:
        log.info("attempt %s on %s", attempt.name, socket.gethostname())
        reports = _Reports(rule, tell)
        try:
            outcome = _run(stage, store, attempt, work, state=plan["state"], reports=reports)
        except Pruned:
            outcome = {"state": "pruned"}
            log.info("stopped early after %d epochs", len(reports.all_epochs))
            if _rank() == 0:
                attempt.prune(reports.all_epochs)
        except StorageError:
            # Nothing can be recorded.
            raise
        except Exception as error:
            if _num_workers() == 1 and store.done(stage.identity):
                log.info("another command has finished it")
                return {"state": "done"}
            log.exception("failed")
            if _is_no_fault_of_the_stage(error):
                # Another group tries it again, or finds the failure that another worker has recorded.
                raise
            attempt.fail(error)
            Records(store).write_attempt(stage.identity, attempt.name)
            failure = _failure(f"{type(error).__name__}: {error}")
            if _num_workers() > 1:
                # The others wait inside a collective call: only the end of their processes frees them.
                tell("failure", wait=True, outcome=failure)
                raise
            return failure
        if _rank() == 0:
            Records(store).write_attempt(stage.identity, attempt.name)
    return outcome


def _plan(stage: Stage, store: Store, work: Work) -> dict[str, Any]:
    """Rank zero decides for all: the stage is settled, or gets a new attempt that continues from a state."""
    if store.done(stage.identity) or store.mark_whole(stage.identity):
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
    # What it took is a measure for others if it was trained at one go.
    return {"state": "done", "is_whole": state is None}


class _Reports:
    """Tells the desk how a stage goes on, and TensorBoard of its epochs; stops the stage if a rule says so."""

    def __init__(self, rule: StoppingRule | None, tell: Callable[..., None]) -> None:
        self._rule, self._tell = rule, tell
        self.events: TensorBoardLog | None = None
        self.all_epochs: list[dict[str, Any]] = []
        self._told_at, self._epochs = float("-inf"), []

    def __call__(self, progress: dict[str, Any]) -> None:
        if "epoch" in progress:
            self._epochs.append(progress["epoch"])
            self.all_epochs = progress.get("history", [])
            if self.events is not None:
                self.events.add(progress["epoch"])
            if self._rule is not None and self._rule(self.all_epochs):
                raise Pruned
        if _rank() == 0 and time.monotonic() - self._told_at >= REPORT_EVERY_S:
            numbers = {name: value for name, value in progress.items() if name not in ("epoch", "history")}
            self._tell("progress", progress={"epochs": self._epochs, **numbers})
            self._told_at, self._epochs = time.monotonic(), []


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
