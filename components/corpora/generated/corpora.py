"""The three generated corpora on disk: separation with stems, tagging, genre."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int16

from components.corpora.corpus_writer import CorpusWriter
from components.corpora.generated.config import GeneratedConfig, Kind
from components.corpora.generated.content import TAGS, contents
from components.corpora.generated.labels import genre_labels, tag_labels
from components.corpora.generated.song import STEMS, locate, song
from components.corpora.generated.styles import GENRES

Map = Callable[[Callable[[int], Any], Iterable[int]], Iterable[Any]]
Report = Callable[[int, int], None]

GENERATOR_VERSION = 1  # raise it whenever a configuration comes to mean other samples or labels
CLASSES: dict[Kind, tuple[str, ...]] = {"separation": (), "tagging": TAGS, "genre": GENRES}
STORED_STEMS: dict[Kind, tuple[str, ...]] = {
    "separation": ("mixture", *STEMS),
    "tagging": ("mixture",),
    "genre": ("mixture",),
}


def separation_corpus(
    folder: str | Path, config: GeneratedConfig, map: Map = map, report: Report | None = None
) -> Path:
    """Write `num_songs` songs as mixture, drums, bass, other, vocals; see `write_corpus`."""
    return write_corpus("separation", folder, config, map, report)


def tagging_corpus(folder: str | Path, config: GeneratedConfig, map: Map = map, report: Report | None = None) -> Path:
    """Write the mixtures of the tagging tracks with their tags, a share of them wrong; see `write_corpus`."""
    return write_corpus("tagging", folder, config, map, report)


def genre_corpus(folder: str | Path, config: GeneratedConfig, map: Map = map, report: Report | None = None) -> Path:
    """Write the mixtures of the genre tracks with one of nine styles each; see `write_corpus`."""
    return write_corpus("genre", folder, config, map, report)


def write_corpus(
    kind: Kind, folder: str | Path, config: GeneratedConfig, map: Map = map, report: Report | None = None
) -> Path:
    """Write a generated corpus and return its folder.

    `map(function, indices)` yields results in the order of the indices, as the built-in does; a process pool's `imap`
    or a cluster's spreads the songs, for the function can be pickled. `report(done, total)` is called after each song.

    Raises:
        FileExistsError: there is something at `folder` already.
    """
    total = sum(config.split_sizes(kind).values())
    recipe = recipe_of(config, kind)
    with CorpusWriter(
        folder, name=recipe["name"], kind=kind, stems=STORED_STEMS[kind], classes=CLASSES[kind], recipe=recipe
    ) as writer:
        for index, waveform in enumerate(map(partial(waveform_of, config, kind), range(total))):
            split, position = locate(config, kind, index)
            content = contents(config, kind, split)[position]
            labels = _labels(config, kind, split, position)
            columns = {"style": content.style.name, "tempo_bpm": content.bpm, "true_tags": " ".join(content.tags)}
            writer.add(f"generated-{kind}-{index:05d}", waveform, split=split, labels=labels, **columns)
            if report is not None:
                report(index + 1, total)
    return Path(folder)


def waveform_of(config: GeneratedConfig, kind: Kind, index: int) -> Int16[np.ndarray, "sample stem"]:
    """One track as its corpus stores it."""
    return np.ascontiguousarray(song(config, kind, index)[:, : len(STORED_STEMS[kind])])


def recipe_of(config: GeneratedConfig, kind: Kind) -> dict[str, Any]:
    """How the corpus was made, as its manifest holds it: equal recipes give equal corpora."""
    return {
        "name": f"generated-{kind}",
        "origin": "generated: synthesised from a seed, no recordings",
        "generator_version": GENERATOR_VERSION,
        "kind": kind,
        "config": asdict(config),
    }


def _labels(config: GeneratedConfig, kind: Kind, split: str, position: int) -> tuple[str, ...]:
    if kind == "tagging":
        return tag_labels(config, split)[position]
    if kind == "genre":
        return (genre_labels(config, split)[position],)
    return ()
