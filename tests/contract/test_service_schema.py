"""The service's tables: made by migrations, as the code has them; the audit log only grows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from orchestify.database.sql import Database
from orchestify.errors import StoreError
from orchestify.ledger.sql import schema
from orchestify.server.storage.audit import write_audit
from orchestify.server.storage.migrations import VERSION_TABLE, migrate
from orchestify.server.storage.tables import metadata
from tests.tenants import DATABASES, TEST, database_at, service_database


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with database_at(request.param, tmp_path) as url:
        yield url


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with service_database(url) as database:
        yield database


def differences(connection: Connection) -> list[Any]:
    """What Alembic would change to make the database's tables the code's."""
    names = {*metadata.tables}
    context = MigrationContext.configure(
        connection,
        opts={
            "version_table": VERSION_TABLE,
            "compare_server_default": True,
            "include_name": lambda name, kind, _: kind != "table" or name in names,
        },
    )
    return list(compare_metadata(context, metadata))


def shape(connection: Connection) -> dict[str, Any]:
    """All that the database says of its tables, the ledger's and views too."""
    found = inspect(connection)
    return {
        name: (
            [
                (each["name"], str(each["type"]), each["nullable"])
                for each in found.get_columns(name)
            ],
            sorted(str(each["name"]) for each in found.get_indexes(name)),
        )
        for name in sorted([*found.get_table_names(), *found.get_view_names()])
    }


def execute(database: Database, statement: str) -> Any:
    def work(connection: Connection) -> Any:
        found = connection.execute(text(statement))
        return found.all() if found.returns_rows else None

    return database.run(work)


def entry(connection: Connection) -> None:
    write_audit(connection, TEST, "provider.add", "main", tenant="acme")


def test_the_migrations_make_what_the_code_has(database: Database) -> None:
    assert database.run(differences) == []


def test_the_ledgers_tables_are_in_the_same_database(database: Database) -> None:
    tables = database.run(lambda each: set(inspect(each).get_table_names()))
    assert tables >= {*schema.metadata.tables, *metadata.tables}


def test_a_ledger_that_was_there_before_becomes_the_same(
    url: str, database: Database, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    fresh = database.run(shape)
    kind = request.node.callspec.params["url"]
    folder = tmp_path / "older"
    folder.mkdir()
    with database_at(kind, folder) as older_url, service_database(older_url) as older:
        older._migrate_tables = schema.migrate
        older.run(lambda _: None)
        with service_database(older_url) as upgraded:
            assert upgraded.run(shape) == fresh


def test_a_second_start_changes_nothing(url: str, database: Database) -> None:
    database.run(entry)
    with service_database(url) as again:
        assert again.run(differences) == []
        assert len(execute(again, "SELECT * FROM audit_log")) == 1


def test_eight_that_start_at_once_make_it_once(url: str) -> None:
    failed: list[Exception] = []

    def start() -> None:
        try:
            with service_database(url) as database:
                database.run(differences)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failed == []


def test_a_newer_database_is_refused_and_left_alone(url: str, database: Database) -> None:
    execute(database, "UPDATE orchestify_service_version SET version_num = '9999'")
    with service_database(url) as older, pytest.raises(StoreError, match=r"9999.*upgrade it"):
        older.run(lambda _: None)
    assert execute(database, "SELECT version_num FROM orchestify_service_version") == [("9999",)]


def test_a_migration_that_fails_leaves_nothing_behind(url: str) -> None:
    def broken(connection: Connection) -> None:
        migrate(connection)
        raise OSError("the power went")

    with service_database(url) as database:
        database._migrate_tables = broken
        with pytest.raises(StoreError):
            database.run(lambda _: None)
        database._migrate_tables = migrate
        assert database.run(differences) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET actor = 'nobody'",
        "DELETE FROM audit_log",
        "DELETE FROM audit_log WHERE actor = 'test'",
    ],
)
def test_what_was_audited_is_neither_changed_nor_deleted(
    database: Database, statement: str
) -> None:
    database.run(entry)
    with pytest.raises(StoreError, match="append-only"):
        execute(database, statement)
    assert execute(database, "SELECT actor FROM audit_log") == [("test",)]


def test_the_audit_log_is_not_truncated(database: Database) -> None:
    database.run(entry)
    with pytest.raises(StoreError):
        execute(database, "TRUNCATE audit_log")
    assert len(execute(database, "SELECT * FROM audit_log")) == 1


def test_an_audited_entry_is_not_replaced(tmp_path: Path) -> None:
    with service_database(f"sqlite:///{tmp_path}/service.db") as database:
        database.run(entry)
        with pytest.raises(StoreError, match="append-only"):
            execute(database, "REPLACE INTO audit_log SELECT * FROM audit_log")


def test_usage_that_nobody_could_price_has_no_cost(database: Database) -> None:
    def day(model: str, cost: int, unpriced: int, agent: str = "") -> dict[str, Any]:
        zeros: dict[str, Any] = {column.name: 0 for column in schema.SUM_COLUMNS.values()}
        zeros |= {name: Decimal(0) for name in zeros if name.endswith("picousd")}
        known = {"label": "", "tenant": "acme", "day": "2026-03-14", "provider": "main"}
        counts = {"attempts": 2, "failed": 1, "input_tokens": 100, "output_tokens": 20}
        own = {"model": model, "agent": agent, "value": "", "unpriced_calls": unpriced}
        return zeros | known | counts | own | {"cost_picousd": Decimal(cost)}

    rows = [day("known", 3, 0), day("known", 1, 1, "planner"), day("unknown", 0, 2)]
    rows.append(rows[0] | {"label": "run", "value": "r1"})
    database.run(lambda each: each.execute(schema.usage_days.insert(), rows))
    usage = execute(database, "SELECT * FROM llm_provider_usage ORDER BY model")
    assert [(*each[:2], *each[3:]) for each in usage] == [
        ("acme", "main", "known", 200, 40, 4, 4, 2, 1),
        ("acme", "main", "unknown", 100, 20, None, 2, 1, 2),
    ]
    assert {str(each.date) for each in usage} == {"2026-03-14"}
