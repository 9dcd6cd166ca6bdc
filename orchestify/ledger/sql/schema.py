"""The tables of the SQL ledger, and the upgrade of an older database, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeAlias

from sqlalchemy import (
    JSON,
    URL,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Computed,
    Connection,
    Date,
    DateTime,
    Dialect,
    Double,
    Index,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    cast,
    false,
    func,
    insert,
    literal_column,
    select,
    text,
    type_coerce,
    update,
)
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.types import TypeDecorator

from orchestify.database.sql import Database
from orchestify.database.sqlite import Durability
from orchestify.errors import LedgerError
from orchestify.ledger.memory import Total
from orchestify.ledger.record import utc_now

Upgrade: TypeAlias = Callable[[Connection], None]

VERSION = 6
PICO = 12
"""Money is kept as whole 1e-12 USD: a token at 0.000001 USD a million is exact, and a 64-bit
sum reaches 9.2 million USD. What is finer is rounded half to even."""
MOST = 2**63 - 1

_MIGRATION_LOCK = 7_203_051_118_942  # any number, the same in every version


class UtcTime(TypeDecorator[datetime]):
    """A moment in UTC; SQLite keeps it as text without a zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn any zone into UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Name the zone."""
        if value is None or value.tzinfo is not None:
            return None if value is None else value.astimezone(UTC)
        return value.replace(tzinfo=UTC)


class PicoUsd(TypeDecorator[Decimal]):
    """An exact amount of USD, kept as an integer of 1e-12 USD; what is above `MOST` is `MOST`."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> int | None:
        """Scale to whole units."""
        if not value:
            return None if value is None else 0
        return min(int(value.scaleb(PICO).to_integral_value()), MOST)

    def process_result_value(self, value: int | None, dialect: Dialect) -> Decimal | None:
        """Scale back to USD."""
        return None if value is None else Decimal(value).scaleb(-PICO)


def plus(column: ColumnElement[Any], more: ColumnElement[Any], dialect: str) -> ColumnElement[Any]:
    """Return the sum; of money at most `MOST`, where PostgreSQL would fail on all that it books."""
    if not isinstance(column.type, PicoUsd):
        return column + more
    most: ColumnElement[Any] = literal_column(str(MOST))
    if dialect == "postgresql":
        return cast(func.least(cast(column, Numeric) + cast(more, Numeric), most), BigInteger)
    return func.min(column + more, most)


