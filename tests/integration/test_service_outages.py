"""Two `orchestify serve` processes, and the Redis and the PostgreSQL they share go away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.integration.test_ledger_spool import Line
from tests.ledgers import postgres_database, until
from tests.redis_server import RedisRelay, redis_relay
from tests.servers import PROVIDERS
from tests.service_load import Answer, Caller, Load, caller, is_settled, recorded, within
from tests.services import LIMIT, Service, machines, redis_tenant, requests_of, stub_server

SHARE = LIMIT // 2
BELIEVED_S = 1.0  # what the database said of a token
HEALTH = "/healthz"


pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class Relayed(Service):
    """A service whose lines to Redis and PostgreSQL can be cut, and a tenant of it."""

    redis: RedisRelay
    postgres: Line
    asking: Caller

    async def asked(self, path: str) -> list[Answer]:
        """What both machines answer at a path."""
        return [await self.asking.ask(each, "GET", path) for each in self.machines]

    async def is_ready(self) -> bool:
        """Whether both say that all is well."""
        return all(
            each.status == 200 and each.body["status"] == "ok"
            for each in await self.asked("/readyz")
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Relayed]:
    with redis_tenant() as tenant, postgres_database() as database:
        line, folder = Line(database), tmp_path_factory.mktemp("service")
        await line.mend()
        async with (
            stub_server() as stub,
            redis_relay() as relay,
            machines(folder, stub, line.url, "--redis", relay.url) as pair,
            caller(database, tenant) as asking,
        ):
            yield Relayed(pair, stub, database, relay, line, asking)
        await line.cut()


@pytest.fixture
def load(service: Relayed) -> Load:
    return Load(service.machines, service.asking)


async def test_without_redis_each_goes_on_at_its_share_and_says_so(
    service: Relayed, load: Load
) -> None:
    assert await service.is_ready()
    await service.redis.cut()
    await load.run("limited/stub", lambda answer: answer.status != 200, workers=4)
    answered = [each[200] for each in load.statuses()]
    elsewhere, ready = await load.each("house/stub"), await service.asked("/readyz")
    await service.redis.restore()
    back_s = await within(20, service.is_ready)
    after = await load.each("house/stub")
    print(f"\nredis away: {answered} of {LIMIT} a minute; all well {back_s:.1f} s after")  # noqa: T201
    assert answered == [SHARE, SHARE]
    assert load.codes() == {"rate_limit_exceeded"}
    assert [each.status for each in (*elsewhere, *after)] == [200] * 4
    assert [(each.status, each.body["status"]) for each in ready] == [(200, "degraded")] * 2
    assert all("redis is away" in each.body["reasons"][0] for each in ready)
    assert all(each.said("redis at 127.0.0.1") for each in service.machines)


async def test_without_postgres_calls_go_on_and_are_booked_when_it_returns(
    service: Relayed, load: Load
) -> None:
    late, spooled, capped = await with_postgres_cut(service, load)
    await asyncio.sleep(BELIEVED_S)
    later = await load.each("house/stub")
    listed, ready, alive = [await service.asked(each) for each in (PROVIDERS, "/readyz", HEALTH)]
    await service.postgres.mend()
    back_s = await within(40, service.is_ready)
    after = [*await load.each("house/stub"), *await load.each("priced/stub")]
    print(f"\npostgres away: all well {back_s:.1f} s after")  # noqa: T201
    assert [each.status for each in (*late, *spooled, *later, *after)] == [200] * 10
    assert [(each.status, each.code) for each in capped] == [(503, "ledger_unavailable")] * 2
    assert [each.headers["retry-after"] for each in capped] == ["5"] * 2
    assert all("database is away" in each.body["error"]["message"] for each in capped)
    assert [each.status for each in (*listed, *ready, *alive)] == [503] * 2 + [200] * 4
    assert all("the database is away" in each.body["reasons"][0] for each in ready)
    await within(10, lambda: is_settled(service.database))
    received = {each.body["user"]: "ok" for each in service.stub.requests}
    assert recorded(service.database) == received


async def with_postgres_cut(service: Relayed, load: Load) -> tuple[list[Answer], ...]:
    """Cut it; what calls were answered that were under way, that came then, that cost money."""
    await load.each("house/stub")
    await asyncio.sleep(BELIEVED_S)
    late = asyncio.create_task(load.each("house/late"))
    await until(lambda: len(requests_of(service.stub, "late")) == 2)
    await service.postgres.cut()
    spooled, capped = await asyncio.gather(load.each("house/stub"), load.each("priced/stub"))
    return await late, spooled, capped
