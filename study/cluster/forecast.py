"""The forecast: how long stages take on a cluster where each slot always takes the stage with the longest way to go."""

import heapq
from collections.abc import Callable, Collection, Iterable, Mapping

from study.cluster.execution import Resources
from study.cluster.stage_queue import StageQueue
from study.stages.stage import Stage


def makespan(
    stages: Iterable[Stage],
    *,
    done: Collection[str],
    seconds_of: Callable[[Stage], float],
    resources_of: Callable[[Stage], Resources],
    limit: Mapping[str, float],
) -> float:
    """Seconds until all stages are done, with `limit` CPUs and GPUs; starting processes takes no time.

    ValueError for a stage that does not fit.
    """
    queue = StageQueue(resources_of, seconds_of)
    queue.add(stages, done)
    now, free = 0.0, dict(limit)
    running: list[tuple[float, str, Resources]] = []
    while True:
        for resources in queue.shapes():
            assert isinstance(resources, Resources)
            needed = {name: amount for name, amount in resources.total.items() if amount}
            while all(free[name] + 1e-9 >= amount for name, amount in needed.items()):
                stage = queue.take(resources)
                if stage is None:
                    break
                for name, amount in needed.items():
                    free[name] -= amount
                heapq.heappush(running, (now + seconds_of(stage), stage.identity, resources))
        if not running:
            break
        now, identity, ended = heapq.heappop(running)
        for name, amount in ended.total.items():
            free[name] += amount
        queue.end(identity)
    for resources in queue.shapes():
        raise ValueError(f"{resources} does not fit {dict(limit)}")
    return now
