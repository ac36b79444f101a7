"""A data set as people download it: its tracks, the files of their audio, and what its rules exclude."""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TextIO


class AudioStream(NamedTuple):
    """One audio stream of a file; a stem MP4 has five."""

    path: Path
    stream: int = 0


# What a stem is the sum of; nothing: it is silent or, if it is the mixture, the sum of the others.
Streams = tuple[AudioStream, ...]


@dataclass(frozen=True, kw_only=True)
class DataSetTrack:
    """A track before it is decoded.

    Attributes:
        audio: where each of the corpus's stems is, in the corpus's order: one stream, or several that are summed.
        columns: the data set's own facts, the same for every track.
    """

    id: str
    audio: Mapping[str, AudioStream | Streams]
    split: str
    labels: tuple[str, ...] = ()
    columns: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_multitrack(self) -> bool:
        """Whether stems are sums: their lengths are then fitted to each other."""
        return any(not isinstance(given, AudioStream) for given in self.audio.values())

    @property
    def streams(self) -> dict[str, Streams]:
        """What each stem is the sum of."""
        return {stem: (given,) if isinstance(given, AudioStream) else given for stem, given in self.audio.items()}


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """What becomes a corpus.

    Attributes:
        tracks: in the corpus's order.
        longer_than_s: a rule of the split: shorter tracks are excluded.
        excluded: number of tracks that a rule has excluded already, by rule.
        rejects: tracks that should be in the corpus but cannot be used: id and reason.
        expected: the published number of tracks by split; a difference is reported.
        recipe: what decides the corpus besides its files.
    """

    name: str
    kind: str
    tracks: list[DataSetTrack]
    stems: tuple[str, ...] = ("mixture",)
    classes: tuple[str, ...] = ()
    longer_than_s: float = 0.0
    excluded: Counter[str] = field(default_factory=Counter)
    rejects: list[tuple[str, str]] = field(default_factory=list)
    expected: Mapping[str, int] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)


NO_METADATA = "not in the metadata"


def unlisted_files(folder: Path, listed: Set[Path], pattern: str = "*/*.mp3") -> list[Path]:
    """Audio files below the folder that no row of the metadata names, sorted."""
    return sorted(path for path in folder.glob(pattern) if path not in listed)


@contextmanager
def opened_table(path: str | Path) -> Iterator[TextIO]:
    """A text table for reading as CSV; ValueError, naming the file, for what is no such text."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        try:
            yield file
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path} cannot be read: {error}") from None


def required_paths(folder: str | Path, *names: str) -> list[Path]:
    """Files of a data set; FileNotFoundError names the first that is missing, and what the folder should be."""
    # Absolute: the process that decodes may work in another folder.
    root = Path(folder).expanduser().absolute()
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is no folder")
    for name in names:
        if not (root / name).exists():
            raise FileNotFoundError(f"{root} has no {name}; give the folder that holds {', '.join(names)}")
    return [root / name for name in names]
