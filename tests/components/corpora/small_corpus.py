"""A corpus of three short tracks, small enough to be written anew by every test."""

from pathlib import Path

import numpy as np

from components.corpora.corpus_writer import CorpusWriter

LENGTHS = (1000, 700, 1300)
SPLITS = ("train", "test", "train")


def small_waveforms(num_stems: int = 1) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(-32_768, 32_768, (length, num_stems)).astype(np.int16) for length in LENGTHS]


def write_small(
    folder: Path,
    *,
    name: str = "small",
    kind: str = "tagging",
    stems: tuple[str, ...] = ("mixture",),
    classes: tuple[str, ...] = ("drums", "vocals", "flute"),
    labels: tuple[tuple[str, ...], ...] = (("vocals", "drums"), (), ("flute",)),
    recipe: dict[str, object] | None = None,
    samples: list[np.ndarray] | None = None,
    splits: tuple[str, ...] = SPLITS,
) -> Path:
    with CorpusWriter(folder, name=name, kind=kind, stems=stems, classes=classes, recipe=recipe) as writer:
        for index, waveform in enumerate(samples or small_waveforms(len(stems))):
            writer.add(f"t{index}", waveform, split=splits[index], labels=labels[index], tempo=100.0 + index)
    return folder
