"""Audio in: any file becomes one mono waveform at 16 kHz, and floats become the int16 that corpora keep."""

import io
import warnings
from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError
from jaxtyping import Float, Float32, Int16

SAMPLE_RATE = 16_000
INT16_SCALE = 32_768
MOST_PLANES = 7  # with more, PyAV's view of a frame's planes crashes
BLOCK_SAMPLES = 10 * SAMPLE_RATE


def decode(path: str | Path, *, stream: int = 0) -> Float32[np.ndarray, " sample"]:
    """One audio stream of a file as mono at 16 kHz, full scale [-1, 1]: the mean of its channels.

    Packets that FFmpeg finds damaged become silence of the same length, so that later sound keeps its place. A warning
    counts them.

    Args:
        path: any container and codec that FFmpeg reads.
        stream: which of the file's audio streams (a stem MP4 has five).

    Raises:
        FileNotFoundError: no such file.
        ValueError: no audio, no such stream, or nothing in it can be decoded.
    """
    return np.concatenate(list(decoded_blocks(path, stream=stream)))


def decoded_blocks(path: str | Path, *, stream: int = 0) -> Iterator[Float32[np.ndarray, " _"]]:
    """What `decode` returns, in blocks of about 10 s: for files that the memory does not hold."""
    held: list[np.ndarray] = []
    num_held = num_samples = 0
    try:
        with av.open(str(path)) as container:
            for part in _resampled(_frames(container, stream, path)):
                held.append(part)
                num_held, num_samples = num_held + len(part), num_samples + len(part)
                if num_held >= BLOCK_SAMPLES:
                    yield np.concatenate(held)
                    held, num_held = [], 0
    except FileNotFoundError:
        raise
    except FFmpegError as error:
        raise ValueError(f"{path} cannot be decoded: {error}") from None
    if not num_samples:
        raise ValueError(f"{path} cannot be decoded: its audio stream {stream} holds no readable samples")
    if num_held:
        yield np.concatenate(held)


def mp3(waveform: Int16[np.ndarray, " sample"], *, bits_per_s: int = 48_000) -> bytes:
    """A mono waveform at 16 kHz as an MP3, which every browser plays."""
    sink = io.BytesIO()
    with av.open(sink, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=SAMPLE_RATE, layout="mono", bit_rate=bits_per_s)
        frame = av.AudioFrame.from_ndarray(waveform[None], format="s16p", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        for packet in chain(stream.encode(frame), stream.encode(None)):
            container.mux(packet)
    return sink.getvalue()


def to_int16(waveform: Float[np.ndarray, "..."]) -> Int16[np.ndarray, "..."]:
    """Full scale [-1, 1] to 16 bits, rounded, values beyond full scale clipped; ValueError if any is not finite."""
    if not np.isfinite(waveform).all():
        raise ValueError("waveform has samples that are not finite")
    return np.clip(np.rint(waveform * INT16_SCALE), -INT16_SCALE, INT16_SCALE - 1).astype(np.int16)


def to_float(waveform: Int16[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """16 bits to [-1, 1), exactly: `to_int16(to_float(x)) == x`."""
    return waveform.astype(np.float32) / np.float32(INT16_SCALE)


def _frames(container: InputContainer, stream: int, path: str | Path) -> Iterator[av.AudioFrame]:
    streams = container.streams.audio
    if not 0 <= stream < len(streams):
        raise ValueError(f"{path} has {len(streams)} audio streams, stream {stream} was asked for")
    num_damaged, latest = 0, None
    for packet in container.demux(streams[stream]):
        try:
            for latest in packet.decode():
                yield latest
        except InvalidDataError:
            num_damaged += 1
            if latest is not None and packet.duration and packet.time_base:
                yield _silence(latest, round(packet.duration * packet.time_base * latest.sample_rate))
    if num_damaged:
        warnings.warn(f"{path}: damaged packets, silent now: {num_damaged}", stacklevel=2)


def _silence(like: av.AudioFrame, num_samples: int) -> av.AudioFrame:
    """A silent frame of the same kind as another one, or of one channel if that has too many for PyAV's planes."""
    is_wide = like.layout.nb_channels > MOST_PLANES
    kind, layout = ("flt", "mono") if is_wide else (like.format.name, like.layout.name)
    frame = av.AudioFrame(format=kind, layout=layout, samples=num_samples)
    for plane in frame.planes:
        # Unsigned samples are silent at the middle of their range.
        plane.update((b"\x80" if frame.format.name.startswith("u8") else b"\0") * plane.buffer_size)
    frame.sample_rate = like.sample_rate
    return frame


def _resampled(frames: Iterable[av.AudioFrame]) -> Iterator[np.ndarray]:
    # A resampler takes one kind of frame, but some MP3s change between mono and stereo.
    for _, alike in groupby(frames, key=lambda frame: (frame.format.name, frame.layout.name, frame.sample_rate)):
        # FFmpeg's own downmix depends on the sample format (+3 dB for floats), so the channels are averaged here.
        # They come interleaved, in one plane.
        resampler = av.AudioResampler(format="flt", rate=SAMPLE_RATE)
        for frame in chain(alike, [None]):
            for part in resampler.resample(frame):
                yield part.to_ndarray().reshape(-1, part.layout.nb_channels).mean(axis=1)
