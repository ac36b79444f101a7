"""Progress: the state of every stage as the scheduler sees it. Listeners are called at each change."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from study.stages.graph import StageGraph
from study.stages.stage import Stage

# How a stage's error begins if its processes were lost. The stage itself made no error.
LOST = "its processes were lost"
State = Literal["waiting", "running", "done", "failed", "skipped", "pruned"]


@dataclass
class StageProgress:
    """One stage.

    `latest`: its last report. `epochs`: those reported so far. `cached`: it was done before this command started.
    """

    stage: Stage
    state: State = "waiting"
    cached: bool = False
    error: str = ""
    latest: dict[str, Any] = field(default_factory=dict)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    started_at: float | None = None
    ended_at: float | None = None


class Progress:
    """Progress of a study's graph; it may grow while the study runs."""

    def __init__(self) -> None:
        self.stages: dict[str, StageProgress] = {}
        self.started_at = time.monotonic()
        self.notice = ""
        self.listeners: list[Callable[[StageProgress], None]] = []

    def add(self, graph: StageGraph, done: set[str]) -> None:
        for stage in graph:
            if stage.identity not in self.stages:
                cached = stage.identity in done
                self.stages[stage.identity] = StageProgress(stage, "done" if cached else "waiting", cached)

    def start(self, identity: str) -> None:
        """Marks the stage as running. Listeners are called once."""
        entry = self.stages[identity]
        if entry.state != "running":
            entry.state, entry.started_at = "running", time.monotonic()
            self._notify(entry)

    def report(self, identity: str, latest: dict[str, Any]) -> None:
        """Keeps the last "step", "num_steps", "metric" and "value", and appends the "epochs" that have ended."""
        self.start(identity)
        entry = self.stages[identity]
        entry.latest.update({name: value for name, value in latest.items() if name != "epochs"})
        entry.epochs += latest.get("epochs", [])

    def end(self, identity: str, state: State, error: str = "") -> None:
        entry = self.stages[identity]
        entry.state, entry.error, entry.ended_at = state, error, time.monotonic()
        self._notify(entry)

    def _notify(self, entry: StageProgress) -> None:
        for listener in self.listeners:
            listener(entry)

    def count(self) -> Counter[State]:
        return Counter(entry.state for entry in self.stages.values())

    def of_state(self, state: State) -> list[StageProgress]:
        return [entry for entry in self.stages.values() if entry.state == state]

    @property
    def seconds(self) -> float:
        """Since the command started."""
        return time.monotonic() - self.started_at

    def seconds_left(self) -> float | None:
        """Seconds until the end, from the mean duration of each kind so far.

        It assumes that as many stages keep running as now. None while no stage runs, or none has ended.
        """
        ended = [e for e in self.of_state("done") if not e.cached and e.started_at and e.ended_at]
        running = self.of_state("running")
        if not ended or not running:
            return None
        durations: dict[str, list[float]] = {}
        for entry in ended:
            durations.setdefault(entry.stage.kind.name, []).append((entry.ended_at or 0) - (entry.started_at or 0))
        overall = sum(map(sum, durations.values())) / len(ended)
        mean = {kind: sum(values) / len(values) for kind, values in durations.items()}
        waiting = sum(mean.get(e.stage.kind.name, overall) for e in self.of_state("waiting"))
        now = time.monotonic()
        rest = sum(max(mean.get(e.stage.kind.name, overall) - (now - (e.started_at or now)), 0.0) for e in running)
        return (waiting + rest) / len(running)


def counts(progress: Progress) -> str:
    """For example "9 done · 2 running · 7 waiting · about 3 min left"."""
    count = progress.count()
    states = ("done", "running", "waiting", "pruned", "failed", "skipped")
    parts = [f"{count[state]} {state}" for state in states if count[state] or state in ("done", "running", "waiting")]
    left = progress.seconds_left()
    return " · ".join(parts + ([] if left is None else [f"about {duration(left)} left"]))


def duration(seconds: float) -> str:
    """For example "45 s", "3 min", "2 h 10 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
