"""Forecasts: how long stages take if each free slot takes the stage with the longest way to go."""

import heapq
from collections.abc import Callable, Collection, Iterable, Mapping

from study.cluster.execution import Execution, Resources
from study.cluster.expected_seconds import Expected
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


def seconds_left(
    stages: Collection[tuple[Stage, float]],
    *,
    way_of: Callable[[str], float],
    expected: Expected,
    execution: Execution,
    limit: Mapping[str, float],
) -> float | None:
    """Seconds until stages end if no slot is ever idle; None if there are none, or most of it would be guessed.

    `stages` that wait or run, with the seconds that they have run. `way_of`: identity -> longest way.
    """
    used, longest, total, guessed = dict.fromkeys(limit, 0.0), 0.0, 0.0, 0.0
    for stage, spent in stages:
        seconds, source = expected.explained(stage)
        rest = max(seconds - spent, 0.0)
        longest = max(longest, way_of(stage.identity) - seconds + rest)
        total, guessed = total + rest, guessed + rest * (source == "guessed")
        for name, amount in execution.resources_of(stage.kind.name).total.items():
            used[name] += rest * amount
    if not stages or guessed > total / 2:
        return None
    return max([longest, *(used[name] / limit[name] for name in limit if limit[name])])
