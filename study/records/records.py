"""Records: the store's content as tables for SQL.

    records/<table>/<stage>-<attempt>.parquet    every attempt that ended has one file in each of the four stage tables
    records/<table>/compacted.parquet            many of these in one file, which lists the names of those it holds
    records/trials/<search>.parquet              likewise the trials of a search, from trials/<search>.json
    records/runs/<study>-<arm>-seed<k>-<hash>.parquet   rewritten as the run goes on, from runs/<same name>.json

Everything here is derived from the store alone. A file that cannot be read is set aside and its rows are rebuilt.
"""

import hashlib
import io
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from study.records.schemas import SCHEMA_VERSION, SCHEMAS, STAGE_TABLES, VERSION_KEY, conform
from study.records.store_to_tables import attempt_tables, run_table
from study.stages.stage import Stage
from study.store.attempt import begin_attempt
from study.store.quarantine import set_aside
from study.store.storage import concurrently
from study.store.store import Store

_COMPACTED = "compacted.parquet"
_HELD_KEY = b"holds"
_log = logging.getLogger(__name__)
# The sort keys of the tables that no stage writes.
_KEYS = {"runs": ("study", "arm", "seed"), "trials": ("search", "number")}
STUDY_KEYS = ("name", "preset", "arms", "seeds", "comparisons", "groups", "corpora")
RUN_KEYS = ("study", "arm", "seed", "factors", "final_stage", "stages")
SEARCH_KEYS = ("name", "trials")
COMPACTED_TABLES = ("stages", "epochs", "tag_metrics")


@dataclass(frozen=True, kw_only=True)
class Run:
    """A trial with a seed, as planned: `stages` are the identities of all that it needs, `final_stage` among them."""

    study: str
    arm: str
    seed: int
    factors: Mapping[str, str]
    final_stage: str
    stages: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.final_stage not in self.stages:
            raise ValueError(f"Run.stages must hold the final stage {self.final_stage}, got {self.stages}")

    @property
    def name(self) -> str:
        """A file name that no other (study, arm, seed) has."""
        key = hashlib.sha256(json.dumps([self.study, self.arm, self.seed]).encode()).hexdigest()[:8]
        return f"{slug(self.study)}-{slug(self.arm)}-seed{self.seed}-{key}"


class _DamagedError(Exception):
    """A file of records cannot be read; its text says why."""


