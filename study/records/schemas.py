"""The records' tables: their pinned Arrow schemas, units in the fields' metadata, and one version for all of them.

A change of a schema raises SCHEMA_VERSION. Columns that an older file lacks are read as nulls; a file of a newer
version is refused.
"""

import pyarrow as pa

SCHEMA_VERSION = 1
VERSION_KEY = b"records_schema_version"

_STAGE_KEY = [pa.field("stage", pa.string(), nullable=False), pa.field("attempt", pa.string(), nullable=False)]
_METRICS = pa.field("metrics", pa.map_(pa.string(), pa.float64()))
_DURATION = pa.field("duration_s", pa.float64(), metadata={"unit": "s"})
_TIME = pa.timestamp("us", tz="UTC")


def _schema(*fields: pa.Field) -> pa.Schema:
    return pa.schema(fields, metadata={VERSION_KEY: str(SCHEMA_VERSION)})


SCHEMAS: dict[str, pa.Schema] = {
    # One row per attempt that ended: "done" counts, "superseded" was completed after another, "failed" has an error,
    # "pruned" was stopped early by a search.
    "stages": _schema(
        *_STAGE_KEY,
        pa.field("attempt_number", pa.int32()),
        pa.field("kind", pa.string()),
        pa.field("kind_version", pa.int32()),
        pa.field("label", pa.string()),
        pa.field("state", pa.string()),
        pa.field("error", pa.string()),
        pa.field("seed", pa.int64()),
        pa.field("config", pa.string(), metadata={"format": "JSON, every field"}),
        pa.field("parents", pa.map_(pa.string(), pa.string()), metadata={"format": "role to stage"}),
        pa.field("corpus", pa.string(), metadata={"format": "content digest"}),
        _METRICS,
        pa.field("facts", pa.map_(pa.string(), pa.string())),
        pa.field("started_at", _TIME),
        pa.field("ended_at", _TIME),
        _DURATION,
        pa.field("cpu_s", pa.float64(), metadata={"unit": "s", "of": "the process that kept the attempt"}),
    ),
    "epochs": _schema(
        *_STAGE_KEY,
        pa.field("epoch", pa.int32()),
        pa.field("phase", pa.string()),
        pa.field("step", pa.int64(), metadata={"unit": "optimiser steps since the stage began"}),
        _METRICS,
        _DURATION,
    ),
    "track_scores": _schema(
        *_STAGE_KEY,
        pa.field("track", pa.string()),
        pa.field("class", pa.string()),
        pa.field("target", pa.int8(), metadata={"unit": "0 or 1"}),
        pa.field("score", pa.float64(), metadata={"unit": "probability"}),
    ),
    "tag_metrics": _schema(
        *_STAGE_KEY,
        pa.field("class", pa.string()),
        pa.field("split", pa.string()),
        pa.field("num_positives", pa.int64(), metadata={"unit": "tracks"}),
        pa.field("num_tracks", pa.int64(), metadata={"unit": "tracks"}),
        pa.field("roc_auc", pa.float64()),
        pa.field("pr_auc", pa.float64()),
    ),
    # One row per trial of a search. None of them is a run, so no effect is ever computed from them.
    "trials": _schema(
        pa.field("search", pa.string(), nullable=False),
        pa.field("number", pa.int32(), nullable=False),
        pa.field("arm", pa.string()),
        pa.field("state", pa.string()),
        pa.field("final_stage", pa.string()),
        pa.field("values", pa.map_(pa.string(), pa.float64()), metadata={"of": "the validation split"}),
        pa.field("numbers", pa.map_(pa.string(), pa.float64())),
        pa.field("choices", pa.map_(pa.string(), pa.string())),
        pa.field("reached", pa.float64(), metadata={"of": "the first objective at the last validation"}),
        pa.field("epochs", pa.int32(), metadata={"unit": "trained"}),
        _DURATION,
    ),
    "runs": _schema(
        pa.field("study", pa.string(), nullable=False),
        pa.field("arm", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("factors", pa.map_(pa.string(), pa.string())),
        pa.field("final_stage", pa.string()),
        pa.field("stages", pa.list_(pa.string())),
        pa.field("state", pa.string()),
        _METRICS,
    ),
}
# Units of the map columns' values, by the beginning of the key. All others are numbers without a unit.
_KEY_UNITS = {
    "si_sdr": "dB",
    "sdr": "dB",
    "roc_auc": "0 to 1, 0.5 is chance",
    "pr_auc": "0 to 1, average precision",
    "accuracy": "0 to 1",
    "balanced_accuracy": "0 to 1",
    "num_steps": "optimiser steps",
    "best_epoch": "epochs, the first is 0",
    "validation_": "as the metric, on the validation split",
}


def unit_of(table: str, column: str) -> str:
    """The unit of a table's column, or of a key of its maps; "" if it has none."""
    schema = SCHEMAS[table]
    if column in schema.names:
        metadata = schema.field(column).metadata or {}
        return ", ".join(value.decode() for value in metadata.values())
    return next((unit for beginning, unit in _KEY_UNITS.items() if column.startswith(beginning)), "")


STAGE_TABLES = [name for name in SCHEMAS if name not in ("runs", "trials")]


def conform(table: pa.Table, schema: pa.Schema, name: str, *, may_lack: bool = False) -> pa.Table:
    """The table in a pinned schema: same columns in its order and types.

    ValueError, naming the table, for a column that is unknown, missing (unless `may_lack`) or of another kind.
    """
    unknown = set(table.column_names) - set(schema.names)
    missing = set() if may_lack else set(schema.names) - set(table.column_names)
    if unknown or missing:
        raise ValueError(f"{name}: missing columns {sorted(missing)}, unknown columns {sorted(unknown)}")
    try:
        columns = [
            table[field.name].cast(field.type)
            if field.name in table.column_names
            else pa.nulls(table.num_rows, field.type)
            for field in schema
        ]
        return pa.Table.from_arrays(columns, schema=schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"{name}: {error}") from error
