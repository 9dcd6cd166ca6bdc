"""A SQL database, SQLite or PostgreSQL: connections, transactions, migration, errors."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from orchestify.database.sqlite import Durability, sqlite_engine, transact
from orchestify.errors import LedgerError, OrchestifyError
from orchestify.resources.extras import missing_extra

T = TypeVar("T")

LOCK_S = 10.0
"""How long PostgreSQL waits for another transaction's rows."""

SILENCE_S = 30.0
"""How long PostgreSQL may say nothing to a statement that writes; then its connection is given up.

A server that is frozen keeps its connections open, and its own timeouts do not run.
"""

# libpq's parameters: a server that is gone is noticed within seconds, not after minutes
POSTGRES_ARGUMENTS = {
    "connect_timeout": 3,
    "tcp_user_timeout": 5000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}

_FAILURES = (SQLAlchemyError, sqlite3.Error, OSError, ValueError, ArithmeticError)


class Database:
    """A SQLite file or a PostgreSQL database, migrated at its first use.

    `migrate` makes the tables, or brings older ones up to date, in a transaction of its own.
    `name` is what messages call the database, and what cannot be done with it is an `error`.
    SQLite's `durability`: a commit survives the end of the process, or also of the machine's
    power. PostgreSQL keeps its server's own setting.
    """

    def __init__(
        self,
        url: URL,
        durability: Durability = "process",
        *,
        migrate: Callable[[Connection], None],
        name: str = "the database",
        error: type[OrchestifyError] = OrchestifyError,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._url = url
        self._migrate_tables = migrate
        self._name = name
        self._error = error
        self._silence_s = silence_s
        self._tries = 1 if url.get_backend_name() == "sqlite" else 2
        self._engine = sqlite_engine(url, durability) if self._tries == 1 else _postgresql(url)
        self._migrated = False
        self._migrating = threading.Lock()

    def run(self, work: Callable[[Connection], T], *, read_only: bool = False) -> T:
        """Do `work` in one transaction and return what it returns.

        On PostgreSQL a transaction that fails is tried once more, so `work` may run twice: the
        connection may have died since its last use, and of two that block each other the server
        ends one.

        Raises:
            OrchestifyError: the database cannot be used (of the class `error`); the message is
                without the URL's password.
        """

        def once() -> T:
            with self.connect(read_only=read_only) as connection, connection.begin():
                return work(connection)

        return self.tried(once)

    def connect(self, *, read_only: bool = False) -> Connection:
        """Return a connection whose transactions the caller begins; the caller closes it.

        Raises:
            OrchestifyError: the database cannot be reached.
        """
        try:
            self._migrate()
            connection = self._engine.connect()
        except OrchestifyError:
            raise
        except _FAILURES as error:
            problem = self._describe(error)
        else:
            self._prepare(connection, read_only)
            return connection
        raise self._error(problem)  # out here it drags no error along that shows the URL

    def tried(self, once: Callable[[], T]) -> T:
        """Run a transaction, once more where `run` would, and return what it returns."""
        problem = ""
        for _ in range(self._tries):
            try:
                return once()
            except OrchestifyError:
                raise
            except _FAILURES as error:
                problem = self._describe(error)
                if "readonly database" in problem:
                    self._engine.dispose()  # SQLite opened it so, and would keep it so
        raise self._error(problem)

    @property
    def path(self) -> Path | None:
        """The file of a SQLite database, None for PostgreSQL."""
        return Path(str(self._url.database)) if self._tries == 1 else None

    def dispose(self) -> None:
        """Close all connections; a later `run` opens new ones."""
        self._engine.dispose()

    def reopen(self) -> None:
        """Close all connections, and migrate anew at the next use: the file is another one."""
        self._engine.dispose()
        with self._migrating:
            self._migrated = False

    def _prepare(self, connection: Connection, read_only: bool) -> None:
        if connection.dialect.name == "sqlite":
            connection.execution_options(read_only=read_only)
            return
        # a report may take its time
        raw = cast("Any", connection.connection.driver_connection)
        raw.silence_s = None if read_only else self._silence_s
        if read_only:
            connection.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )

    def _migrate(self) -> None:
        with self._migrating:
            if self._migrated:
                return
            if self._engine.dialect.name == "sqlite":
                Path(str(self._url.database)).parent.mkdir(parents=True, exist_ok=True)
            with self._engine.begin() as connection:
                self._migrate_tables(connection)
            self._migrated = True

    def _describe(self, error: Exception) -> str:
        reason = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
        reason = reason.removeprefix("connection failed: ")  # psycopg; libpq says it once more
        if self._tries == 1 and Path(str(self._url.database)).is_dir():
            reason = "it is a directory"
        for secret in (self._url.password, self._url.query.get("password")):
            if secret:
                reason = reason.replace(str(secret), "***")
        return f"{self._name} {shown_url(self._url)} cannot be used: {reason.splitlines()[0][:300]}"


