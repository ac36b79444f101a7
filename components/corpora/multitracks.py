"""Your own multitracks: a folder for each song, and a table that names the songs and their splits."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from components.corpora.data_set import AudioStream, DataSet, DataSetTrack, Streams, required_paths
from components.corpora.own_table import Row, further_columns, read_table, split_of, text_of

SOURCES = ("drums", "bass", "other", "vocals")
STEMS = ("mixture", *SOURCES)
NEEDED = ("song", "split")
# Files of a song's folder that are no audio, as systems and programs leave them there.
NO_AUDIO = (".txt", ".md", ".json", ".csv", ".jpg", ".jpeg", ".png", ".pdf", ".mid", ".midi")
_MIXTURE = ("mixture", "mix")


def multitracks(
    source: str | Path, table: str | Path, *, encoding: str = "utf-8", silent_if_missing: bool = False
) -> DataSet:
    """The songs below `source` that a CSV or Parquet table names.

    Its columns: `song`, the folder's name, and `split`. A file belongs to the source with which its name begins
    ("vocals.wav", "Drums 2 kick.flac"; "mix" and "mixture" are the mixture). Or columns called like the stems name
    files of the folder, with ; between them. Several files of a source are summed; a song without a mixture gets the
    sum of its sources. Further columns are kept.

    `silent_if_missing`: a source without a file is silent; else its song is a reject, as is one with a file of no
    source. ValueError and FileNotFoundError as of `audio_folder`.
    """
    required_paths(source)
    root, path = Path(source).expanduser().absolute(), Path(table).expanduser()
    rows = read_table(path, NEEDED, encoding=encoding)
    columns = further_columns(path, rows, (*NEEDED, *STEMS))
    tracks, rejects = [], []
    for number, (row, more) in enumerate(zip(rows, columns, strict=True), 1):
        name, split = text_of(path, number, row, "song"), split_of(path, number, row)
        try:
            audio = song_audio(_files(root / name, row), silent_if_missing=silent_if_missing)
        except ValueError as error:
            rejects.append((name, str(error)))
        else:
            tracks.append(DataSetTrack(id=name, audio=audio, split=split, columns=more))
    return DataSet(
        name=root.resolve().name,
        kind="separation",
        tracks=tracks,
        stems=STEMS,
        rejects=rejects,
        recipe={"table": path.name, "silent_if_missing": silent_if_missing},
    )


def song_audio(files: Mapping[str, list[Path]], *, silent_if_missing: bool) -> dict[str, Streams]:
    """The streams that each stem is the sum of; ValueError for a song of which a source, or everything, is missing."""
    missing = [source for source in SOURCES if not files.get(source)]
    if missing and (not silent_if_missing or len(missing) == len(SOURCES)):
        raise ValueError(f"no file of {' and '.join(missing)}")
    return {stem: tuple(AudioStream(path) for path in files.get(stem, ())) for stem in STEMS}


def _files(folder: Path, row: Row) -> dict[str, list[Path]]:
    """The files of each stem; ValueError, which says why, for a song that is not as it should be."""
    if not folder.is_dir():
        raise ValueError("no such folder")
    named = {stem: str(row[stem]) for stem in STEMS if row.get(stem) not in (None, "")}
    if named:
        return {stem: [folder / name.strip() for name in names.split(";")] for stem, names in named.items()}
    found: dict[str, list[Path]] = {}
    for path in _audio(folder):
        found.setdefault(_stem(path), []).append(path)
    return found


def _audio(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith(".") and path.suffix.lower() not in NO_AUDIO:
            yield path


def _stem(path: Path) -> str:
    """The stem with whose name the file's begins, as a word of its own."""
    first = re.split(r"[^a-z]", path.stem.lower(), maxsplit=1)[0]
    if first in _MIXTURE:
        return "mixture"
    for source in SOURCES:
        if first in (source, source.rstrip("s")):
            return source
    raise ValueError(f"{path.name} is of no source: let its name begin with one, or name the files in columns")
