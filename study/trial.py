"""A trial: one choice of every factor, and how it unfolds, with a seed and a recipe, into stages."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

from components.adapters import ALL_POINTS, AdapterConfig, Points, check_points
from components.backend import BackendConfig
from components.classification import SegmentConfig, Task
from components.classifier import ClassifierConfig
from components.corpus import Corpus
from components.joint import JointConfig
from components.phases import TrainingConfig
from components.separation import Part, RemixConfig, SeparationLossConfig
from components.separator import SeparatorConfig
from components.spectrogram import MelConfig, SpectrogramConfig
from components.unet import UNetConfig
from study.kinds import (
    CLASSIFICATION,
    FINETUNING,
    SEPARATION,
    Arithmetic,
    ClassificationStage,
    FinetuningStage,
    SeparationStage,
)
from study.stage import Stage

Source = Literal["none", "bass", "drums", "other", "vocals", "multiple"]
Scheme = Literal["two-stage", "three-stage"]
Backend = Literal["cnn"]
UNetTraining = Literal["frozen", "finetuned"]

# What each level of the factor "source" separates; a random U-Net takes one source as well.
SEPARATED: dict[str, tuple[str, ...]] = {
    **{source: (source,) for source in ("bass", "drums", "other", "vocals")},
    "none": ("vocals",),
    "multiple": ("vocals", "other", "drums", "bass"),
}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One level of every factor; a seed makes it a run.

    Attributes:
        task: what is classified.
        backend: the classifier.
        source: what the U-Net was pre-trained to separate; "none" leaves it random, None is the bare backend.
        scheme: "three-stage" pre-trains the backend on the task before the joint finetuning.
        insertion: which adapters there are.
        unet: whether the U-Net learns in the joint finetuning.

    Raises:
        ValueError: an unknown level, or a bare backend with factors that only a U-Net has.
    """

    task: Task = "tagging"
    backend: Backend = "cnn"
    source: Source | None = "vocals"
    scheme: Scheme | None = "two-stage"
    insertion: Points | None = ALL_POINTS
    unet: UNetTraining | None = "finetuned"

    def __post_init__(self) -> None:
        levels = {"task": Task, "backend": Backend, "source": Source, "scheme": Scheme, "unet": UNetTraining}
        for name, allowed in levels.items():
            value = getattr(self, name)
            if value not in get_args(allowed) and not (value is None and name not in ("task", "backend")):
                raise ValueError(f"Trial.{name} is {value!r}; allowed: {', '.join(get_args(allowed))}")
        of_unet = {name: getattr(self, name) for name in ("scheme", "insertion", "unet")}
        for name, value in of_unet.items():
            if self.source is None and value is not None:
                raise ValueError(f"Trial.{name} is {value!r}; a bare backend (source None) has no {name}: give None")
            if self.source is not None and value is None:
                raise ValueError(f"Trial.{name} is None; a trial with a U-Net needs one")
        if self.insertion is not None:
            check_points(self.insertion, ALL_POINTS)
            # One set of points is one level, in whatever order it was written; a point given twice is refused.
            object.__setattr__(self, "insertion", AdapterConfig(points=self.insertion).points)

    @property
    def is_bare(self) -> bool:
        return self.source is None

    @property
    def factors(self) -> dict[str, str]:
        """Every factor's level as text, for names and records; "-" where the trial has no such factor."""
        return {field.name: level_name(field.name, getattr(self, field.name)) for field in fields(self)}


def bare_trial(trial: Trial) -> Trial:
    """The trial's backend alone, without a U-Net."""
    return replace(trial, source=None, scheme=None, insertion=None, unet=None)


def level_name(factor: str, level: object) -> str:
    """A level as text; insertion points as "all", "none" or their pairs (level-block), fine to coarse."""
    if level is None:
        return "-"
    if factor != "insertion":
        return str(level)
    assert isinstance(level, tuple)
    if len(level) in (0, len(ALL_POINTS)):
        return "all" if level else "none"
    return " ".join(f"{point.level}-{point.block}" for point in reversed(level))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the stages of any trial are trained: sizes and schedules, by level where they depend on one.

    Attributes:
        separation_training: by source.
        finetuning_training: by the factor `unet`.
        separation_frames, separation_evaluation_frames: length of the separation segments, in training and scored.
    """

    spectrogram: SpectrogramConfig = SpectrogramConfig()
    mel: MelConfig = MelConfig()
    unet: UNetConfig = UNetConfig()
    backends: Mapping[str, BackendConfig]
    separation_frames: int
    separation_evaluation_frames: int | None = None
    remix: RemixConfig = RemixConfig()
    separation_loss: SeparationLossConfig = SeparationLossConfig()
    separation_training: Mapping[str, TrainingConfig]
    segments: SegmentConfig = SegmentConfig()
    classification_training: TrainingConfig
    finetuning_training: Mapping[str, TrainingConfig]
    adapters_initial_std: float | None = None
    calibration_batches: int = 16
    arithmetic: Arithmetic = Arithmetic()


@dataclass(frozen=True, kw_only=True)
class Corpora:
    """The corpora that a study's trials need, opened, by their kind."""

    by_kind: Mapping[str, Corpus]

    def of(self, kind: str) -> Corpus:
        if kind not in self.by_kind:
            raise ValueError(f"there is no {kind} corpus; given: {', '.join(self.by_kind) or 'none'}")
        return self.by_kind[kind]

    @property
    def places(self) -> dict[str, str]:
        """Content digest -> folder."""
        return {corpus.digest: str(corpus.folder) for corpus in self.by_kind.values()}


