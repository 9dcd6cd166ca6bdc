"""The alert of a month that will cost too much, where calls are made."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orchestify import ForecastHigh, ProviderRegistry
from orchestify.core.config import parse_config
from orchestify.ledger.base import Ledger
from orchestify.ledger.opening import open_ledger
from orchestify.ledger.record import utc_now
from orchestify.testing import StubServer
from tests.gateways import HELLO, gateway
from tests.ledgers import answered, opened, until
from tests.registries import registry_on


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as server:
        yield server


async def _book(ledger: Ledger) -> None:
    """10 USD on each of the last 40 days."""
    for back in range(1, 41):
        record = opened(started_at=utc_now() - timedelta(days=back))
        await ledger.open(record)
        ledger.complete(answered(record, cost_usd=Decimal(10)))


async def _booked(folder: Path) -> str:
    url = f"sqlite:///{folder}/usage.db"
    ledger = open_ledger(url, base_dir=folder)
    await _book(ledger)
    await ledger.aclose()
    return url


def _registry(server: StubServer, url: str, limit: int | None) -> ProviderRegistry:
    alerts = {} if limit is None else {"alerts": {"forecast_usd": limit}}
    return registry_on(server, {"main": {}}, ledger={"url": url}, **alerts)


async def test_the_first_call_of_a_dear_month_has_it_told_once(
    server: StubServer, tmp_path: Path
) -> None:
    url, told = await _booked(tmp_path), list[Any]()
    for _ in range(2):
        async with _registry(server, url, 50) as registry:
            registry.on(told.append, ForecastHigh)
            await registry.get("main").complete("hi")
            task = registry._runtime.forecast._task  # type: ignore[union-attr]
            assert task is not None
            await asyncio.wait({task}, timeout=30)
    [event] = told
    assert event.month == f"{utc_now():%Y-%m}"
    assert event.limit_usd == 50
    assert 200 < event.expected_usd < 400


async def test_a_limit_that_comes_with_a_reload_holds(server: StubServer, tmp_path: Path) -> None:
    url, told = await _booked(tmp_path), list[Any]()
    async with _registry(server, url, None) as registry:
        registry.on(told.append, ForecastHigh)
        await registry.get("main").complete("hi")
        provider = {"type": "openai", "default_model": "main", "api_key": "any"}
        provider["base_url"], alerts = server.openai_url, {"forecast_usd": 60}
        changed = {"providers": {"main": provider}, "ledger": {"url": url}, "alerts": alerts}
        await registry.reload(parse_config(json.dumps(changed)))
        await registry.get("main").complete("hi")
        await until(lambda: len(told) == 1)
    assert told[0].limit_usd == 60


async def test_a_tenants_month_is_its_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with gateway(tmp_path, alerts={"forecast_usd": 50}) as gate:
        await _book(gate.served.service.ledger.for_tenant("zeta"))
        await gate.client.chat.completions.create(model="gpt/gpt-4o", messages=HELLO)
        zeta = gate.served.token("zeta", "call")
        body = {"model": "gpt/gpt-4o", "messages": HELLO}
        answer = await gate.served.ask("POST", "/v1/chat/completions", zeta, json=body)
        assert answer.status_code == 200
        await until(lambda: "forecast_high" in caplog.text)
    lines = [line for line in caplog.text.splitlines() if "forecast_high" in line]
    assert len(lines) == 1
    assert "tenant=zeta" in lines[0]
