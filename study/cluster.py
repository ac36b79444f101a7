"""The cluster: connecting to Ray or starting it, quietly and with token authentication, and what it can hold."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# Before Ray is imported: it reads these once.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_SYNCER", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1000000")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_DISABLE_IMPORT_WARNING", "1")
os.environ.setdefault("RAY_TRAIN_ENABLE_STATE_TRACKING", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray

from study.site import Site
from study.stage import Stage


@contextmanager
def connected(site: Site, num_cpus: int | None = None) -> Iterator[None]:
    """A connection to the cluster of RAY_ADDRESS, or to one started here and stopped at the end."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="ray")
    elsewhere = "RAY_ADDRESS" in os.environ
    ray.init(
        **({} if elsewhere else {"num_cpus": num_cpus, "include_dashboard": False}),
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=True,
    )
    try:
        yield
    finally:
        ray.shutdown()


def capacity(site: Site) -> dict[str, float]:
    """CPUs and GPUs that stages may take together: what the cluster has, or what the site says it can grow to."""
    now = ray.cluster_resources()
    return {
        "CPU": float(site.max_cpus if site.max_cpus is not None else now.get("CPU", 0)),
        "GPU": float(site.max_gpus if site.max_gpus is not None else now.get("GPU", 0)),
    }


def check_fits(stages: list[Stage], site: Site) -> None:
    """ValueError, with the numbers, if a stage needs more than the cluster is configured to grow to."""
    limit = capacity(site)
    for kind in sorted({stage.kind.name for stage in stages}):
        resources = site.resources_of(kind)
        for name, amount in resources.total.items():
            if amount > limit[name]:
                raise ValueError(
                    f"a {kind} stage needs {amount:g} {name} ({resources}), "
                    f"the cluster can have at most {limit[name]:g}; give it fewer workers or raise max_{name.lower()}s"
                )
