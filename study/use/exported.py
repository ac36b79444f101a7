"""Networks that a study has exported, as starts of another: a folder's separator or bare backend."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from components.networks.backend import BackendConfig
from components.networks.separator import SeparatorConfig
from study.kinds.classification import ClassificationStage
from study.kinds.separation import SeparationStage
from study.kinds.trained_networks import CONFIGS
from study.kinds.weights import WEIGHTS, Weights
from study.stages.identity import canonical, difference, from_canonical
from study.store.store import Store

CONFIG = "config.json"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """An exported network: the option that gave its folder, its stage's configuration, and its weights."""

    given: str
    stage: Any
    data: bytes

    def add_to(self, store: Store) -> Weights:
        """Puts the weights into the store, where every worker finds them."""
        return Weights(name=Path(self.given.split()[-1]).name, sha256=store.add_input(self.data), form="exported")


def read_exported(option: str, folder: str) -> Exported:
    """The network in a folder that `export.py` made.

    FileNotFoundError if a file is missing, ValueError if one cannot be read; both name the option.
    """
    place, given = Path(folder).expanduser(), f"{option} {folder}"
    for name in (CONFIG, WEIGHTS):
        if not (place / name).is_file():
            raise FileNotFoundError(f"{given} has no {name}: give a folder that experiments/export.py made")
    try:
        facts = json.loads((place / CONFIG).read_text(encoding="utf-8"))
        stage = from_canonical(facts["configuration"], CONFIGS)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{given}: {CONFIG} cannot be read: {error}") from None
    return Exported(given=given, stage=stage, data=(place / WEIGHTS).read_bytes())


def separator_of(exported: Exported) -> SeparatorConfig:
    """The separator's configuration; ValueError for another network."""
    if not isinstance(exported.stage, SeparationStage):
        raise ValueError(f"{exported.given} holds a {type(exported.stage).__name__}'s network, not a separator")
    return exported.stage.separator


def backend_of(exported: Exported) -> BackendConfig:
    """The backend's configuration; ValueError for another network than a bare backend."""
    if not isinstance(exported.stage, ClassificationStage):
        raise ValueError(f"{exported.given} holds a {type(exported.stage).__name__}'s network, not a bare backend")
    return exported.stage.classifier.backend


def check_fits(exported: Exported, found: Any, wanted: Any) -> None:
    """ValueError, naming the fields, if the network is not as the preset has it; the number of classes may differ."""
    if hasattr(wanted, "num_classes"):
        found = replace(found, num_classes=wanted.num_classes)
    if lines := difference(canonical(wanted), canonical(found)):
        raise ValueError(f"{exported.given} does not fit the preset: {'; '.join(lines)}")
