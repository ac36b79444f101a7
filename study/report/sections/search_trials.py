"""The trials of one search as the report needs them, from the records alone."""

import math
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from study.design.metrics import METRICS
from study.records.query import Query
from study.records.records import slug
from study.report.facts import text


class Trials:
    """A search with its rows: `description` is what the search wrote of itself."""

    def __init__(self, query: Query, description: Mapping[str, Any]) -> None:
        self._described = description
        self.arm, self.budget, self.key = description["arm"], description["budget"], slug(description["name"]).lower()
        self.task = description["factors"]["task"]
        self.names = list(description["space"])
        self.tested = {name: v for name, v in description["tested"].items() if name in METRICS[self.task]}
        self.sql = f"SELECT * FROM trials WHERE search = {text(description['name'])} ORDER BY number"
        self.rows = query.run(self.sql).to_pylist()

    @property
    def objectives(self) -> list[str]:
        """Columns of the objectives."""
        return [f"values_{name}" if name == "duration_s" else name for name in self._described["objectives"]]

    @property
    def first(self) -> str:
        return self.objectives[0]

    @property
    def large(self) -> bool:
        """Whether the first objective is to be large."""
        return next(iter(self._described["objectives"].values()))

    @property
    def titles(self) -> list[str]:
        known = {**METRICS[self.task], "duration_s": "seconds"}
        return [str(known.get(name, name)) for name in self._described["objectives"]]

    def is_complete(self, row: Mapping[str, Any]) -> bool:
        return row["state"] == "complete"

    @cached_property
    def complete(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if self.is_complete(row)]

    @cached_property
    def ranked(self) -> list[dict[str, Any]]:
        """Completed trials, the best first; of equal ones the earlier."""
        sign = -1 if self.large else 1
        return sorted(self.complete, key=lambda row: (sign * row[self.first], row["number"]))

    @cached_property
    def winner(self) -> dict[str, Any] | None:
        return next((row for row in self.complete if row["number"] == self._described["winner"]), None)

    @property
    def counts(self) -> str:
        states = [row["state"] for row in self.rows]
        parts = [f"{states.count(state)} {state}" for state in ("complete", "pruned", "failed") if state in states]
        return f"{len(states)} trials ({', '.join(parts)})"

    @property
    def method(self) -> str:
        return f"{self._described['sampler']}, budget {self.budget}"

    @property
    def saved(self) -> str:
        """What early stopping saved, counted in epochs."""
        ended = [row for row in self.rows if row["state"] != "failed"]
        whole = self._described["num_epochs"] * len(ended)
        if self._described["halving"] is None or not whole:
            return ""
        trained = sum(row["epochs"] for row in ended)
        return f" Early stopping saved {1 - trained / whole:.0%} of {whole:,} epochs."

    @property
    def varied(self) -> bool:
        """Whether scores differ, without which nothing can have mattered."""
        return len({row[self.first] for row in self.complete}) > 1

    def scale(self, name: str) -> Callable[[Any], float]:
        """From a value to its height between 0 and 1."""
        among = self._described["space"][name]
        if "values" in among:
            places = among["values"]
            return lambda value: places.index(_same(value, places)) / max(len(places) - 1, 1)
        low, high = (math.log(among[end]) if among["log"] else among[end] for end in ("low", "high"))
        return lambda value: ((math.log(value) if among["log"] else value) - low) / (high - low)

    def axis(self, name: str) -> str:
        """The name of a coordinate with its ends."""
        among = self._described["space"][name]
        ends = (
            among["values"][:: max(len(among["values"]) - 1, 1)] if "values" in among else [among["low"], among["high"]]
        )
        return f"{name.replace('_', ' ')}\n{' to '.join(f'{e:g}' if isinstance(e, int | float) else e for e in ends)}"

    def axis_of_value(self, values: Any) -> str:
        ends = (values.min(), values.max()) if self.large else (values.max(), values.min())
        return f"{self.titles[0]}\n{ends[0]:.3f} to {ends[1]:.3f}"

    def distributions(self) -> dict[str, Any]:
        """The space in Optuna's terms."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        found = {}
        for name, among in self._described["space"].items():
            if "values" in among:
                found[name] = CategoricalDistribution(among["values"])
            else:
                kind = FloatDistribution if among["class"] == "Real" else IntDistribution
                found[name] = kind(among["low"], among["high"], log=among["log"])
        return found

    def parameters(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A trial's values as they were asked for."""
        space = self._described["space"]
        return {name: _same(row[name], space[name].get("values", [row[name]])) for name in self.names}


def importance(trials: Trials) -> dict[str, float]:
    """Optuna's PED-ANOVA over the completed trials; the shares sum up to 1."""
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize" if trials.large else "minimize")
    kinds = trials.distributions()
    for row in trials.complete:
        found = optuna.trial.create_trial(params=trials.parameters(row), distributions=kinds, value=row[trials.first])
        study.add_trial(found)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())


def _same(value: Any, among: list[Any]) -> Any:
    """The value as it stands among the choices: numbers come back from the records as floats."""
    return next((one for one in among if one == value), value)
