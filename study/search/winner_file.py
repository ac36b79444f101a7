"""Winners values: the file that a search leaves and an ablation takes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.corpora.corpora import Corpora
from study.design.hyperparameters import NAMES, Hyperparameters, named
from study.stages.identity import digest
from study.store.storage import open_storage

FORMAT = 1
ENTRY_KEYS = ("values", "search", "trial", "metric", "value", "preset", "budget", "trials", "corpora")


@dataclass(frozen=True, kw_only=True)
class Winners:
    """`content` is the whole file: of each arm that was searched its values, and where they come from."""

    content: Mapping[str, Any]

    @property
    def arms(self) -> dict[str, Hyperparameters]:
        return {name: Hyperparameters(**entry["values"]) for name, entry in self.content["arms"].items()}

    @property
    def is_for_all(self) -> bool:
        """Whether one arm was searched for, in the place of all."""
        return len(self.content["searched"]) == 1

    @property
    def digest(self) -> str:
        """Of the values alone."""
        return digest({name: values.given for name, values in self.arms.items()})

    def of_arms(self, names: Sequence[str]) -> dict[str, Hyperparameters]:
        """Values for each arm: those of the one that was searched for all, or each arm's own.

        ValueError if several were searched and an arm is not among them; probes have none.
        """
        found = self.arms
        if self.is_for_all:
            return dict.fromkeys(names, *found.values())
        missing = [name for name in names if name not in found and not name.startswith("probe ")]
        if missing:
            raise ValueError(f"--hyperparameters has values for {', '.join(found)}, and none for {', '.join(missing)}")
        return {name: found[name] for name in names if name in found}

    def lines(self, preset: str, corpora: Corpora) -> Iterator[str]:
        """Lines that say what the values are, and where they were found on something else."""
        for name, entry in self.content["arms"].items():
            of_all = "all arms" if self.is_for_all else f"arm {name}"
            values = named(entry["values"])
            yield f"Hyperparameters of {of_all}: {values} (search {entry['search']!r}, trial {entry['trial']})"
            others = [kind for kind, known in entry["corpora"].items() if _other(kind, known, corpora)]
            others += [f"preset {entry['preset']}"] if entry["preset"] != preset else []
            if others:
                yield f"  They were found on something else: {', '.join(others)}"


def _other(kind: str, known: str, corpora: Corpora) -> bool:
    return kind in corpora.by_kind and corpora.by_kind[kind].digest != known


def to_text(entries: Mapping[str, Mapping[str, Any]], searched: Sequence[str]) -> str:
    """The file of these arms' entries; `searched`: the arms that were searched for, with a winner or without."""
    return json.dumps({"format": FORMAT, "searched": list(searched), "arms": entries}, indent=2) + "\n"


def read_winners(address: str) -> Winners:
    """The file at a path or an address.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no such file, or has values that no hyperparameter can have.
    """
    folder, _, name = str(Path(address).expanduser().absolute() if "://" not in address else address).rpartition("/")
    try:
        content = json.loads(open_storage(folder).read(name))
    except FileNotFoundError:
        raise FileNotFoundError(f"--hyperparameters {address}: there is no such file") from None
    except ValueError as error:
        raise ValueError(f"--hyperparameters {address} is no file of values: {error}") from None
    _check(content, address)
    return Winners(content=content)


def _check(content: Any, address: str) -> None:
    place = f"--hyperparameters {address}"
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{place} is no file of values of format {FORMAT}")
    arms, searched = content.get("arms"), content.get("searched")
    if not (isinstance(arms, dict) and arms and isinstance(searched, list) and {*arms} <= {*searched}):
        raise ValueError(f"{place} names no arm with values, or not which were searched for")
    for arm, entry in arms.items():
        _check_entry(entry, f"{place}: arm {arm!r}")
    budgets = {(entry["budget"], _num_trials(entry)) for entry in arms.values()}
    if len(budgets) > 1:
        told = ", ".join(sorted(f"{budget} ({number} told)" for budget, number in budgets))
        raise ValueError(f"{place}: arms had unequal budgets: {told}")


def _num_trials(entry: Mapping[str, Any]) -> int | None:
    """Of a budget in trials; the others end when they end."""
    return sum(entry["trials"].values()) if entry["budget"].endswith("trials") else None


def _check_entry(entry: Any, place: str) -> None:
    if not isinstance(entry, dict):
        raise ValueError(f"{place} is {entry!r}")
    if missing := [key for key in ENTRY_KEYS if key not in entry]:
        raise ValueError(f"{place} lacks {', '.join(missing)}")
    for key in ("values", "corpora", "trials"):
        if not isinstance(entry[key], dict):
            raise ValueError(f"{place}: {key} is {entry[key]!r}")
    if unknown := [name for name in entry["values"] if name not in NAMES]:
        raise ValueError(f"{place}: there is no hyperparameter {unknown[0]!r}")
    try:
        Hyperparameters(**entry["values"])
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None
