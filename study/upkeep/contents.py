"""The contents of a store: its stages with their files, and which studies and searches refer to them."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from study.store.claims import Claims
from study.store.storage import StoredAt, concurrently
from study.store.store import Store, attempt_folder, stage_folder

State = Literal["done", "running", "failed", "begun"]


def name_of(file: StoredAt) -> str:
    """The last part of a file's path."""
    return file.path.rsplit("/", 1)[-1]


def num_bytes(files: Iterable[StoredAt]) -> int:
    return sum(file.num_bytes for file in files)


def written_at(files: Iterable[StoredAt]) -> float | None:
    """When the newest file was written, in seconds since 1970; None where the storage does not tell."""
    return max((file.written_at for file in files if file.written_at is not None), default=None)


@dataclass(frozen=True, kw_only=True)
class StageContents:
    """A stage as it lies in the store.

    Attributes:
        attempt: the one that counts; None if the stage is not done.
        holder: the command that trains it now, in words.
        canonical: what the identity stands for, as JSON.
        parents: identities of the stages that it has read from.
    """

    identity: str
    label: str
    state: State
    attempt: str | None
    holder: str | None
    canonical: str
    parents: tuple[str, ...]
    files: tuple[StoredAt, ...]

    def __str__(self) -> str:
        return f"{self.label or 'stage without a description'} ({self.identity[:8]})"

    @property
    def attempts(self) -> dict[str, list[StoredAt]]:
        """The files of each attempt, by its name."""
        return attempts_of(self.files)


def attempts_of(files: Iterable[StoredAt]) -> dict[str, list[StoredAt]]:
    """The files of each attempt at a stage, by its name, oldest attempt first."""
    found: dict[str, list[StoredAt]] = {}
    for file in files:
        _, _, folder, *rest = file.path.split("/")
        if folder == "attempts" and len(rest) == 2:
            found.setdefault(rest[0], []).append(file)
    return dict(sorted(found.items(), key=lambda entry: int(entry[0].split("-")[0])))


class Contents:
    """Everything that is in a store at one moment. Reading it changes nothing."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.files = store.storage.files()
        claims = Claims(store, "upkeep")
        held = concurrently(lambda identity: (identity, claims.holder(identity)), store.storage.names("claims"))
        self.holders = {identity: holder for identity, holder in held if holder is not None}
        by_stage: dict[str, list[StoredAt]] = {}
        for file in self.below("stages"):
            by_stage.setdefault(file.path.split("/")[1], []).append(file)
        found = concurrently(lambda entry: self._stage(*entry), by_stage.items())
        self.stages = {stage.identity: stage for stage in found}

    def below(self, folder: str) -> list[StoredAt]:
        """The files in a folder, at any depth."""
        return [file for file in self.files if file.path.startswith(f"{folder}/")]

    def json(self, path: str) -> Mapping[str, Any]:
        """What a file says; nothing if it is not there or is damaged."""
        try:
            said = json.loads(self.store.storage.read(path))
        except (FileNotFoundError, ValueError):
            return {}
        return said if isinstance(said, dict) else {}

    def referred(self) -> dict[str, set[str]]:
        """Name of each study and search -> identities of the stages that it needs, begun or not."""
        found: dict[str, set[str]] = {}
        for name, identities in self._plans():
            found.setdefault(name, set()).update(self._with_ancestors(identities))
        return found

    def _plans(self) -> Iterator[tuple[str, list[str]]]:
        for plan in map(self.json, (file.path for file in self.below("runs"))):
            if plan:
                yield plan["study"], [*plan["stages"], plan["final_stage"]]
        for search in map(self.json, (file.path for file in self.below("trials"))):
            if search:
                tested = search.get("test_stage")
                yield search["name"], [*(row["final_stage"] for row in search["trials"]), *([tested] if tested else [])]

    def _with_ancestors(self, identities: Iterable[str]) -> set[str]:
        found: set[str] = set()
        left = list(identities)
        while left:
            identity = left.pop()
            if identity not in found:
                found.add(identity)
                left += self.stages[identity].parents if identity in self.stages else ()
        return found

    def _stage(self, identity: str, files: list[StoredAt]) -> StageContents:
        said = self.json(f"{stage_folder(identity)}/stage.json")
        attempt = self.json(f"{stage_folder(identity)}/done.json").get("attempt")
        holder = self.holders.get(identity)
        canonical = said.get("canonical", {})
        return StageContents(
            identity=identity,
            label=said.get("label", ""),
            state="done" if attempt else "running" if holder else self._ended(identity, files),
            attempt=attempt,
            holder=holder,
            canonical=json.dumps(canonical),
            parents=tuple(canonical.get("parents", {}).values()),
            files=tuple(files),
        )

    def _ended(self, identity: str, files: Iterable[StoredAt]) -> State:
        """How the newest attempt at a stage that is not done ended, if it has."""
        newest = next(reversed(attempts_of(files)), None)
        outcome = self.json(f"{attempt_folder(identity, newest)}/result.json").get("outcome") if newest else None
        return "failed" if outcome == "failed" else "begun"
