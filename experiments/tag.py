"""Tag songs with the networks of a finished study: any audio file, of any length and rate.

Examples:

    python experiments/tag.py results/demo song.mp3                     # the most probable tags
    python experiments/tag.py results/demo songs/ --format csv --out tags.csv
    python experiments/tag.py results/demo song.mp3 --arm bare --seeds 0
    python experiments/tag.py results/demo song.mp3 --over-time --plot song.png
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from study.command.display import Bar, say, terminal
from study.command.exit_code import EXIT_FAILED, exit_code
from study.command.rows import RowFormat, check_row_options, write

Store = tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="STORE")]]
SongPlaces = tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="SONG")]]
MOST_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class Options:
    """A score is the mean over the networks of an arm's seeds, ± their standard deviation."""

    storage: Store
    """Folder or URI of the study's store."""
    songs: SongPlaces
    """Audio files, or folders of them. On a cluster: in a place that all machines share."""
    study: str = ""
    """Name of the study, if the store holds several."""
    arm: str = ""
    """Whose networks. Default: the reference, or the only arm with such networks."""
    seeds: int | Literal["all"] = "all"
    """Networks of all seeds, or of this one."""
    format: RowFormat = "table"
    """Format of the scores. table: the most probable tags. Others: a row for each song and tag."""
    out: str = ""
    """File to write the scores to. Default: the terminal; Parquet needs a file."""
    over_time: bool = False
    """Scores of each segment instead of the whole song."""
    plot: str = ""
    """Picture of the scores over time to draw (.png or .svg), a panel for each song."""

    def __post_init__(self) -> None:
        if not self.songs:
            raise ValueError("no song is given: name audio files, or folders of them")
        check_row_options(self.format, self.out)
        if self.plot and Path(self.plot).suffix not in (".png", ".svg"):
            raise ValueError(f"--plot is {self.plot}; the file's ending has to be .png or .svg")


def main() -> int:
    options = tyro.cli(Options, description=__doc__, config=(tyro.conf.FlagCreatePairsOff,))
    # Standard output is for the scores alone.
    notes = Console(stderr=True)
    return exit_code(partial(run, options, notes), notes, stopped="The same command starts from the beginning.")


def run(options: Options, notes: Console) -> int:
    from study.store.store import Store
    from study.use.finished import taggers
    from study.use.songs import find_songs, over_songs
    from study.use.tag_plot import check_plot, plot
    from study.use.tagging import Failed, score_table, tag, time_table

    given = find_songs(options.songs)
    if options.plot:
        check_plot(len(given.songs))
    store = Store(options.storage)
    seed = None if options.seeds == "all" else options.seeds
    chosen = taggers(store, study=options.study or None, arm=options.arm or None, seed=seed)
    say(
        notes,
        f"Tagging with {chosen}." + (f" Left out: {given.others} files that are no audio." if given.others else ""),
    )
    with Bar("tagged", notes) as bar:
        found = over_songs(partial(tag, chosen=chosen, location=store.location), given.songs, store.location, bar)
    failed = [one for one in found if isinstance(one, Failed)]
    heard = [one for one in found if not isinstance(one, Failed)]
    if options.format == "table" and not options.out:
        show(heard, options.over_time)
    else:
        write((time_table if options.over_time else score_table)(heard), options.format, options.out, terminal())
    if options.plot and heard:
        plot(heard, options.plot)
    for one in failed:
        say(notes, f"failed: {one.song}: {one.why}")
    return EXIT_FAILED if failed else 0


def show(heard: Sequence, over_time: bool) -> None:
    """The most probable tags of each song, or of each of its segments, a line each."""
    console = terminal()
    for one in heard:
        if not over_time:
            scores = [
                _scored(one.classes[place], one.means[place], one.sds[place]) for place in one.ranked[:MOST_SHOWN]
            ]
            left = len(one.classes) - len(scores)
            say(console, f"{one.song}: {'   '.join(scores)}{f'   ({left} more)' if left > 0 else ''}")
            continue
        say(console, f"{one.song}:")
        for start, probabilities in zip(one.starts_s, one.over_time, strict=True):
            ranked = (-probabilities).argsort(kind="stable")[:MOST_SHOWN]
            scores = "   ".join(f"{one.classes[place]} {probabilities[place]:.2f}" for place in ranked)
            say(console, f"  {start:8.2f} to {start + one.segment_s:8.2f} s  {scores}")


def _scored(name: str, mean: float, sd: float) -> str:
    return f"{name} {mean:.2f}" + ("" if math.isnan(sd) else f" ± {sd:.2f}")


if __name__ == "__main__":
    sys.exit(main())
