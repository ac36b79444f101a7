"""A trial: one choice of every factor."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, get_args

from components.networks.adapters import ALL_POINTS, AdapterStart, Fusion, Levels, checked_levels
from components.networks.joint_network import Inputs
from components.objectives.classification import Task
from components.objectives.probe import Feature, checked_features

Source = Literal["none", "bass", "drums", "other", "vocals", "multiple"]
Scheme = Literal["two-stage", "three-stage", "probe"]
Backend = Literal["cnn", "ast"]
BackendStart = Literal["random", "imagenet", "exported"]
UNetTraining = Literal["frozen", "finetuned", "slow"]
Separators = Literal["per seed", "shared", "exported"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One level of every factor. With a seed, it is a run. A factor that the trial does not have is None.

    Attributes:
        task: what is classified.
        backend: the classifier.
        weights: what the backend starts from, if it was not trained before.
        source: what the U-Net was pre-trained to separate; "none": nothing, it is random; None: there is no U-Net.
        scheme: "three-stage" trains the backend on the task before the joint finetuning; "probe" trains no network on
            the task, but a linear model on the separator's features.
        insertion: the decoder levels whose maps enter the backend.
        fusion: how these maps are joined with the backend's own.
        adapters: what the adapters' weights start from.
        inputs: what the backend hears.
        unet: whether the U-Net learns in the joint finetuning; "slow": at a smaller learning rate.
        separators: whether each seed trains its own separator, or all seeds share one, or one that was exported.
        probe: the features of a linear probe.
        labels: how many labelled tracks the backend or probe is trained on: a number, a share below 1, or "all". A
            seed's tracks are the same for all arms, and a part of those of its larger numbers.

    Raises:
        ValueError: an unknown level, a missing one, or one of a factor that such a trial does not have.
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
    labels: int | float | Literal["all"] = "all"

    # A probe has none of these factors, except separators. Only a joint network has the second set.
    OF_BACKEND: ClassVar[frozenset[str]] = frozenset({"backend", "weights"})
    OF_JOINT: ClassVar[frozenset[str]] = frozenset({"insertion", "fusion", "adapters", "inputs", "unet", "separators"})

    def __post_init__(self) -> None:
        for name, allowed in LEVELS.items():
            value = getattr(self, name)
            if value is not None and value not in get_args(allowed):
                raise ValueError(f"Trial.{name} is {value!r}; allowed: {', '.join(get_args(allowed))}")
        names = {entry.name for entry in fields(self)}
        if self.scheme == "probe":
            own = names - self.OF_BACKEND - self.OF_JOINT | (set() if self.is_bare else {"separators"})
        else:
            own = names - {"probe"} - (self.OF_JOINT | {"scheme"} if self.is_bare else set())
        for name in (entry.name for entry in fields(self)):
            value, has = getattr(self, name), name in own
            if has and value is None and name != "source":
                raise ValueError(f"Trial.{name} is None; {self._described()} needs one")
            if not has and value is not None:
                raise ValueError(f"Trial.{name} is {value!r}; {self._described()} has no {name}: give None")
        _check_labels(self.labels)
        if self.insertion is not None:
            # The order of the decoder levels makes no difference: one set is one level.
            object.__setattr__(self, "insertion", checked_levels(self.insertion))
        if self.separators == "exported" and self.source == "none":
            raise ValueError("Trial.separators is 'exported' and source 'none'; a random U-Net is not exported")
        if self.probe is not None:
            object.__setattr__(self, "probe", checked_features(self.probe))
        if self.is_bare and self.probe not in (None, ("mixture",)):
            raise ValueError(f"Trial.probe is {self.probe}; without a separator (source None) it is ('mixture',)")
        if not self.is_bare and self.probe == ("mixture",):
            raise ValueError("Trial.probe is ('mixture',); the probe does not use the separator: give source None")

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
        """Factor -> level as text, for names and records; "-": the trial has no such factor."""
        return {entry.name: level_name(entry.name, getattr(self, entry.name)) for entry in fields(self)}


def _check_labels(labels: Any) -> None:
    is_number = isinstance(labels, int) and not isinstance(labels, bool) and labels >= 1
    if not (labels == "all" or is_number or (isinstance(labels, float) and 0 < labels < 1)):
        raise ValueError(f"Trial.labels is {labels!r}; allowed: a number from 1 on, a share between 0 and 1, or 'all'")


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
    """A probe of a separator, for the trial's task; source None: a probe of the mixture alone."""
    lacking = Trial.OF_JOINT | Trial.OF_BACKEND
    separators = None if source is None else trial.separators
    return _without(trial, lacking, scheme="probe", source=source, probe=features, separators=separators)


def _without(trial: Trial, names: Iterable[str], **levels: Any) -> Trial:
    """The trial without some factors, and with other levels of others."""
    return replace(trial, **{**dict.fromkeys(names), **levels})


def unusual_levels(trial: Trial) -> list[str]:
    """Levels other than the default, of those factors that a stage's label names only then, as text."""
    default = {entry.name: entry.default for entry in fields(Trial)}
    factors = [name for name in LEVELS if name in Trial.OF_JOINT | {"weights"} and name not in ("insertion", "unet")]
    unusual = [f"{name} {getattr(trial, name)}" for name in factors if getattr(trial, name) != default[name]]
    return unusual + ([] if trial.labels == "all" else [f"labels {trial.labels}"])


def level_name(factor: str, level: object) -> str:
    """A level as text; insertion points as "all", "none" or their decoder levels, fine to coarse."""
    if level is None:
        return "-"
    if factor == "insertion" and level in (ALL_POINTS, ()):
        return "all" if level else "none"
    if isinstance(level, tuple):
        return " ".join(map(str, reversed(level) if factor == "insertion" else level))
    return str(level)
