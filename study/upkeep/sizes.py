"""The sizes of a store's contents, by what they are for."""

from study.store.storage import StoredAt
from study.upkeep.contents import Contents, StageContents, name_of

RESULTS = "results of stages that are done: weights, scores"
STATES = "loop states, to go on from"
OTHERS = "other attempts, and descriptions of stages"
_FOLDERS = {
    "inputs": "inputs that stages start from",
    "records": "records, for queries and pages",
    "logs": "logs",
    "tensorboard": "events for TensorBoard",
    "report": "pages",
    "searches": "searches",
    "corpora": "generated corpora",
    "quarantine": "damaged files, set aside",
}
_REST = "everything else"


def sizes(contents: Contents) -> dict[str, list[StoredAt]]:
    """What files are for -> the files, largest first."""
    found: dict[str, list[StoredAt]] = {}
    for file in contents.files:
        folder, *rest = file.path.split("/")
        known = contents.stages.get(rest[0]) if folder == "stages" and rest else None
        purpose = _FOLDERS.get(folder, _REST) if known is None else _of_stage(known, file)
        found.setdefault(purpose, []).append(file)
    return dict(sorted(found.items(), key=lambda entry: -sum(file.num_bytes for file in entry[1])))


def _of_stage(stage: StageContents, file: StoredAt) -> str:
    if name_of(file).startswith("state-"):
        return STATES
    counts = stage.attempt is not None and f"/attempts/{stage.attempt}/" in file.path
    return RESULTS if counts else OTHERS
