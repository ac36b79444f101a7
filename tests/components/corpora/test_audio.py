"""Decoding gives the same mono 16 kHz waveform whatever the container, codec, rate and channels."""

import wave
from pathlib import Path

import av
import numpy as np
import pytest

from components.corpora.audio import SAMPLE_RATE, decode, to_float, to_int16

DURATION_S = 1.5
SUFFIXES = {"pcm_s16le": ".wav", "pcm_f32le": ".wav", "flac": ".flac", "libmp3lame": ".mp3"}


def tone(rate: int, hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(rate * DURATION_S)) / rate)).astype(np.float32)


def write(path: Path, streams: list[np.ndarray], rate: int, codec: str) -> None:
    """Encode streams of "channel sample"."""
    with av.open(str(path), "w") as container:
        outputs = []
        for channels in streams:
            output = container.add_stream(codec, rate=rate)
            output.layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(channels)]
            outputs.append(output)
        for output, channels in zip(outputs, streams, strict=True):
            for packet in encode(output, channels, rate):
                container.mux(packet)


def encode(output: av.AudioStream, channels: np.ndarray, rate: int):
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels), format="fltp", layout=output.layout.name)
    frame.sample_rate = rate
    convert = av.AudioResampler(
        format=output.format.name, layout=output.layout.name, rate=rate, frame_size=output.codec_context.frame_size or 0
    )
    for part in [*convert.resample(frame), *convert.resample(None)]:
        yield from output.encode(part)
    yield from output.encode(None)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_every_rate_keeps_time_and_level(tmp_path, rate):
    write(tmp_path / "x.wav", [tone(rate)[None]], rate, "pcm_s16le")
    waveform = decode(tmp_path / "x.wav")
    assert waveform.dtype == np.float32
    assert len(waveform) == pytest.approx(DURATION_S * SAMPLE_RATE, abs=16)
    inner = slice(500, 23_000)
    np.testing.assert_allclose(waveform[inner], tone(SAMPLE_RATE)[inner], atol=5e-3)


@pytest.mark.parametrize(
    ("codec", "gains", "level"),
    [
        *((codec, gains, sum(gains) / 2) for codec in SUFFIXES for gains in [(1, 1), (1, 0), (1, -1)]),
        *((codec, (1, 1, 0, 0, 1, 0), 0.5) for codec in ("pcm_s16le", "flac")),
    ],
)
def test_channels_are_averaged_whatever_the_sample_format(tmp_path, codec, gains, level):
    path = tmp_path / f"x{SUFFIXES[codec]}"
    write(path, [np.stack([gain * tone(44_100) for gain in gains])], 44_100, codec)
    waveform = decode(path)[2_000:20_000]
    assert np.sqrt(2 * np.mean(waveform**2)) == pytest.approx(0.5 * level, abs=0.03)  # LAME takes 5 % off


