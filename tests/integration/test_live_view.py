"""The live view over HTTP: of the service, behind its tokens, and of a ledger alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import openai
import pytest
import pytest_asyncio
import uvicorn

from orchestify.ledger.opening import open_ledger
from orchestify.ledger.record import utc_now
from orchestify.ledger.sql.ledger import SqlLedger
from orchestify.server.live.feed import Feed
from orchestify.server.live.standalone import LedgerSource, live_app
from orchestify.server.live.state import LiveState
from orchestify.server.running import address, listen
from orchestify.testing import Reply
from tests.gateways import HELLO, Gateway, gateway
from tests.ledgers import answered, opened, until
from tests.servers import Served, serving

LIVE = "/api/v1/live"
EVENTS = {"Accept": "text/event-stream"}


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as each:
        yield each


async def _book(served: Served, tenant: str, **given: Any) -> None:
    ledger = served.service.ledger.for_tenant(tenant)
    await ledger.open(record := opened(started_at=utc_now(), **given))
    ledger.complete(answered(record))


async def _events(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in answer.aiter_lines():
        if line.startswith("data: "):
            yield json.loads(line[6:])


def _agents(state: dict[str, Any]) -> list[str]:
    return [row["name"] for row in state["periods"]["today"]["by"]["agent"]]


async def test_the_page_is_open_and_holds_nothing(served: Served) -> None:
    await _book(served, "acme", agent="secret-agent")
    served.token("acme")
    answer = await served.ask("GET", "/")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "script-src 'sha256-" in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "secret-agent" not in answer.text


async def test_a_tenant_sees_its_own_alone(served: Served) -> None:
    await _book(served, "acme", agent="planner")
    await _book(served, "zeta", agent="writer")
    acme, zeta = served.token("acme", "read"), served.token("zeta", "read")
    states = [(await served.ask("GET", LIVE, token)).json() for token in (acme, zeta)]
    assert [_agents(state) for state in states] == [["planner"], ["writer"]]


async def test_a_stream_tells_what_is_booked_meanwhile(served: Served) -> None:
    token = served.token("acme", "read")
    async with (
        served.client(token, **EVENTS) as client,
        client.stream("GET", LIVE) as answer,
        asyncio.timeout(30),
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        events = _events(answer)
        assert _agents(await anext(events)) == []
        await _book(served, "acme", agent="planner")
        while "planner" not in _agents(await anext(events)):
            pass


@asynccontextmanager
async def _alone(folder: Path, token: str) -> AsyncIterator[tuple[str, Feed, SqlLedger]]:
    """Serve a ledger's live view as the command does."""
    ledger = cast("SqlLedger", open_ledger("sqlite:///usage.db", base_dir=folder))
    feed = Feed(LiveState(LedgerSource(ledger, list)))
    config = uvicorn.Config(live_app(feed, token), lifespan="off", log_config=None)
    server, sockets = uvicorn.Server(config), listen("127.0.0.1", 0)
    task = asyncio.create_task(server.serve(sockets))
    try:
        yield address("127.0.0.1", sockets[0]), feed, ledger
    finally:
        feed.close()
        server.should_exit = True
        await task
        await feed.aclose()
        await ledger.aclose()


async def test_a_ledger_alone_is_shown_to_whoever_has_the_token(tmp_path: Path) -> None:
    async with _alone(tmp_path, "t0ken") as (url, _, ledger), httpx.AsyncClient() as client:
        for record in (opened(started_at=utc_now()), opened(started_at=utc_now(), agent="lost")):
            await ledger.open(record)
            outcome = "failed" if record.agent == "lost" else "ok"
            ledger.complete(answered(record, outcome=outcome, error="ServerError"))
        page = await client.get(f"{url}/")
        wrong = ("Bearer other", "Bearer t0ke", "Bearer t0ken2", "t0ken", "Basic t0ken")
        asked = [await client.get(f"{url}{LIVE}", headers={"Authorization": x}) for x in wrong]
        asked.append(await client.get(f"{url}{LIVE}"))
        answer = await client.get(f"{url}{LIVE}", headers={"Authorization": "Bearer t0ken"})
    state = answer.json()
    assert page.status_code == 200
    assert [each.status_code for each in asked] == [401] * 6
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert _agents(state) == ["lost", "reviewer"]
    assert (state["circuits"], state["limits"]) == (None, None)
    assert [(each["agent"], each["error"]) for each in state["errors"]] == [("lost", "ServerError")]


async def test_nothing_is_computed_once_the_last_reader_has_left(tmp_path: Path) -> None:
    headers = {"Authorization": "Bearer t0ken", **EVENTS}
    async with _alone(tmp_path, "t0ken") as (url, feed, _), httpx.AsyncClient() as client:
        async with (
            client.stream("GET", f"{url}{LIVE}", headers=headers) as answer,
            asyncio.timeout(30),
        ):
            await anext(_events(answer))
            assert feed.readers == 1
        await until(lambda: feed.readers == 0)
        computed = feed.computed
        await asyncio.sleep(2.5)
        assert feed.computed == computed


async def test_streams_end_with_the_service(tmp_path: Path) -> None:
    async with serving(tmp_path, grace_s=600) as served:
        token = served.token("acme", "read")
        client = served.client(token, **EVENTS)
        answer = await client.send(client.build_request("GET", LIVE), stream=True)
        events = _events(answer)
        await anext(events)
    async with asyncio.timeout(30):  # it did not wait for its 600 s
        assert [each async for each in events] == []
    await client.aclose()


async def test_circuits_limits_and_errors_are_those_of_this_process(tmp_path: Path) -> None:
    limited = {"type": "openai", "default_model": "m", "rate_limit": {"requests_per_minute": 60}}
    breaker = {"failures": 1, "window_s": 60, "open_s": 600, "max_open_s": 600}
    async with gateway(tmp_path, more={"limited": limited}, circuit_breaker=breaker) as gate:
        await _fail(gate, "limited/m")
        await gate.client.chat.completions.create(model="gpt/gpt-4o", messages=HELLO)
        token = gate.served.token("acme", "read")
        state = (await gate.served.ask("GET", LIVE, token)).json()
        other = (await gate.served.ask("GET", LIVE, gate.served.token("zeta", "read"))).json()
    assert {each["name"]: each["state"] for each in state["circuits"]} == {
        "gpt/gpt-4o": "closed",
        "limited/m": "open",
    }
    assert [(each["name"], each["state"]) for each in state["limits"]] == [("limited", "free")]
    assert "of 60 requests per minute" in state["limits"][0]["words"]
    assert [(each["target"], each["error"]) for each in state["errors"]] == [
        ("limited/m", "ServerError")
    ]
    assert other["errors"] == other["circuits"] == []
    assert "ServerError" in json.dumps(state["providers"])


async def _fail(gate: Gateway, model: str) -> None:
    gate.stub.script(Reply(status=500))
    with pytest.raises(openai.APIStatusError):
        await gate.client.chat.completions.create(model=model, messages=HELLO)


async def test_budgets_are_told_with_what_is_spent(tmp_path: Path) -> None:
    budget = {"name": "month", "limit_usd": 1000, "period": "month"}
    async with gateway(tmp_path, budgets=[budget]) as gate:
        await gate.client.chat.completions.create(model="gpt/gpt-4o", messages=HELLO)
        token = gate.served.token("acme", "read")
        state = (await gate.served.ask("GET", LIVE, token)).json()
    [told] = state["budgets"]
    assert told["name"] == "month"
    assert (
        "of $1,000.00 a month spent; too little is known for a forecast: 0 of 14" in told["words"]
    )
