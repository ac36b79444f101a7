"""A trial: one choice of every factor."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, get_args

from components.networks.adapters import ALL_POINTS, AdapterStart, Fusion, Levels, checked_levels
from components.networks.joint import Inputs
from components.objectives.classification import Task
from components.objectives.probe import Feature, checked_features

Source = Literal["none", "bass", "drums", "other", "vocals", "multiple"]
Scheme = Literal["two-stage", "three-stage", "probe"]
Backend = Literal["cnn", "ast"]
BackendStart = Literal["random", "imagenet"]
UNetTraining = Literal["frozen", "finetuned", "slow"]
Separators = Literal["per seed", "shared"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One level of every factor; a seed makes it a run. A factor that a trial does not have is None.

    Attributes:
        task: what is classified.
        backend: the classifier.
        weights: what it starts from, where nothing was trained before.
        source: what the U-Net was pre-trained to separate; "none" leaves it random, None: there is no U-Net.
        scheme: "three-stage" pre-trains the backend on the task before the joint finetuning; "probe" trains no network
            on the task, but a linear model on what the separator, as it is, hears.
        insertion: the decoder levels whose maps enter the backend.
        fusion: how they meet what is there.
        adapters: what the adapters' weights start from.
        inputs: what the backend hears.
        unet: whether the U-Net learns in the joint finetuning; "slow" is at a smaller learning rate.
        separators: whether each seed trains its own separator, or all share one.
        probe: which features a linear probe has.

    Raises:
        ValueError: an unknown level, or one of a factor that such a trial does not have.
    """

    task: Task = "tagging"
    backend: Backend | None = "cnn"
    weights: BackendStart | None = "random"
    source: Source | None = "vocals"
    scheme: Scheme | None = "two-stage"
    insertion: Levels | None = ALL_POINTS
    fusion: Fusion | None = "sum"
    adapters: AdapterStart | None = "random"
    inputs: Inputs | None = "estimates and mixture"
    unet: UNetTraining | None = "finetuned"
    separators: Separators | None = "per seed"
    probe: tuple[Feature, ...] | None = None

    # What a probe has not, and what only a joint network has.
    OF_BACKEND: ClassVar[frozenset[str]] = frozenset({"backend", "weights"})
    OF_JOINT: ClassVar[frozenset[str]] = frozenset({"insertion", "fusion", "adapters", "inputs", "unet", "separators"})

    def __post_init__(self) -> None:
        for name, allowed in LEVELS.items():
            value = getattr(self, name)
            if value is not None and value not in get_args(allowed):
                raise ValueError(f"Trial.{name} is {value!r}; allowed: {', '.join(get_args(allowed))}")
        for name in (entry.name for entry in fields(self)):
            value, has = getattr(self, name), name in self._own_factors()
            if has and value is None and name != "source":
                raise ValueError(f"Trial.{name} is None; {self._described()} needs one")
            if not has and value is not None:
                raise ValueError(f"Trial.{name} is {value!r}; {self._described()} has no {name}: give None")
        if self.insertion is not None:
            # One set of points is one level, in whatever order it was written.
            object.__setattr__(self, "insertion", checked_levels(self.insertion))
        if self.probe is not None:
            object.__setattr__(self, "probe", checked_features(self.probe))
        if self.is_bare and self.probe not in (None, ("mixture",)):
            raise ValueError(f"Trial.probe is {self.probe}; without a separator (source None) it is ('mixture',)")
        if not self.is_bare and self.probe == ("mixture",):
            raise ValueError("Trial.probe is ('mixture',); nothing of the separator is heard: give source None")

    def _own_factors(self) -> set[str]:
        names = {entry.name for entry in fields(self)}
        if self.scheme == "probe":
            return names - self.OF_BACKEND - self.OF_JOINT | (set() if self.is_bare else {"separators"})
        return names - {"probe"} - (self.OF_JOINT | {"scheme"} if self.is_bare else set())

    def _described(self) -> str:
        if self.scheme == "probe":
            return "a probe"
        return "a bare backend (source None)" if self.is_bare else "a trial with a U-Net"

    @property
    def is_bare(self) -> bool:
        """Whether there is no U-Net."""
        return self.source is None

    @property
    def factors(self) -> dict[str, str]:
        """Every factor's level as text, for names and records; "-" where the trial has no such factor."""
        return {entry.name: level_name(entry.name, getattr(self, entry.name)) for entry in fields(self)}


LEVELS = {
    "task": Task,
    "backend": Backend,
    "weights": BackendStart,
    "source": Source,
    "scheme": Scheme,
    "fusion": Fusion,
    "adapters": AdapterStart,
    "inputs": Inputs,
    "unet": UNetTraining,
    "separators": Separators,
}


def bare_trial(trial: Trial) -> Trial:
    """The trial's backend alone, without a U-Net."""
    return _without(trial, Trial.OF_JOINT | {"scheme", "source"})


def probe_trial(trial: Trial, source: Source | None, features: tuple[Feature, ...]) -> Trial:
    """A probe, for the trial's task, of what a separator hears; source None: of the mixture alone."""
    lacking = Trial.OF_JOINT | Trial.OF_BACKEND
    separators = None if source is None else trial.separators
    return _without(trial, lacking, scheme="probe", source=source, probe=features, separators=separators)


def _without(trial: Trial, names: Iterable[str], **levels: Any) -> Trial:
    """The trial without some factors, and with other levels of others."""
    return replace(trial, **{**dict.fromkeys(names), **levels})


def unusual_levels(trial: Trial) -> list[str]:
    """The levels of a joint network's lesser factors that are not a trial's usual ones, as text."""
    usual = {entry.name: entry.default for entry in fields(Trial)}
    lesser = [name for name in LEVELS if name in Trial.OF_JOINT | {"weights"} and name not in ("insertion", "unet")]
    return [f"{name} {getattr(trial, name)}" for name in lesser if getattr(trial, name) != usual[name]]


def level_name(factor: str, level: object) -> str:
    """A level as text; insertion points as "all", "none" or their decoder levels, fine to coarse."""
    if level is None:
        return "-"
    if factor == "insertion" and level in (ALL_POINTS, ()):
        return "all" if level else "none"
    if isinstance(level, tuple):
        return " ".join(map(str, reversed(level) if factor == "insertion" else level))
    return str(level)