def unfold(trial: Trial, seed: int, recipe: Recipe, corpora: Corpora) -> Stage:
    """The run's final stage, with the stages that it needs as its ancestors."""
    if trial.is_bare:
        return _classification(trial, seed, recipe, corpora)
    parents: dict[str, Stage] = {}
    if trial.source != "none":
        parents["separator"] = _separation(trial, seed, recipe, corpora)
    if trial.scheme == "three-stage":
        parents["backend"] = _classification(trial, seed, recipe, corpora)
    assert trial.insertion is not None and trial.unet is not None
    joint = JointConfig(
        separator=_separator(trial, recipe),
        backend=_backend(trial, recipe, corpora),
        # Without points there is nothing to initialise: one network, one identity. Likewise below.
        adapters=AdapterConfig(
            points=trial.insertion, initial_std=recipe.adapters_initial_std if trial.insertion else None
        ),
        mel=recipe.mel,
    )
    is_calibrated = trial.source == "none" and trial.unet == "frozen"
    levels = [trial.source, trial.scheme, trial.unet, f"adapters {level_name('insertion', trial.insertion)}"]
    return Stage(
        kind=FINETUNING,
        config=FinetuningStage(
            seed=seed,
            joint=joint,
            unet=trial.unet,
            segments=recipe.segments,
            training=recipe.finetuning_training[trial.unet],
            calibration_batches=recipe.calibration_batches if is_calibrated else 0,
            arithmetic=recipe.arithmetic,
        ),
        corpus=corpora.of(trial.task).digest,
        parents=parents,
        label=f"finetuning {trial.task} {trial.backend}, {', '.join(map(str, levels))}, seed {seed}",
    )


def _separation(trial: Trial, seed: int, recipe: Recipe, corpora: Corpora) -> Stage:
    separator = _separator(trial, recipe)
    config = SeparationStage(
        seed=seed,
        separator=separator,
        num_frames=recipe.separation_frames,
        evaluation_frames=recipe.separation_evaluation_frames,
        # The parts say nothing about several sources at once, which are summed as they are.
        remix=recipe.remix if len(separator.sources) == 1 else replace(recipe.remix, target=Part(), others=Part()),
        loss=recipe.separation_loss,
        training=recipe.separation_training[str(trial.source)],
        arithmetic=recipe.arithmetic,
    )
    corpus = corpora.of("separation")
    missing = [source for source in config.separator.sources if source not in corpus.stems]
    if missing:
        raise ValueError(f"{corpus.folder} has no stem {missing[0]!r}, which source {trial.source!r} needs")
    return Stage(kind=SEPARATION, config=config, corpus=corpus.digest, label=f"separation {trial.source}, seed {seed}")


def _classification(trial: Trial, seed: int, recipe: Recipe, corpora: Corpora) -> Stage:
    classifier = ClassifierConfig(
        backend=_backend(trial, recipe, corpora), spectrogram=recipe.spectrogram, mel=recipe.mel
    )
    return Stage(
        kind=CLASSIFICATION,
        config=ClassificationStage(
            seed=seed,
            classifier=classifier,
            segments=recipe.segments,
            training=recipe.classification_training,
            arithmetic=recipe.arithmetic,
        ),
        corpus=corpora.of(trial.task).digest,
        label=f"backend {trial.task} {trial.backend}, seed {seed}",
    )


def _separator(trial: Trial, recipe: Recipe) -> SeparatorConfig:
    sources = SEPARATED[str(trial.source)]
    unet = replace(recipe.unet, num_sources=len(sources))
    return SeparatorConfig(sources=sources, unet=unet, spectrogram=recipe.spectrogram)


def _backend(trial: Trial, recipe: Recipe, corpora: Corpora) -> BackendConfig:
    classes = corpora.of(trial.task).classes
    return replace(recipe.backends[trial.backend], num_classes=len(classes))
