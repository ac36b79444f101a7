"""The cluster: connecting to Ray or starting it, quietly and with token authentication, and what it can hold."""

import logging
import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

# Ray reads these when it is imported; what a user has set stays.
SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Tune: one process tells another what is done; files for people who watch Tune itself are not needed.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "RAY_AIR_NEW_OUTPUT": "0",
    # Train: notice a worker's end sooner than every 2 s.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
for _name, _value in SETTINGS.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402

from study.site import Site  # noqa: E402
from study.stage import Stage  # noqa: E402


@contextmanager
def connected(site: Site) -> Iterator[str]:
    """The cluster of $RAY_ADDRESS, or one started here and stopped at the end; yields a place for Ray's own files."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="ray")
    if "RAY_ADDRESS" in os.environ:
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
        scratch = site.storage.rstrip("/") + "/ray"
    else:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        scratch = tempfile.mkdtemp(prefix="study-")
    try:
        yield scratch
    finally:
        ray.shutdown()


def present() -> dict[str, float]:
    """CPUs and GPUs of the machines that are there now."""
    resources = ray.cluster_resources()
    return {name: float(resources.get(name, 0)) for name in ("CPU", "GPU")}


def limit(site: Site) -> dict[str, float]:
    """CPUs and GPUs that stages may take together: what the site says the cluster can grow to, else what it has."""
    grown = {"CPU": site.max_cpus, "GPU": site.max_gpus}
    return {name: amount if grown[name] is None else float(grown[name] or 0) for name, amount in present().items()}


def check_fits(stages: Iterable[Stage], site: Site, limit: Mapping[str, float]) -> None:
    """ValueError, with the numbers, if a stage needs more than the cluster is configured to grow to."""
    for kind in sorted({stage.kind.name for stage in stages}):
        resources = site.resources_of(kind)
        for name, amount in resources.total.items():
            if amount > limit[name]:
                raise ValueError(
                    f"a {kind} stage needs {amount:g} {name} ({resources}); the cluster can have at most "
                    f"{limit[name]:g}: give it fewer workers, or say with --max-{name.lower()}s what it can grow to"
                )
