"""Calls at random: the ledger's records are the server's account, one to one.

1,000 calls a ledger; 10,000 with ORCHESTIFY_LONG=1.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from orchestify.lanes.litellm import load
from orchestify.ledger.memory import Total
from orchestify.testing import StubServer
from tests import random_calls
from tests.calls import RecordingLedger
from tests.lanes import LITELLMS_OWN_WARNINGS, opened
from tests.ledgers import postgres_rows, postgres_schema, sqlite_rows
from tests.random_calls import ROWS, Booked, Director, Sums, booked, booked_rows, summed

pytestmark = [
    *LITELLMS_OWN_WARNINGS,
    # LiteLLM makes coroutines that it does not begin where a call is cancelled before
    pytest.mark.filterwarnings("ignore:coroutine '.*' was never awaited:RuntimeWarning"),
]

CALLS = 10_000 if os.environ.get("ORCHESTIFY_LONG") == "1" else 1_000
SEED = 20_260_314


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str | None]:
    with ExitStack() as stack:
        if request.param == "postgres":
            yield stack.enter_context(postgres_schema())
        else:
            yield f"sqlite:///{tmp_path}/usage.db" if request.param == "sqlite" else None


async def test_the_ledger_is_the_servers_account(
    url: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plans = random_calls.plans(CALLS, SEED)
    director = Director(SEED, plans)
    kept = RecordingLedger()
    await load()
    async with StubServer(history=8 * CALLS) as server:
        server.respond = director
        async with opened(random_calls.configuration(server, url)) as registry:
            if url is None:
                registry._runtime.ledger = kept
            endings = await random_calls.play(registry, plans)
            await server.wait_idle()
            whole = await registry.usage("day")
            by_agent = await registry.usage("agent")
            by_group = await registry.usage("label:group")
            told = registry.get_usage_summary()["total"]
    records = _records(url, kept, tmp_path)

    with capsys.disabled():
        print(f"\n{server.account.received} requests, {len(records)} records")  # noqa: T201
        print(summed(records), server.account.outcomes)  # noqa: T201
    assert random_calls.disagreements(records, director, endings) == []
    assert random_calls.wrong_costs(records) == []
    assert sum(map(len, director.told.values())) == server.account.received
    assert whole.open == 0
    assert _sums(whole.total) == summed(records)
    assert _sums(by_agent.total) == summed(records)
    assert _sums(by_group.total) == summed(records)
    assert told["attempts"] == len(records)
    assert told["calls"] == summed(records).calls


def _records(url: str | None, kept: RecordingLedger, folder: Path) -> list[Booked]:
    if url is None:
        return [booked(record) for record in kept.completed]
    if url.startswith("sqlite"):
        return booked_rows(sqlite_rows(folder / "usage.db", ROWS))
    return booked_rows(postgres_rows(url, ROWS))


def _sums(total: Total) -> Sums:
    return Sums(
        total.attempts,
        total.calls,
        total.failed,
        total.cancelled,
        total.interrupted,
        total.estimated_calls,
        total.input_tokens,
        total.output_tokens,
        total.cache_read,
        total.cache_write,
        total.reasoning,
        total.cost_usd,
    )
