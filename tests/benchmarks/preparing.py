"""How fast files are decoded, and in how much memory a corpus is prepared and opened.

python -m tests.benchmarks.preparing
python -m tests.benchmarks.preparing --gigabytes 4      # a corpus of that size, of one clip again and again
"""

import argparse
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from components.corpora.data_set import AudioStream, DataSet, DataSetTrack
from components.corpora.track_decoding import decode_track
from study.corpora.preparation import prepare
from tests.components.corpora.downloads import tone, write_audio

CLIP_S, NUM_CLIPS = 30.0, 40
FORMATS = {"MP3, 44.1 kHz, stereo": (44_100, 2), "MP3, 16 kHz, mono": (16_000, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=0.0)
    gigabytes = parser.parse_args().gigabytes
    folder = Path(tempfile.mkdtemp())
    try:
        for name, (rate, channels) in FORMATS.items():
            print(f"{name}: {speed(folder, rate, channels):.0f} audio-seconds per CPU-second")
        if gigabytes:
            memory(folder, gigabytes)
    finally:
        shutil.rmtree(folder)


def speed(folder: Path, rate: int, channels: int) -> float:
    """Audio-seconds per CPU-second of one process that decodes, checks and resamples."""
    path = folder / f"{rate}.mp3"
    write_audio(path, tone(CLIP_S, rate, channels=channels), rate)
    track = DataSetTrack(id="clip", audio={"mixture": AudioStream(path)}, split="train")
    decode_track(track)
    started = time.process_time()
    for _ in range(NUM_CLIPS):
        decode_track(track)
    return NUM_CLIPS * CLIP_S / (time.process_time() - started)


def over_processes(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        yield from pool.map(function, items, chunksize=8)


def memory(folder: Path, gigabytes: float) -> None:
    """Prepares and opens a corpus of that size; prints the most memory that each of its processes had."""
    clip = AudioStream(folder / "16000.mp3")
    number = round(gigabytes * 1e9 / (CLIP_S * 16_000 * 2))
    same = {"audio": {"mixture": clip}, "split": "train", "labels": ("tone",)}
    tracks = [DataSetTrack(id=f"{place:06d}", **same) for place in range(number)]
    data_set = DataSet(name="repeated", kind="tagging", tracks=tracks, classes=("tone",))
    started = time.perf_counter()
    corpus = prepare(data_set, folder / "corpus", spread=over_processes).corpus
    print(f"{number} tracks, {corpus.waveform.nbytes / 1e9:.1f} GB in {time.perf_counter() - started:.0f} s")
    print(f"most memory: {most(resource.RUSAGE_SELF):.2f} GB here, {most(resource.RUSAGE_CHILDREN):.2f} GB a decoder")
    generator = np.random.default_rng(0)
    for _ in range(100):
        corpus.gather(generator.integers(number, size=16), np.zeros(16, dtype=np.int64), 61_792)
    print(f"after 100 batches of segments: {most(resource.RUSAGE_SELF):.2f} GB (pages of the file among them)")


def most(who: int) -> float:
    """The most memory that a process of these had, in GB."""
    return resource.getrusage(who).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    main()