class Records:
    """The records of a store. Writing again changes nothing, and readers see whole files only."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._storage = store.storage
        self._num_aside = 0  # files that could not be read

    def write_attempt(self, identity: str, attempt: str) -> None:
        """Writes an attempt's rows, "stages" last; nothing while the attempt has not ended."""
        tables = attempt_tables(self.store, identity, attempt) or {}
        for name, table in reversed(tables.items()):
            self._storage.write(_path(name, _part(identity, attempt)), _encode(table))

    def write_failure(self, stage: Stage, error: str, facts: Mapping[str, str]) -> None:
        """Records the failure of a stage whose attempts could not record it themselves, as a further attempt."""
        attempt = begin_attempt(self.store, stage, facts)
        attempt.fail(error)
        self.write_attempt(stage.identity, attempt.name)

    def write_study(self, description: Mapping[str, Any]) -> None:
        """Writes what a study is, under its "name": its arms in order, its planned comparisons, its corpora."""
        self._storage.write(f"studies/{slug(description['name'])}.json", json.dumps(description, indent=1).encode())

    def studies(self) -> list[dict[str, Any]]:
        """What was written of every study, by name; a damaged file is set aside."""
        names = self._storage.names("studies")
        found = [self._content(f"studies/{name}", STUDY_KEYS, "Its study's command writes it again.") for name in names]
        return [study for study in found if study is not None]

    def write_search(self, description: Mapping[str, Any], trials: Iterable[Mapping[str, Any]]) -> None:
        """Writes what a search is, under its "name", and its trials so far: into the store, and as rows."""
        name = slug(description["name"])
        content = {**description, "trials": list(trials)}
        self._storage.write(f"trials/{name}.json", json.dumps(content, indent=1).encode())
        self._refresh_trials(f"{name}.json")

    def _refresh_trials(self, search: str) -> None:
        content = self._search(search)
        if content is None:
            return
        rows = [
            {"search": content["name"], **{k: [*v.items()] if isinstance(v, dict) else v for k, v in row.items()}}
            for row in content["trials"]
        ]
        table = pa.Table.from_pylist(rows, schema=SCHEMAS["trials"])
        self._storage.write(_path("trials", f"{search.removesuffix('.json')}.parquet"), _encode(table))

    def searches(self) -> list[dict[str, Any]]:
        """What was written of every search, by name; a damaged file is set aside."""
        return [found for name in self._storage.names("trials") if (found := self._search(name)) is not None]

    def _search(self, name: str) -> dict[str, Any] | None:
        return self._content(f"trials/{name}", SEARCH_KEYS, "Its search's command writes it again.")

    def _content(self, path: str, needed: Iterable[str], consequence: str) -> dict[str, Any] | None:
        """What a description says; None if it is gone, or was damaged and is set aside."""
        try:
            content = json.loads(self._storage.read(path))
            missing = [key for key in needed if key not in content]
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            set_aside(self._storage, path, error, consequence)
            return None
        if missing:
            set_aside(self._storage, path, f"it lacks {', '.join(missing)}", consequence)
            return None
        return content

    def write_runs(self, runs: Iterable[Run]) -> None:
        """Writes the plans of runs into the store, and their rows as they are now."""
        concurrently(self._write_run, runs)

    def _write_run(self, run: Run) -> None:
        self._storage.write(f"runs/{run.name}.json", json.dumps(asdict(run), indent=1).encode())
        self._refresh_run(f"{run.name}.json")

    def _refresh_run(self, plan: str) -> None:
        content = self._content(f"runs/{plan}", RUN_KEYS, "Its study's command writes it again.")
        if content is None:
            return
        table = run_table(self.store, content)
        self._storage.write(_path("runs", f"{plan.removesuffix('.json')}.parquet"), _encode(table))

    def rebuild(self) -> None:
        """Writes the missing rows of all attempts that ended, and the rows of every run and trial again.

        Rows of stages that are not done any more are removed.
        """
        self.forget(self._no_longer_done())
        concurrently(lambda entry: self.write_attempt(*entry), self.without_rows())
        concurrently(self._refresh_run, self._storage.names("runs"))
        concurrently(self._refresh_trials, self._storage.names("trials"))

    def _no_longer_done(self) -> list[tuple[str, str]]:
        """(identity, name) of the attempts that the rows say are done, and the store does not."""
        rows = self._load("stages", None, self._parts("stages"))[0].filter(pc.field("state") == "done")
        said = list(zip(rows["stage"].to_pylist(), rows["attempt"].to_pylist(), strict=True))
        done = concurrently(self.store.done, [identity for identity, _ in said])
        return [one for one, marker in zip(said, done, strict=True) if marker is None or marker.attempt != one[1]]

    def without_rows(self) -> list[tuple[str, str]]:
        """(identity, name) of the attempts that lack rows in a table: those that have not ended, and lost rows."""
        identities = self.store.identities()
        attempts = concurrently(self.store.attempts, identities)
        begun = [(i, attempt) for i, names in zip(identities, attempts, strict=True) for attempt in names]
        present = [set(self._parts(table)) | self._held(table) for table in STAGE_TABLES]
        return [entry for entry in begun if not all(_part(*entry) in names for names in present)]

    def forget(self, attempts: Iterable[tuple[str, str]]) -> None:
        """Removes the rows of attempts, by (identity, name), that the store holds no longer."""
        gone = {_part(*attempt) for attempt in attempts}
        for table in STAGE_TABLES:
            for name in gone.intersection(self._parts(table)):
                self._storage.delete(_path(table, name))
            rows, held = self._file(table, _COMPACTED, None) or (SCHEMAS[table].empty_table(), set())
            if held & gone:
                names = pc.call_function("binary_join_element_wise", [_attempt_keys(rows), pa.scalar(".parquet"), ""])
                kept = pc.call_function("is_in", [names], pc.SetLookupOptions(value_set=pa.array(sorted(held - gone))))
                self._write_compacted(table, rows.filter(kept), held - gone)

    def check(self, table: str, name: str) -> None:
        """ValueError, with what is wrong, if a file of records cannot be read. Nothing is changed."""
        try:
            with self._opened(table, name) as file:
                file.read()
        except _DamagedError as error:
            raise ValueError(str(error)) from error

    def read(self, table: str, *, stages: Iterable[str] | None = None, every_attempt: bool = False) -> pa.Table:
        """A table's rows, sorted by stage and attempt (runs by study, arm and seed).

        Args:
            stages: only rows of these identities (all runs and trials otherwise).
            every_attempt: also attempts that failed or came second, besides the one that counts for each stage.

        Files that cannot be read are set aside, and their rows are rebuilt. ValueError for a newer schema version.
        """
        if table in _KEYS:
            return self._load(table, None, self._parts(table))[0].sort_by(_ascending(*_KEYS[table]))
        wanted = None if stages is None else set(stages)
        names = [name for name in self._parts(table) if wanted is None or name.split("-")[0] in wanted]
        rows = self._load(table, wanted, names)[0].sort_by(_ascending("stage", "attempt"))
        if every_attempt:
            return rows
        ended = rows if table == "stages" else self.read("stages", stages=wanted, every_attempt=True)
        done = ended.filter(pc.field("state") == "done")
        # One attempt counts per stage. The rows are sorted, so that of several the newest one stays.
        newest = dict(zip(done["stage"].to_pylist(), _attempt_keys(done).to_pylist(), strict=True))
        counting = pc.SetLookupOptions(value_set=pa.array(list(newest.values()), pa.string()))
        return rows.filter(pc.call_function("is_in", [_attempt_keys(rows)], counting))

    def compact(self) -> None:
        """Merges the many small files of some tables. Track scores are large already, and runs are rewritten anyway."""
        for table in COMPACTED_TABLES:
            parts = self._parts(table)
            if not parts:
                continue
            rows, held = self._load(table, None, parts)
            self._write_compacted(table, rows.sort_by(_ascending("stage", "attempt")), held)
            for name in parts:
                self._storage.delete(_path(table, name))

    def _write_compacted(self, table: str, rows: pa.Table, held: set[str]) -> None:
        metadata = {**rows.schema.metadata, _HELD_KEY: json.dumps(sorted(held))}
        self._storage.write(_path(table, _COMPACTED), _encode(rows.replace_schema_metadata(metadata)))

    def _parts(self, table: str) -> list[str]:
        return [name for name in self._storage.names(f"records/{table}") if name != _COMPACTED]

    def _held(self, table: str) -> set[str]:
        """Names of the parts that the compacted file holds."""
        try:
            with self._opened(table, _COMPACTED) as file:
                return _held(file)
        except FileNotFoundError:
            return set()
        except _DamagedError as error:
            self._set_aside(table, _COMPACTED, error)
            return set()

    def _set_aside(self, table: str, name: str, cause: _DamagedError) -> None:
        set_aside(self._storage, _path(table, name), cause, "Its rows are written again.")
        self._num_aside += 1

    def _load(self, table: str, stages: set[str] | None, parts: list[str]) -> tuple[pa.Table, set[str]]:
        """The rows of the compacted file and of the parts, and the names of all parts that these rows come from.

        The compacted file is read last: it holds any part that has vanished since it was listed.
        """
        num_aside = self._num_aside
        found = concurrently(lambda name: (name, self._file(table, name, stages)), parts)
        compacted, held = self._file(table, _COMPACTED, stages) or (SCHEMAS[table].empty_table(), set())
        if self._num_aside > num_aside:
            self.rebuild()
            more = self._num_aside - num_aside
            _log.warning("%d file%s of records set aside, rows written again", more, "" if more == 1 else "s")
            return self._load(table, stages, self._parts(table))
        loose = {name: file[0] for name, file in found if file is not None and name not in held}
        return pa.concat_tables([compacted, *loose.values()]), held | loose.keys()

    def _file(self, table: str, name: str, stages: set[str] | None) -> tuple[pa.Table, set[str]] | None:
        try:
            with self._opened(table, name) as file:
                rows, held = file.read(), _held(file)
            older = int(rows.schema.metadata[VERSION_KEY]) < SCHEMA_VERSION
            rows = conform(rows, SCHEMAS[table], self._storage.name_of(_path(table, name)), may_lack=older)
        except FileNotFoundError:
            return None
        except _DamagedError as error:
            self._set_aside(table, name, error)
            return None
        return (rows if stages is None else rows.filter(pc.field("stage").isin(sorted(stages)))), held

    @contextmanager
    def _opened(self, table: str, name: str) -> Iterator[pq.ParquetFile]:
        path = _path(table, name)
        # An error of the storage is no damage of the file.
        content = self._storage.read(path)
        try:
            with pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True) as file:
                _check_version(file.schema_arrow.metadata or {}, self._storage.name_of(path))
                yield file
        except (pa.ArrowException, OSError, json.JSONDecodeError) as error:
            raise _DamagedError(error) from error


def _held(file: pq.ParquetFile) -> set[str]:
    return set(json.loads(file.schema_arrow.metadata.get(_HELD_KEY, b"[]")))


def _check_version(metadata: Mapping[bytes, bytes], name: str) -> None:
    if VERSION_KEY not in metadata:
        raise _DamagedError("it has no schema version")
    version = int(metadata[VERSION_KEY])
    if version > SCHEMA_VERSION:
        raise ValueError(f"{name}: schema version {version} is newer than {SCHEMA_VERSION}, the newest known here")


def _attempt_keys(rows: pa.Table) -> pa.ChunkedArray:
    return pc.call_function("binary_join_element_wise", [rows["stage"], rows["attempt"], pa.scalar("-")])


def _ascending(*columns: str) -> list[tuple[str, str]]:
    return [(column, "ascending") for column in columns]


def _part(identity: str, attempt: str) -> str:
    return f"{identity}-{attempt}.parquet"


def _path(table: str, name: str) -> str:
    return f"records/{table}/{name}"


def slug(text: str) -> str:
    """The text as a file name: it names no other folder, and no hidden file."""
    return re.sub(r"[^A-Za-z0-9._+]+", "-", text).strip("-.") or "unnamed"


def _encode(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()
