"""A corpus: tracks in one flat int16 waveform at 16 kHz, from which segments are gathered by track and start.

The waveform is memory-mapped, so every process of a node shares its pages, until `to` copies it to a device. A corpus
of several stems yields all of them for the same place. `corpus_format.py` describes the files.
"""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Bool, Float, Int16, Int64, Integer
from torch import Tensor

from components.corpora.audio import INT16_SCALE, SAMPLE_RATE
from components.corpora.corpus_format import MANIFEST_FILE, SPLITS, TABLE_FILE, WAVEFORM_FILE, Manifest, table_digest


@dataclass(frozen=True, kw_only=True, eq=False)
class Corpus:
    """An opened corpus. Tracks are addressed by their row in the table; `tracks` holds its columns as NumPy arrays."""

    folder: Path
    manifest: Manifest
    tracks: Mapping[str, np.ndarray]
    waveform: Int16[Tensor, "sample stem"]
    device: torch.device = torch.device("cpu")

    @classmethod
    def open(cls, folder: str | Path) -> "Corpus":
        """Open the corpus in `folder`; check everything that does not need the waveform.

        Raises:
            FileNotFoundError: no such folder.
            ValueError: half-written, of another format or sample rate, or changed after its digest was taken.
        """
        folder = Path(folder)
        manifest = _checked_manifest(folder)
        table = _checked_table(folder, manifest)
        return cls(folder=folder, manifest=manifest, tracks=_columns(table), waveform=_mapped(folder, manifest))

    @property
    def digest(self) -> str:
        """The content digest: it covers all that a result can depend on."""
        return self.manifest.digest

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def kind(self) -> str:
        return self.manifest.kind

    @property
    def stems(self) -> tuple[str, ...]:
        return self.manifest.stems

    @property
    def classes(self) -> tuple[str, ...]:
        return self.manifest.classes

    def __len__(self) -> int:
        """The number of tracks."""
        return len(self.tracks["id"])

    def verify(self) -> None:
        """Read the whole waveform and compare its digest; ValueError if it changed after it was written."""
        with (self.folder / WAVEFORM_FILE).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        _must_fit(self.folder / WAVEFORM_FILE, "digest", digest, self.manifest.waveform_digest)

    def to(self, device: torch.device | str, max_bytes: int | None = None) -> "Corpus":
        """The same corpus with segments on `device`.

        There they are gathered as well, unless the waveform takes more than `max_bytes`: then it stays where it is, and
        each batch is sent. That keeps no GPU waiting: the host runs ahead of it, from one look at the losses to the
        next.
        """
        fits = max_bytes is None or self.waveform.nbytes <= max_bytes
        waveform = self.waveform.to(device) if fits else self.waveform
        # With the index of a GPU, as its tensors have it.
        return replace(self, waveform=waveform, device=torch.empty(0, device=device).device)

    def indices(self, split: str) -> Int64[np.ndarray, " track"]:
        """The tracks of a split; ValueError if it has none."""
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}, allowed: {', '.join(SPLITS)}")
        tracks = np.flatnonzero(self.tracks["split"] == split)
        if not len(tracks):
            raise ValueError(f"{self.folder} has no track in split {split!r}, but {self.manifest.counts}")
        return tracks

    def labels(self, tracks: Integer[np.ndarray, " track"]) -> Float[Tensor, "track class"] | Int64[Tensor, " track"]:
        """The tracks' labels: float32 0 or 1 for tagging, the class's index for genre.

        Raises:
            ValueError: a separation corpus, which has no labels.
        """
        if self.kind == "separation":
            raise ValueError(f"{self.folder} is a separation corpus and has no labels")
        multi_hot = self._multi_hot[_sent(tracks, self.device)]
        return multi_hot if self.kind == "tagging" else multi_hot.argmax(dim=1)

    def gather(
        self,
        tracks: Integer[np.ndarray, " batch"],
        starts: Integer[np.ndarray, " batch"],
        num_samples: int,
        stems: Sequence[str] | None = None,
    ) -> Float[Tensor, "batch stem sample"]:
        """The segments of `num_samples` that begin `starts` samples into `tracks`: float32 in [-1, 1) on the device.

        `stems`: which, and in what order; None for all. They are gathered by one kernel, and nothing waits for it.

        Raises:
            ValueError: naming the first track whose segment does not lie within it.
        """
        last = self._last_starts(tracks, num_samples)
        outside = np.flatnonzero((starts < 0) | (starts > last))
        if len(outside):
            worst = outside[0]
            where = f"track {self.tracks['id'][tracks[worst]]!r} starts at {starts[worst]}"
            raise ValueError(f"a segment of {where}, allowed: 0 to {last[worst]} for {num_samples} samples")
        place = self.waveform.device
        begins = _sent(self.tracks["start"][tracks] + starts, place)
        chosen = _sent(np.array([self.stems.index(stem) for stem in stems or self.stems]), place)
        # All segments of the corpus, as a view.
        windows = self.waveform.unfold(0, num_samples, 1)
        segments = windows[begins[:, None], chosen]
        if place != self.device:
            pinned = segments.pin_memory() if self.device.type == "cuda" else segments
            segments = pinned.to(self.device, non_blocking=True)
        return segments.to(torch.float32).div_(INT16_SCALE)

    def crop_starts(
        self,
        uniforms: Float[np.ndarray, " batch"],
        tracks: Integer[np.ndarray, " batch"],
        num_samples: int,
        grid_samples: int = 1,
    ) -> Int64[np.ndarray, " batch"]:
        """Map draws from [0, 1) to starts of segments, evenly over every multiple of `grid_samples` that fits.

        Raises:
            ValueError: a draw outside [0, 1), or a segment longer than its track.
        """
        if not ((uniforms >= 0) & (uniforms < 1)).all():
            raise ValueError("uniforms must lie in [0, 1)")
        num_places = self._last_starts(tracks, num_samples) // grid_samples + 1
        return (uniforms.astype(np.float64) * num_places).astype(np.int64) * grid_samples

    def tiles(
        self, tracks: Integer[np.ndarray, " track"], num_samples: int, overlap: float = 0.0
    ) -> tuple[Int64[np.ndarray, " segment"], Int64[np.ndarray, " segment"]]:
        """Every whole segment of each track from its beginning on; neighbours share the part `overlap` (PAPER 7).

        The rest at a track's end, shorter than a hop, is not covered: 29.1 s give 7 CNN segments, 14 at overlap 0.5.

        Returns:
            The segments' tracks and starts (samples into the track), track by track in the given order.

        Raises:
            ValueError: overlap outside [0, 1), or a segment longer than the shortest track.
        """
        hop_samples = round(num_samples * (1 - overlap))
        if not 0 <= overlap < 1 or hop_samples < 1:
            raise ValueError(f"overlap is {overlap}, allowed: at least 0, below 1, and a hop of at least one sample")
        num_segments = self._last_starts(tracks, num_samples) // hop_samples + 1
        position = np.arange(num_segments.sum()) - np.repeat(num_segments.cumsum() - num_segments, num_segments)
        return np.repeat(tracks, num_segments).astype(np.int64), position * hop_samples

    def multi_hot(self, tracks: Integer[np.ndarray, " track"]) -> Bool[np.ndarray, "track class"]:
        """Which classes each track has, on the host."""
        return self._multi_hot[torch.from_numpy(tracks).to(self.device)].cpu().numpy() > 0

    @cached_property
    def _multi_hot(self) -> Float[Tensor, "track class"]:
        position = {name: index for index, name in enumerate(self.classes)}
        labels = self.tracks["labels"]
        columns = [position[name] for present in labels for name in present]
        multi_hot = torch.zeros(len(self), len(self.classes))
        multi_hot[np.repeat(np.arange(len(self)), [len(present) for present in labels]), columns] = 1
        return multi_hot.to(self.device)

    def _last_starts(self, tracks: Integer[np.ndarray, " track"], num_samples: int) -> Int64[np.ndarray, " track"]:
        if num_samples < 1:
            raise ValueError(f"a segment has at least one sample, given: {num_samples}")
        last = self.tracks["length"][tracks] - num_samples
        if len(last) and last.min() < 0:
            shortest = tracks[last.argmin()]
            name, length = self.tracks["id"][shortest], self.tracks["length"][shortest]
            raise ValueError(f"a segment of {num_samples} samples is longer than track {name!r} with {length}")
        return last