@pytest.mark.parametrize("rate", [4_000, 44_100, 384_000])
@pytest.mark.parametrize("num_channels", [3, 7, 8, 9, 24, 64])
def test_as_many_channels_as_there_are_at_any_rate(tmp_path, num_channels, rate):
    """Frames of eight channels and more crash whoever looks at their planes."""
    gains = np.arange(1, num_channels + 1) / num_channels
    samples = np.round(32_767 * gains * tone(rate)[:, None]).astype("<i2")
    with wave.open(str(tmp_path / "x.wav"), "wb") as file:
        file.setparams((num_channels, 2, rate, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    waveform, inner = decode(tmp_path / "x.wav"), slice(500, 23_000)
    # At 4 kHz the tone is near the filter's edge.
    np.testing.assert_allclose(waveform[inner], gains.mean() * tone(SAMPLE_RATE)[inner], atol=1e-2)


def test_damage_in_a_file_of_eight_channels_is_silent_and_counted(tmp_path):
    layout, rate = "7.1", 48_000
    noise = 0.1 * np.random.default_rng(0).standard_normal((1, 8 * 3 * rate)).astype(np.float32)
    with av.open(str(tmp_path / "whole.mp4"), "w") as container:
        output = container.add_stream("aac", rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(noise, format="flt", layout=layout)
        frame.sample_rate = rate
        convert = av.AudioResampler(format="fltp", layout=layout, rate=rate, frame_size=1024)
        for part in [*convert.resample(frame), *convert.resample(None), None]:
            for packet in output.encode(part):
                container.mux(packet)
    content = bytearray((tmp_path / "whole.mp4").read_bytes())
    damaged = np.random.default_rng(1).integers(content.index(b"mdat") + 2_000, len(content) - 20_000, 400)
    for place in damaged:
        content[place] ^= 0xFF
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.warns(UserWarning, match="damaged packets, silent now"):
        waveform = decode(tmp_path / "x.mp4")
    assert len(waveform) == pytest.approx(3 * SAMPLE_RATE, rel=0.1)


def test_sixteen_bit_files_at_the_right_rate_pass_unchanged(tmp_path):
    original = np.random.default_rng(0).integers(-32_768, 32_768, 5_000).astype(np.int16)
    write(tmp_path / "x.wav", [to_float(original)[None]], SAMPLE_RATE, "pcm_s16le")
    np.testing.assert_array_equal(to_int16(decode(tmp_path / "x.wav")), original)


def test_each_stream_of_a_stem_file_is_its_own(tmp_path):
    stems = [tone(44_100, hz)[None].repeat(2, axis=0) for hz in (300.0, 600.0, 900.0)]
    write(tmp_path / "x.stem.mp4", stems, 44_100, "aac")
    for stream, hz in enumerate((300.0, 600.0, 900.0)):
        waveform = decode(tmp_path / "x.stem.mp4", stream=stream)
        strongest = np.abs(np.fft.rfft(waveform)).argmax() * SAMPLE_RATE / len(waveform)
        assert strongest == pytest.approx(hz, abs=2)
    with pytest.raises(ValueError, match="3 audio streams, stream 3"):
        decode(tmp_path / "x.stem.mp4", stream=3)


def test_an_mp3_that_turns_stereo_is_read_to_its_end_and_its_damage_counted(tmp_path):
    write(tmp_path / "mono.mp3", [tone(44_100)[None]], 44_100, "libmp3lame")
    write(tmp_path / "stereo.mp3", [tone(44_100)[None].repeat(2, axis=0)], 44_100, "libmp3lame")
    # The second file's ID3 header lies amid the audio, where the decoder can make nothing of it.
    joined = (tmp_path / "mono.mp3").read_bytes() + (tmp_path / "stereo.mp3").read_bytes()
    (tmp_path / "x.mp3").write_bytes(joined)
    with pytest.warns(UserWarning, match=r"x\.mp3: damaged packets, silent now: 1"):
        waveform = decode(tmp_path / "x.mp3")
    assert len(waveform) > 1.9 * DURATION_S * SAMPLE_RATE
    for part in (waveform[4_000:20_000], waveform[-20_000:-4_000]):
        assert np.sqrt(2 * np.mean(part**2)) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("content", [b"", b"no audio in here, only text " * 50])
def test_what_cannot_be_decoded_is_named(tmp_path, content):
    (tmp_path / "broken.mp3").write_bytes(content)
    with pytest.raises(ValueError, match="broken"):
        decode(tmp_path / "broken.mp3")


def test_a_file_without_samples_is_named(tmp_path):
    write(tmp_path / "empty.wav", [tone(SAMPLE_RATE)[None]], SAMPLE_RATE, "pcm_s16le")
    content = (tmp_path / "empty.wav").read_bytes()
    (tmp_path / "empty.wav").write_bytes(content[: content.index(b"data") + 8])
    with pytest.raises(ValueError, match="empty"):
        decode(tmp_path / "empty.wav")


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        decode(tmp_path / "absent.mp3")


def test_int16_round_trip_is_exact():
    every = np.arange(-32_768, 32_768).astype(np.int16)
    np.testing.assert_array_equal(to_int16(to_float(every)), every)


def test_floats_go_to_the_nearest_step():
    assert to_int16(np.array([0.6, 1.4, -0.6]) / 32_768).tolist() == [1, 1, -1]


def test_beyond_full_scale_is_clipped_and_not_wrapped():
    assert to_int16(np.array([1.0, 1.5, -1.5])).tolist() == [32_767, 32_767, -32_768]


def test_samples_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        to_int16(np.array([0.0, np.nan]))
