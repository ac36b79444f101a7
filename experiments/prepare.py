"""Make a corpus of a data set as people download it: decoded, mono, 16 kHz, one flat file with a table of tracks.

Examples:

    python experiments/prepare.py musdb18 ~/MUSDB18 corpora/musdb18
    python experiments/prepare.py magnatagatune ~/MagnaTagATune corpora/mtat
    python experiments/prepare.py fma ~/fma corpora/fma-medium
    python experiments/prepare.py mtg-jamendo ~/mtg-jamendo-dataset corpora/jamendo --audio ~/jamendo --tags top50
    python experiments/prepare.py moisesdb ~/moisesdb corpora/moisesdb --silent-if-missing
    python experiments/prepare.py folder ~/songs corpora/songs --table ~/songs/labels.csv --kind tagging
    python experiments/prepare.py stems ~/multitracks corpora/own --table ~/multitracks/songs.csv
    python experiments/prepare.py generated tagging corpora/generated
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from components.corpora.audio_folder import audio_folder
from components.corpora.data_set import DataSet
from components.corpora.fma import Subset, fma
from components.corpora.frequent_classes import with_frequent_classes
from components.corpora.magnatagatune import Split, magnatagatune
from components.corpora.moisesdb import moisesdb
from components.corpora.mtg_jamendo import TagSet, mtg_jamendo
from components.corpora.multitracks import multitracks
from components.corpora.musdb18 import musdb18
from study.cluster.execution import Execution
from study.command.display import Bar, say, terminal
from study.command.exit_code import exit_code
from study.corpora.preparation import Prepared, prepare

Source = tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="SOURCE")]]
CorpusFolder = tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="CORPUS")]]


@dataclass(frozen=True, kw_only=True)
class _Decoded:
    """The options that all data sets of files share."""

    source: Source
    """The data set's folder, downloaded and unpacked. On a cluster: a place that all machines share."""
    corpus: CorpusFolder
    """The folder to make. On a cluster: a place that all machines share."""
    max_rejects: float = 0.01
    """Largest share of tracks that may be unusable."""

    def data_set(self) -> DataSet:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class _Labelled(_Decoded):
    """The options of data sets with labels."""

    min_tracks: int = 0
    """Leave out labels that fewer tracks of any split have."""


@dataclass(frozen=True, kw_only=True)
class Musdb18(_Decoded):
    """MUSDB18: SOURCE holds train/ and test/."""

    hq: bool = False
    """The data set is MUSDB18-HQ, with a folder of WAV files for each song."""

    def data_set(self) -> DataSet:
        return musdb18(self.source, hq=self.hq)


@dataclass(frozen=True, kw_only=True)
class MagnaTagATune(_Labelled):
    """MagnaTagATune: SOURCE holds annotations_final.csv and the folders 0 to f."""

    split: Split = "pub"
    """pub: the paper's clips, which have a top-50 tag and are longer than 29.1 s. folder: all clips."""
    own_split: str = ""
    """A CSV file with the columns clip_id and split (train, validation, test), used instead of --split."""

    def data_set(self) -> DataSet:
        return magnatagatune(self.source, self.split, self.own_split or None)


@dataclass(frozen=True, kw_only=True)
class FMA(_Labelled):
    """FMA: SOURCE holds fma_metadata/ and fma_medium/ or fma_small/."""

    subset: Subset = "medium"
    """Which of the two folders to read."""

    def data_set(self) -> DataSet:
        return fma(self.source, self.subset)


@dataclass(frozen=True, kw_only=True)
class Folder(_Labelled):
    """Your own data: SOURCE is a folder of audio files, and a table names them."""

    table: str
    """CSV or Parquet file with the columns path, split, labels (several are separated by ;) and, optionally, id.
    Further columns are kept. Commas, semicolons or tabs may stand between the cells."""
    kind: Literal["tagging", "genre"]
    """tagging: any number of labels for each track. genre: exactly one."""
    encoding: str = "utf-8"
    """Encoding of a CSV file, such as latin-1."""

    def data_set(self) -> DataSet:
        return audio_folder(self.source, self.table, self.kind, encoding=self.encoding)


@dataclass(frozen=True, kw_only=True)
class MTGJamendo(_Labelled):
    """MTG-Jamendo: SOURCE is the data set's repository, which holds data/splits."""

    audio: str = ""
    """The folder that the audio was unpacked to, with the folders 00 to 99. Default: SOURCE."""
    tags: TagSet = "top50"
    """The fifty most frequent tags, or moods and themes."""
    split: int = 0
    """Which of the five splits, 0 to 4."""

    def data_set(self) -> DataSet:
        return mtg_jamendo(self.source, self.tags, audio=self.audio or None, split=self.split)


