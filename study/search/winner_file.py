"""The winner file: the values that a search found, written for an ablation to use."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
class WinnerFile:
    """`content` is the whole file: for each arm that was searched its best values, and where they come from."""

    content: Mapping[str, Any]

    @property
    def by_arm(self) -> dict[str, Hyperparameters]:
        return {name: Hyperparameters(**entry["values"]) for name, entry in self.content["arms"].items()}

    @property
    def is_for_all(self) -> bool:
        """Whether one arm was searched, and its values are for all arms."""
        return len(self.content["searched"]) == 1

    @property
    def digest(self) -> str:
        """A digest of the values alone."""
        return digest({name: values.given for name, values in self.by_arm.items()})

    def values_for(self, arms: Sequence[str]) -> dict[str, Hyperparameters]:
        """Values for each arm: those of the only arm that was searched, or each arm's own.

        ValueError if several arms were searched and one of `arms` is not among them. Probes have no values.
        """
        found = self.by_arm
        if self.is_for_all:
            return dict.fromkeys(arms, *found.values())
        missing = [name for name in arms if name not in found and not name.startswith("probe ")]
        if missing:
            raise ValueError(f"--hyperparameters has values for {', '.join(found)}, and none for {', '.join(missing)}")
        return {name: found[name] for name in arms if name in found}

    def lines(self, preset: str, corpora: Corpora) -> Iterator[str]:
        """Lines that give the values, and warn where they were found with another preset or corpus."""
        for name, entry in self.content["arms"].items():
            arms = "all arms" if self.is_for_all else f"arm {name}"
            values = named(entry["values"])
            yield f"Hyperparameters of {arms}: {values} (search {entry['search']!r}, trial {entry['trial']})"
            opened = corpora.by_kind
            others = [
                kind for kind, known in entry["corpora"].items() if kind in opened and opened[kind].digest != known
            ]
            others += [f"preset {entry['preset']}"] if entry["preset"] != preset else []
            if others:
                yield f"  They were found with another: {', '.join(others)}"


def winner_file_text(entries: Mapping[str, Mapping[str, Any]], searched: Sequence[str]) -> str:
    """The text of a winner file: an entry for each arm that has a winner; `searched` names all arms searched."""
    return json.dumps({"format": FORMAT, "searched": list(searched), "arms": entries}, indent=2) + "\n"


def read_winner_file(address: str) -> WinnerFile:
    """The winner file at a path or an address.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no winner file, or it has values that no hyperparameter can have.
    """
    folder, _, name = str(Path(address).expanduser().absolute() if "://" not in address else address).rpartition("/")
    place = f"--hyperparameters {address}"
    try:
        content = json.loads(open_storage(folder).read(name))
    except FileNotFoundError:
        raise FileNotFoundError(f"{place}: there is no such file") from None
    except ValueError as error:
        raise ValueError(f"{place} is no file of values: {error}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{place} is no file of values of format {FORMAT}")
    arms, searched = content.get("arms"), content.get("searched")
    if not (isinstance(arms, dict) and arms and isinstance(searched, list) and {*arms} <= {*searched}):
        raise ValueError(f"{place} lacks arms with values, or the list of arms that were searched")
    for arm, entry in arms.items():
        _check_entry(entry, f"{place}: arm {arm!r}")
    _check_equal_budgets(arms.values(), place)
    return WinnerFile(content=content)


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


def _check_equal_budgets(entries: Iterable[Mapping[str, Any]], place: str) -> None:
    budgets: set[tuple[str, int | None]] = set()
    for entry in entries:
        # A budget that is not in trials ends after any number of them.
        num_trials = sum(entry["trials"].values()) if entry["budget"].endswith("trials") else None
        budgets.add((entry["budget"], num_trials))
    if len(budgets) > 1:
        different = ", ".join(sorted(f"{budget} ({number} ended)" for budget, number in budgets))
        raise ValueError(f"{place}: arms had unequal budgets: {different}")
