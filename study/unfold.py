"""Unfolding: how a trial, with a seed, a recipe and corpora, becomes stages."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from components.adapters import AdapterConfig, points_of
from components.backend import BackendConfig
from components.classification import SegmentConfig
from components.classifier import ClassifierConfig
from components.corpus import Corpus
from components.joint import JointConfig
from components.phases import TrainingConfig
from components.probe import ProbeConfig
from components.separation import Part, RemixConfig, SeparationLossConfig
from components.separator import SeparatorConfig
from components.spectrogram import MelConfig, SpectrogramConfig
from components.unet import UNetConfig
from study.kinds import (
    CLASSIFICATION,
    FINETUNING,
    SEPARATION,
    ClassificationStage,
    FinetuningStage,
    SeparationStage,
)
from study.probing import PROBE, ProbeStage
from study.running import Arithmetic, Weights
from study.stage import Stage
from study.trial import Trial, level_name, unusual_levels

# What each level of the factor "source" separates; a random U-Net takes one source as well.
SEPARATED: dict[str, tuple[str, ...]] = {
    **{source: (source,) for source in ("bass", "drums", "other", "vocals")},
    "none": ("vocals",),
    "multiple": ("vocals", "other", "drums", "bass"),
}
# The seed of a separator that all seeds share.
SHARED_SEED = 0


@dataclass(frozen=True, kw_only=True)
class BackendRecipe:
    """A backend's size, how it is trained alone, and within the joint network, by the level of the factor `unet`."""

    network: BackendConfig
    training: TrainingConfig
    finetuning: Mapping[str, TrainingConfig]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the stages of any trial are trained: sizes and schedules, by level where they depend on one.

    Attributes:
        separation_training: by source.
        separation_frames, separation_evaluation_frames: length of the separation segments, in training and scored.
        probe_frames: length of the pieces that a probe hears a track in.
        weights: the file that backends at the level "imagenet" start from.
    """

    spectrogram: SpectrogramConfig = SpectrogramConfig()
    mel: MelConfig = MelConfig()
    unet: UNetConfig = UNetConfig()
    backends: Mapping[str, BackendRecipe]
    separation_frames: int
    separation_evaluation_frames: int | None = None
    remix: RemixConfig = RemixConfig()
    separation_loss: SeparationLossConfig = SeparationLossConfig()
    separation_training: Mapping[str, TrainingConfig]
    segments: SegmentConfig = SegmentConfig()
    probe_frames: int
    adapters_initial_std: float | None = None
    calibration_batches: int = 16
    weights: Weights | None = None
    arithmetic: Arithmetic = Arithmetic()


@dataclass(frozen=True, kw_only=True)
class Corpora:
    """The corpora that a study's trials need, opened, by their kind; `addresses`: where those are that are copies."""

    by_kind: Mapping[str, Corpus]
    addresses: Mapping[str, str] = field(default_factory=dict)

    def of(self, kind: str) -> Corpus:
        if kind not in self.by_kind:
            raise ValueError(f"there is no {kind} corpus; given: {', '.join(self.by_kind) or 'none'}")
        return self.by_kind[kind]

    @property
    def places(self) -> dict[str, str]:
        """Content digest -> folder, or the address that every machine knows."""
        return {corpus.digest: self.place_of(kind) for kind, corpus in self.by_kind.items()}

    @property
    def folders(self) -> dict[str, str]:
        """Content digest -> folder on this machine."""
        return {corpus.digest: str(corpus.folder) for corpus in self.by_kind.values()}

    def place_of(self, kind: str) -> str:
        return self.addresses.get(kind, str(self.by_kind[kind].folder))


def unfold(trial: Trial, seed: int, recipe: Recipe, corpora: Corpora) -> Stage:
    """The run's final stage, with the stages that it needs as its ancestors."""
    if trial.scheme == "probe":
        return _probe(trial, seed, recipe, corpora)
    if trial.is_bare:
        return _classification(trial, seed, recipe, corpora)
    return _finetuning(trial, seed, recipe, corpora)


def _finetuning(trial: Trial, seed: int, recipe: Recipe, corpora: Corpora) -> Stage:
    parents = _separator_parent(trial, seed, recipe, corpora)
    if trial.scheme == "three-stage":
        parents["backend"] = _classification(trial, seed, recipe, corpora)
    levels = [trial.source, trial.scheme, trial.unet, f"adapters {level_name('insertion', trial.insertion)}"]
    levels += unusual_levels(trial)
    return Stage(
        kind=FINETUNING,
        config=FinetuningStage(
            seed=seed,
            joint=_joint(trial, recipe, corpora),
            unet="frozen" if trial.unet == "frozen" else "finetuned",
            segments=recipe.segments,
            training=_backend_recipe(trial, recipe).finetuning[str(trial.unet)],
            calibration_batches=_calibration_batches(trial, recipe),
            weights=None if trial.scheme == "three-stage" else _weights(trial, recipe),
            separator_seed=SHARED_SEED if trial.source == "none" and trial.separators == "shared" else None,
            arithmetic=recipe.arithmetic,
        ),
        corpus=corpora.of(trial.task).digest,
        parents=parents,
        label=f"finetuning {trial.task} {trial.backend}, {', '.join(map(str, levels))}, seed {seed}",
    )


