"""Mapping a function over the cluster: a Ray task for each item, never more at once than there is room for."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ray.exceptions import RayError

from study.cluster import connection
from study.cluster.connection import ray

AHEAD = 2  # tasks per CPU, or per GPU, that are handed out at once
TRIES = 4


@dataclass(frozen=True)
class _Failure:
    """Why the function raised, in words: Ray would pickle the exception with its causes."""

    cause: str


def map_over_cluster(function: Callable[[Any], Any], items: Iterable[Any], *, num_gpus: int = 0) -> Iterator[Any]:
    """Results in the order in which they are ready; the cluster is connected already.

    A task takes one CPU and `num_gpus`. OSError if the function raises, or its process dies again and again.
    """

    def run(item: Any) -> Any:
        try:
            return function(item)
        except Exception as error:
            return _Failure(f"{type(error).__name__}: {error}")

    task = ray.remote(num_cpus=1, num_gpus=num_gpus, max_retries=TRIES - 1)(run)
    waiting: list[Any] = []
    for item in items:
        if len(waiting) >= AHEAD * _room(num_gpus):
            ready, waiting = ray.wait(waiting)
            yield _result(ready[0])
        waiting.append(task.remote(item))
    while waiting:
        ready, waiting = ray.wait(waiting)
        yield _result(ready[0])


def _room(num_gpus: int) -> int:
    """How many tasks run at once on the machines that are there now."""
    present = connection.present_resources()
    return max(int(present["GPU"] / num_gpus if num_gpus else present["CPU"]), 1)


def _result(ready: Any) -> Any:
    try:
        found = ray.get(ready)
    except RayError as error:
        cause = str(error).strip().splitlines()[0]
        raise OSError(f"{TRIES} processes that worked on the same thing died: {cause}") from None
    if isinstance(found, _Failure):
        raise OSError(found.cause)
    return found
