"""Pruning: what nobody needs any more, with the reason, and its removal.

Nothing that a living command holds is removed, and while one trains, no whole stage and no input is: it may need any.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from study.records.records import Records
from study.store.quarantine import FOLDER as QUARANTINE
from study.store.storage import StoredAt
from study.store.store import Store, attempt_folder, stage_folder
from study.upkeep.contents import Contents, StageContents, name_of

NO_STUDY = "stages that no study and no search refers to"
LOST = "attempts that came second or were killed, of stages that are done"
STATES = "loop states of stages that are done"
CLAIMS = "claims to stages that are done"
INPUTS = "inputs that no stage reads"
UNFINISHED = "files that a killed process had begun to write"


class Removal(NamedTuple):
    """Files to remove together, those first that say that the others count.

    `folders` are then empty; `attempts`: (identity, name) of those whose rows go too.
    """

    reason: str
    name: str
    files: tuple[StoredAt, ...]
    folders: tuple[str, ...] = ()
    attempts: tuple[tuple[str, str], ...] = ()


class Pruning:
    """What can be removed from a store. `obstacles`: why no stages and no inputs can, in words."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._referred = set().union(*contents.referred().values())
        self.obstacles = [*self._running(), *self._lost_plans()]
        whole = [] if self.obstacles else [*self._stages(), *self._inputs(), *self._unfinished()]
        self.removals = [*whole, *self._leftovers()]

    def _running(self) -> Iterator[str]:
        for holder in sorted(set(self._contents.holders.values())):
            yield f"{holder} trains on this store and may need any"

    def _lost_plans(self) -> Iterator[str]:
        present = {file.path for file in self._contents.files}
        for folder in ("runs", "trials"):
            for file in self._contents.below(f"{QUARANTINE}/{folder}"):
                plan = file.path.removeprefix(f"{QUARANTINE}/").rsplit("-", 1)[0]
                if not file.path.endswith(".cause") and plan not in present:
                    yield f"{plan}, which says what is needed, was damaged; its command writes it again"

    @property
    def _unreferred(self) -> list[StageContents]:
        return [stage for stage in self._contents.stages.values() if stage.identity not in self._referred]

    def _stages(self) -> Iterator[Removal]:
        for stage in self._unreferred:
            own = f"-{stage.identity[:8]}"
            logs = [file for file in self._contents.below("logs") if own in file.path]
            events = [file for file in self._contents.below("tensorboard") if file.path.split("/")[1].endswith(own)]
            claims = self._contents.below(f"claims/{stage.identity}")
            files = sorted(stage.files, key=lambda file: name_of(file) != "done.json")
            folders = {"/".join(file.path.split("/")[:2]) for file in (*stage.files, *events, *claims)}
            attempts = tuple((stage.identity, attempt) for attempt in stage.attempts)
            yield Removal(NO_STUDY, str(stage), (*files, *logs, *events, *claims), tuple(sorted(folders)), attempts)

    def _inputs(self) -> Iterator[Removal]:
        stages = self._contents.stages
        if not self._referred <= set(stages):
            # A stage that has not begun may read any.
            return
        read = "".join(stages[identity].canonical for identity in self._referred)
        for file in self._contents.below("inputs"):
            if not name_of(file).startswith(".") and name_of(file) not in read:
                yield Removal(INPUTS, file.path, (file,))

    def _unfinished(self) -> Iterator[Removal]:
        gone = tuple(f"{stage_folder(stage.identity)}/" for stage in self._unreferred)
        for file in self._contents.files:
            if name_of(file).startswith(".") and file.path.endswith(".unfinished") and not file.path.startswith(gone):
                yield Removal(UNFINISHED, file.path, (file,))
        for name in sorted({file.path.split("/")[1] for file in self._contents.below("ray")}):
            yield Removal(UNFINISHED, f"ray/{name}", tuple(self._contents.below(f"ray/{name}")), (f"ray/{name}",))

    def _leftovers(self) -> Iterator[Removal]:
        """What is left of how a stage that stays came about. Attempts that failed stay: they say why."""
        for stage in self._contents.stages.values():
            if stage.state != "done" or stage.holder or (not self.obstacles and stage.identity not in self._referred):
                continue
            if claims := tuple(self._contents.below(f"claims/{stage.identity}")):
                yield Removal(CLAIMS, str(stage), claims, (f"claims/{stage.identity}",))
            for attempt, files in stage.attempts.items():
                name, folder = f"{stage}, attempt {attempt}", attempt_folder(stage.identity, attempt)
                outcome = self._contents.json(f"{folder}/result.json").get("outcome")
                states = tuple(file for file in files if name_of(file).startswith("state-"))
                if attempt != stage.attempt and outcome in ("completed", None):
                    yield Removal(LOST, name, tuple(files), (folder,), ((stage.identity, attempt),))
                elif states:
                    yield Removal(STATES, name, states)


def remove(removals: Iterable[Removal], store: Store, progress: Callable[[int, int], None]) -> None:
    """Removes files and the rows that came from them. `progress` gets the number of removals done, and of all."""
    removals = list(removals)
    Records(store).forget(attempt for removal in removals for attempt in removal.attempts)
    for number, removal in enumerate(removals, 1):
        for file in removal.files:
            store.storage.delete(file.path)
        for folder in removal.folders:
            store.storage.delete_folder(folder)
        progress(number, len(removals))