def _sent(values: np.ndarray, device: torch.device) -> Tensor:
    """The values on the device; the host does not wait for their arrival."""
    return torch.from_numpy(values).to(device, non_blocking=True)


def _checked_manifest(folder: Path) -> Manifest:
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no corpus at {folder}: prepare it first")
    for name in (MANIFEST_FILE, TABLE_FILE, WAVEFORM_FILE):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} has no {name}: it is no corpus or only half of one, prepare it again")
    path = folder / MANIFEST_FILE
    manifest = Manifest.read(path)
    _must_fit(path, "sample_rate", manifest.sample_rate, SAMPLE_RATE)
    _must_fit(path, "digest of the facts", manifest.content_digest(), manifest.digest)
    return manifest


def _checked_table(folder: Path, manifest: Manifest) -> pa.Table:
    path = folder / TABLE_FILE
    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not readable ({error}): prepare the corpus again") from None
    _must_fit(path, "digest", table_digest(table.to_pylist()), manifest.table_digest)
    return table


def _mapped(folder: Path, manifest: Manifest) -> Int16[Tensor, "sample stem"]:
    path = folder / WAVEFORM_FILE
    _must_fit(path, "size in bytes", path.stat().st_size, manifest.waveform_bytes)
    pages = np.memmap(path, dtype="<i2", mode="r", shape=(manifest.num_samples, len(manifest.stems)))
    # Torch would prefer a writable mapping, but Linux refuses one that is larger than the memory.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(pages)


def _must_fit(path: Path, what: str, found: object, expected: object) -> None:
    if found != expected:
        raise ValueError(f"{path}: {what} is {found}, expected {expected}: changed or half-written, prepare it again")


def _columns(table: pa.Table) -> dict[str, np.ndarray]:
    return {name: table[name].to_numpy() for name in table.column_names}
