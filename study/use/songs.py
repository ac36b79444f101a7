"""Songs: the audio files that a command is given, and a function spread over them."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUFFIXES = tuple(
    ".aac .aif .aiff .ape .flac .m4a .mka .mp2 .mp3 .mp4 .mpc .oga .ogg .opus .wav .webm .wma .wv".split()  # noqa: SIM905
)


@dataclass(frozen=True, kw_only=True)
class Song:
    """An audio file. `name`: its path below the folder that was given, without its ending unless two would be alike."""

    path: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Songs:
    """The songs of a command; `others`: how many files of its folders are no audio by their ending."""

    songs: tuple[Song, ...]
    others: int


def find_songs(places: Sequence[str]) -> Songs:
    """The files that are given, and those with an ending of audio below the folders that are given.

    FileNotFoundError for what is not there, ValueError for a folder without audio.
    """
    found: dict[Path, Path] = {}
    others = 0
    for place in places:
        root = Path(place).expanduser().absolute()
        if root.is_dir():
            files = sorted(path for path in root.rglob("*") if path.is_file() and not _is_hidden(path, root))
            audio = [path for path in files if path.suffix.lower() in SUFFIXES]
            if not audio:
                raise ValueError(f"{root} holds no audio file; known endings: {' '.join(SUFFIXES)}")
            found |= {path: path.relative_to(root) for path in audio}
            others += len(files) - len(audio)
        elif root.is_file():
            found[root] = Path(root.name)
        else:
            raise FileNotFoundError(f"{root} is neither a file nor a folder")
    return Songs(songs=tuple(_named(found)), others=others)


def _is_hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _named(found: dict[Path, Path]) -> Iterator[Song]:
    """Names as short as they can be while they differ."""
    short = Counter(name.with_suffix("") for name in found.values())
    whole = Counter(found.values())
    for path, name in found.items():
        if short[name.with_suffix("")] == 1:
            yield Song(path=str(path), name=str(name.with_suffix("")))
        elif whole[name] == 1:
            yield Song(path=str(path), name=str(name))
        else:
            raise ValueError(f"two of the songs are called {name}, one of them {path}: give them one after the other")


def over_songs(
    function: Callable[[Song], Any], songs: Sequence[Song], storage: str, report: Callable[[int, int], None]
) -> list[Any]:
    """The function's result for each song, in their order: here, or spread over the cluster of $RAY_ADDRESS."""
    found = {}
    for number, (song, result) in enumerate(_results(function, songs, storage), 1):
        found[song] = result
        report(number, len(songs))
    return [found[song] for song in songs]


def _results(function: Callable[[Song], Any], songs: Sequence[Song], storage: str) -> Iterable[tuple[Song, Any]]:
    if "RAY_ADDRESS" not in os.environ:
        yield from ((song, function(song)) for song in songs)
        return
    # Ray takes seconds to import.
    from study.cluster.connection import connected, present_resources
    from study.cluster.execution import Execution
    from study.cluster.map_over_cluster import map_over_cluster

    with connected(Execution(storage=storage)):
        num_gpus = 1 if present_resources()["GPU"] >= 1 else 0
        yield from map_over_cluster(lambda song: (song, function(song)), songs, num_gpus=num_gpus)


def device() -> str:
    """Where networks compute: the GPU, if this process has one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