def _joint(trial: Trial, recipe: Recipe, corpora: Corpora) -> JointConfig:
    """Fields that make no difference stay at their defaults: one network, one identity."""
    assert trial.insertion is not None and trial.fusion and trial.adapters and trial.inputs
    backend = _backend(trial, recipe, corpora)
    points = points_of(trial.insertion, backend.insertion_points)
    drawn = trial.adapters == "random"
    adapters = AdapterConfig(
        points=points,
        initial_std=recipe.adapters_initial_std if drawn else None,
        initialisation=trial.adapters,
        fusion=trial.fusion,
    )
    return JointConfig(
        separator=_separator(trial, recipe),
        backend=backend,
        adapters=adapters if points else AdapterConfig(points=()),
        mel=recipe.mel,
        inputs=trial.inputs,
    )


def _probe(trial: Trial, seed: int, recipe: Recipe, corpora: Corpora) -> Stage:
    assert trial.probe is not None
    probe = ProbeConfig(
        features=trial.probe,
        separator=None if trial.is_bare else _separator(trial, recipe),
        num_frames=recipe.probe_frames,
        spectrogram=recipe.spectrogram,
        mel=recipe.mel,
    )
    of_seed = f", seed {seed}" if trial.source is not None else ""
    return Stage(
        kind=PROBE,
        # Drawn is only a random U-Net; what was trained by another seed is another parent.
        config=ProbeStage(
            seed=_separator_seed(trial, seed) if trial.source == "none" else 0,
            probe=probe,
            calibration_batches=_calibration_batches(trial, recipe),
            arithmetic=recipe.arithmetic,
        ),
        corpus=corpora.of(trial.task).digest,
        parents=_separator_parent(trial, seed, recipe, corpora),
        label=f"probe {trial.task}, {trial.source or 'mixture'}, {level_name('probe', trial.probe)}{of_seed}",
    )


def _calibration_batches(trial: Trial, recipe: Recipe) -> int:
    """A random U-Net that does not learn has no statistics but those of its calibration."""
    return recipe.calibration_batches if trial.source == "none" and trial.unet in (None, "frozen") else 0


def _separator_parent(trial: Trial, seed: int, recipe: Recipe, corpora: Corpora) -> dict[str, Stage]:
    return {} if trial.source in (None, "none") else {"separator": _separation(trial, seed, recipe, corpora)}


def _separator_seed(trial: Trial, seed: int) -> int:
    return SHARED_SEED if trial.separators == "shared" else seed


def _separation(trial: Trial, seed: int, recipe: Recipe, corpora: Corpora) -> Stage:
    separator = _separator(trial, recipe)
    seed = _separator_seed(trial, seed)
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
    backend = _backend(trial, recipe, corpora)
    return Stage(
        kind=CLASSIFICATION,
        config=ClassificationStage(
            seed=seed,
            classifier=ClassifierConfig(backend=backend, spectrogram=recipe.spectrogram, mel=recipe.mel),
            segments=recipe.segments,
            training=_backend_recipe(trial, recipe).training,
            weights=_weights(trial, recipe),
            arithmetic=recipe.arithmetic,
        ),
        corpus=corpora.of(trial.task).digest,
        label=f"backend {trial.task} {trial.backend}{' imagenet' if trial.weights == 'imagenet' else ''}, seed {seed}",
    )


def _separator(trial: Trial, recipe: Recipe) -> SeparatorConfig:
    sources = SEPARATED[str(trial.source)]
    unet = replace(recipe.unet, num_sources=len(sources))
    return SeparatorConfig(sources=sources, unet=unet, spectrogram=recipe.spectrogram)


def _backend_recipe(trial: Trial, recipe: Recipe) -> BackendRecipe:
    if trial.backend is None or trial.backend not in recipe.backends:
        given = ", ".join(recipe.backends)
        raise ValueError(f"the preset has no recipe for backend {trial.backend!r}; it has: {given}")
    return recipe.backends[trial.backend]


def _backend(trial: Trial, recipe: Recipe, corpora: Corpora) -> BackendConfig:
    classes = corpora.of(trial.task).classes
    return replace(_backend_recipe(trial, recipe).network, num_classes=len(classes))


def _weights(trial: Trial, recipe: Recipe) -> Weights | None:
    if trial.weights == "random":
        return None
    if not _backend_recipe(trial, recipe).network.has_patches:
        raise ValueError(f"Trial.weights is {trial.weights!r}; there are none for backend {trial.backend!r}")
    if recipe.weights is None:
        raise ValueError(f"Trial.weights is {trial.weights!r}, but Recipe.weights names no file")
    return recipe.weights
