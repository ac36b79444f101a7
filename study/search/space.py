"""The space of a search: a range for each hyperparameter that it varies, checked before the search starts."""

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
    """Numbers from `low` to `high`; `log`: drawn evenly on a logarithmic scale.

    ValueError for an empty or inverted range.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        name = f"{type(self).__name__} from {self.low} to {self.high}"
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise ValueError(f"{name}: both ends are finite numbers")
        if not self.low < self.high:
            raise ValueError(f"{name}: the range is {'empty' if self.low == self.high else 'inverted'}")
        if self.log and not self.low > 0:
            raise ValueError(f"{name}: on a logarithmic scale both ends are positive")

    @property
    def ends(self) -> tuple[Value, ...]:
        return self.low, self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{', logarithmic' if self.log else ''}"

    def suggest(self, trial: Suggest, name: str) -> Value:
        return trial.suggest_float(name, self.low, self.high, log=self.log)


@dataclass(frozen=True, kw_only=True)
class Whole(Real):
    """Whole numbers from `low` to `high`, both included."""

    low: int
    high: int

    def suggest(self, trial: Suggest, name: str) -> Value:
        return trial.suggest_int(name, self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Choice:
    """One of a few values; ValueError if there is none, or if one is given twice."""

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


@dataclass(frozen=True)
class Space:
    """Hyperparameter -> range.

    Raises:
        ValueError: no range, an unknown hyperparameter, or a range with a value that the hyperparameter cannot have.
    """

    ranges: Mapping[str, Range] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.ranges:
            raise ValueError("the space of a search is empty; give a range for at least one hyperparameter")
        for name, given in self.ranges.items():
            if name not in NAMES:
                raise ValueError(f"there is no hyperparameter {name!r}; there are: {', '.join(NAMES)}")
            if name == "batch_size" and type(given) is Real:
                raise ValueError("batch_size is a whole number; give Whole or Choice")
            for value in given.ends:
                Hyperparameters(**{name: value})  # pyright: ignore[reportArgumentType]

    def check(self, trial: Trial, arm: str) -> None:
        """ValueError for a hyperparameter of a part that the trial does not have."""
        for name in self.ranges:
            if name not in applicable(trial):
                raise ValueError(f"arm {arm!r} has no part for {name}; it has: {', '.join(sorted(applicable(trial)))}")

    def suggest(self, trial: Suggest) -> Hyperparameters:
        """Draws a value for each range, in their order."""
        return Hyperparameters(**{name: given.suggest(trial, name) for name, given in self.ranges.items()})  # pyright: ignore[reportArgumentType]

    @property
    def size(self) -> int | None:
        """How many combinations of values there are; None: infinitely many."""
        sizes = [
            len(given.values) if isinstance(given, Choice) else given.high - given.low + 1
            for given in self.ranges.values()
            if isinstance(given, Choice | Whole)
        ]
        return math.prod(sizes) if len(sizes) == len(self.ranges) else None
