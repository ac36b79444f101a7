"""Separate songs with a study's trained separator: any audio file, of any length and rate.

The estimates are mono at 16 kHz, as the separator was trained.

Examples:

    python experiments/separate.py results/demo song.mp3 --out stems
    python experiments/separate.py results/demo songs/ --source drums --out stems --format flac
"""

import sys
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import tyro
from rich.console import Console

from components.corpora.audio_writer import AudioFormat
from study.command.display import Bar, say, terminal
from study.command.exit_code import EXIT_FAILED, exit_code

Store = tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="STORE")]]
SongPlaces = tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="SONG")]]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Every song becomes a file OUT/<song>.<source>.<format> for each source that the separator knows."""

    storage: Store
    """Folder or URI of the study's store."""
    songs: SongPlaces
    """Audio files, or folders of them. On a cluster: in a place that all machines share."""
    out: str
    """Folder for the estimates. On a cluster: a place that all machines share."""
    source: str = ""
    """What the separator was trained for: bass, drums, other, vocals, multiple. Default: that of the reference."""
    study: str = ""
    """Name of the study, if the store holds several."""
    arm: str = ""
    """Whose separator. Default: the reference, or the only arm with one."""
    seed: int | None = None
    """Which seed's separator. Default: the first that is done."""
    format: AudioFormat = "wav"
    """Format of the files, 16 bits."""
    keep: bool = False
    """Leave estimates that are there already as they are, and make only the others."""

    def __post_init__(self) -> None:
        if not self.songs:
            raise ValueError("no song is given: name audio files, or folders of them")


def main() -> int:
    options = tyro.cli(Options, description=__doc__, config=(tyro.conf.FlagCreatePairsOff,))
    console = terminal()
    stopped = "What is written stays; the same command with --keep goes on from here."
    return exit_code(partial(run, options, console), console, stopped=stopped)


def run(options: Options, console: Console) -> int:
    from study.store.store import Store
    from study.use.finished import separator
    from study.use.separating import separate, without_estimates
    from study.use.songs import find_songs, over_songs
    from study.use.tagging import Failed

    given = find_songs(options.songs)
    store = Store(options.storage)
    study, arm, source = options.study or None, options.arm or None, options.source or None
    chosen = separator(store, study=study, arm=arm, source=source, seed=options.seed)
    songs = without_estimates(given.songs, chosen, options.out, options.format, keep=options.keep)
    say(
        console,
        f"Separating {chosen.source}, mono at 16 kHz, with the separator of arm {chosen.arm!r}, seed {chosen.seed}.",
    )
    if given.others:
        say(console, f"Left out: {given.others} files that are no audio.")
    if len(songs) < len(given.songs):
        say(console, f"There already: the estimates of {len(given.songs) - len(songs)} songs.")
    work = partial(separate, network=chosen, location=store.location, folder=options.out, form=options.format)
    with Bar("separated", console) as bar:
        found = over_songs(work, songs, store.location, bar)
    failed = [one for one in found if isinstance(one, Failed)]
    say(console, f"{len(found) - len(failed)} of {len(found)} songs separated: {options.out}")
    for one in failed:
        say(console, f"failed: {one.song}: {one.why}")
    return EXIT_FAILED if failed else 0


if __name__ == "__main__":
    sys.exit(main())