class OwnConnection:
    """A connection that one thread at a time has for itself, for many small transactions.

    It is opened at the first, and anew after one that failed.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: Connection | None = None

    def run(self, work: Callable[[Connection], T]) -> T:
        """Do `work` in one transaction; see `Database.run`."""
        return self._database.tried(lambda: self._transact(work))

    def close(self) -> None:
        """Close the connection; a later `run` opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _transact(self, work: Callable[[Connection], T]) -> T:
        if self._connection is None:
            self._connection = self._database.connect()
        try:
            if self._connection.dialect.name == "sqlite":
                return transact(self._connection, work)
            with self._connection.begin():
                return work(self._connection)
        except BaseException:
            self.close()
            raise


def database_url(
    url: str,
    base_dir: Path,
    *,
    name: str = "ledger.url",
    error: type[OrchestifyError] = LedgerError,
) -> URL:
    """Return the URL with its driver named, a relative SQLite path under `base_dir`.

    `name` is what messages call the URL.

    Raises:
        OrchestifyError: no URL of SQLite or PostgreSQL, or SQLite without a file (as `error`).
        MissingExtraError: PostgreSQL's driver is not installed.
    """
    parsed = _parsed(url)
    if parsed is None or parsed.get_backend_name() not in ("sqlite", "postgresql", "postgres"):
        raise error(
            f"{name} is neither sqlite:///path/to/file.db nor postgresql://user@host/database"
        )
    if parsed.get_backend_name() == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise error(f"{name} names no file")
        path = (base_dir / str(parsed.database)).absolute()
        return parsed.set(drivername="sqlite+pysqlite", database=str(path))
    try:
        import psycopg  # noqa: F401, PLC0415  (an extra, needed for PostgreSQL alone)
    except ImportError:
        raise missing_extra(f"{name} in PostgreSQL needs its driver", "postgres") from None
    return parsed.set(drivername="postgresql+psycopg")


def shown_url(url: URL) -> str:
    """Return a URL as people write it: no driver, no parameters, no password."""
    return url.set(drivername=url.get_backend_name(), query={}).render_as_string()


def _parsed(url: str) -> URL | None:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        return None


def _postgresql(url: URL) -> Engine:
    given = {name: value for name, value in POSTGRES_ARGUMENTS.items() if name not in url.query}
    engine = create_engine(url, connect_args=given, hide_parameters=True)

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _entry: object, at: Any, given: Any) -> DBAPIConnection:
        from orchestify.database.postgres import SilenceBoundConnection  # noqa: PLC0415 - psycopg is an extra

        return cast("DBAPIConnection", SilenceBoundConnection.connect(*at, **given))

    @event.listens_for(engine, "connect")
    def set_up(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:  # noqa: ARG001
        # a process that was stopped in a transaction must not stop all others
        with contextlib.closing(connection.cursor()) as cursor:
            cursor.execute(f"SET lock_timeout='{LOCK_S:.0f}s'")
            cursor.execute(f"SET idle_in_transaction_session_timeout='{2 * LOCK_S:.0f}s'")
        connection.commit()

    return engine
