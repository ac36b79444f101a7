"""From a track's files to the samples of a corpus, or the reason why they cannot be used."""

import warnings
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import Int16

from components.corpora.audio import SAMPLE_RATE, decode, to_int16
from components.corpora.data_set import AudioStream, DataSetTrack

# A file may be shorter than declared by this much (encoders pad), and the stems of a song may differ by it.
TOLERANCE_S = 1.0
UNLIKE_S = 0.1
SHORTEST_S = 1.0


class UnusableError(ValueError):
    """A track that should be in the corpus and cannot be used; its text is the reason."""


class FittedWarning(UserWarning):
    """Says what was done to a song of several files, so that its stems fit each other."""


class ExcludedError(Exception):
    """A track that a rule of the split excludes; its text is the rule."""


def decode_track(track: DataSetTrack, *, longer_than_s: float = 0.0) -> Int16[np.ndarray, "sample stem"]:
    """The track's stems at 16 kHz, mono, equally long.

    A warning counts damaged packets. A `FittedWarning` says how far a multitrack's files were cut or padded (less than
    a second), and by how much a song was made quieter that 16 bits could not hold.

    Raises:
        UnusableError: a file that is missing, cannot be decoded, is damaged or truncated, or stems of unlike lengths.
        ExcludedError: not longer than the split's rule asks.
    """
    if track.is_multitrack:
        stems = _fitted({stem: [_decoded(one) for one in streams] for stem, streams in track.streams.items()})
    else:
        stems = [_decoded(stream) for (stream,) in track.streams.values()]
    shortest, longest = min(map(len, stems)), max(map(len, stems))
    if longest - shortest > UNLIKE_S * SAMPLE_RATE:
        raise UnusableError(f"stems of {shortest / SAMPLE_RATE:.1f} to {longest / SAMPLE_RATE:.1f} s")
    if shortest < SHORTEST_S * SAMPLE_RATE:
        raise UnusableError(f"shorter than {SHORTEST_S:g} s")
    if shortest <= longer_than_s * SAMPLE_RATE:
        raise ExcludedError(f"not longer than {longer_than_s:g} s")
    try:
        return np.stack([to_int16(stem[:shortest]) for stem in stems], axis=1)
    except ValueError as error:
        raise UnusableError(str(error)) from None


def _fitted(files: Mapping[str, list[np.ndarray]]) -> list[np.ndarray]:
    """Sums of files, as long as the mixture or, without one, the longest; the mixture is the sum if it has no file."""
    lengths = [len(waveform) for group in files.values() for waveform in group]
    difference_s = (max(lengths) - min(lengths)) / SAMPLE_RATE
    if difference_s >= TOLERANCE_S:
        raise UnusableError(f"files of {min(lengths) / SAMPLE_RATE:.1f} to {max(lengths) / SAMPLE_RATE:.1f} s")
    if difference_s:
        warnings.warn(f"cut or padded by up to {difference_s:.3f} s", FittedWarning, stacklevel=2)
    length = max(map(len, files.get("mixture") or ())) if files.get("mixture") else max(lengths)
    stems = {stem: _sum(group, length) for stem, group in files.items()}
    if not files.get("mixture", True):
        stems["mixture"] = _sum([waveform for stem, waveform in stems.items() if stem != "mixture"], length)
    peak = max(float(np.abs(waveform).max()) for waveform in stems.values())
    if peak > 1:
        warnings.warn(f"made {20 * np.log10(peak):.1f} dB quieter", FittedWarning, stacklevel=2)
        stems = {stem: waveform / np.float32(peak) for stem, waveform in stems.items()}
    return list(stems.values())


def _sum(waveforms: list[np.ndarray], length: int) -> np.ndarray:
    total = np.zeros(length, dtype=np.float32)
    for waveform in waveforms:
        total[: len(waveform)] += waveform[:length]
    return total


def _decoded(stream: AudioStream) -> np.ndarray:
    try:
        waveform = decode(stream.path, stream=stream.stream)
        declared_s = declared_duration(stream.path, stream.stream)
    except FileNotFoundError:
        raise UnusableError("no such file") from None
    except (ValueError, OSError) as error:
        raise UnusableError("cannot be decoded: " + str(error).replace(str(stream.path), "file")) from None
    missing_s = declared_s - len(waveform) / SAMPLE_RATE
    if missing_s > TOLERANCE_S:
        raise UnusableError(f"truncated: more than {TOLERANCE_S:g} s shorter than it declares")
    return waveform


def declared_duration(path: str | Path, stream: int = 0) -> float:
    """Seconds that a file's header declares for an audio stream; 0 if it declares none.

    Raw streams, and MP3 without a frame that counts the others, declare none: FFmpeg would guess from the bit rate.
    """
    with av.open(str(path)) as container:
        if container.format.name == "aac" or (container.format.name == "mp3" and not _counts_frames(Path(path))):
            return 0.0
        audio = container.streams.audio[stream]
        if audio.duration is not None and audio.time_base is not None:
            seconds = float(audio.duration * Fraction(audio.time_base))
        else:
            seconds = float(container.duration or 0) / av.time_base
    return seconds * _declared_share(Path(path))


def _counts_frames(path: Path) -> bool:
    """Whether an MP3's first frame tells how many there are, as most encoders have it."""
    with path.open("rb") as file:
        head = file.read(10)
        if head[:3] == b"ID3":  # its size: four times seven bits
            file.seek(10 + sum((byte & 127) << 7 * place for place, byte in enumerate(reversed(head[6:10]))))
        else:
            file.seek(0)
        frame = file.read(2048)
    return any(mark in frame for mark in (b"Xing", b"Info", b"VBRI"))


def _declared_share(path: Path) -> float:
    """The declared size of a WAV file over its real size: FFmpeg looks at the real size only."""
    with path.open("rb") as file:
        head = file.read(8)
    if head[:4] != b"RIFF":
        return 1.0
    size, declared_size = path.stat().st_size, int.from_bytes(head[4:], "little") + 8
    # A file that was written as a stream declares no size, or the largest possible one.
    return declared_size / size if size < declared_size < 0x7FFFF000 else 1.0
