"""The providers' health stands in the ledger's database, and outlives the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from orchestify.health.health import Health
from orchestify.ledger.record import utc_now
from orchestify.ledger.sql.health_history import KEPT, HealthHistory
from orchestify.ledger.sql.journal import Journal
from orchestify.ledger.sql.ledger import SqlLedger
from orchestify.ledger.sql.schema import health_history
from tests.ledgers import answered, database, opened, postgres_schema


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with ExitStack() as stack:
        if request.param == "postgres":
            yield stack.enter_context(postgres_schema())
        else:
            yield "sqlite:///usage.db"


async def test_what_was_known_at_the_end_is_read_by_the_next_process(
    url: str, tmp_path: Path
) -> None:
    health, ledger = Health(), SqlLedger(database(url, tmp_path))
    ledger.keep_health(lambda: [each.as_dict() for each in health.all().values()])
    record = opened(provider="claude_main")
    await ledger.open(record)
    health.observe(answered(record))
    ledger.complete(answered(record))
    await ledger.aclose()
    heir = SqlLedger(database(url, tmp_path))
    of_all = await heir.health_history()
    of_another = await heir.health_history("another")
    later = await heir.health_history(since=utc_now() + timedelta(minutes=1))
    await heir.aclose()
    assert [(each["provider"], each["status"], each["calls"]) for each in of_all] == [
        ("claude_main", "healthy", 1)
    ]
    assert of_another == later == []


def test_of_a_provider_without_a_sign_nothing_is_written(url: str, tmp_path: Path) -> None:
    journal = Journal(database(url, tmp_path))
    history = HealthHistory(journal)
    history.keep(lambda: [{"provider": "idle", "status": "unknown"}])
    history.close()
    rows = journal.transact(lambda connection: connection.execute(health_history.select()).all())
    journal.close()
    assert rows == []


def test_old_snapshots_are_deleted(url: str, tmp_path: Path) -> None:
    journal = Journal(database(url, tmp_path))
    old = {"provider": "p", "at": utc_now() - KEPT - timedelta(days=1), "owner": "o"}
    journal.transact(
        lambda connection: connection.execute(
            health_history.insert(), [{**old, "status": "healthy", "snapshot": {}}]
        )
    )
    history = HealthHistory(journal)
    history.keep(lambda: [{"provider": "p", "status": "degraded"}])
    history.close()
    rows = journal.transact(lambda connection: connection.execute(health_history.select()).all())
    journal.close()
    assert [row.status for row in rows] == ["degraded"]
