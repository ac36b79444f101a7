"""Presets fit the generated corpora that they name, for every trial that a study can ask for."""

import dataclasses
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

import pytest
import torch

from components.corpora.audio import SAMPLE_RATE
from components.corpora.corpus import Corpus
from components.corpora.corpus_format import Manifest
from components.corpora.generated.config import KINDS, Kind
from components.corpora.generated.corpora import CLASSES, STORED_STEMS, recipe_of
from components.networks.adapters import ALL_POINTS, NO_POINTS, finest
from components.networks.joint_network import JointNetwork
from experiments.presets import PRESETS
from study.command.preset import Preset
from study.corpora.corpora import Corpora
from study.design.trial import Trial, bare_trial, probe_trial
from study.design.trial_to_stages import final_stage
from study.stages.graph import StageGraph
from study.stages.identity import digest

TASKS = ("tagging", "genre")
BACKENDS = ("cnn", "ast")
SOURCES = ("none", "bass", "drums", "other", "vocals", "multiple")
TRIALS = [
    Trial(task=task, backend=backend, source=source, scheme=scheme, insertion=points, unet=unet)
    for task, backend, source, scheme, points, unet in product(
        TASKS, BACKENDS, SOURCES, ("two-stage", "three-stage"), (ALL_POINTS, finest(1)), ("frozen", "finetuned", "slow")
    )
]
REFERENCE = TRIALS[0]
VARIANTS = [
    replace(REFERENCE, insertion=NO_POINTS),
    replace(REFERENCE, fusion="concatenation"),
    replace(REFERENCE, adapters="zero"),
    replace(REFERENCE, backend="ast", adapters="patch-kernel"),
    replace(REFERENCE, inputs="mixture"),
    replace(REFERENCE, inputs="estimates"),
]
PROBES = [
    probe_trial(replace(REFERENCE, task=task), source, ("mixture", "estimates") if source else ("mixture",))
    for task, source in product(TASKS, (None, *SOURCES))
]


def corpora_of(preset: Preset) -> Corpora:
    """What the preset would generate, without a sample of it."""
    return Corpora(by_kind={kind: _unwritten(preset, kind) for kind in KINDS})


def _unwritten(preset: Preset, kind: Kind) -> Corpus:
    recipe = recipe_of(preset.generated, kind)
    manifest = Manifest(
        name=recipe["name"],
        kind=kind,
        sample_rate=SAMPLE_RATE,
        stems=STORED_STEMS[kind],
        classes=CLASSES[kind],
        counts=preset.generated.split_sizes(kind),
        num_samples=0,
        digest=digest(recipe),
        table_digest="",
        waveform_digest="",
    )
    waveform = torch.zeros((0, len(manifest.stems)), dtype=torch.int16)
    return Corpus(folder=Path("/nowhere", kind), manifest=manifest, tracks={}, waveform=waveform)


preset = pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)


def test_the_demo_and_something_tiny_are_there():
    assert {"demo", "tiny"} <= set(PRESETS)
    assert all(each.description for each in PRESETS.values())


@preset
def test_every_trial_unfolds(preset):
    corpora = corpora_of(preset)
    trials = [*TRIALS, *VARIANTS, *PROBES, *map(bare_trial, TRIALS)]
    graph = StageGraph(final_stage(trial, seed, preset.recipe, corpora) for trial in trials for seed in (0, 1))
    # By seed: a separator for each source but "none", a backend for each task, each trial's joint network, each probe.
    by_seed = len(SOURCES) - 1 + len(TASKS) * len(BACKENDS) + len(TRIALS) + len(VARIANTS) + len(PROBES)
    # The mixture's probe, of which there is one for each task, has no seed.
    assert len(graph) == 2 * by_seed - len(TASKS)


def test_presets_share_no_stage():
    trained = [
        {final_stage(trial, 0, each.recipe, corpora_of(each)).identity for trial in TRIALS} for each in PRESETS.values()
    ]
    assert all(first.isdisjoint(second) for first, second in combinations(trained, 2))


@preset
def test_segments_and_excerpts_fit_the_songs(preset):
    recipe, song = preset.recipe, preset.generated.song_s * SAMPLE_RATE
    for frames in (recipe.separation_frames, *(backend.network.num_frames for backend in recipe.backends.values())):
        assert recipe.spectrogram.num_samples(frames) <= song
    segment = recipe.spectrogram.num_samples(recipe.separation_frames)
    assert segment <= recipe.remix.excerpt_s * SAMPLE_RATE <= song


def trainings(recipe):
    return [training for entry in recipe.backends.values() for training in (entry.training, *entry.finetuning.values())]


@preset
def test_an_epoch_has_a_batch_at_least_and_a_validation(preset):
    recipe, num_train = preset.recipe, preset.generated.num_train
    for training in trainings(recipe):
        assert training.resolve_steps_per_epoch(num_train) >= 1
        # One schedule serves both tasks, and no other validation metric belongs to both.
        assert (training.monitor, training.better) == ("loss", "lower")
    for training in trainings(recipe):
        assert all(phase.num_epochs >= training.validate_every for phase in training.phases)
    assert all(training.steps_per_epoch for training in recipe.separation_training.values())


@preset
@pytest.mark.parametrize("backend", BACKENDS)
def test_networks_can_be_built_and_hear_a_segment(preset, backend):
    stage = final_stage(replace(REFERENCE, backend=backend), 0, preset.recipe, corpora_of(preset))
    network = JointNetwork(stage.config.joint).eval()
    with torch.no_grad():
        logits = network(torch.zeros(1, stage.config.joint.num_samples))
    assert logits.shape == (1, len(CLASSES["tagging"]))


def test_tiny_is_smaller_than_the_demo_in_everything_that_costs_time():
    demo, tiny = PRESETS["demo"], PRESETS["tiny"]
    assert max(tiny.recipe.unet.channels) < min(demo.recipe.unet.channels)
    for name in ("num_songs", "num_train", "num_validation", "num_test", "song_s"):
        assert getattr(tiny.generated, name) < getattr(demo.generated, name)
    for name, training in tiny.recipe.separation_training.items():
        assert training.num_epochs <= demo.recipe.separation_training[name].num_epochs
    for short, long in zip(trainings(tiny.recipe), trainings(demo.recipe), strict=True):
        assert short.num_epochs <= long.num_epochs


def test_presets_cannot_be_changed_by_accident():
    with pytest.raises(TypeError):
        PRESETS["demo"] = PRESETS["tiny"]  # pyright: ignore[reportIndexIssue]
    with pytest.raises(dataclasses.FrozenInstanceError):
        PRESETS["demo"].description = "other"  # pyright: ignore[reportAttributeAccessIssue]
