"""The files of a corpus on disk: a flat int16 waveform, a Parquet track table, and the manifest that binds them.

    waveform.int16    every track's samples one after another, little-endian, interleaved [sample, stem]
    tracks.parquet    one row a track: id, start and length in samples, split, labels, and the data set's own columns
    manifest.json     written last: what the corpus holds, how it was made, and the digests of the other two

The content digest covers all that a result can depend on (samples, table, stems, class order, sample rate). It does not
cover the corpus's name, its place or how it was made.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

FORMAT_VERSION = 1
WAVEFORM_FILE = "waveform.int16"
TABLE_FILE = "tracks.parquet"
MANIFEST_FILE = "manifest.json"

KINDS = ("separation", "tagging", "genre")
SPLITS = ("train", "validation", "test")
BYTES_PER_SAMPLE = 2

TABLE_FIELDS = (
    pa.field("id", pa.string(), nullable=False),
    pa.field("start", pa.int64(), nullable=False, metadata={"unit": "samples"}),
    pa.field("length", pa.int64(), nullable=False, metadata={"unit": "samples"}),
    pa.field("split", pa.string(), nullable=False),
    pa.field("labels", pa.list_(pa.string()), nullable=False),
)


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, tuples as lists; NaN and infinity are a ValueError."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def table_digest(rows: Iterable[Mapping[str, Any]]) -> str:
    """SHA-256 of the track table's rows in order, independent of Parquet's encoding and of the order of columns."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(canonical_json(row).encode() + b"\n")
    return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a corpus holds and how it came about. `counts` is tracks per split, `num_samples` is per stem."""

    version: int = FORMAT_VERSION
    name: str
    kind: str
    sample_rate: int
    stems: tuple[str, ...]
    classes: tuple[str, ...]
    counts: dict[str, int]
    num_samples: int
    digest: str = ""
    table_digest: str
    waveform_digest: str
    recipe: dict[str, Any] = field(default_factory=dict)
    excluded: dict[str, int] = field(default_factory=dict)
    rejects: list[dict[str, str]] = field(default_factory=list)

    @property
    def waveform_bytes(self) -> int:
        return self.num_samples * len(self.stems) * BYTES_PER_SAMPLE

    def content_digest(self) -> str:
        """SHA-256 over the facts and digests that a result can depend on."""
        names = ("kind", "sample_rate", "stems", "classes", "counts", "num_samples", "table_digest", "waveform_digest")
        return hashlib.sha256(canonical_json({name: getattr(self, name) for name in names}).encode()).hexdigest()

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """The manifest at `path`; ValueError if it is torn, of another format version, or lacks a field."""
        return cls.parsed(path.read_bytes(), str(path))

    @classmethod
    def parsed(cls, data: bytes, path: str) -> "Manifest":
        """Likewise the one that was read from `path`."""
        try:
            facts = json.loads(data)
        except ValueError as error:
            raise ValueError(f"{path} is not readable as JSON ({error}): prepare the corpus again") from None
        version = facts.get("version") if isinstance(facts, dict) else None
        if version != FORMAT_VERSION:
            raise ValueError(f"{path} has format version {version}, but this code reads version {FORMAT_VERSION}")
        names = {member.name for member in fields(cls)}
        if facts.keys() != names:
            raise ValueError(f"{path} has missing or unknown fields: {sorted(facts.keys() ^ names)}")
        return cls(**{**facts, "stems": tuple(facts["stems"]), "classes": tuple(facts["classes"])})