def sum_usd(column: ColumnElement[Any]) -> ColumnElement[Decimal]:
    """Return the sum of an exact amount over rows, however large.

    SQLite's own `sum` fails on what 64 bits cannot hold: above 9.2 million USD it is rounded
    there, to 15 digits.
    """
    units: ColumnElement[int] = type_coerce(column, BigInteger)
    whole: ColumnElement[int] = literal_column(str(10**PICO), BigInteger)
    return type_coerce(func.sum(units // whole) * whole + func.sum(units % whole), PicoUsd())


def _money(
    name: str, *, nullable: bool, default: str | None = None
) -> tuple[Column[Decimal], Column[float]]:
    """Return the exact column, and one in USD for whoever reads the table by hand."""
    exact = f"{name}_picousd"
    return (
        Column(exact, PicoUsd, nullable=nullable, server_default=default),
        Column(f"{name}_usd", Double, Computed(f"{exact} / 1e{PICO}", persisted=True)),
    )


def _counts(*names: str, default: str | None = None) -> list[Column[int]]:
    """Return the columns of what a budget counts in tokens and calls."""
    return [
        Column(f"{name}_{unit}", BigInteger, nullable=default is None, server_default=default)
        for name in names
        for unit in ("tokens", "calls")
    ]


def _tenant(*, primary_key: bool = False) -> Column[str]:
    """Return the column of the row's tenant: "" where a ledger has no tenants."""
    return Column("tenant", String, primary_key=primary_key, nullable=False, server_default="")


metadata = MetaData()

usage_records = Table(
    "usage_records",
    metadata,
    Column("id", String, primary_key=True),
    Column("call_id", String, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("started_at", UtcTime, nullable=False, index=True),
    Column("day", String, nullable=False),
    Column("provider", String, nullable=False),
    Column("agent", String, nullable=False),
    Column("model", String, nullable=False),
    Column("model_answered", String, nullable=False, server_default=""),
    Column("outcome", String, nullable=False),
    # who is to complete the record; NULL once its owner has
    Column("owner", String),
    Column("input_tokens", BigInteger, nullable=False, server_default="0"),
    Column("output_tokens", BigInteger, nullable=False, server_default="0"),
    Column("cache_read", BigInteger, nullable=False, server_default="0"),
    Column("cache_write", BigInteger, nullable=False, server_default="0"),
    Column("cache_write_1h", BigInteger, nullable=False, server_default="0"),
    Column("reasoning", BigInteger, nullable=False, server_default="0"),
    Column("searches", BigInteger, nullable=False, server_default="0"),
    Column("service_tier", String),
    Column("usage_source", String, nullable=False, server_default="unknown"),
    # names of counts that cannot be true, with a comma between
    Column("usage_invalid", String, nullable=False, server_default=""),
    *_money("cost", nullable=True),
    Column("cost_source", String, nullable=False, server_default="none"),
    Column("price_date", Date),
    Column("assumed_price", Boolean, nullable=False, server_default=false()),
    *_money("cost_at_most", nullable=True),
    Column("latency_s", Double),
    Column("first_chunk_s", Double),
    Column("error", String, nullable=False, server_default=""),
    Column("labels", JSON, nullable=False),
    _tenant(),
    # the fingerprint of the key that it went out with
    Column("key", String, nullable=False, server_default=""),
    # what an answer of the response cache had cost
    Column("saved_picousd", PicoUsd),
)

IS_OPEN = usage_records.c.outcome == literal_column("'open'")
Index("usage_records_open", usage_records.c.owner, sqlite_where=IS_OPEN, postgresql_where=IS_OPEN)


_ADDED_SUMS = ("possible_usd", "cached", "saved_usd")  # by upgrades


def _sum_columns() -> list[Column[Decimal] | Column[float] | Column[int]]:
    columns: list[Column[Decimal] | Column[float] | Column[int]] = []
    for each in fields(Total):
        default = "0" if each.name in _ADDED_SUMS else None
        if isinstance(each.default, Decimal):
            columns += _money(each.name.removesuffix("_usd"), nullable=False, default=default)
        else:
            kind = Double if isinstance(each.default, float) else BigInteger
            columns.append(Column(each.name, kind, nullable=False, server_default=default))
    return columns


usage_days = Table(
    "usage_days",
    metadata,
    # "" for the sums over all records, else a label's key, and `value` its value
    Column("label", String, primary_key=True),
    _tenant(primary_key=True),
    Column("day", String, primary_key=True),
    Column("provider", String, primary_key=True),
    Column("agent", String, primary_key=True),
    Column("model", String, primary_key=True),
    Column("value", String, primary_key=True),
    *_sum_columns(),
    sqlite_with_rowid=False,
)

leases = Table(
    "ledger_leases",
    metadata,
    Column("owner", String, primary_key=True),
    Column("expires_at", UtcTime, nullable=False),
)

settings = Table(
    "ledger_settings",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", String, nullable=False),
)

budget_periods = Table(
    "budget_periods",
    metadata,
    Column("id", String, primary_key=True),
    _tenant(),
    Column("budget", String, nullable=False),
    # of the label that the budget is per; NULL for a budget of all calls
    Column("value", String),
    Column("period", String, nullable=False),
    Column("starts_at", UtcTime, nullable=False),
    # NULL for the period that never ends
    Column("ends_at", UtcTime),
    # of rolling_24h: what each earlier hour booked; see `sql_store.hours_json`
    Column("hours", JSON(none_as_null=True)),
    *_money("spent", nullable=False),
    *_money("overrun", nullable=False),
    # what calls of unknown cost may have cost at most
    *_money("possible", nullable=False, default="0"),
    *_counts("spent", "possible", default="0"),
    # how many thresholds were reported
    Column("alerted", Integer, nullable=False),
    # the starved process that has the lease, and until when the others let it go first
    Column("turn_owner", String),
    Column("turn_until", UtcTime),
)

budget_holds = Table(
    "budget_holds",
    metadata,
    # the id of the attempt's record in usage_records
    Column("id", String, primary_key=True),
    Column("period_id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("held_at", UtcTime, nullable=False),
    *_money("amount", nullable=False),
    # what was booked for an owner that is gone; NULL while the reservation stands
    *_money("booked", nullable=True),
    *_money("possible", nullable=True),
    *_counts("amount", default="0"),
    *_counts("booked", "possible"),
)

STANDS = budget_holds.c.booked_picousd.is_(None)
_HOLDS_OF_PERIOD = Index("budget_holds_period", budget_holds.c.period_id)
_PERIODS_BY_END = Index("budget_periods_ends", budget_periods.c.ends_at)

health_history = Table(
    "health_history",
    metadata,
    _tenant(primary_key=True),
    Column("provider", String, primary_key=True),
    Column("at", UtcTime, primary_key=True),
    # the process whose calls and checks it reports
    Column("owner", String, primary_key=True),
    Column("status", String, nullable=False),
    Column("snapshot", JSON, nullable=False),
)

batches = Table(
    "provider_batches",
    metadata,
    # of a batch left to a provider; also the id of its reservation, and the owner of that
    Column("id", String, primary_key=True),
    _tenant(),
    Column("provider", String, nullable=False),
    Column("agent", String, nullable=False),
    Column("model", String, nullable=False),
    # the fingerprint of the key that it went out with
    Column("key", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("state", String, nullable=False, index=True),
    # the process that submits it; NULL once it has ended that
    Column("owner", String),
    Column("submitted_at", UtcTime, nullable=False, index=True),
    Column("sent_at", UtcTime),
    Column("file_id", String, nullable=False),
    Column("remote_id", String, nullable=False),
    Column("remote_status", String, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("succeeded", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("expires_at", UtcTime),
    Column("at_most_picousd", PicoUsd),
    # model, labels and the budgets' periods of the requests that share these
    Column("parts", JSON, nullable=False),
)

batch_items = Table(
    "provider_batch_requests",
    metadata,
    Column("batch_id", String, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("custom_id", String, nullable=False),
    # the place in `parts`
    Column("part", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("most_tokens", BigInteger, nullable=False),
    Column("at_most_picousd", PicoUsd),
    # NULL until it is booked
    Column("outcome", String),
    sqlite_with_rowid=False,
)

kept_answers = Table(
    "kept_answers",
    metadata,
    _tenant(primary_key=True),
    # the settings that share it; see `response_cache`
    Column("cache", String, primary_key=True),
    # a digest of all that decides the answer
    Column("key", String, primary_key=True),
    # encrypted where there is an encryption key; NULL while `owner` asks for the answer
    Column("answer", Text),
    Column("owner", String, nullable=False),
    Column("kept_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False, index=True),
)
_ANSWERS_BY_AGE = Index(
    "kept_answers_age", kept_answers.c.tenant, kept_answers.c.cache, kept_answers.c.kept_at
)

RECORD_COLUMNS = tuple(column for column in usage_records.c if column.computed is None)
SUM_COLUMNS = {
    each.name: usage_days.c[each.name.replace("_usd", "_picousd")] for each in fields(Total)
}


_TENANT = "tenant VARCHAR DEFAULT '' NOT NULL"


def add_tenants(connection: Connection) -> None:
    """Version 1 to 2: every row has a tenant; existing rows get "", no tenant."""
    for table in ("usage_records", "budget_periods"):
        connection.execute(text(f"ALTER TABLE {table} ADD COLUMN {_TENANT}"))
    days = "day, provider, agent, model, value"
    _add_to_key(connection, "usage_days", f"label, {days}", f"label, tenant, {days}")
    health = "provider, at, owner"
    _add_to_key(connection, "health_history", health, f"tenant, {health}")


def add_possible(connection: Connection) -> None:
    """Version 2 to 3: sums, periods and reservations know what may have been spent."""
    days = "label, tenant, day, provider, agent, model, value"
    for table, key, default in (
        ("usage_days", days, "DEFAULT '0' NOT NULL"),
        ("budget_periods", "id", "DEFAULT '0' NOT NULL"),
        ("budget_holds", "id, period_id", ""),
    ):
        exact = f"possible_picousd BIGINT {default}".rstrip()
        kind = "DOUBLE PRECISION" if connection.dialect.name == "postgresql" else "DOUBLE"
        shown = f"possible_usd {kind} GENERATED ALWAYS AS (possible_picousd / 1e{PICO}) STORED"
        if connection.dialect.name == "sqlite":
            _rebuild(connection, table, key, f"{exact}, {shown}, PRIMARY KEY ({key})")
        else:
            added = f"ADD COLUMN {exact}, ADD COLUMN {shown}"
            connection.execute(text(f"ALTER TABLE {table} {added}"))
    if connection.dialect.name == "sqlite":
        _HOLDS_OF_PERIOD.create(connection)


def add_run_budgets(connection: Connection) -> None:
    """Version 3 to 4: budgets of a label's values, in tokens and calls, of 24 hours; keys."""
    known, unknown = "BIGINT DEFAULT '0' NOT NULL", "BIGINT"
    for table, kinds in (
        ("budget_periods", {"spent": known, "possible": known}),
        ("budget_holds", {"amount": known, "booked": unknown, "possible": unknown}),
    ):
        for name, kind in kinds.items():
            for unit in ("tokens", "calls"):
                connection.execute(text(f"ALTER TABLE {table} ADD COLUMN {name}_{unit} {kind}"))
    connection.execute(text("ALTER TABLE usage_records ADD COLUMN key VARCHAR DEFAULT '' NOT NULL"))
    connection.execute(text("ALTER TABLE budget_periods ADD COLUMN value VARCHAR"))
    connection.execute(text("ALTER TABLE budget_periods ADD COLUMN hours JSON"))
    _PERIODS_BY_END.create(connection)


def add_batches(connection: Connection) -> None:
    """Version 4 to 5: batches that are left to providers."""
    batches.create(connection)
    batch_items.create(connection)


def add_response_cache(connection: Connection) -> None:
    """Version 5 to 6: answers that are kept, and what they saved."""
    connection.execute(text("ALTER TABLE usage_records ADD COLUMN saved_picousd BIGINT"))
    days = "label, tenant, day, provider, agent, model, value"
    count = "cached BIGINT DEFAULT '0' NOT NULL"
    exact = "saved_picousd BIGINT DEFAULT '0' NOT NULL"
    kind = "DOUBLE PRECISION" if connection.dialect.name == "postgresql" else "DOUBLE"
    shown = f"saved_usd {kind} GENERATED ALWAYS AS (saved_picousd / 1e{PICO}) STORED"
    if connection.dialect.name == "sqlite":
        clauses = f"{count}, {exact}, {shown}, PRIMARY KEY ({days})"
        _rebuild(connection, "usage_days", days, clauses)
    else:
        added = f"ADD COLUMN {count}, ADD COLUMN {exact}, ADD COLUMN {shown}"
        connection.execute(text(f"ALTER TABLE usage_days {added}"))
    kept_answers.create(connection)


UPGRADES: tuple[Upgrade, ...] = (
    add_tenants,
    add_possible,
    add_run_budgets,
    add_batches,
    add_response_cache,
)
"""The steps from version 1 to 2, from 2 to 3, and so on up to the present one."""


def ledger_database(url: URL, durability: Durability = "process") -> Database:
    """Return the database at `url`, with the ledger's tables from its first use on."""
    return Database(
        url, durability, migrate=migrate, name="the ledger's database", error=LedgerError
    )


def migrate(
    connection: Connection, version: int = VERSION, upgrades: Sequence[Upgrade] = UPGRADES
) -> None:
    """Create the tables, or bring an older database up to `version`; `upgrades` has the steps.

    Runs in the caller's transaction. Where several processes start at once, one migrates and
    the others wait.

    Raises:
        LedgerError: a newer version of orchestify has written this database.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
    settings.create(connection, checkfirst=True)
    stored = read_setting(connection, "schema_version")
    found = int(stored) if stored else 0
    if found > version:
        raise LedgerError(
            f"the ledger's tables are of version {found}, this orchestify knows {version}; "
            "upgrade it"
        )
    if found == 0:
        metadata.create_all(connection)
    else:
        for upgrade in upgrades[found - 1 :]:
            upgrade(connection)
    if found != version:
        write_setting(connection, "schema_version", str(version))


def read_setting(connection: Connection, name: str) -> str | None:
    """Return the setting `name` of the database, None where it is not set."""
    return connection.scalar(select(settings.c.value).where(settings.c.name == name))


def write_setting(connection: Connection, name: str, value: str) -> None:
    """Note `value` under `name` in the database."""
    changed = connection.execute(
        update(settings).where(settings.c.name == name).values(value=value)
    )
    if not changed.rowcount:
        connection.execute(insert(settings).values(name=name, value=value))


def claim_setting(connection: Connection, name: str, value: str) -> bool:
    """Note `value` under `name`, and return whether it was another: one process is told so."""
    mine = settings.c.name == name
    changed = connection.execute(
        update(settings).where(mine, settings.c.value != value).values(value=value)
    )
    if changed.rowcount:
        return True
    if connection.dialect.name == "sqlite":  # one writer at a time
        made = connection.execute(
            sqlite_insert(settings).values(name=name, value=value).on_conflict_do_nothing()
        )
        return made.rowcount > 0
    mine_now = (
        postgresql_insert(settings)
        .values(name=name, value=value)
        .on_conflict_do_nothing()
        .returning(settings.c.name)
    )
    return connection.execute(mine_now).first() is not None


def database_now(connection: Connection) -> datetime:
    """Return the time that all owners share: the server's; a file's are on one machine."""
    if connection.dialect.name == "sqlite":
        return utc_now()
    return connection.execute(select(func.clock_timestamp(type_=UtcTime))).scalar_one()


def _add_to_key(connection: Connection, table: str, key: str, new_key: str) -> None:
    if connection.dialect.name == "sqlite":
        _rebuild(connection, table, key, f"{_TENANT}, PRIMARY KEY ({new_key})")
        return
    connection.execute(
        text(
            f"ALTER TABLE {table} ADD COLUMN {_TENANT}, DROP CONSTRAINT {table}_pkey, "
            f"ADD PRIMARY KEY ({new_key})"
        )
    )


def _rebuild(connection: Connection, table: str, key: str, clauses: str) -> None:
    """Make the table anew from its own text, with `clauses` in place of its primary key.

    SQLite can neither change a primary key nor add a column that is computed and stored. The rows
    wait in a copy: to rename the table would lead the views of it elsewhere.
    """
    made = connection.execute(
        text("SELECT sql FROM sqlite_master WHERE name = :table"), {"table": table}
    ).scalar_one()
    # without the computed columns, which nobody may write
    found = connection.execute(text(f"PRAGMA table_info({table})")).mappings()
    columns = ", ".join(row["name"] for row in found)
    copied = f"CREATE TABLE {table}_before AS SELECT {columns} FROM {table}"  # noqa: S608
    connection.execute(text(copied))
    connection.execute(text(f"DROP TABLE {table}"))
    connection.exec_driver_sql(made.replace(f"PRIMARY KEY ({key})", clauses))
    connection.execute(
        text(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {table}_before")  # noqa: S608
    )
    connection.execute(text(f"DROP TABLE {table}_before"))
