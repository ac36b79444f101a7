"""Audio out: a mono waveform at 16 kHz becomes a file, block by block."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from jaxtyping import Float

from components.corpora.audio import SAMPLE_RATE, to_int16

AudioFormat = Literal["wav", "flac"]
_CODECS = {"wav": "pcm_s16le", "flac": "flac"}


class AudioWriter:
    """A file of 16 bits at 16 kHz, mono. It has its name only once it is whole; a failed one leaves nothing.

    ValueError for samples that are not finite; those beyond full scale are clipped.
    """

    def __init__(self, path: str | Path, form: AudioFormat) -> None:
        self._path = Path(path)
        self._unfinished = self._path.with_name(f".{self._path.name}.unfinished")
        self._container = av.open(str(self._unfinished), "w", format=form)
        self._stream: Any = self._container.add_stream(_CODECS[form], rate=SAMPLE_RATE, layout="mono")
        self._stream.format = "s16"

    def __enter__(self) -> "AudioWriter":
        return self

    def write(self, waveform: Float[np.ndarray, " sample"]) -> None:
        """Appends samples of full scale [-1, 1]."""
        if not len(waveform):
            return
        frame = av.AudioFrame.from_ndarray(to_int16(waveform)[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        self._mux(self._stream.encode(frame))

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._mux(self._stream.encode(None))
        self._container.close()
        if kind is None:
            self._unfinished.replace(self._path)
        else:
            self._unfinished.unlink(missing_ok=True)

    def _mux(self, packets: Iterable[av.Packet]) -> None:
        for packet in packets:
            self._container.mux(packet)
