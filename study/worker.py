"""The worker: what runs inside Ray Train's processes, one stage after the other, leaving the truth in the store.

A stage that raises is an outcome, not a crash: it is written down and reported, and the next stage is run. Ray Train
retries only what it can help: lost processes and nodes.
"""

import os
import platform
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray.train
import torch
from ray.train.collective import broadcast_from_rank_zero

from study.attempt import Attempt
from study.records import Records
from study.site import Site
from study.stage import Stage, StageRun
from study.stage_log import StageLog
from study.store import Store


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a group of workers is given. `command` names the study run that asked, so that its failures stay final."""

    stages: Sequence[Stage]
    site: Site
    command: str
    facts: dict[str, str]


def run_stages(work: Work) -> None:
    """Ray Train's loop per worker: runs what is not done yet; reports each stage's progress and its end."""
    store = Store(work.site.storage)
    torch.set_num_threads(work.site.resources_of(work.stages[0].kind.name).cpus_per_worker)
    for stage in work.stages:
        outcome = _run_unless_settled(stage, store, work)
        ray.train.report({"stage": stage.identity, **outcome})


def _run_unless_settled(stage: Stage, store: Store, work: Work) -> dict[str, Any]:
    plan: dict[str, Any] = broadcast_from_rank_zero(_plan(stage, store, work) if _rank() == 0 else None)  # pyright: ignore[reportAssignmentType]
    if "outcome" in plan:
        return plan["outcome"]
    attempt = Attempt(store, stage.identity, plan["attempt"])
    with StageLog(store.storage, stage) as log:
        log.info("attempt %s on %s", attempt.name, socket.gethostname())
        try:
            outcome = _run(stage, store, attempt, work)
        except Exception as error:
            log.exception("failed")
            attempt.fail(error)
            if _num_workers() > 1:
                # The others wait inside a collective call: only their end frees them. The restarted group finds the
                # failure written down and goes on behind it.
                raise
            outcome = _failure(f"{type(error).__name__}: {error}")
        if _rank() == 0:
            Records(store).write_attempt(stage.identity, attempt.name)
    return outcome


def _plan(stage: Stage, store: Store, work: Work) -> dict[str, Any]:
    """Rank zero decides for all: the stage is done, has failed under this command, or gets a new attempt."""
    if store.done(stage.identity):
        return {"outcome": {"state": "done"}}
    for name in store.attempts(stage.identity):
        outcome = store.outcome(stage.identity, name)
        if outcome and outcome["outcome"] == "failed" and outcome["begun"]["facts"].get("command") == work.command:
            return {"outcome": _failure(outcome["error"])}
    return {"attempt": store.begin(stage, _facts(stage, work)).name}


def _run(stage: Stage, store: Store, attempt: Attempt, work: Work) -> dict[str, Any]:
    def report(progress: dict[str, Any]) -> None:
        ray.train.report({"stage": stage.identity, "state": "running", **progress})

    run = StageRun(
        stage=stage,
        corpus_path=work.site.corpora.get(stage.corpus, ""),
        site=work.site,
        state=store.latest_state(stage.identity),
        read_parent=lambda role, name: store.read(stage.parents[role].identity, name),
        save_state=attempt.save_state if _rank() == 0 else lambda state: None,
        report=report,
    )
    result = stage.kind.run(run)
    if _rank() == 0:
        attempt.finish(result)
    return {"state": "done"}


def _failure(error: str) -> dict[str, Any]:
    return {"state": "failed", "error": error}


def _facts(stage: Stage, work: Work) -> dict[str, str]:
    """What is recorded beside an attempt even if it fails."""
    resources = work.site.resources_of(stage.kind.name)
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
