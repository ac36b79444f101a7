"""Progress: the state of every stage as the scheduler sees it. Listeners are called at each change."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from study.stages.stage import Stage

# How a stage's error begins if its processes were lost. The stage itself made no error.
LOST = "its processes were lost"
State = Literal["waiting", "running", "elsewhere", "done", "failed", "skipped", "pruned"]


@dataclass
class StageProgress:
    """One stage.

    `latest`: its last report. `epochs`: those reported so far. `cached`: it was done before this command started.
    `num_losses`: how often its processes were lost. `holder`: who trains it, if that is another command.
    """

    stage: Stage
    state: State = "waiting"
    cached: bool = False
    error: str = ""
    latest: dict[str, Any] = field(default_factory=dict)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    started_at: float | None = None
    ended_at: float | None = None
    num_losses: int = 0
    holder: str = ""


class Progress:
    """Progress of a study's graph; it may grow while the study runs."""

    def __init__(self) -> None:
        self.stages: dict[str, StageProgress] = {}
        self.started_at = time.monotonic()
        self.notice = ""
        self.listeners: list[Callable[[StageProgress], None]] = []
        self.forecast: Callable[[], float | None] | None = None

    def add(self, stages: Iterable[Stage], done: set[str]) -> None:
        """Adds stages that are new; those of `done` were done before."""
        for stage in stages:
            entry = self.stages.setdefault(stage.identity, StageProgress(stage))
            if stage.identity in done and entry.state == "waiting":
                entry.state, entry.cached = "done", True

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

    def lose(self, identity: str, cause: str) -> int:
        """The stage's processes were lost: it waits again. Returns how often that has happened."""
        entry = self.stages[identity]
        entry.state, entry.error = "waiting", f"{LOST}: {cause}"
        entry.num_losses += 1
        self._notify(entry)
        entry.error = ""
        return entry.num_losses

    def leave(self, identity: str, holder: str) -> None:
        """Another command trains the stage."""
        entry = self.stages[identity]
        entry.state, entry.holder = "elsewhere", holder
        self._notify(entry)

    def take_back(self, identity: str) -> None:
        """No other command trains the stage any more: it waits again."""
        entry = self.stages[identity]
        entry.state, entry.holder = "waiting", ""

    def found_done(self, identity: str) -> None:
        """Another command has done it."""
        self.stages[identity].cached = True
        self.end(identity, "done")

    def end(self, identity: str, state: State, error: str = "") -> None:
        entry = self.stages[identity]
        entry.state, entry.error, entry.ended_at = state, error, time.monotonic()
        self._notify(entry)

    def _notify(self, entry: StageProgress) -> None:
        for listener in self.listeners:
            listener(entry)

    def count(self) -> Counter[State]:
        return Counter(entry.state for entry in list(self.stages.values()))

    def of_state(self, state: State) -> list[StageProgress]:
        return [entry for entry in list(self.stages.values()) if entry.state == state]

    @property
    def seconds(self) -> float:
        """Since the command started."""
        return time.monotonic() - self.started_at

    def seconds_left(self) -> float | None:
        """Seconds until the end; None while nobody can say."""
        return None if self.forecast is None else self.forecast()


def counts(progress: Progress) -> str:
    """For example "9 done · 2 running · 7 waiting · about 3 min left"."""
    count = progress.count()
    states = ("done", "running", "elsewhere", "waiting", "pruned", "failed", "skipped")
    parts = [f"{count[state]} {state}" for state in states if count[state] or state in ("done", "running", "waiting")]
    left = progress.seconds_left()
    return " · ".join(parts + ([] if left is None else [f"about {duration(left)} left"]))


def duration(seconds: float) -> str:
    """For example "45 s", "3 min", "2 h 10 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
