"""SQL over the records: every table is a view; factors, metrics and facts are columns. Nothing can be written.

DuckDB gets the records in memory and then loses access to files, so a query can read nothing else.
"""

import re
from collections.abc import Iterable
from itertools import count

import duckdb
import pyarrow as pa

from study.records.records import Records
from study.records.schemas import SCHEMAS, unit_of
from study.store.store import Store

_WIDE = {
    "runs": ("factors", "metrics"),
    "stages": ("metrics", "facts"),
    "epochs": ("metrics",),
    "trials": ("values", "numbers", "choices"),
}
# No access to files or to this program's variables, and no query can change that.
_CLOSED = ("python_enable_replacements = false", "enable_external_access = false", "lock_configuration = true")


class Query:
    """An open view on a store's records; ValueError if there is no store, or records that cannot be read.

    `stages`: only the rows of these identities are read from the tables that stages wrote.
    """

    def __init__(
        self, store: Store, tables: Iterable[str] = tuple(SCHEMAS), *, stages: Iterable[str] | None = None
    ) -> None:
        if not store.storage.exists("store.json"):
            raise ValueError(f"{store.storage.name} holds no study")
        self._connection = duckdb.connect(":memory:")
        self._records, self._waiting = Records(store), set(tables)
        self._stages = None if stages is None else list(stages)
        for setting in _CLOSED:
            self._connection.execute(f"SET {setting}")

    def _read(self, names: Iterable[str]) -> None:
        """Reads those of the tables that are not read yet: track scores are many, and few queries need them."""
        for name in sorted(self._waiting.intersection(names)):
            table = self._records.read(name, stages=self._stages, every_attempt=name == "stages")
            self._connection.register(name, widen(table, _WIDE.get(name, ())))
            self._waiting.discard(name)

    def run(self, sql: str) -> pa.Table:
        """The rows of one SELECT; ValueError, with what DuckDB says in one line, for anything else."""
        try:
            statements = self._connection.extract_statements(sql)
            if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
                raise ValueError("a query is one SELECT; the records are read-only")
            self._read(re.findall(r"\w+", sql.lower()))
            table = self._connection.sql(sql).to_arrow_table()
            return table.rename_columns(_distinct(table.column_names))
        except duckdb.Error as error:
            message = str(error).split("\n\nLINE")[0]
            raise ValueError(" ".join(message.split())) from None

    def columns(self) -> dict[str, list[tuple[str, str, str]]]:
        """(name, type, unit) of every column, by view."""
        plain = [name for name in self._waiting if name not in _WIDE]
        self._read(_WIDE)
        for name in plain:  # the columns are known without reading rows
            self._connection.register(name, SCHEMAS[name].empty_table())
        try:
            found = self._connection.execute(
                "SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY 1"
            ).fetchall()
            return {
                view: [
                    (name, kind, unit_of(view, name))
                    for name, kind, *_ in self._connection.execute(f'DESCRIBE "{view}"').fetchall()
                ]
                for (view,) in found
            }
        finally:
            for name in plain:
                self._connection.unregister(name)


def _distinct(names: Iterable[str]) -> list[str]:
    """The names, all different: if a join gives a name twice, the second gets a number."""
    found: list[str] = []
    for name in names:
        numbered = (f"{name}_{number}" for number in count(1))
        found.append(name if name not in found else next(one for one in numbered if one not in found))
    return found


def widen(table: pa.Table, maps: Iterable[str]) -> pa.Table:
    """The table with each key of its map columns as a column, called <map>_<key> if the key is taken as a name."""
    for name in maps:
        rows = [dict(row or ()) for row in table[name].to_pylist()]
        value_type = table.schema.field(name).type.item_type
        for key in sorted({key for row in rows for key in row}):
            column = f"{name}_{key}" if key in table.column_names else key
            table = table.append_column(column, pa.array([row.get(key) for row in rows], value_type))
    return table.drop_columns(list(maps))
