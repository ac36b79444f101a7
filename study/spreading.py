"""Spreading a function over the cluster: a Ray task for each item, never more at once than there are CPUs for."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from study import cluster
from study.cluster import ray

AHEAD = 2  # tasks for each CPU that are handed out already


def over_cluster(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """Results in the order in which they are ready; the cluster is connected already."""

    def run(item: Any) -> Any:
        return function(item)

    task = ray.remote(num_cpus=1, max_retries=3)(run)
    waiting: list[Any] = []
    for item in items:
        if len(waiting) >= AHEAD * max(int(cluster.present()["CPU"]), 1):
            ready, waiting = ray.wait(waiting)
            yield from ray.get(ready)
        waiting.append(task.remote(item))
    while waiting:
        ready, waiting = ray.wait(waiting)
        yield from ray.get(ready)
