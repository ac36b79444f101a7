"""The space of a search: a range for each hyperparameter that is varied, checked before anything is asked."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from study.design.hyperparameters import NAMES, Hyperparameters, applicable
from study.design.trial import Trial

Value = float | int | str


class Suggest(Protocol):
    """The part of an Optuna trial that draws values."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = ...) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = ...) -> int: ...

    def suggest_categorical(self, name: str, choices: Any) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class Real:
    """Numbers from `low` to `high`; `log`: evenly in their logarithm. ValueError for an empty or inverted range."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        _check_range(self)

    @property
    def ends(self) -> tuple[Value, ...]:
        return self.low, self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{', logarithmic' if self.log else ''}"

    def suggest(self, trial: Suggest, name: str) -> Value:
        return trial.suggest_float(name, self.low, self.high, log=self.log)


@dataclass(frozen=True, kw_only=True)
class Whole(Real):
    """Whole numbers likewise, both ends among them."""

    low: int
    high: int

    def suggest(self, trial: Suggest, name: str) -> Value:
        return trial.suggest_int(name, self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Choice:
    """One of some values; ValueError for none, or for one that stands there twice."""

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))
        if len(set(self.values)) != len(self.values) or not self.values:
            raise ValueError(f"Choice.values is {self.values}; give at least one, and each once")

    @property
    def ends(self) -> tuple[Value, ...]:
        return self.values

    def __str__(self) -> str:
        return " or ".join(map(str, self.values))

    def suggest(self, trial: Suggest, name: str) -> Value:
        return trial.suggest_categorical(name, self.values)


Range = Real | Choice


def _check_range(given: Real) -> None:
    name, low, high = type(given).__name__, given.low, given.high
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"{name} from {low} to {high}: both ends are finite numbers")
    if not low < high:
        raise ValueError(f"{name} from {low} to {high}: the range is {'empty' if low == high else 'inverted'}")
    if given.log and not low > 0:
        raise ValueError(f"{name} from {low} to {high}: on a logarithmic scale both ends are positive")


@dataclass(frozen=True)
class Space:
    """Ranges by the name of the hyperparameter.

    Raises:
        ValueError: no range, a name that no hyperparameter has, or a range with a value that it cannot have.
    """

    ranges: Mapping[str, Range] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.ranges:
            raise ValueError("the space of a search is empty; give a range for at least one hyperparameter")
        for name, among in self.ranges.items():
            if name not in NAMES:
                raise ValueError(f"there is no hyperparameter {name!r}; there are: {', '.join(NAMES)}")
            if name == "batch_size" and type(among) is Real:
                raise ValueError("batch_size is a whole number; give Whole or Choice")
            for value in among.ends:
                Hyperparameters(**{name: value})  # pyright: ignore[reportArgumentType]

    def check(self, trial: Trial, arm: str) -> None:
        """ValueError for a hyperparameter of a part that the trial has not."""
        for name in self.ranges:
            if name not in applicable(trial):
                raise ValueError(f"arm {arm!r} has no part for {name}; it has: {', '.join(sorted(applicable(trial)))}")

    def suggest(self, trial: Suggest) -> Hyperparameters:
        """Values that a sampler draws, in the order of the ranges."""
        return Hyperparameters(**{name: among.suggest(trial, name) for name, among in self.ranges.items()})  # pyright: ignore[reportArgumentType]

    @property
    def size(self) -> int | None:
        """How many choices of values there are; None for without end."""
        sizes = [
            len(among.values) if isinstance(among, Choice) else among.high - among.low + 1
            for among in self.ranges.values()
            if isinstance(among, Choice | Whole)
        ]
        return math.prod(sizes) if len(sizes) == len(self.ranges) else None
