"""Corpora, networks and an objective that train in milliseconds, for the tests of training."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from components.corpora.corpus import Corpus
from components.corpora.corpus_writer import CorpusWriter
from components.networks.adapters import AdapterConfig
from components.networks.backend import BackendConfig
from components.networks.batch_norm import calibrate_batch_norm
from components.networks.classifier import Classifier, ClassifierConfig
from components.networks.initialisation import initialise
from components.networks.joint_network import JointConfig, JointNetwork, initialise_joint
from components.networks.separator import Separator, SeparatorConfig
from components.networks.short_chunk_cnn import ShortChunkCNNConfig
from components.networks.spectrogram import SpectrogramConfig
from components.networks.spectrogram_transformer import SpectrogramTransformerConfig
from components.networks.unet import UNetConfig
from components.objectives.separation import RemixConfig, SeparationLossConfig, SeparationObjective
from components.random_streams import torch_generator
from components.training.loop import Batch, Objective, Training
from components.training.training_config import Phase, TrainingConfig

# Threads cost more than they give on tensors this small, and on a busy machine they wait for each other.
torch.set_num_threads(1)

NUM_FRAMES = 64
SPECTROGRAM = SpectrogramConfig()
SEGMENT = SPECTROGRAM.num_samples(NUM_FRAMES)
BACKEND = ShortChunkCNNConfig(widths=(2,) * 7, num_frames=NUM_FRAMES, last_pool=(1, 2), dropout=0.0, num_classes=3)
TRANSFORMER = SpectrogramTransformerConfig(
    num_frames=NUM_FRAMES, width=6, num_heads=2, num_blocks=6, insertion_blocks=(5, 4, 3, 2, 1), num_classes=3
)
STEMS = ("mixture", "drums", "bass", "other", "vocals")
ALL_SOURCES = ("vocals", "other", "drums", "bass")
TAGS = ("slow", "loud", "sung")
TAGGED = ((), ("slow",), ("loud",), ("sung",), ("slow", "sung"), ("loud", "sung"), ("slow", "loud"), TAGS)
REMIX = RemixConfig(excerpt_s=0.75, excerpt_hop_s=0.25)


def separation_corpus(
    folder: Path, *, songs: dict[str, int] | None = None, num_samples: int = 22_000, num_test: int | None = None
) -> Corpus:
    """Songs of noise, each stem with another spectrum and loudness; those of the test may have `num_test` samples."""
    generator = np.random.default_rng(7)
    with CorpusWriter(folder, name="tiny", kind="separation", stems=STEMS) as writer:
        for split, number in (songs or {"train": 3, "validation": 1, "test": 1}).items():
            for index in range(number):
                length = num_test if num_test and split == "test" else num_samples
                stems = _stems(generator, length + 1000 * index)
                writer.add(f"{split}{index}", stems, split=split)
    return Corpus.open(folder)


def _stems(generator: np.random.Generator, num_samples: int) -> np.ndarray:
    noise = generator.standard_normal((num_samples, 4))
    smooth = np.stack([np.convolve(noise[:, i], np.ones(1 + 6 * i) / (1 + 6 * i), "same") for i in range(4)], axis=1)
    sources = np.round(smooth * (1000, 2000, 3000, 4000)).astype(np.int16)
    return np.concatenate([sources.sum(axis=1, keepdims=True, dtype=np.int16), sources], axis=1)


def labelled_corpus(
    folder: Path, kind: str = "tagging", *, num_train: int = 8, num_held_out: int = 4, num_samples: int = 2 * SEGMENT
) -> Corpus:
    """Tracks of faint noise to which each label adds a sound of its own; every second one is longer."""
    generator = np.random.default_rng(8)
    with CorpusWriter(folder, name="tiny", kind=kind, classes=TAGS) as writer:
        for split, number in (("train", num_train), ("validation", num_held_out), ("test", num_held_out)):
            for index in range(number):
                labels = TAGGED[index % len(TAGGED)] if kind == "tagging" else (TAGS[index % len(TAGS)],)
                waveform = _sounding(generator, labels, num_samples + 4000 * (index % 2))
                writer.add(f"{split}{index}", waveform, split=split, labels=labels)
    return Corpus.open(folder)


def _sounding(generator: np.random.Generator, labels: tuple[str, ...], num_samples: int) -> np.ndarray:
    noise = generator.standard_normal((2, num_samples))
    sounds = {
        "slow": np.convolve(noise[0], np.ones(32) / 8, "same"),
        "loud": noise[1],
        "sung": np.sin(np.arange(num_samples) * 0.8),
    }
    return (100 * noise[0] + 4000 * sum(sounds[label] for label in labels)).clip(-32_000, 32_000).astype(np.int16)


def separator_config(sources: tuple[str, ...] = ("vocals",)) -> SeparatorConfig:
    unet = UNetConfig(channels=(2,) * 6, final_channels=2, num_sources=len(sources))
    return SeparatorConfig(sources=sources, unet=unet, spectrogram=SPECTROGRAM)


def separator(sources: tuple[str, ...] = ("vocals",), seed: int = 0) -> Separator:
    network = Separator(separator_config(sources))
    initialise(network, seed, "separator")
    return network


def classifier(seed: int = 0, backend: ShortChunkCNNConfig = BACKEND) -> Classifier:
    network = Classifier(ClassifierConfig(backend=backend, spectrogram=SPECTROGRAM))
    initialise(network.backend, seed, "backend")
    return network


def joint(seed: int = 0, sources: tuple[str, ...] = ("vocals",), backend: BackendConfig = BACKEND) -> JointNetwork:
    adapters = AdapterConfig(points=backend.insertion_points)
    network = JointNetwork(JointConfig(separator=separator_config(sources), backend=backend, adapters=adapters))
    initialise_joint(network, seed)
    return network


def lively(network: Classifier | JointNetwork, corpus: Corpus) -> Classifier | JointNetwork:
    """With statistics of the corpus: in evaluation a fresh network's answers hardly depend on what it hears."""
    tracks = np.arange(len(corpus))
    calibrate_batch_norm(network, [corpus.gather(tracks, np.zeros_like(tracks), SEGMENT)[:, 0]])
    return network


