"""Statements that are compiled once, for what is written at every call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from sqlalchemy import Connection
from sqlalchemy.sql.dml import UpdateBase

from orchestify.database.sqlite import driver_of

Row: TypeAlias = Mapping[str, Any]


class Prepared:
    """An INSERT or UPDATE in the words of one dialect; the first row run names its parameters.

    Where calls are rare, so that nothing waits in the processor's caches, SQLAlchemy's way from
    a statement to its words takes several times as long as the database.
    """

    def __init__(self, statement: UpdateBase) -> None:
        self._statement = statement
        self._text = ""

    def run(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Execute it for each row of parameters; return how many of the table's rows changed."""
        if not self._text:
            self._compile(connection, rows[0])
        given = [self._parameters(row) for row in rows]
        is_one = len(given) == 1
        if connection.dialect.name != "sqlite":
            return connection.exec_driver_sql(self._text, given[0] if is_one else given).rowcount
        driver = driver_of(connection)
        if is_one:
            return driver.execute(self._text, given[0]).rowcount
        return driver.executemany(self._text, given).rowcount

    def _compile(self, connection: Connection, row: Row) -> None:
        dialect = connection.dialect
        compiled = self._statement.compile(dialect=dialect, column_keys=list(row))
        names = (compiled.positiontup if dialect.positional else None) or [*row]
        self._columns = [
            (name, compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect))
            for name in names
        ]
        self._is_positional = dialect.positional
        self._text = str(compiled)

    def _parameters(self, row: Row) -> Any:
        if self._is_positional:
            return [fit(row[name]) if fit else row[name] for name, fit in self._columns]
        return {name: fit(row[name]) if fit else row[name] for name, fit in self._columns}
