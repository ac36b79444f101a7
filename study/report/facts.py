"""Facts: what a study is, and what its records say. Every answer keeps its SQL."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from study.design.metrics import METRICS
from study.records.query import Query
from study.records.records import Records
from study.statistics.over_seeds import Spread
from study.store.store import Store

_TABLES = ("runs", "stages", "epochs", "tag_metrics")
GENERATED = "generated-"


@dataclass(frozen=True)
class Asked:
    """A question and its rows."""

    sql: str
    rows: list[dict[str, Any]]


class Facts:
    """One study of a store.

    Raises:
        ValueError: no store, no such study, or several to choose from.
    """

    def __init__(self, store: Store, name: str | None = None) -> None:
        self.store = store
        self._query = Query(store, _TABLES)
        described = _chosen(Records(store).studies(), name, store.storage.name)
        self.name: str = described["name"]
        self.preset: str = described["preset"]
        self.arms: dict[str, dict[str, str]] = {arm["name"]: arm["factors"] for arm in described["arms"]}
        self.seeds: list[int] = described["seeds"]
        self.comparisons = [(arm, against, metric) for arm, against, metric in described["comparisons"]]
        self.margins: dict[str, float] = described.get("margins", {})
        self.groups: dict[str, list[str]] = described["groups"]
        self.corpora: dict[str, dict[str, Any]] = described["corpora"]
        self.hyperparameters: dict[str, Any] = described.get("hyperparameters", {})

    def ask(self, sql: str) -> Asked:
        """The rows of a SELECT over runs, stages, epochs and tag_metrics."""
        return Asked(sql, self._query.run(sql).to_pylist())

    @property
    def generated(self) -> list[str]:
        """Kinds of corpora whose songs are generated."""
        return [kind for kind, corpus in self.corpora.items() if corpus["name"].startswith(GENERATED)]

    @property
    def comparable(self) -> bool:
        """Whether numbers can be compared with the published ones: real corpora at the paper's sizes."""
        return not self.generated and self.preset == "paper"

    @property
    def why_not_comparable(self) -> str:
        """In plain words; empty where it is comparable."""
        reasons = [*(["generated songs"] if self.generated else []), f"preset {self.preset}"]
        return "" if self.comparable else f"not comparable: {', '.join(reasons)}"

    def of_task(self, task: str, *, probes: bool = False) -> list[str]:
        """Arms of a task, probes or all others, in the order of the study."""
        return [
            name
            for name, factors in self.arms.items()
            if factors["task"] == task and (factors["scheme"] == "probe") == probes
        ]

    @property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(factors["task"] for factors in self.arms.values()))

    def metrics_of(self, task: str) -> dict[str, str]:
        """Names of a task's metrics that the runs have, with their titles."""
        return {name: title for name, title in METRICS[task].items() if name in self._columns["runs"]}

    def has(self, view: str, column: str) -> bool:
        return column in self._columns[view]

    @cached_property
    def _columns(self) -> dict[str, set[str]]:
        return {view: {name for name, _, _ in columns} for view, columns in self._query.columns().items()}

    def where(self, arms: Iterable[str], view: str = "runs") -> str:
        """The condition of a SELECT for the runs of these arms that are done."""
        return f"{self.planned(arms, view)} AND {view}.state = 'done'"

    def planned(self, arms: Iterable[str], view: str = "runs") -> str:
        """The condition of a SELECT for the runs of these arms, done or not, kept short."""
        wanted, parts = list(arms), [f"{view}.study = {text(self.name)}"]
        if not self._recorded["arm"] <= set(wanted):
            parts.append(f"{view}.arm IN ({listed(wanted)})")
        if not self._recorded["seed"] <= set(self.seeds):
            parts.append(f"{view}.seed IN ({', '.join(map(str, self.seeds)) or 'NULL'})")
        return "\n  AND ".join(parts)

    @cached_property
    def _recorded(self) -> dict[str, set[Any]]:
        """Arms and seeds that the records know under the study's name."""
        rows = self.ask(f"SELECT DISTINCT arm, seed FROM runs WHERE study = {text(self.name)}").rows
        return {name: {row[name] for row in rows} for name in ("arm", "seed")}

    @cached_property
    def runs(self) -> list[dict[str, Any]]:
        """Every planned run that the records hold, with factors and metrics as columns."""
        return self.ask(f"SELECT * FROM runs\nWHERE {self.planned(self.arms)}\nORDER BY arm, seed").rows

    @cached_property
    def states(self) -> dict[str, dict[int, str]]:
        """Arm -> seed -> "done", "failed" or "pending"."""
        states = {arm: dict.fromkeys(self.seeds, "pending") for arm in self.arms}
        for run in self.runs:
            states[run["arm"]][run["seed"]] = run["state"]
        return states

    def values(self, metric: str) -> dict[str, dict[int, float]]:
        """Arm -> seed -> value, of runs that are done."""
        found: dict[str, dict[int, float]] = {}
        for run in self.runs:
            if run["state"] == "done" and run.get(metric) is not None:
                found.setdefault(run["arm"], {})[run["seed"]] = run[metric]
        return found

    def spreads(self, arms: Sequence[str], metrics: Iterable[str]) -> tuple[dict[str, dict[str, Spread]], list[str]]:
        """Metric -> arm -> its mean, sd and number of different runs; and the question."""
        names = list(metrics)
        if not arms or not names:
            return {}, []
        columns = "".join(f",\n  {_summary(quoted(name), name)}" for name in names)
        # Seeds that share a final stage count as one run: a copy replicates nothing.
        runs = (
            f"SELECT DISTINCT arm, final_stage, {', '.join(map(quoted, names))} FROM runs\n  WHERE {self.where(arms)}"
        )
        asked = self.ask(f"SELECT arm{columns}\nFROM (\n  {runs}\n)\nGROUP BY arm")
        return {name: _by_arm(asked.rows, name) for name in names}, [asked.sql]

    def group_spreads(self, arms: Sequence[str]) -> tuple[dict[str, dict[str, Spread]], list[str]]:
        """Group of tags -> arm -> the spread of the group's mean ROC-AUC; and the question."""
        if not arms or not self.groups:
            return {}, []
        parts = "\n  UNION ALL\n".join(self.group_sql(name, arms) for name in self.groups)
        runs = f"SELECT DISTINCT tag_group, arm, final_stage, value FROM (\n{parts}\n)"
        asked = self.ask(f"SELECT tag_group, arm,\n  {_summary('value', 'value')}\nFROM ({runs})\nGROUP BY ALL")
        by_group = {name: [row for row in asked.rows if row["tag_group"] == name] for name in self.groups}
        return {name: _by_arm(rows, "value") for name, rows in by_group.items() if rows}, [asked.sql]

    def group_sql(self, name: str, arms: Iterable[str]) -> str:
        """The question for arm, seed and value: the mean ROC-AUC of a group's tags."""
        return (
            f"  SELECT {text(name)} AS tag_group, arm, seed, final_stage, avg(t.roc_auc) AS value\n"
            f"  FROM tag_metrics t JOIN runs ON t.stage = runs.final_stage\n"
            f"  WHERE {self.where(arms)} AND t.class IN ({listed(self.groups[name])})\n"
            f"    AND isfinite(t.roc_auc)\n  GROUP BY ALL"
        )

    def macro_note(self, task: str) -> str:
        """Over what the averages are, if the test split lacks some classes; else ""."""
        if task == "genre":
            column = "num_genres" if self.has("runs", "num_genres") else "NULL"
            rows = self.ask(f"SELECT max({column}) AS num FROM runs WHERE {self.planned(self.of_task(task))}").rows
            num = rows[0]["num"]
            return f" Balanced accuracy: over the {num:.0f} genres that the test split has." if num else ""
        where = f"{self.where(self.of_task(task))} AND t.split = 'test'"
        rows = self.ask(
            "SELECT t.class, bool_or(isfinite(t.roc_auc)) AS has_score\n"
            f"FROM tag_metrics t JOIN runs ON t.stage = runs.final_stage\nWHERE {where}\nGROUP BY ALL ORDER BY ALL"
        ).rows
        lacking = [row["class"] for row in rows if not row["has_score"]]
        there = (
            f" Macro averages: over {len(rows) - len(lacking)} of {len(rows)} tags. No test track, or every one, has"
        )
        return f"{there}: {', '.join(lacking)}." if lacking else ""

    def group_values(self, group: str) -> dict[str, dict[int, float]]:
        """Arm -> seed -> the mean ROC-AUC of a group's tags."""
        found: dict[str, dict[int, float]] = {}
        for row in self.ask(self.group_sql(group, self.arms)).rows:
            found.setdefault(row["arm"], {})[row["seed"]] = row["value"]
        return found

    @cached_property
    def digits(self) -> int:
        """The decimals of scores: one more if seeds differ by less than a thousandth."""
        metrics = [name for task in self.tasks for name in self.metrics_of(task)]
        spreads, _ = self.spreads(list(self.arms), dict.fromkeys(metrics))
        sds = [one.sd for by_arm in spreads.values() for one in by_arm.values() if one.num > 1 and one.sd > 0]
        return 4 if sds and sorted(sds)[len(sds) // 2] < 0.001 else 3


def _chosen(studies: Sequence[Mapping[str, Any]], name: str | None, place: str) -> Mapping[str, Any]:
    names = [study["name"] for study in studies]
    if not studies:
        raise ValueError(f"{place} describes no study; the command that trains a study writes its description")
    if name is None and len(studies) > 1:
        raise ValueError(f"{place} holds several studies: give --study, one of {', '.join(names)}")
    if name is not None and name not in names:
        raise ValueError(f"there is no study {name!r} in {place}; there are: {', '.join(names)}")
    return studies[0 if name is None else names.index(name)]


def _summary(value: str, name: str) -> str:
    finite = f"FILTER (isfinite({value}))"
    return ",\n  ".join(
        f"{function}({value}) {finite} AS {quoted(f'{name}_{what}')}"
        for function, what in (("avg", "mean"), ("stddev_samp", "sd"), ("count", "n"))
    )


def _by_arm(rows: Iterable[Mapping[str, Any]], name: str) -> dict[str, Spread]:
    return {row["arm"]: spread_of(row, name) for row in rows if row[f"{name}_n"]}


def spread_of(row: Mapping[str, Any], name: str) -> Spread:
    """From the three columns of a summary."""
    sd = row[f"{name}_sd"]
    return Spread(row[f"{name}_mean"], float("nan") if sd is None else sd, row[f"{name}_n"])


def text(value: str) -> str:
    """A string in SQL."""
    return "'" + value.replace("'", "''") + "'"


def listed(values: Iterable[str]) -> str:
    """Strings in SQL, for IN."""
    return ", ".join(map(text, values)) or "NULL"


def quoted(name: str) -> str:
    """A column's name in SQL, in quotes where it needs them."""
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else '"' + name.replace('"', '""') + '"'
