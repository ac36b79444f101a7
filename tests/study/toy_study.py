"""A study small enough to train within a test: toy corpora, a toy recipe, and stages run by hand, without Ray."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from components.corpora.corpus import Corpus
from components.corpora.corpus_format import SPLITS, Manifest
from components.corpora.corpus_writer import CorpusWriter
from components.networks.adapters import ALL_POINTS
from components.networks.short_chunk_cnn import ShortChunkCNNConfig
from components.networks.spectrogram import SpectrogramConfig
from components.networks.spectrogram_transformer import SpectrogramTransformerConfig
from components.networks.unet import UNetConfig
from components.objectives.classification import SegmentConfig
from components.objectives.separation import RemixConfig, SeparationLossConfig
from components.training.training_config import Phase, TrainingConfig
from study.cluster.execution import Execution
from study.corpora.corpora import Corpora
from study.design.arms import Arm, bare, one_factor_off
from study.design.recipe import BackendRecipe, Recipe
from study.design.study import Study
from study.design.trial import Trial
from study.stages.stage import Stage, StageResult, StageRun

STEMS = ("mixture", "drums", "bass", "other", "vocals")
TAGS = ("slow", "loud", "sung")
NUM_FRAMES = 64
SEGMENT = SpectrogramConfig().num_samples(NUM_FRAMES)
DIGESTS = {"separation": "5e" * 32, "tagging": "7a" * 32, "genre": "9e" * 32}
REFERENCE = Trial(
    task="tagging", backend="cnn", source="vocals", scheme="two-stage", insertion=ALL_POINTS, unet="frozen"
)


def _training(monitor: str, better: str, **changes: Any) -> TrainingConfig:
    phase = Phase(optimiser="adam", learning_rate=0.03, num_epochs=2)
    options = {"steps_per_epoch": 2, "batch_size": 4, "max_epochs": 2, "monitor": monitor, "better": better, **changes}
    return TrainingConfig(phases=(phase,), **options)


def recipe(**changes: Any) -> Recipe:
    """Two epochs of two steps for every kind, on networks of two channels."""
    # A momentum that lets two epochs show in what is validated.
    unet = UNetConfig(channels=(2,) * 6, final_channels=2, batch_norm_momentum=0.5)
    backend = ShortChunkCNNConfig(
        widths=(2, 2, 2, 2, 2, 4, 8), num_frames=NUM_FRAMES, last_pool=(1, 2), dropout=0.2, batch_norm_momentum=0.5
    )
    transformer = SpectrogramTransformerConfig(
        num_frames=NUM_FRAMES, patch=(16, 16), width=4, num_heads=2, num_blocks=6, insertion_blocks=(5, 4, 3, 2, 1)
    )
    fields: dict[str, Any] = {
        "unet": unet,
        "backends": {"cnn": toy_backend(backend), "ast": toy_backend(transformer)},
        "separation_frames": NUM_FRAMES,
        "remix": RemixConfig(excerpt_s=0.75, excerpt_hop_s=0.25),
        "separation_loss": SeparationLossConfig(sqrt_magnitude_weight=1.0),
        "separation_training": dict.fromkeys(
            ("bass", "drums", "other", "vocals", "multiple"), _training("loss", "lower", keep="last")
        ),
        "segments": SegmentConfig(grid_samples=SEGMENT // 2),
        "probe_frames": NUM_FRAMES,
        "adapters_initial_std": 0.01,
        "calibration_batches": 2,
    }
    return Recipe(**{**fields, **changes})


def toy_backend(network: Any, monitor: str = "roc_auc", **changes: Any) -> BackendRecipe:
    training = _training(monitor, "higher", **changes)
    slow = replace(training, learning_rate_factors={"separator": 0.1})
    return BackendRecipe(
        network=network, training=training, finetuning={"frozen": training, "finetuned": training, "slow": slow}
    )


def genre_recipe() -> Recipe:
    return recipe(backends={"cnn": toy_backend(recipe().backends["cnn"].network, "accuracy")})


def corpora_in_name(folder: str = "/nowhere", **digests: str) -> Corpora:
    """Corpora that are nothing but their manifests: enough to unfold trials over."""
    return Corpora(by_kind={kind: _manifested(kind, digest, folder) for kind, digest in {**DIGESTS, **digests}.items()})


def _manifested(kind: str, digest: str, folder: str) -> Corpus:
    manifest = Manifest(
        name=f"toy-{kind}",
        kind=kind,
        sample_rate=16_000,
        stems=STEMS if kind == "separation" else ("mixture",),
        classes=() if kind == "separation" else TAGS,
        counts={"train": 1, "validation": 1, "test": 1},
        num_samples=0,
        digest=digest,
        table_digest="",
        waveform_digest="",
    )
    waveform = torch.zeros((0, len(manifest.stems)), dtype=torch.int16)
    return Corpus(folder=Path(folder) / kind, manifest=manifest, tracks={}, waveform=waveform)


def write_corpora(folder: Path) -> dict[str, Path]:
    """Real corpora of noise, a few seconds each; folders by kind."""
    folders = {kind: folder / kind for kind in DIGESTS}
    write_songs(folders["separation"])
    for kind in ("tagging", "genre"):
        write_tracks(folders[kind], kind)
    return folders


def write_songs(folder: Path, stems: tuple[str, ...] = STEMS) -> None:
    """Songs of noise, each stem with another loudness."""
    generator = np.random.default_rng(1)
    with CorpusWriter(folder, name="toy-separation", kind="separation", stems=stems) as writer:
        for split, number in (("train", 3), ("validation", 1), ("test", 1)):
            for index in range(number):
                sources = generator.standard_normal((22_000, len(stems) - 1)) * (500 * np.arange(1, len(stems)))
                sources = np.round(np.cumsum(sources, axis=0) / 10).clip(-8_000, 8_000).astype(np.int16)
                mixture = sources.sum(axis=1, keepdims=True, dtype=np.int16)
                writer.add(f"{split}{index}", np.concatenate([mixture, sources], axis=1), split=split)


def write_tracks(
    folder: Path, kind: str = "tagging", num_samples: int = 2 * SEGMENT, splits: Iterable[str] = SPLITS
) -> None:
    """Eight tracks of noise in each split, whose loudness follows from their first label."""
    generator = np.random.default_rng(2)
    tagged = [[tag for bit, tag in enumerate(TAGS) if number >> bit & 1] for number in range(8)]
    with CorpusWriter(folder, name=f"toy-{kind}", kind=kind, classes=TAGS) as writer:
        for split in splits:
            for index, tags in enumerate(tagged):
                labels = tags if kind == "tagging" else [TAGS[index % len(TAGS)]]
                loudness = 500.0 * 4 ** (TAGS.index(labels[0]) if labels else 0)
                noise = loudness * generator.standard_normal(num_samples + 4000 * (index % 2))
                writer.add(f"{split}{index}", noise.clip(-30_000, 30_000).astype(np.int16), split=split, labels=labels)


def open_all(folders: Mapping[str, Path]) -> Corpora:
    return Corpora(by_kind={kind: Corpus.open(folder) for kind, folder in folders.items()})


class Killed(Exception):  # noqa: N818 - no error: what an interruption looks like from inside
    """Stands for the end of the process."""


class Bench:
    """Runs stages one after the other in this process and keeps their results, as the store would."""

    def __init__(self, folders: Mapping[str, Path], **execution: Any) -> None:
        self.places = open_all(folders).places
        self.execution = Execution(storage="", corpora=self.places, **execution)
        self.results: dict[str, StageResult] = {}
        self.reports: list[dict[str, Any]] = []
        self.inputs: dict[str, bytes] = {}

    def result(self, stage: Stage) -> StageResult:
        """The result of a stage; its parents are run first."""
        if stage.identity not in self.results:
            for parent in stage.parents.values():
                self.result(parent)
            self.results[stage.identity] = self.run(stage)
        return self.results[stage.identity]

    def run(self, stage: Stage, state: bytes | None = None, save_state: Any = lambda state: None) -> StageResult:
        """Runs a stage whose parents' results are there, from a loop state if one is given."""
        run = StageRun(
            stage=stage,
            corpus_path=self.execution.corpora.get(stage.corpus, "/nowhere"),
            execution=self.execution,
            state=state,
            read_input=self.inputs.__getitem__,
            read_parent=lambda role, name: self.results[stage.parents[role].identity].files[name],
            save_state=save_state,
            report=self.reports.append,
        )
        return stage.kind.run(run)

    def first_state(self, stage: Stage) -> bytes:
        """The first loop state that a stage saves; it is stopped there."""
        saved: list[bytes] = []

        def save_and_stop(state: bytes) -> None:
            saved.append(state)
            raise Killed

        try:
            self.run(stage, save_state=save_and_stop)
        except Killed:
            return saved[0]
        raise AssertionError("the stage saved no state")


def study(*arms: Arm, seeds: Any = range(2)) -> Study:
    """The arms given, or bare, reference and a random U-Net."""
    default = [bare(REFERENCE), *one_factor_off(REFERENCE, source=["none"])]
    return Study(name="toy", arms=list(arms) or default, seeds=tuple(seeds))


logging.getLogger("study.stage").setLevel(logging.WARNING)
