"""Weights that were trained elsewhere: from a file or the hub into the store, where every worker finds them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from torch import Tensor

from components.networks.backend import BackendConfig
from components.networks.initialisation import submodule_state
from components.networks.spectrogram_transformer import SpectrogramTransformerConfig
from components.networks.vit_weights import HUB_NAME, backend_state, fetch
from components.training.checkpoint import weights_from_bytes
from study.store.store import Store

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A file of weights that were trained elsewhere: a vision transformer's, or a network that a study exported."""

    name: str
    sha256: str
    form: Literal["imagenet", "exported"] = field(default="imagenet", metadata={"legacy": "imagenet"})


def exported_backend_state(data: bytes, drawn: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A backend's drawn state with the weights of an exported bare backend; for other classes the last layer stays."""
    found = submodule_state(weights_from_bytes(data), "backend")
    return {name: found[name] if found[name].shape == like.shape else like for name, like in drawn.items()}


def check_weights_file(place: str, *, wanted: bool) -> None:
    """ValueError for a file that no arm starts from; FileNotFoundError if it does not exist."""
    if place and not wanted:
        raise ValueError(f"--imagenet-weights {place} is given, but no arm starts from such weights")
    if place and not Path(place).expanduser().is_file():
        raise FileNotFoundError(f"--imagenet-weights {place}: there is no such file")


def add_weights(store: Store, place: str, backends: Iterable[BackendConfig]) -> Weights:
    """Checks that a file of ImageNet weights ("": the hub's) fits all of the backends, and puts it into the store.

    Raises:
        ValueError: naming the first tensor that does not fit, or the hub is out of reach.
    """
    path = Path(place).expanduser() if place else fetch()
    data, name = path.read_bytes(), path.name if place else f"{HUB_NAME}/{path.name}"
    for backend in backends:
        if isinstance(backend, SpectrogramTransformerConfig):
            backend_state(data, name, backend)
    return Weights(name=name, sha256=store.add_input(data))


def weights_to_plan_with(
    store: Store, place: str, backends: Iterable[BackendConfig], say: Callable[[str], None]
) -> Weights:
    """The weights of `add_weights` or, if the hub is out of reach, a name that no stage was trained from."""
    try:
        return add_weights(store, place, backends)
    except ValueError:
        if place:
            raise
        say(f"{HUB_NAME} is out of reach: stages that start from it are planned as new, whether or not they are done")
        return Weights(name=HUB_NAME, sha256="not fetched")
