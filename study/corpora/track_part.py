"""One track in preparation: decoded into a part of its own, or rejected with a reason, whatever its files do.

A file may crash the decoder, hang it or take all memory. So a process that decodes leaves a note of each try, gives
itself a time and a memory limit, and ends if it exceeds the time. Whoever finds the notes of earlier tries rejects the
track. A process that dies is replaced by whoever started it.
"""

import faulthandler
import json
import os
import resource
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.corpora.data_set import DataSetTrack
from components.corpora.track_decoding import (
    ExcludedError,
    FittedWarning,
    UnusableError,
    declared_duration,
    decode_track,
)

MOST_CRASHES = 2


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What decoding a track may take.

    `base_s` for reading its headers; as much again, and `per_second` seconds for each that they declare, for decoding.
    """

    base_s: float = 60.0
    per_second: float = 1.0
    memory_bytes: int = 4 * 2**30


@dataclass(frozen=True, kw_only=True)
class Part:
    """The file of a track's samples, and that of its outcome, which is written last."""

    track: DataSetTrack
    samples: Path
    outcome: Path

    @property
    def tries(self) -> Path:
        """Notes of the processes that tried to decode it and have not finished."""
        return self.outcome.with_suffix(".tries")

    def read(self) -> dict[str, str]:
        return json.loads(self.outcome.read_text(encoding="utf-8"))


def decode_part(longer_than_s: float, limits: Limits, part: Part) -> None:
    """Writes a track's samples, then its outcome, which says that they are complete."""
    outcome = {"id": part.track.id}
    try:
        with warnings.catch_warnings(record=True) as caught, _limited(part, limits):
            warnings.simplefilter("always")
            with _within(limits.base_s, part):
                declared_s = _declared_s(part.track)
            with _within(limits.base_s + limits.per_second * declared_s, part):
                waveform = decode_track(part.track, longer_than_s=longer_than_s)
    except UnusableError as error:
        outcome |= {"rejected": str(error)}
    except ExcludedError as error:
        outcome |= {"excluded": str(error)}
    except MemoryError:
        outcome |= {"rejected": f"decoding takes more than {limits.memory_bytes / 2**30:g} GiB of memory"}
    except Exception as error:
        outcome |= {"rejected": " ".join(f"cannot be decoded: {type(error).__name__}: {error}".split())}
    else:
        for what, messages in _noted(caught).items():
            outcome |= {what: "; ".join(messages)} if messages else {}
        with part.samples.open("wb") as file:
            np.save(file, waveform)
    unfinished = part.outcome.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(outcome), encoding="utf-8")
    unfinished.replace(part.outcome)
    part.tries.unlink(missing_ok=True)


def _noted(caught: Iterable[warnings.WarningMessage]) -> dict[str, list[str]]:
    """What a manifest says of the track: damage, without the file's path, and how its stems were fitted."""
    noted: dict[str, list[str]] = {"damaged": [], "fitted": []}
    for warning in caught:
        if issubclass(warning.category, FittedWarning):
            noted["fitted"].append(str(warning.message))
        else:
            noted["damaged"].append(str(warning.message).split(": ", 1)[-1])
    return noted


@contextmanager
def _limited(part: Part, limits: Limits) -> Iterator[None]:
    """Notes the try; bounds the memory meanwhile. UnusableError if earlier tries ended their processes."""
    earlier = part.tries.read_text(encoding="utf-8").splitlines() if part.tries.exists() else []
    late = [line for line in earlier if line.startswith("limit ")]
    # Python's watchdog wrote after it that time was up.
    if any(line.startswith("Timeout") for line in earlier):
        raise UnusableError(f"decoding takes more than {late[-1].split()[1]} s")
    if sum(line == "try" for line in earlier) >= MOST_CRASHES:
        raise UnusableError(f"crashed {MOST_CRASHES} processes that decoded it")
    _note(part, "try")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_address_bytes() + limits.memory_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextmanager
def _within(seconds: float, part: Part) -> Iterator[None]:
    """Ends this process, after a note, if what follows takes longer: also where it never returns to Python."""
    _note(part, f"limit {seconds:.0f}")
    with part.tries.open("a", encoding="utf-8") as notes:
        faulthandler.dump_traceback_later(seconds, exit=True, file=notes)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


def _note(part: Part, text: str) -> None:
    with part.tries.open("a", encoding="utf-8") as notes:
        notes.write(f"{text}\n")


def _declared_s(track: DataSetTrack) -> float:
    """Seconds of all its streams, as their headers say; 0 for what cannot be read, which decoding will find as well."""
    seconds = 0.0
    for path, stream in (one for streams in track.streams.values() for one in streams):
        try:
            seconds += declared_duration(path, stream)
        except (OSError, ValueError, IndexError):
            continue
    return seconds


def _address_bytes() -> int:
    """This process' address space."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE")
