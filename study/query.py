"""SQL over the records: every table as a view, factors, metrics and facts as columns; nothing can be written.

The records are handed to DuckDB in memory and its access to files is then closed, so a query can read nothing else.
"""

from collections.abc import Iterable

import duckdb
import pyarrow as pa

from study.record_schemas import SCHEMAS, unit_of
from study.records import Records
from study.store import Store

_WIDE = {"runs": ("factors", "metrics"), "stages": ("metrics", "facts"), "epochs": ("metrics",)}
# Neither files nor what this program holds in its variables; and no query can open them again.
_CLOSED = ("python_enable_replacements = false", "enable_external_access = false", "lock_configuration = true")


class Query:
    """An open view on a store's records; ValueError if there is no store, or records that cannot be read.

    `stages`: of the tables that stages wrote, only the rows of these identities are read.
    """

    def __init__(
        self, store: Store, tables: Iterable[str] = tuple(SCHEMAS), *, stages: Iterable[str] | None = None
    ) -> None:
        if not store.storage.exists("store.json"):
            raise ValueError(f"{store.storage.name} holds no study")
        self._connection = duckdb.connect(":memory:")
        records = Records(store)
        wanted = None if stages is None else list(stages)
        for name in tables:
            table = records.read(name, stages=wanted, every_attempt=name == "stages")
            self._connection.register(name, widen(table, _WIDE.get(name, ())))
        for setting in _CLOSED:
            self._connection.execute(f"SET {setting}")

    def run(self, sql: str) -> pa.Table:
        """The rows of one SELECT; ValueError, with what DuckDB says in one line, for anything else."""
        try:
            statements = self._connection.extract_statements(sql)
            if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
                raise ValueError("a query is one SELECT; the records are read-only")
            return self._connection.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            message = str(error).split("\n\nLINE")[0]
            raise ValueError(" ".join(message.split())) from None

    def columns(self) -> dict[str, list[tuple[str, str, str]]]:
        """(name, type, unit) of every column, by view."""
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


def widen(table: pa.Table, maps: Iterable[str]) -> pa.Table:
    """The table with each key of its map columns as a column; a key whose name is taken follows its map's name."""
    for name in maps:
        rows = [dict(row or ()) for row in table[name].to_pylist()]
        value_type = table.schema.field(name).type.item_type
        for key in sorted({key for row in rows for key in row}):
            column = f"{name}_{key}" if key in table.column_names else key
            table = table.append_column(column, pa.array([row.get(key) for row in rows], value_type))
    return table.drop_columns(list(maps))
