"""What a study would cost: hours on the clock and of CPUs and GPUs, how sure that is, and what sharing stages saves."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from study.cluster.execution import Execution
from study.cluster.expected_seconds import FACTORS, ExpectedSeconds, Source
from study.cluster.forecast import makespan
from study.design.study import PlannedRun
from study.stages.graph import StageGraph
from study.stages.progress import duration
from study.stages.stage import Stage

_MEANINGS: Mapping[Source, str] = {
    "measured": "measured here on stages of the same configuration",
    "scaled": "scaled by FLOPs from stages of the same kind that were measured here",
    "transferred": "scaled by FLOPs from stages of other kinds",
    "guessed": "guessed from FLOPs, since nothing like it was measured here",
}


def resources_here(execution: Execution) -> dict[str, float]:
    """CPUs and GPUs for all stages together. Only a cluster that is there already is asked: starting one takes long."""
    if "RAY_ADDRESS" in os.environ:
        from study.cluster.connection import connected, resource_limit

        with connected(execution):
            return resource_limit(execution)
    import torch

    return execution.grown({"CPU": float(len(os.sched_getaffinity(0))), "GPU": float(torch.cuda.device_count())})


def lines(
    runs: Iterable[PlannedRun],
    graph: StageGraph,
    done: Collection[str],
    *,
    execution: Execution,
    limit: Mapping[str, float],
    expected: ExpectedSeconds,
) -> Iterator[str]:
    """The cost of what is not done with `limit` CPUs and GPUs, and how sure it is."""
    left = [stage for stage in graph if stage.identity not in done]
    if left:
        clock = makespan(
            graph,
            done=done,
            seconds_of=expected,
            resources_of=lambda stage: execution.resources_of(stage.kind.name),
            limit=limit,
        )
        fastest, slowest, sources = _spread(left, expected)
        yield (
            f"What would run takes about {duration(clock)} here, on {_amounts(limit)} (between "
            f"{duration(clock * fastest)} and {duration(clock * slowest)}): {_used(left, execution, expected)}."
        )
        yield f"These times are {sources}. They are corrected as stages end."
    alone = sum(expected(stage) for run in runs for stage in run.stages)
    shared = sum(map(expected, graph))
    yield f"Sharing stages between runs saves {1 - shared / alone:.0%} of the study's work."


def _amounts(limit: Mapping[str, float]) -> str:
    return " and ".join(f"{amount:g} {name}" for name, amount in limit.items() if amount)


def _used(stages: Sequence[Stage], execution: Execution, expected: ExpectedSeconds) -> str:
    """For example "3 h 10 min of one CPU"."""
    totals = {"CPU": 0.0, "GPU": 0.0}
    for stage in stages:
        for name, amount in execution.resources_of(stage.kind.name).total.items():
            totals[name] += amount * expected(stage)
    return " and ".join(f"{duration(seconds)} of one {name}" for name, seconds in totals.items() if seconds)


def _spread(stages: Sequence[Stage], expected: ExpectedSeconds) -> tuple[float, float, str]:
    """The factors between which the time lies, and in words what it comes from."""
    seconds: dict[Source, float] = {"measured": 0.0, "scaled": 0.0, "transferred": 0.0, "guessed": 0.0}
    for stage in stages:
        found, source = expected.explained(stage)
        seconds[source] += found
    whole = sum(seconds.values())
    shares: dict[Source, float] = {source: amount / whole for source, amount in seconds.items() if amount}
    fastest = sum(share / FACTORS[source] for source, share in shares.items())
    slowest = sum(share * FACTORS[source] for source, share in shares.items())
    words = [(f"{share:.0%} " if len(shares) > 1 else "") + _MEANINGS[source] for source, share in shares.items()]
    return fastest, slowest, ", ".join(words)