def separation(corpus: Corpus, network: Separator | None = None, **changed) -> SeparationObjective:
    options = {"num_frames": NUM_FRAMES, "remix": REMIX, "loss": SeparationLossConfig(), **changed}
    return SeparationObjective(network or separator(), corpus, **options)


def adam(num_epochs: int = 1, learning_rate: float = 1e-2, **changed) -> TrainingConfig:
    """One phase of Adam."""
    options = {"batch_size": 2, "max_epochs": num_epochs, "monitor": "loss", "better": "lower", **changed}
    return TrainingConfig(phases=(Phase(learning_rate=learning_rate, num_epochs=num_epochs),), **options)


class ToyObjective(Objective[nn.Module]):
    """Regression with dropout and BatchNorm; `script` gives the validation metric "scripted" of each epoch."""

    def __init__(self, seed: int = 0, script: list[float] | None = None, norm: bool = True):
        super().__init__()
        self.script, self.epoch = script, -1
        norms = [nn.BatchNorm2d(4)] if norm else []
        dropout = [nn.Dropout(0.3)] if norm else []
        self.network = nn.Sequential(nn.Conv2d(2, 4, 3), *norms, nn.ReLU(), *dropout, nn.Flatten(), nn.Linear(64, 1))
        initialise(self.network, seed, "toy")
        self.network.to(memory_format=torch.channels_last)

    def inputs(self, batch: Batch) -> tuple[torch.Tensor, int]:
        self.epoch = batch.epoch
        return _noise(torch_generator(batch.seed, "toy", batch.epoch, i) for i in batch.positions), batch.step

    def forward(self, x: torch.Tensor, step: int = 0) -> torch.Tensor:
        return functional.mse_loss(self.network(x)[:, 0], x.square().mean(dim=(1, 2, 3)))

    def validate(self) -> dict[str, float]:
        loss = self.forward(_noise(torch_generator(0, "toy validation", i) for i in range(4))).item()
        return {"loss": loss} | ({"scripted": self.script[self.epoch]} if self.script else {})


def _noise(generators: Iterable[torch.Generator]) -> torch.Tensor:
    return torch.stack([torch.randn(2, 6, 6, generator=generator) for generator in generators])


def vector(network: nn.Module) -> torch.Tensor:
    """A copy of all parameters."""
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def lasting(training: Training) -> dict[str, object]:
    """What has to be the same, bit by bit, however often the training was interrupted."""
    history = [
        {name: value for name, value in row.items() if name != "duration_s"} for row in training.position.history
    ]
    position = {name: value for name, value in vars(training.position).items() if "seconds" not in name}
    weights = {name: tensor.numpy().tobytes() for name, tensor in training.network.state_dict().items()}
    return {**position, "history": history, "weights": weights}
