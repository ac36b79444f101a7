"""A progress that remembers what it was told, and stages that are all expected to take as long."""

from typing import Literal

from study.stages.progress import Progress
from study.stages.stage import Stage


class Watched(Progress):
    """Progress with its history: (state, label) in order."""

    def __init__(self) -> None:
        super().__init__()
        self.history: list[tuple[str, str]] = []
        self.listeners.append(lambda entry: self.history.append((entry.state, entry.stage.label)))

    def labels(self, state: str) -> list[str]:
        return [label for told, label in self.history if told == state]

    def states(self) -> dict[str, str]:
        return {entry.stage.label: entry.state for entry in self.stages.values()}

    def error(self, label: str) -> str:
        return next(entry.error for entry in self.stages.values() if entry.stage.label == label)


class Flat:
    """Every stage takes a second, and nothing is learnt."""

    def __call__(self, stage: Stage) -> float:
        return 1.0

    def explained(self, stage: Stage) -> tuple[float, Literal["measured"]]:
        return 1.0, "measured"

    def learn(self, stage: Stage, seconds: float) -> bool:
        return False
