"""Writing a corpus: tracks are appended one by one, and the folder appears under its name only when it is complete."""

import hashlib
import math
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.corpora.audio import SAMPLE_RATE
from components.corpora.corpus_format import (
    KINDS,
    MANIFEST_FILE,
    SPLITS,
    TABLE_FIELDS,
    TABLE_FILE,
    WAVEFORM_FILE,
    Manifest,
    canonical_json,
    table_digest,
)

COLUMN_TYPES = (str, int, float, bool)


class CorpusWriter:
    """A corpus in the making, for use in a `with` statement.

    Everything goes to `<folder>.partial-<random>` beside `folder` and is renamed when the block ends without an
    exception; an exception removes it. A killed process leaves its partial folder behind; it can be deleted.

    Raises:
        FileExistsError: there is something at `folder` already.
        ValueError: unknown kind, stems or classes that do not fit it, or a recipe that JSON cannot hold.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        name: str,
        kind: str,
        stems: Sequence[str] = ("mixture",),
        classes: Sequence[str] = (),
        recipe: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = Path(folder).absolute()
        self.name, self.kind, self.stems, self.classes = name, kind, tuple(stems), tuple(classes)
        self.recipe = dict(recipe or {})
        self._check_facts()
        self._partial = self.folder.with_name(f"{self.folder.name}.partial-{uuid4().hex[:8]}")
        self._rows: list[dict[str, Any]] = []
        self._ids: set[str] = set()
        self._column_types: dict[str, tuple[type, ...]] = {}
        self._num_samples = 0
        self._waveform_digest = hashlib.sha256()
        self._excluded: Counter[str] = Counter()
        self._rejects: list[dict[str, str]] = []

    def __enter__(self) -> "CorpusWriter":
        self._refuse_existing()
        self._partial.mkdir(parents=True)
        self._waveform = (self._partial / WAVEFORM_FILE).open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._waveform.close()
            shutil.rmtree(self._partial, ignore_errors=True)

    def add(
        self, track_id: str, waveform: np.ndarray, *, split: str, labels: Sequence[str] = (), **columns: Any
    ) -> None:
        """Append one track.

        Args:
            track_id: unique in the corpus.
            waveform: int16 "sample stem" at 16 kHz, stems in the corpus's order; a single stem may come as "sample".
                A silent stem is legal.
            split: train, validation or test.
            labels: tags (any number), the one genre, or nothing for separation.
            columns: the data set's own facts about the track (str, int, float, bool or None); every track has the same.

        Raises:
            ValueError: naming the track and what does not fit; the corpus is then as before the call.
        """
        self._check_track(track_id, split, labels, columns)
        samples = self._checked_samples(track_id, waveform)
        row = {"id": track_id, "start": self._num_samples, "length": len(samples), "split": split}
        row |= {"labels": [name for name in self.classes if name in labels], **columns}
        self._waveform.write(samples.data)
        self._waveform_digest.update(samples.data)
        self._ids.add(track_id)
        self._rows.append(row)
        self._num_samples += len(samples)

    def exclude(self, reason: str) -> None:
        """Count a track that a rule of the split excludes."""
        self._excluded[reason] += 1

    def reject(self, track_id: str, reason: str) -> None:
        """Note a track that should be here and could not be read."""
        self._rejects.append({"id": track_id, "reason": reason})

    def _check_facts(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}, allowed: {', '.join(KINDS)}")
        for what, names in (("stems", self.stems), ("classes", self.classes)):
            if len(set(names)) < len(names) or not all(names):
                raise ValueError(f"{what} must be different, non-empty names, given: {names}")
        if not self.stems:
            raise ValueError("stems is empty, a corpus has at least one")
        if (self.kind == "separation") == bool(self.classes):
            raise ValueError(
                f"a {self.kind} corpus {'has no' if self.classes else 'needs'} classes, given: {self.classes}"
            )
        try:
            canonical_json(self.recipe)
        except (TypeError, ValueError) as error:
            raise ValueError(f"recipe must hold JSON values only: {error}") from None

    def _refuse_existing(self) -> None:
        if self.folder.exists():
            raise FileExistsError(f"{self.folder} exists already: remove it or choose another folder")

    def _check_track(self, track_id: str, split: str, labels: Sequence[str], columns: Mapping[str, Any]) -> None:
        if not isinstance(track_id, str) or not track_id:
            raise ValueError(f"track id is {track_id!r}, allowed: a text that is not empty")
        if track_id in self._ids:
            raise ValueError(f"track {track_id!r} is in the corpus already")
        if split not in SPLITS:
            raise ValueError(f"track {track_id!r}: split is {split!r}, allowed: {', '.join(SPLITS)}")
        self._check_labels(track_id, labels)
        self._check_columns(track_id, columns)

    def _check_columns(self, track_id: str, columns: Mapping[str, Any]) -> None:
        fixed = {member.name for member in TABLE_FIELDS}
        if columns.keys() & fixed:
            raise ValueError(f"track {track_id!r}: columns {sorted(columns.keys() & fixed)} belong to every corpus")
        if self._rows and columns.keys() != self._rows[0].keys() - fixed:
            expected = sorted(self._rows[0].keys() - fixed)
            raise ValueError(f"track {track_id!r} has columns {sorted(columns)}, the tracks before it {expected}")
        present = {name: value for name, value in columns.items() if value is not None}
        for name, value in present.items():
            allowed = self._column_types.get(name, COLUMN_TYPES)
            if type(value) not in allowed or (isinstance(value, float) and not math.isfinite(value)):
                names = ", ".join(each.__name__ for each in allowed)
                raise ValueError(f"track {track_id!r}: column {name} is {value!r}, allowed: {names}, finite, or None")
        self._column_types |= {name: (type(value),) for name, value in present.items()}

    def _check_labels(self, track_id: str, labels: Sequence[str]) -> None:
        if isinstance(labels, str):
            raise ValueError(f"track {track_id!r}: labels is the text {labels!r}, allowed: a sequence of names")
        unknown = [name for name in labels if name not in self.classes]
        if unknown:
            raise ValueError(
                f"track {track_id!r}: unknown labels {unknown}, allowed: {', '.join(self.classes) or 'none'}"
            )
        if len(set(labels)) < len(labels):
            raise ValueError(f"track {track_id!r}: repeated labels in {list(labels)}")
        if self.kind == "genre" and len(labels) != 1:
            raise ValueError(f"track {track_id!r} has {len(labels)} labels, a genre corpus takes exactly one")

    def _checked_samples(self, track_id: str, waveform: np.ndarray) -> np.ndarray:
        samples = waveform[:, None] if waveform.ndim == 1 else waveform
        if samples.dtype != np.int16:
            raise ValueError(f"track {track_id!r}: waveform is {waveform.dtype}, allowed: int16 (see audio.to_int16)")
        if samples.ndim != 2 or samples.shape[1] != len(self.stems) or not len(samples):
            allowed = f"(at least one sample, {len(self.stems)} stems)"
            raise ValueError(f"track {track_id!r}: waveform has shape {waveform.shape}, allowed: {allowed}")
        return np.ascontiguousarray(samples, dtype="<i2")

    def _finish(self) -> None:
        if not self._rows:
            raise ValueError(
                f"no track was added to {self.folder}: {dict(self._excluded)}, {len(self._rejects)} rejected"
            )
        _flush_to_disk(self._waveform)
        self._write_table()
        with (self._partial / MANIFEST_FILE).open("w", encoding="utf-8") as file:
            file.write(self._manifest().to_json())
            _flush_to_disk(file)
        self._refuse_existing()
        self._partial.rename(self.folder)

    def _write_table(self) -> None:
        columns = [pa.array([row[member.name] for row in self._rows], member.type) for member in TABLE_FIELDS]
        table = pa.table(columns, schema=pa.schema(TABLE_FIELDS))
        for name in sorted(self._rows[0].keys() - set(table.column_names)):
            table = table.append_column(name, pa.array([row[name] for row in self._rows]))
        with (self._partial / TABLE_FILE).open("wb") as file:
            pq.write_table(table, file)
            _flush_to_disk(file)

    def _manifest(self) -> Manifest:
        splits = Counter(row["split"] for row in self._rows)
        # The digest is that of the table as a reader will see it.
        rows = pq.ParquetFile(self._partial / TABLE_FILE).read().to_pylist()
        manifest = Manifest(
            name=self.name,
            kind=self.kind,
            sample_rate=SAMPLE_RATE,
            stems=self.stems,
            classes=self.classes,
            counts={split: splits[split] for split in SPLITS},
            num_samples=self._num_samples,
            table_digest=table_digest(rows),
            waveform_digest=self._waveform_digest.hexdigest(),
            recipe=self.recipe,
            excluded=dict(sorted(self._excluded.items())),
            rejects=self._rejects,
        )
        return replace(manifest, digest=manifest.content_digest())


def _flush_to_disk(file: Any) -> None:
    """Without this a power failure could leave a renamed folder with missing contents."""
    file.flush()
    os.fsync(file.fileno())
