"""What is written is read again, or is not there."""

import numpy as np
import pytest

from components.corpora.audio import SAMPLE_RATE, decode, to_float, to_int16
from components.corpora.audio_writer import AudioWriter
from components.corpora.track_decoding import declared_duration


@pytest.mark.parametrize("form", ["wav", "flac"])
def test_blocks_of_any_length_come_back_exactly(tmp_path, form):
    song = np.random.default_rng(0).integers(-32_768, 32_768, 40_001).astype(np.int16)
    with AudioWriter(tmp_path / f"song.{form}", form) as writer:
        for block in np.split(to_float(song), [1, 5_000, 5_000, 33_333]):
            writer.write(block)
        assert not (tmp_path / f"song.{form}").exists()
    np.testing.assert_array_equal(to_int16(decode(tmp_path / f"song.{form}")), song)
    assert declared_duration(tmp_path / f"song.{form}") == pytest.approx(len(song) / SAMPLE_RATE, abs=1e-3)
    assert [path.name for path in tmp_path.iterdir()] == [f"song.{form}"]


def test_what_fails_leaves_nothing_and_an_older_file_as_it_was(tmp_path):
    (tmp_path / "song.wav").write_bytes(b"older")
    with pytest.raises(ValueError, match="not finite"), AudioWriter(tmp_path / "song.wav", "wav") as writer:
        writer.write(np.zeros(1_000, dtype=np.float32))
        writer.write(np.full(10, np.nan, dtype=np.float32))
    assert [path.name for path in tmp_path.iterdir()] == ["song.wav"]
    assert (tmp_path / "song.wav").read_bytes() == b"older"
