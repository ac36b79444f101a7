"""The cluster: connecting to Ray or starting it, quietly and with token authentication, and what it can hold."""

import logging
import os
import signal
import tempfile
import threading
import traceback
import uuid
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

# How long a cluster of our own may go without its control store. It never comes back.
RECONNECT_S = 20
# Ray reads these when it is imported. What a user has set stays.
SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Tune only passes on what is done. Its own log files, signal handler and snapshots are not needed.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    # How many trials may wait for their process. Our searcher hands out no more than can run.
    "TUNE_MAX_PENDING_TRIALS_PG": "64",
    "RAY_AIR_NEW_OUTPUT": "0",
    # Train: notice a worker's end sooner than every 2 s. No metrics for Prometheus, and no extra process per stage that
    # watches for preemption (loop states are saved anyway).
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # What Ray's other processes want to have said here is in their own logs. The store has a worker that died as an
    # attempt without an end, and a stage that is lost for good is reported.
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
for _name, _value in SETTINGS.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
from ray.exceptions import RayError  # noqa: E402
from ray.train.backend import BackendConfig  # noqa: E402
from ray.train.v2._internal.execution.callback import WorkerGroupCallback  # noqa: E402
from ray.train.v2._internal.execution.worker_group import worker_group  # noqa: E402
from ray.util.placement_group import (  # noqa: E402
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

from study.cluster.execution import ClusterLostError, Execution, Resources  # noqa: E402
from study.cluster.guard import guarded  # noqa: E402
from study.cluster.words_of_ray import kept_in, logged_in  # noqa: E402
from study.stages.stage import Stage  # noqa: E402
from study.store.storage import open_storage  # noqa: E402


@contextmanager
def connected(execution: Execution, num_cpus: int | None = None) -> Iterator[str]:
    """The cluster of $RAY_ADDRESS, or one started here and stopped at the end; yields a folder for Ray's own files.

    `num_cpus`: the CPUs of a cluster that is started here; None: those of the machine.
    """
    warnings.filterwarnings("ignore", module="ray")
    with ExitStack() as stack:
        log = stack.enter_context(_log_of_ray())
        if "RAY_ADDRESS" in os.environ:
            storage, folder = open_storage(execution.storage), f"ray/{uuid.uuid4().hex}"
            stack.callback(storage.delete_folder, folder)
            scratch = storage.address_of(folder)
            stack.enter_context(guarded(log, ""))
            ray.init(log_to_driver=False, logging_level=logging.ERROR)
        else:
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="study-", ignore_cleanup_errors=True))
            stack.enter_context(guarded(log, scratch))
            # "local": not a cluster that another program has started on this machine.
            ray.init(
                "local",
                _node_ip_address="127.0.0.1",
                num_cpus=num_cpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _system_config={"gcs_rpc_server_reconnect_timeout_s": RECONNECT_S},
            )
        stack.callback(ray.shutdown)
        logged_in(log)
        if threading.current_thread() is threading.main_thread():
            # Ray's own handler would end the command without a message.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        yield scratch


@contextmanager
def _log_of_ray() -> Iterator[Path]:
    """A file for Ray's words; ClusterLostError, naming it, if Ray fails inside the block, else it is removed."""
    descriptor, name = tempfile.mkstemp(prefix="study-ray-", suffix=".log")
    os.close(descriptor)
    log, is_needed = Path(name), False
    try:
        with kept_in(log):
            yield log
    except (RayError, ConnectionError) as error:
        is_needed = True
        with log.open("a") as file:
            traceback.print_exception(error, file=file)
        raise ClusterLostError(f"Ray has failed; what it said: {log}") from error
    finally:
        if not is_needed:
            log.unlink(missing_ok=True)


def present_resources() -> dict[str, float]:
    """CPUs and GPUs of the machines that are there now."""
    resources = ray.cluster_resources()
    return {name: float(resources.get(name, 0)) for name in ("CPU", "GPU")}


def resource_limit(execution: Execution) -> dict[str, float]:
    """CPUs and GPUs for all stages together: what the cluster may grow to if that is given, else what it has."""
    return execution.grown(present_resources())


def check_fits(stages: Iterable[Stage], execution: Execution, limit: Mapping[str, float]) -> None:
    """Raises ValueError, with the numbers, if a stage needs more than the cluster can grow to.

    All that a worker takes must be on one machine; machines that are still to come may be larger than the present ones.
    """
    for kind in sorted({stage.kind.name for stage in stages}):
        resources = execution.resources_of(kind)
        for name, amount in resources.total.items():
            if amount > limit[name]:
                raise ValueError(
                    f"a {kind} stage needs {amount:g} {name} ({resources}); the cluster can have at most "
                    f"{limit[name]:g}: give it fewer workers, or say with --max-{name.lower()}s what it can grow to"
                )
        if execution.max_cpus is None and resources.cpus_per_worker > _largest_machine():
            raise ValueError(
                f"a worker of a {kind} stage needs {resources.cpus_per_worker} CPU on one machine; the largest has "
                f"{_largest_machine():g}: give it fewer, or say with --max-cpus what the cluster can grow to"
            )


def machines_hold(resources: Resources) -> bool:
    """Whether the machines that are there now could hold so many workers, if nothing else ran on them."""
    each = {"CPU": resources.cpus_per_worker, "GPU": resources.gpus_per_worker}
    needed = {name: amount for name, amount in each.items() if amount}
    places = [
        min(int(node["Resources"].get(name, 0) / amount) for name, amount in needed.items())
        for node in ray.nodes()
        if node["Alive"]
    ]
    return sum(places) >= resources.num_workers


def _largest_machine() -> float:
    """CPUs of the largest machine that is there now."""
    return max(float(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"])


class NoProcessGroup(BackendConfig):
    """Replaces TorchConfig for one worker, which needs no process group. Train's controller then needs no torch."""

    backend = "none"


class PlacementGroupNamer(WorkerGroupCallback):
    """Names the placement groups of a group of workers, so that `release_placement_groups` finds them.

    Train's controller, in whose process this is called, gives them no name. A record of them elsewhere would come too
    late where a process is lost while its workers start.
    """

    def __init__(self, group: str) -> None:
        self._group = group

    def before_worker_group_start(self, worker_group_context: Any) -> None:
        named = partial(placement_group, name=f"{self._group}-{uuid.uuid4().hex}")
        worker_group.placement_group = named  # pyright: ignore[reportPrivateImportUsage]


def release_placement_groups(group: str) -> None:
    """Gives back the CPUs and GPUs of a group of workers whose controller was lost; harmless if it was not lost.

    Ray keeps a placement group as long as the driver lives, even if the process that made it is gone.
    """
    if not ray.is_initialized():  # asking would start another cluster
        return
    for identity, known in placement_group_table().items():
        if known["name"].startswith(f"{group}-") and known["state"] != "REMOVED":
            remove_placement_group(PlacementGroup(ray.PlacementGroupID.from_hex(identity)))
