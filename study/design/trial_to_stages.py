"""Unfolding: how a trial, with a seed, a recipe and corpora, becomes stages."""

from dataclasses import replace

from components.corpora.labels import Labels
from components.networks.adapters import AdapterConfig, points_of
from components.networks.backend import BackendConfig
from components.networks.classifier import ClassifierConfig
from components.networks.joint_network import JointConfig
from components.networks.separator import SeparatorConfig
from components.objectives.probe import ProbeConfig
from components.objectives.separation import Part
from study.corpora.corpora import Corpora
from study.design.recipe import BackendRecipe, Recipe
from study.design.trial import Trial, level_name, unusual_levels
from study.kinds.classification import CLASSIFICATION, ClassificationStage
from study.kinds.finetuning import FINETUNING, FinetuningStage
from study.kinds.probe import PROBE, ProbeStage
from study.kinds.separation import SEPARATION, SeparationStage
from study.kinds.weights import Weights
from study.stages.stage import Stage

# Level of the factor "source" -> sources that the U-Net separates. A random U-Net has one output as well.
SEPARATED: dict[str, tuple[str, ...]] = {
    **{source: (source,) for source in ("bass", "drums", "other", "vocals")},
    "none": ("vocals",),
    "multiple": ("vocals", "other", "drums", "bass"),
}
# The seed of a separator that all seeds share.
SHARED_SEED = 0


def final_stage(trial: Trial, seed: int, recipe: Recipe, corpora: Corpora) -> Stage:
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
            labels=_labels(trial, seed, corpora),
            separator_weights=_separator_weights(trial, recipe),
        ),
        corpus=corpora.of(trial.task).digest,
        parents=parents,
        label=f"finetuning {trial.task} {trial.backend}, {', '.join(map(str, levels))}, seed {seed}",
    )


def _joint(trial: Trial, recipe: Recipe, corpora: Corpora) -> JointConfig:
    """Fields that make no difference keep their defaults, so that one network has one identity."""
    assert trial.insertion is not None and trial.fusion and trial.adapters and trial.inputs
    backend = _backend(trial, recipe, corpora)
    points = points_of(trial.insertion, backend.insertion_points)
    adapters = AdapterConfig(
        points=points,
        initial_std=recipe.adapters_initial_std if trial.adapters == "random" else None,
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
    is_drawn = trial.source is not None or trial.labels != "all"
    of_seed = f"{_of_labels(trial)}, seed {seed}" if is_drawn else ""
    return Stage(
        kind=PROBE,
        # Only a random U-Net is drawn with the seed; a trained separator of another seed is another parent.
        config=ProbeStage(
            seed=_separator_seed(trial, seed) if trial.source == "none" else 0,
            probe=probe,
            calibration_batches=_calibration_batches(trial, recipe),
            arithmetic=recipe.arithmetic,
            labels=_labels(trial, seed, corpora),
            separator_weights=_separator_weights(trial, recipe),
        ),
        corpus=corpora.of(trial.task).digest,
        parents=_separator_parent(trial, seed, recipe, corpora),
        label=f"probe {trial.task}, {trial.source or 'mixture'}, {level_name('probe', trial.probe)}{of_seed}",
    )


def _of_labels(trial: Trial) -> str:
    return "" if trial.labels == "all" else f", labels {trial.labels}"


def _labels(trial: Trial, seed: int, corpora: Corpora) -> Labels | None:
    """All labels, in whatever words, are no labels in the configuration: so they are one stage."""
    if trial.labels == "all":
        return None
    corpus = corpora.of(trial.task)
    total = corpus.manifest.counts["train"]
    num = round(trial.labels * total) if isinstance(trial.labels, float) else trial.labels
    if not 1 <= num <= total:
        raise ValueError(f"Trial.labels is {trial.labels}, {num} of the {total} training tracks of {corpus.folder}")
    return None if num == total else Labels(num=num, seed=seed)


def _calibration_batches(trial: Trial, recipe: Recipe) -> int:
    """A random U-Net that does not learn gets its batch statistics from a calibration."""
    return recipe.calibration_batches if trial.source == "none" and trial.unet in (None, "frozen") else 0


def _separator_parent(trial: Trial, seed: int, recipe: Recipe, corpora: Corpora) -> dict[str, Stage]:
    if trial.source in (None, "none") or trial.separators == "exported":
        return {}
    return {"separator": _separation(trial, seed, recipe, corpora)}


def _separator_weights(trial: Trial, recipe: Recipe) -> Weights | None:
    if trial.separators != "exported":
        return None
    if recipe.start_separator is None:
        raise ValueError("Trial.separators is 'exported', but no separator is given: --start-separator")
    return recipe.start_separator


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
        # Several sources at once are summed as they are: target and others do not apply.
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
            labels=_labels(trial, seed, corpora),
        ),
        corpus=corpora.of(trial.task).digest,
        label=f"backend {trial.task} {trial.backend}{'' if trial.weights == 'random' else f' {trial.weights}'}"
        f"{_of_labels(trial)}, seed {seed}",
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
    if trial.weights == "exported":
        if recipe.start_backend is None:
            raise ValueError("Trial.weights is 'exported', but no backend is given: --start-backend")
        return recipe.start_backend
    if not _backend_recipe(trial, recipe).network.has_patches:
        raise ValueError(f"Trial.weights is {trial.weights!r}; there are none for backend {trial.backend!r}")
    if recipe.weights is None:
        raise ValueError(f"Trial.weights is {trial.weights!r}, but Recipe.weights names no file")
    return recipe.weights
