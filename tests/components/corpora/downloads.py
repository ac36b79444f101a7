"""Tiny data sets in their true forms, with generated audio: what a user finds after unpacking a download."""

import csv
from pathlib import Path

import av
import numpy as np

from components.corpora.magnatagatune import TOP_50

# Other tags than the top fifty, which the real file has 138 of.
OTHER_TAGS = ("jazzy", "bongos")


def tone(seconds: float, rate: int, seed: int = 0, channels: int = 1) -> np.ndarray:
    """int16 (channel, sample): a melody of a few tones with a little noise."""
    generator = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    pitches = generator.uniform(200, 900, 8)[np.minimum((time * 2).astype(int) % 8, 7)]
    sound = 0.4 * np.sin(2 * np.pi * np.cumsum(pitches) / rate) + 0.02 * generator.standard_normal(len(time))
    return (np.repeat(sound[None], channels, axis=0) * 20_000).astype(np.int16)


def write_audio(path: Path, sound: np.ndarray, rate: int, codec: str = "libmp3lame") -> None:
    """A file with one stream; its container follows from the ending."""
    write_streams(path, [sound], rate, codec)


def write_streams(path: Path, sounds: list[np.ndarray], rate: int, codec: str) -> None:
    """A file with a stream for each sound."""
    path.parent.mkdir(parents=True, exist_ok=True)
    layout = "stereo" if len(sounds[0]) == 2 else "mono"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream(codec, rate=rate, layout=layout) for _ in sounds]
        for stream, sound in zip(streams, sounds, strict=True):
            resampler = av.AudioResampler(format=stream.format.name, layout=layout, rate=rate, frame_size=1024)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound.T).reshape(1, -1), "s16", layout)
            frame.sample_rate = rate
            for part in [*resampler.resample(frame), *resampler.resample(None), None]:
                container.mux(stream.encode(part))


def write_magnatagatune(folder: Path, clips: dict[str, tuple[str, tuple[str, ...], float]]) -> Path:
    """`clips`: clip id -> (folder letter, tags, seconds)."""
    tags = (*OTHER_TAGS[:1], *sorted(TOP_50), *OTHER_TAGS[1:])
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "annotations_final.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_ALL)
        writer.writerow(["clip_id", *tags, "mp3_path"])
        for number, (clip, (letter, present, seconds)) in enumerate(clips.items()):
            path = f"{letter}/artist,_the-álbum-{number:02d}-song-0-29.mp3"
            writer.writerow([clip, *("1" if tag in present else "0" for tag in tags), path])
            write_audio(folder / path, tone(seconds, 16_000, seed=number), 16_000)
    return folder


def write_fma(folder: Path, tracks: dict[int, tuple[str, str, str]], seconds: float = 3.0) -> Path:
    """`tracks`: number -> (split, subset, genre)."""
    (folder / "fma_metadata").mkdir(parents=True, exist_ok=True)
    header = [
        ("", ""),
        ("album", "title"),
        ("set", "split"),
        ("set", "subset"),
        ("track", "genre_top"),
        ("track", "title"),
    ]
    with (folder / "fma_metadata" / "tracks.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([first for first, _ in header])
        writer.writerow([second for _, second in header])
        writer.writerow(["track_id", *[""] * (len(header) - 1)])
        for number, (split, subset, genre) in tracks.items():
            writer.writerow([number, 'An "album", quoted\nover two lines', split, subset, genre, "Ça va"])
            if subset in ("small", "medium"):
                path = folder / "fma_medium" / f"{number:06d}"[:3] / f"{number:06d}.mp3"
                write_audio(path, tone(seconds, 44_100, seed=number, channels=2), 44_100)
    return folder


# As the data set has them, whatever the code under test says (PAPER section 8).
MUSDB18_STEMS = ("mixture", "drums", "bass", "other", "vocals")


def song_stem(song: int, place: int, seconds: float = 3.0) -> np.ndarray:
    """What is written as a song's stem at a place of `MUSDB18_STEMS`."""
    return tone(seconds, 44_100, seed=10 * song + place, channels=2) // 4


def write_musdb18(folder: Path, songs: dict[str, str], *, hq: bool = False, seconds: float = 3.0) -> Path:
    """`songs`: name -> train or test."""
    for subset in ("train", "test"):
        (folder / subset).mkdir(parents=True, exist_ok=True)
    for number, (name, subset) in enumerate(songs.items()):
        stems = [song_stem(number, place, seconds) for place in range(1, 5)]
        sounds = [np.sum(stems, axis=0, dtype=np.int16), *stems]
        if hq:
            for stem, sound in zip(MUSDB18_STEMS, sounds, strict=True):
                write_audio(folder / subset / name / f"{stem}.wav", sound, 44_100, "pcm_s24le")
        else:
            write_streams(folder / subset / f"{name}.stem.mp4", sounds, 44_100, "aac")
    return folder
