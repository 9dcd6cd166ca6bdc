"""Two `orchestify serve` processes on one PostgreSQL and one Redis are one service.

`pytest -s` shows the figures. ORCHESTIFY_LONG=1 sees three windows of the rate limit go by, and
waits for the lease of the process that was killed instead of ending it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path

import aiohttp
import psycopg
import pytest
import pytest_asyncio

from orchestify.testing import StubServer
from tests.integration.test_shared_limits_processes import most_within
from tests.ledgers import postgres_rows, until
from tests.redis_server import REDIS
from tests.servers import PROVIDERS
from tests.service_load import Answer, Caller, Load, caller, is_settled, recorded, within
from tests.services import (
    BUDGET_USD,
    LIMIT,
    USD_PER_TOKEN,
    WINDOW_S,
    WORST_USD,
    Machine,
    Service,
    redis_tenant,
    requests_of,
    two_machines,
)

IS_LONG = os.environ.get("ORCHESTIFY_LONG") == "1"
WINDOWS, HAMMERED_S = (3, 2.5 * WINDOW_S) if IS_LONG else (1, 0.0)
LEASE_S = 30.0
REPETITIONS = 20 if IS_LONG else 3

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    async with two_machines(tmp_path_factory.mktemp("service"), "--redis", REDIS) as service:
        yield service


@pytest.fixture
def tenant() -> Iterator[str]:
    with redis_tenant() as tenant:
        yield tenant


async def test_a_change_at_one_is_in_force_at_the_other_within_a_second(
    service: Service, tenant: str
) -> None:
    async with caller(service.database, tenant) as asking:
        tell("with redis", await changes(asking, service))


async def test_a_change_at_one_is_in_force_at_the_other_without_redis_too(tmp_path: Path) -> None:
    async with two_machines(tmp_path) as service, caller(service.database, "acme") as asking:
        tell("without redis", await changes(asking, service))


async def test_a_rate_limit_holds_over_both(service: Service, tenant: str) -> None:
    async with caller(service.database, tenant) as asking:
        load, end = Load(service.machines, asking), time.monotonic() + HAMMERED_S
        await load.run(
            "limited/paced",
            lambda answer: answer.status == 429 and time.monotonic() > end,
            workers=4,
        )
    arrived = [each.started_at for each in requests_of(service.stub, "paced")]
    first, second = load.statuses()
    most = most_within(arrived, WINDOW_S)
    print(  # noqa: T201
        f"\n{LIMIT} requests a minute: {len(arrived)} ({first[200]} by one, {second[200]} by the "
        f"other, {first[429] + second[429]} refused), at most {most} in any {WINDOW_S} s"
    )
    assert 0.95 * LIMIT <= most <= 1.05 * LIMIT
    assert len(arrived) >= 0.95 * LIMIT * WINDOWS
    assert set(first) == set(second) == {200, 429}


async def test_a_hard_budget_is_never_passed_and_spent_to_its_end(
    service: Service, tenant: str
) -> None:
    pair, database = service.machines, service.database
    async with caller(database, tenant) as asking, caller(database, f"{tenant}-2") as other:
        load = Load(pair, asking)
        await load.run("priced/soon", lambda answer: answer.status != 200, workers=8)
        await within(10, lambda: is_settled(database))
        elsewhere = await other.chat(pair[0], "priced/stub")
        usage = await asking.ask(pair[1], "GET", "/api/v1/usage")
    spent_usd, overrun_usd = spent(database, tenant)
    billed_usd = sum(
        USD_PER_TOKEN * each.billed.output_tokens
        for each in requests_of(service.stub, "soon")
        if each.billed is not None
    )
    first, second = load.statuses()
    print(  # noqa: T201
        f"\nlimit {BUDGET_USD} USD: spent {spent_usd:f}, unspent {BUDGET_USD - spent_usd:f} (a "
        f"call: at most {WORST_USD}), billed {billed_usd}; answered {first[200]} and {second[200]}"
    )
    assert spent_usd == billed_usd == Decimal(usage.body["total"]["cost_usd"])
    assert BUDGET_USD - WORST_USD < spent_usd <= BUDGET_USD
    assert overrun_usd == 0
    assert load.codes() == {"budget_exceeded"}
    assert elsewhere.status == 200


async def test_a_killed_process_loses_no_record_and_the_other_goes_on(
    tenant: str, tmp_path: Path
) -> None:
    async with (
        two_machines(tmp_path, "--redis", REDIS) as service,
        caller(service.database, tenant) as asking,
    ):
        pair = service.machines
        load, held, answered_before = Load(pair, asking), Load(pair, asking), 0

        def is_over(_: Answer) -> bool:
            return 0 < answered_before < len(load.of(pair[1])) - 8

        calling = asyncio.create_task(load.run("house/soon", is_over, workers=8))
        holding = asyncio.create_task(held.call(pair[0], "house/held"))
        await until(lambda: all(len(load.of(each)) >= 8 for each in pair))
        await until(lambda: len(requests_of(service.stub, "held")) == 1)
        pair[0].process.kill()
        answered_before = len(load.of(pair[1]))
        await calling
        with pytest.raises(aiohttp.ClientError):
            await holding
        took_s = await until_closed(service.database)
        outcomes = recorded(service.database)
    received = [
        each.body["user"] for model in ("soon", "held") for each in requests_of(service.stub, model)
    ]
    count = Counter(outcomes.values())
    print(  # noqa: T201
        f"\n{len(received)} requests sent, of which {len(load.of(pair[1]))} by the one that lived: "
        f"{dict(count)}, closed after {took_s:.1f} s"
    )
    assert len(set(received)) == len(received)
    assert set(received) <= outcomes.keys()
    assert count.keys() == {"ok", "interrupted"}
    assert {outcomes[each] for each in load.of(pair[1])} == {"ok"}
    assert [set(each) for each in load.statuses()] == [{200}, {200}]


async def changes(caller: Caller, service: Service) -> list[float]:
    """Add, change and remove a provider some times; how long each took to be in force."""
    here, there = service.machines
    took_s = []
    for _ in range(REPETITIONS):
        assert (await caller.chat(there, "house/stub")).status == 200
        took_s += await changed(caller, service.stub, here, there)
        here, there = there, here
    return took_s


async def changed(caller: Caller, stub: StubServer, here: Machine, there: Machine) -> list[float]:
    """Add, change and remove a provider here; after how many seconds each was in force there."""

    async def key() -> str:
        answer = await caller.chat(there, "mine/own")
        return requests_of(stub, "own")[-1].headers["authorization"] if answer.status == 200 else ""

    async def has_first_key() -> bool:
        return await key() == "Bearer first"

    async def has_second_key() -> bool:
        return await key() == "Bearer second"

    async def is_gone() -> bool:
        return (await caller.chat(there, "mine/own")).status == 404

    where = {"base_url": stub.openai_url, "default_model": "own"}
    row = {"provider_type": "openai", "name": "mine", "api_key": "first", "config": where}
    added = await caller.ask(here, "POST", PROVIDERS, json=row)
    took_s = [await within(5, has_first_key)]
    place = added.headers["location"]
    assert (await caller.ask(here, "PUT", place, json={"api_key": "second"})).status == 200
    took_s.append(await within(5, has_second_key))
    assert (await caller.ask(here, "DELETE", place)).status == 204
    return [*took_s, await within(5, is_gone)]


def tell(how: str, took_s: list[float]) -> None:
    """Print how long changes took."""
    middle, longest = sorted(took_s)[len(took_s) // 2], max(took_s)
    print(  # noqa: T201
        f"\n{how}: {len(took_s)} changes in force at the other after {middle:.3f} s (median), "
        f"at most {longest:.3f} s"
    )


async def until_closed(database: str) -> float:
    """Wait until no record is open; how long that took.

    Unless there is time for it, the leases of those who have open records are ended first.
    """
    if not IS_LONG:
        with psycopg.connect(database) as connection:
            connection.execute(
                "UPDATE ledger_leases SET expires_at = now() WHERE owner IN "
                "(SELECT owner FROM usage_records WHERE outcome = 'open')"
            )
    return await within(1.5 * LEASE_S, lambda: is_settled(database))


def spent(database: str, tenant: str) -> tuple[Decimal, Decimal]:
    """What a tenant's budget says is spent, and how much above the worst case."""
    columns = "spent_picousd, overrun_picousd"
    query = f"SELECT {columns} FROM budget_periods WHERE tenant = '{tenant}'"  # noqa: S608 - ours
    ((spent, overrun),) = postgres_rows(database, query)
    return Decimal(spent).scaleb(-12), Decimal(overrun).scaleb(-12)
