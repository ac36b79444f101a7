"""Finished networks: which of a study's taggers and separators are done, and which of them a command means."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from study.report.facts import Facts, listed
from study.store.attempt import table_file
from study.store.store import Store

REFERENCE = "reference"


@dataclass(frozen=True, kw_only=True)
class Network:
    """A trained network: the arm and the seed that it is of, and the stage that has its weights.

    `config`: the stage's configuration as the records have it. `source`: what its separator separates.
    """

    study: str
    arm: str
    seed: int
    task: str
    source: str
    stage: str
    config: str


@dataclass(frozen=True, kw_only=True)
class Taggers:
    """An arm's networks, one a seed, and the classes that they know, in the order of their outputs."""

    arm: str
    networks: tuple[Network, ...]
    classes: tuple[str, ...]

    @property
    def task(self) -> str:
        return self.networks[0].task

    def __str__(self) -> str:
        seeds = [network.seed for network in self.networks]
        return f"arm {self.arm!r}, {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"


def taggers(store: Store, *, study: str | None = None, arm: str | None = None, seed: int | None = None) -> Taggers:
    """The networks of an arm, of one seed or of all that are done.

    Arm None: the reference, or the only arm with such networks. Seeds that share one network count once.
    ValueError, with what there is, where nothing fits.
    """
    facts = Facts(store, study)
    runs = [run for run in _done(facts) if facts.arms[run["arm"]]["scheme"] != "probe"]
    chosen = _arm(runs, arm, facts, "a finished tagger")
    runs = _of_seed([run for run in runs if run["arm"] == chosen], seed, f"arm {chosen!r}")
    finals = _stages(facts, [run["final_stage"] for run in runs])
    # A search's winner was trained by one stage and tested by another.
    trained = {run["seed"]: finals[run["final_stage"]]["parents"].get("trained", run["final_stage"]) for run in runs}
    configs = _stages(facts, trained.values())
    by_stage = {trained[seed]: seed for seed in sorted(trained, reverse=True)}
    factors = facts.arms[chosen]
    networks = [
        Network(
            study=facts.name,
            arm=chosen,
            seed=seed,
            task=factors["task"],
            source=factors["source"],
            stage=stage,
            config=configs[stage]["config"],
        )
        for stage, seed in sorted(by_stage.items(), key=lambda item: item[1])
    ]
    classes = _classes(store, runs[0]["final_stage"])
    return Taggers(arm=chosen, networks=tuple(networks), classes=classes)


def separator(
    store: Store,
    *,
    study: str | None = None,
    arm: str | None = None,
    source: str | None = None,
    seed: int | None = None,
) -> Network:
    """The separator that an arm started from, at a seed (None: the first that is done).

    Arm None: the reference, else the only arm; with a `source`, the first arm with a separator of it.
    ValueError, with what there is, where nothing fits.
    """
    facts = Facts(store, study)
    runs = _done(facts)
    finals = _stages(facts, [run["final_stage"] for run in runs])
    parent = {final: row["parents"].get("separator") for final, row in finals.items()}
    runs = [run for run in runs if parent[run["final_stage"]]]
    sources = {name: facts.arms[name]["source"] for name in facts.arms}
    if source is not None:
        there = sorted({sources[run["arm"]] for run in runs})
        runs = [run for run in runs if sources[run["arm"]] == source]
        if not runs:
            raise ValueError(f"{store.storage.name} has no finished separator of {source!r}; it has: {_or_none(there)}")
    # Arms with one source share their separators.
    first = next((run["arm"] for run in runs if arm is None and len({sources[run["arm"]] for run in runs}) == 1), arm)
    chosen = _arm(runs, first, facts, "a finished separator")
    run = _of_seed([run for run in runs if run["arm"] == chosen], seed, f"arm {chosen!r}")[0]
    stage = parent[run["final_stage"]]
    return Network(
        study=facts.name,
        arm=chosen,
        seed=run["seed"],
        task="separation",
        source=sources[chosen],
        stage=stage,
        config=_stages(facts, [stage])[stage]["config"],
    )


def _done(facts: Facts) -> list[dict[str, Any]]:
    return [run for run in facts.runs if run["state"] == "done"]


def _arm(runs: Iterable[Mapping[str, Any]], arm: str | None, facts: Facts, what: str) -> str:
    """The arm that is meant: the given one, the reference, or the only one with such networks."""
    there = [name for name in facts.arms if any(run["arm"] == name for run in runs)]
    place = f"study {facts.name!r} in {facts.store.storage.name}"
    if not there:
        seeds = ", ".join(map(str, facts.seeds))
        raise ValueError(f"{place} has no arm with {what} yet, of the seeds last planned ({seeds}): run or await them")
    if arm is not None and arm not in there:
        raise ValueError(f"{place} has no arm {arm!r} with {what}; these have one: {', '.join(there)}")
    if arm is None and REFERENCE not in there and len(there) > 1:
        raise ValueError(f"several arms have {what}: give --arm, one of {', '.join(there)}")
    return arm or (REFERENCE if REFERENCE in there else there[0])


def _of_seed(runs: Sequence[dict[str, Any]], seed: int | None, whose: str) -> list[dict[str, Any]]:
    runs = sorted(runs, key=lambda run: run["seed"])
    found = runs if seed is None else [run for run in runs if run["seed"] == seed]
    if not found:
        raise ValueError(f"seed {seed} of {whose} is not done; done: {', '.join(str(run['seed']) for run in runs)}")
    return found


def _stages(facts: Facts, identities: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Configurations and parents of stages that are done."""
    wanted = dict.fromkeys(identities)
    asked = facts.ask(f"SELECT stage, config, parents FROM stages WHERE state = 'done' AND stage IN ({listed(wanted)})")
    found = {row["stage"]: {**row, "parents": dict(row["parents"] or ())} for row in asked.rows}
    if missing := [identity for identity in wanted if identity not in found]:
        raise ValueError(f"{facts.store.storage.name} has no record of stage {missing[0]}; try: store.py ... repair")
    return found


def _classes(store: Store, identity: str) -> tuple[str, ...]:
    """The classes in the order of the network's outputs, as the test's table has them for each track."""
    table = pq.read_table(io.BytesIO(store.read(identity, table_file("track_scores"))), columns=["track", "class"])
    return tuple(table["class"][: table["track"].to_pylist().count(table["track"][0].as_py())].to_pylist())


def _or_none(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