@dataclass(frozen=True, kw_only=True)
class Stems(_Decoded):
    """Your own multitracks: SOURCE holds a folder for each song; a file's name begins with its source."""

    table: str
    """CSV or Parquet file with the columns song (the folder's name) and split. Columns called mixture, drums, bass,
    other and vocals may name the files instead (several are separated by ;). Further columns are kept."""
    silent_if_missing: bool = False
    """A source without a file is silent. Else its song is rejected."""
    encoding: str = "utf-8"
    """Encoding of a CSV file, such as latin-1."""

    def data_set(self) -> DataSet:
        return multitracks(self.source, self.table, encoding=self.encoding, silent_if_missing=self.silent_if_missing)


@dataclass(frozen=True, kw_only=True)
class MoisesDB(_Decoded):
    """MoisesDB: SOURCE is the folder that it was unpacked to."""

    table: str = ""
    """CSV or Parquet file with the columns song (the folder's name) and split. Default: a tenth of the artists is for
    validation, two tenths are for the test."""
    silent_if_missing: bool = False
    """A source without a file is silent. Else its song is rejected."""
    encoding: str = "utf-8"
    """Encoding of a CSV file, such as latin-1."""

    def data_set(self) -> DataSet:
        return moisesdb(
            self.source, self.table or None, encoding=self.encoding, silent_if_missing=self.silent_if_missing
        )


@dataclass(frozen=True, kw_only=True)
class Generated:
    """Music synthesised from a seed, in the demo's size. A study without data generates its own."""

    kind: tyro.conf.Positional[Literal["separation", "tagging", "genre"]]
    """What the corpus is for."""
    corpus: CorpusFolder
    """The folder to make."""


Options = (
    Annotated[Musdb18, tyro.conf.subcommand("musdb18")]
    | Annotated[MagnaTagATune, tyro.conf.subcommand("magnatagatune")]
    | Annotated[FMA, tyro.conf.subcommand("fma")]
    | Annotated[MTGJamendo, tyro.conf.subcommand("mtg-jamendo")]
    | Annotated[MoisesDB, tyro.conf.subcommand("moisesdb")]
    | Annotated[Folder, tyro.conf.subcommand("folder")]
    | Annotated[Stems, tyro.conf.subcommand("stems")]
    | Annotated[Generated, tyro.conf.subcommand("generated")]
)


def main() -> int:
    options = tyro.cli(Options, description=__doc__, config=(tyro.conf.FlagCreatePairsOff,))  # pyright: ignore[reportArgumentType, reportCallIssue]
    console = terminal()

    def run() -> int:
        if isinstance(options, Generated):
            _generate(options, console)
        else:
            _print_corpus(_prepare(options, console), console)
        return 0

    again = "starts from the beginning" if isinstance(options, Generated) else "goes on from here"
    return exit_code(run, console, stopped=f"The same command {again}.")


def _generate(options: Generated, console: Console) -> None:
    from components.corpora.generated.corpora import write_corpus
    from experiments.presets import PRESETS

    with Bar(f"Generating {options.kind} corpus", console) as bar:
        write_corpus(options.kind, options.corpus, PRESETS["demo"].generated, report=bar)
    console.print(f"Corpus: {options.corpus}", highlight=False)


def _prepare(options: _Decoded, console: Console) -> Prepared:
    data_set = options.data_set()
    if isinstance(options, _Labelled):
        data_set, left_out = with_frequent_classes(data_set, options.min_tracks)
        names = ", ".join(f"{name} ({_counted(counts)})" for name, counts in left_out.items())
        if left_out:
            say(console, f"Left out, with fewer than {options.min_tracks} tracks in a split: {names}")
    # Ray takes seconds to import: a data set that cannot be read is refused before.
    from study.cluster.connection import connected
    from study.cluster.map_over_cluster import map_over_cluster

    execution = Execution(storage=str(Path(options.corpus).expanduser().absolute().parent))
    with connected(execution), Bar(f"Decoding {data_set.name}", console) as bar:
        return prepare(data_set, options.corpus, spread=map_over_cluster, max_rejects=options.max_rejects, report=bar)


def _print_corpus(prepared: Prepared, console: Console) -> None:
    """What the corpus holds, and what of the data set it does not."""
    manifest, folder = prepared.corpus.manifest, prepared.corpus.folder
    hours = manifest.num_samples / manifest.sample_rate / 3600
    lines = [f"Corpus: {folder}: {_counted(manifest.counts)} tracks, {hours:,.1f} h, digest {manifest.digest[:16]}"]
    if manifest.excluded:
        lines.append(f"Excluded by rules: {_counted(manifest.excluded)}")
    if manifest.rejects:
        lines.append(f"Rejected: {len(manifest.rejects)} tracks; {folder}/manifest.json gives each with its reason")
    if fitted := manifest.recipe.get("fitted"):
        lines.append(f"Cut, padded or made quieter, to fit: {len(fitted)} tracks; manifest.json says by how much")
    if damaged := manifest.recipe.get("damaged"):
        lines.append(f"Damaged: {len(damaged)} tracks have packets that are now silent; manifest.json names them")
    for split, (found, published) in prepared.unexpected.items():
        lines.append(f"{split}: {found:,} tracks found, {published:,} published ({found - published:+,})")
    for line in lines:
        say(console, line)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counts.items())


if __name__ == "__main__":
    sys.exit(main())
