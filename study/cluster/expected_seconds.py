"""Expected seconds of stages: what others of their class took, else their work in FLOPs at the rate that was measured.

A class is a kind, a configuration without its seeds, and a corpus. What has been measured comes from the records of
stages that ran with the same resources, on the device that was used last, and from stages as they end.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal, Protocol

from study.cluster.execution import Execution, Resources
from study.stages.identity import digest
from study.stages.stage import Stage

# FLOP/s of one CPU thread and of one GPU, where nothing has been measured. Measured: separation with one thread at 5 to
# 18 GFLOP/s, without and with AVX-512, and on an H100 in bf16 at 12 TFLOP/s (385 segments a second, 32 GFLOP each).
CPU_RATE, GPU_RATE = 1e10, 1.2e13
SEEDS = ("seed", "separator_seed")
# What is needed of the records' "stages".
MEASURED_COLUMNS = [*("kind", "state", "attempt_number", "config", "corpus", "facts", "duration_s", "ended_at")]
NOTABLE = 0.1  # a change by less reorders nothing
Source = Literal["measured", "scaled", "transferred", "guessed"]
# How far a stage's seconds may lie from what is expected, either way.
FACTORS: Mapping[Source, float] = {"measured": 1.15, "scaled": 1.6, "transferred": 3.0, "guessed": 5.0}


@dataclass(kw_only=True)
class _Class:
    """`work` in FLOPs, None if its kind does not say. `seconds` that its stages took."""

    kind: str
    resources: Resources
    work: float | None
    seconds: list[float] = field(default_factory=list)


@dataclass(kw_only=True)
class _Rate:
    """Seconds for work, of all classes of a kind that were measured. `known`: the rate as last made known."""

    seconds: float = 0.0
    work: float = 0.0
    known: float = 0.0


class Expected(Protocol):
    """How long stages are expected to take; `ExpectedSeconds`, or something simpler."""

    def __call__(self, stage: Stage) -> float: ...

    def explained(self, stage: Stage) -> tuple[float, Source]: ...

    def learn(self, stage: Stage, seconds: float) -> bool: ...


class ExpectedSeconds:
    """Call it with a stage. `measured`: rows of the records' "stages"; `corpora`: content digest -> folder here."""

    def __init__(
        self, execution: Execution, corpora: Mapping[str, str], measured: Iterable[Mapping[str, Any]] = ()
    ) -> None:
        self._execution, self._corpora = execution, corpora
        self._classes: dict[str, _Class] = {}
        self._class_of: dict[str, _Class] = {}
        self._rates: dict[str, _Rate] = {}
        self._measured: dict[str, list[float]] = {}
        for key, seconds in _comparable(measured, execution):
            self._measured.setdefault(key, []).append(seconds)

    def __call__(self, stage: Stage) -> float:
        return self.explained(stage)[0]

    def explained(self, stage: Stage) -> tuple[float, Source]:
        """A stage's expected seconds, and what they come from."""
        found = self._find(stage)
        if found.seconds:
            return median(found.seconds), "measured"
        own, all_rates = self._rates.get(found.kind), self._rates.values()
        if found.work is not None and own is not None:
            return found.work * own.seconds / own.work, "scaled"
        if found.work is not None and all_rates:
            rate = sum(r.seconds for r in all_rates) / sum(r.work for r in all_rates)
            return found.work * rate, "transferred"
        per_worker = found.resources.gpus_per_worker * GPU_RATE or found.resources.cpus_per_worker * CPU_RATE
        rate = per_worker * found.resources.num_workers
        return (60.0 if found.work is None else found.work / rate), "guessed"

    def learn(self, stage: Stage, seconds: float) -> bool:
        """Notes what a stage took. Returns whether that changes notably what others are expected to take."""
        before = self(stage)
        found = self._find(stage)
        found.seconds.append(seconds)
        has_moved = self._add_to_rate(found, seconds)
        return has_moved or abs(self(stage) - before) > NOTABLE * before

    def _find(self, stage: Stage) -> _Class:
        known = self._class_of.get(stage.identity)
        if known is None:
            key = _key(stage.kind.name, stage.canonical["config"], stage.corpus)
            known = self._classes.get(key)
            if known is None:
                known = self._classes[key] = self._make(stage)
            self._class_of[stage.identity] = known
        return known

    def _make(self, stage: Stage) -> _Class:
        work = None
        if stage.kind.work is not None and stage.corpus in self._corpora:
            work = stage.kind.work(stage.config, self._corpora[stage.corpus])
        resources = self._execution.resources_of(stage.kind.name)
        found = _Class(kind=stage.kind.name, resources=resources, work=work)
        for seconds in self._measured.get(_key(found.kind, stage.description["config"], stage.corpus), ()):
            found.seconds.append(seconds)
            self._add_to_rate(found, seconds)
        return found

    def _add_to_rate(self, found: _Class, seconds: float) -> bool:
        """Returns whether the kind's rate has moved notably since it was last said to."""
        if not found.work:
            return False
        rate = self._rates.setdefault(found.kind, _Rate())
        rate.seconds, rate.work = rate.seconds + seconds, rate.work + found.work
        value = rate.seconds / rate.work
        has_moved = abs(value - rate.known) > NOTABLE * rate.known
        rate.known = value if has_moved else rate.known
        return has_moved


def _key(kind: str, config: Any, corpus: str) -> str:
    return digest([kind, _without_seeds(config), corpus])


def _without_seeds(form: Any) -> Any:
    if not isinstance(form, dict):
        return form
    return {name: _without_seeds(item) for name, item in form.items() if name not in SEEDS}


def _comparable(rows: Iterable[Mapping[str, Any]], execution: Execution) -> Iterator[tuple[str, float]]:
    """Class and seconds of stages trained at one go, with such resources, on the device that was used last."""
    found = []
    for row in rows:
        facts, resources = dict(row["facts"]), execution.resources_of(row["kind"])
        here = (str(resources.num_workers), str(resources.cpus_per_worker), f"{resources.gpus_per_worker:g}")
        there = tuple(facts.get(name) for name in ("num_workers", "threads", "gpus_per_worker"))
        if row["state"] == "done" and row["attempt_number"] == 1 and here == there:
            found.append((row["ended_at"], facts.get("device"), row))
    if found:
        _, device, _ = max(found, key=lambda entry: entry[0])
        for _, other, row in found:
            if other == device:
                yield _key(row["kind"], json.loads(row["config"]), row["corpus"]), row["duration_s"]
