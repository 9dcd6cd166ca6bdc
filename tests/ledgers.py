"""What the ledger's tests share: records, databases, and waiting."""

from __future__ import annotations

import asyncio
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from orchestify.database.sql import Database, database_url
from orchestify.ledger.record import Record, new_id
from orchestify.ledger.sql.schema import ledger_database
from orchestify.values import Usage

POSTGRES = os.environ.get("ORCHESTIFY_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/test")
ROOT = Path(__file__).parent.parent
NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)


def opened(**changes: Any) -> Record:
    """A new attempt that has not been sent yet."""
    given: dict[str, Any] = {
        "id": new_id(),
        "call_id": "call-1",
        "started_at": NOON,
        "provider": "claude_main",
        "agent": "reviewer",
        "model": "claude-sonnet-4-5",
        "cost_at_most_usd": Decimal("0.5"),
    }
    return Record(**(given | changes))


def answered(record: Record, **changes: Any) -> Record:
    """The same attempt, answered with 100 tokens in and 20 out for 0.0003 USD."""
    given: dict[str, Any] = {
        "outcome": "ok",
        "model_answered": "claude-sonnet-4-5-20250929",
        "usage": Usage(input_tokens=100, output_tokens=20),
        "cost_usd": Decimal("0.0003"),
        "cost_source": "config",
        "latency_s": 0.25,
    }
    return replace(record, **(given | changes))


@contextmanager
def postgres_schema() -> Iterator[str]:
    """A URL with an empty schema of its own, dropped afterwards; skips without PostgreSQL."""
    name = f"ledger_{secrets.token_hex(6)}"
    with closing(_postgres()) as server:
        server.execute(f"CREATE SCHEMA {name}")
        try:
            yield f"{POSTGRES}?options=-csearch_path%3D{name}"
        finally:
            server.execute(f"DROP SCHEMA {name} CASCADE")


@contextmanager
def postgres_database() -> Iterator[str]:
    """The URL of an empty database of its own, dropped afterwards; skips without PostgreSQL."""
    name = f"service_{secrets.token_hex(6)}"
    with closing(_postgres()) as server:
        server.execute(f"CREATE DATABASE {name}")
        try:
            yield urlsplit(POSTGRES)._replace(path=f"/{name}").geturl()
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _postgres() -> psycopg.Connection[Any]:
    try:
        return psycopg.connect(POSTGRES, autocommit=True, connect_timeout=3)
    except psycopg.OperationalError:
        if os.environ.get("CI") == "true":
            pytest.fail("CI has no PostgreSQL on 127.0.0.1:5432")
        pytest.skip("no PostgreSQL on 127.0.0.1:5432")


def database(url: str, base_dir: Path) -> Database:
    """The database at `url`, as the ledger uses it."""
    return ledger_database(database_url(url, base_dir))


def sqlite_rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    """What a SQLite file says, without SQLAlchemy."""
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        return connection.execute(query).fetchall()


def postgres_rows(url: str, query: Any) -> list[tuple[Any, ...]]:
    """What PostgreSQL says, without SQLAlchemy."""
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


async def until(holds: Callable[[], bool], within_s: float = 30.0) -> None:
    """Return when it holds; fail when it does not in time."""
    end = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end:
            pytest.fail(f"it did not come about within {within_s} s")
        await asyncio.sleep(0.02)
