"""SQLite's engine: writers wait for one another, readers run beside them."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, cast

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry

T = TypeVar("T")

Durability: TypeAlias = Literal["process", "power"]

BUSY_S = 30.0
"""How long SQLite waits for another process that writes."""


def sqlite_engine(url: URL, durability: Durability) -> Engine:
    """Return an engine whose transactions begin as writers, unless they are `read_only`."""
    engine = create_engine(url, connect_args={"timeout": BUSY_S}, hide_parameters=True)
    synchronous = "FULL" if durability == "power" else "NORMAL"

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, entry: ConnectionPoolEntry, at: Any, given: Any) -> None:
        path = Path(at[0])
        entry.info["is_kept"] = path.exists() and not _is_writable(path)
        if entry.info["is_kept"]:
            at[0], given["uri"] = _reading_uri(path), True

    @event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # the transactions are begun below
        if entry.info["is_kept"]:
            return
        _use_wal(connection)
        connection.execute(f"PRAGMA synchronous={synchronous}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        driver = driver_of(connection)
        if driver.in_transaction:  # `transact` has begun it
            return
        # a writer that began as a reader could find the database changed and fail: begin as one
        options = connection.get_execution_options()
        reads = options.get("read_only", False) or connection.info["is_kept"]
        driver.execute("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def transact(connection: Connection, work: Callable[[Connection], T]) -> T:
    """Do `work` in a transaction that writes; where it raises, the connection is to be closed.

    It is begun and ended without SQLAlchemy, which takes longer for that than SQLite does for
    the few rows of a call.
    """
    driver = driver_of(connection)
    driver.execute("BEGIN IMMEDIATE")
    result = work(connection)
    if connection.in_transaction():  # as SQLAlchemy sees it: its own statements were among them
        connection.commit()
    else:
        driver.commit()
    return result


def driver_of(connection: Connection) -> sqlite3.Connection:
    """Return what executes a statement as it is, and raises what `sqlite3` raises."""
    return cast("sqlite3.Connection", connection.connection.driver_connection)


def _is_writable(path: Path) -> bool:
    effective = os.access in os.supports_effective_ids
    return all(os.access(each, os.W_OK, effective_ids=effective) for each in (path, path.parent))


def _reading_uri(path: Path) -> str:
    """Return the URI of a file that this process may not write, to report from it.

    Without a log beside it nobody has it open, and SQLite need not make files of its own there.
    Source: sqlite.org/wal.html, "Read-Only Databases".
    """
    alone = "" if Path(f"{path}-wal").exists() else "&immutable=1"
    return f"{path.as_uri()}?mode=ro{alone}"


def _use_wal(connection: sqlite3.Connection) -> None:
    """Turn on the write-ahead log.

    While another process does the same, SQLite does not wait but fails at once.
    Source: sqlite.org/wal.html, "Sometimes Queries Return SQLITE_BUSY In WAL Mode".
    """
    until = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return
