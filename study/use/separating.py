"""Separating: what a trained separator takes out of a song, as audio files."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

from components.corpora.audio import decoded_blocks
from components.corpora.audio_writer import AudioFormat, AudioWriter
from components.networks.separator import Separator
from components.networks.song_separation import separate_song
from study.kinds.trained_networks import stage_from, trained_separator
from study.store.store import Store
from study.use.finished import Network
from study.use.songs import Song, device
from study.use.tagging import Failed


def sources_of(network: Network) -> tuple[str, ...]:
    """What a separator's outputs are, in their order."""
    return stage_from(network.config).separator.sources


def estimate_paths(song: Song, network: Network, folder: str, form: AudioFormat) -> list[Path]:
    """The files that a song's estimates become, in the order of the sources."""
    return [Path(folder) / f"{song.name}.{source}.{form}" for source in sources_of(network)]


def without_estimates(
    songs: Sequence[Song], network: Network, folder: str, form: AudioFormat, *, keep: bool
) -> list[Song]:
    """The songs that lack an estimate; FileExistsError if there is any, unless these may stay (`keep`)."""
    there = {song: [path for path in estimate_paths(song, network, folder, form) if path.exists()] for song in songs}
    begun = [paths[0] for paths in there.values() if paths]
    if begun and not keep:
        more = f" and {len(begun) - 1} more" if len(begun) > 1 else ""
        raise FileExistsError(f"{begun[0]}{more} exist already: give another --out, or --keep to make only the others")
    return [song for song, paths in there.items() if len(paths) < len(sources_of(network))]


def separate(song: Song, network: Network, location: str, folder: str, form: AudioFormat) -> list[Path] | Failed:
    """Writes the estimates of a song of any length and rate, mono at 16 kHz; their paths, or why it could not be."""
    separator = _separator(location, network)
    paths = estimate_paths(song, network, folder, form)
    try:
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            writers = [stack.enter_context(AudioWriter(path, form)) for path in paths]
            for estimates in separate_song(separator, decoded_blocks(song.path)):
                for writer, estimate in zip(writers, estimates, strict=True):
                    writer.write(estimate)
    except (ValueError, OSError) as error:
        return Failed(song=song.name, why=" ".join(str(error).split()))
    return paths


@lru_cache(maxsize=4)
def _separator(location: str, network: Network) -> Separator:
    """Kept from song to song."""
    return trained_separator(Store(location), network.stage, network.config, device=device())
