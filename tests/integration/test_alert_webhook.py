"""Alerts sent to a webhook: signed, tried again, bounded, and never in a call's way."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from orchestify.core.config import parse_config
from orchestify.errors import ConfigError
from orchestify.events.events import ALERTS, ProviderUnavailable
from orchestify.events.webhook import CAPACITY, Delivery, Webhook
from orchestify.testing import Reply, StubServer
from tests.ledgers import until
from tests.registries import registry_on
from tests.servers import serving

KEY = b"the key of the webhook's secret, 40 byte"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
DOWN = ProviderUnavailable("main", "ServerError")
QUICK = Delivery(attempts=4, first_delay_s=0.01, max_delay_s=0.02, timeout_s=20)


@dataclass
class Receiver:
    """A real receiver: answers with the scripted statuses, then 204; holds all while told to."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    free: asyncio.Event = field(default_factory=asyncio.Event)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        named = {name.lower(): value for name, value in request.headers.items()}
        self.got.append((named, await request.read()))
        await self.free.wait()
        status = self.statuses.pop(0) if self.statuses else 204
        return web.Response(status=status, headers=self.headers)

    @property
    def told(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.got]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    made.free.set()
    app = web.Application()
    app.router.add_post("/hooks/secret-path", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    made.url = f"http://127.0.0.1:{port}/hooks/secret-path"
    yield made
    made.free.set()
    await runner.cleanup()


@pytest.fixture
async def webhook(receiver: Receiver) -> AsyncIterator[Webhook]:
    made = Webhook(receiver.url, SECRET, ALERTS, delivery=QUICK)
    yield made
    await asyncio.to_thread(made.close)


def alerts(receiver: Receiver, **more: Any) -> dict[str, Any]:
    return {"webhook": {"url": receiver.url, "secret": SECRET}, **more}


def verified(headers: dict[str, str], body: bytes) -> bool:
    """Whether a receiver by the specification believes it."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    return headers["webhook-signature"] == f"v1,{expected}"


async def test_an_alert_of_a_call_is_told_and_signed(receiver: Receiver) -> None:
    async with StubServer() as server:
        server.script(Reply(slow_headers_s=0.05), model="a")
        async with registry_on(server, {"a": {}}, alerts=alerts(receiver, slow_s=0.01)) as registry:
            await registry.get("a").complete("hi")
    ((headers, body),) = receiver.got
    (told,) = receiver.told
    assert verified(headers, body)
    assert headers["content-type"] == "application/json"
    assert told["type"] == "call.slow"
    assert (told["data"]["provider"], told["data"]["model"]) == ("a", "a")
    assert "hi" not in told["data"].values()


async def test_a_day_that_costs_more_is_told_in_exact_money(receiver: Receiver) -> None:
    prices = {"price": {"input_usd_per_mtok": 0, "output_usd_per_mtok": 0, "request_usd": 0.3}}
    async with StubServer() as server:
        limits = alerts(receiver, daily_cost_usd=0.3)
        async with registry_on(server, {"a": prices}, alerts=limits) as registry:
            await registry.get("a").complete("hi")
    (told,) = receiver.told
    assert told["type"] == "budget.threshold"
    assert told["data"] == {
        "budget": "alerts.daily_cost_usd",
        "share": 1.0,
        "spent_usd": "0.3",
        "limit_usd": "0.3",
    }


async def test_it_is_tried_again_as_the_same_message(receiver: Receiver, webhook: Webhook) -> None:
    receiver.statuses = [500, 302, 429]
    webhook.send(DOWN)
    await until(lambda: len(receiver.got) == 4)
    await asyncio.to_thread(webhook.close)
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    assert [verified(*each) for each in receiver.got] == [True] * 4
    assert webhook.dropped == 0


async def test_what_is_never_taken_is_dropped_and_logged_without_the_address(
    receiver: Receiver, webhook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.statuses = [500] * 4
    webhook.send(DOWN)
    await until(lambda: webhook.dropped == 1)
    await until(lambda: bool(caplog.messages))
    assert len(receiver.got) == 4
    assert caplog.messages == [
        "the webhook at 127.0.0.1 did not take provider.unavailable: status 500"
    ]


async def test_a_receiver_that_is_gone_is_left_alone(receiver: Receiver, webhook: Webhook) -> None:
    receiver.statuses = [410]
    webhook.send(DOWN)
    await until(lambda: webhook.dropped == 1)
    webhook.send(DOWN)
    assert webhook.dropped == 2
    assert len(receiver.got) == 1


async def test_a_receiver_that_says_when_is_asked_then() -> None:
    assert Delivery().delay_s(1, "7", 0.5) == 7
    assert Delivery(max_delay_s=300).delay_s(1, "99999", 0.5) == 300
    assert Delivery().delay_s(1, "soon", 0.0) == 0.5
    assert Delivery().delay_s(4, "", 0.0) == 4
    assert Delivery().delay_s(30, "", 1.0) == 300


async def test_a_receiver_that_hangs_holds_no_call(receiver: Receiver) -> None:
    receiver.free.clear()
    async with StubServer() as server:
        server.script(*[Reply(status=500)] * 5, model="a")
        providers = {"a": {"circuit_breaker": {"failures": 100}}, "b": {}}
        agents = {"it": {"provider": "a", "fallback": ["b"]}}
        async with registry_on(server, providers, agents, alerts=alerts(receiver)) as registry:
            agent = registry.get_for_agent("it")
            answers = [await agent.complete("hi", max_attempts=1) for _ in range(8)]
            await until(lambda: len(receiver.got) == 1)
    assert [each.provider for each in answers] == ["b"] * 5 + ["a"] * 3
    assert [each["type"] for each in receiver.told] == ["provider.unavailable"]


async def test_no_more_wait_than_there_is_room_for(
    receiver: Receiver, webhook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.free.clear()
    for _ in range(CAPACITY + 5):
        webhook.send(DOWN)
    dropped = webhook.dropped
    receiver.free.set()
    await until(lambda: len(receiver.got) == CAPACITY)
    assert dropped == 5
    assert caplog.messages == ["1000 alerts wait for the webhook; more are dropped; told once"]


async def test_what_comes_after_the_end_is_not_sent(receiver: Receiver, webhook: Webhook) -> None:
    webhook.send(DOWN)
    await asyncio.to_thread(webhook.close)
    webhook.send(DOWN)
    assert len(receiver.got) == 1


async def test_nobody_there_is_told_by_the_errors_class(
    unused_tcp_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}/secret-path"
    webhook = Webhook(url, SECRET, ALERTS, delivery=QUICK)
    webhook.send(DOWN)
    await until(lambda: webhook.dropped == 1)
    await asyncio.to_thread(webhook.close)
    assert caplog.messages == [
        "the webhook at 127.0.0.1 did not take provider.unavailable: ClientConnectorError"
    ]


async def test_in_the_service_a_tenants_alert_names_the_tenant(
    receiver: Receiver, tmp_path: Path
) -> None:
    async with StubServer() as server:
        config = {
            "providers": {
                "house": {
                    "type": "openai",
                    "base_url": server.openai_url,
                    "api_key": "any",
                    "default_model": "m",
                }
            },
            "alerts": alerts(receiver, slow_s=0.01),
        }
        (tmp_path / "config.yaml").write_text(json.dumps(config))
        server.respond = lambda _: Reply(slow_headers_s=0.05)
        async with serving(tmp_path, config_path=Path("config.yaml")) as served:
            call = {"model": "house/m", "messages": [{"role": "user", "content": "hi"}]}
            await served.ask("POST", "/v1/chat/completions", served.token("acme"), json=call)
            await until(lambda: bool(receiver.got))
    assert receiver.told[0]["data"]["tenant"] == "acme"


@pytest.mark.parametrize(
    ("url", "secret", "at"),
    [
        ("http://hooks.example/my-secret", SECRET, "alerts.webhook.url: expected https"),
        ("my-secret", SECRET, "alerts.webhook.url: expected an http or https address"),
        ("https://u:my-secret@x.example/", SECRET, "alerts.webhook.url: credentials do not"),
        ("https://hooks.example/x", "my-secret", "alerts.webhook.secret: expected whsec_ and"),
    ],
)
def test_what_cannot_be_a_webhook_is_a_problem_at_its_key(url: str, secret: str, at: str) -> None:
    document = {"alerts": {"webhook": {"url": url, "secret": secret}}}
    with pytest.raises(ConfigError) as caught:
        parse_config(json.dumps(document))
    assert at in str(caught.value)
    assert "my-secret" not in str(caught.value)


def test_a_configuration_shows_neither_address_nor_secret() -> None:
    webhook = {"url": "https://hooks.example/secret-path", "secret": SECRET}
    config = parse_config(json.dumps({"providers": {}, "alerts": {"webhook": webhook}}))
    shown = f"{config!r} {config.alerts!r} {config.model_dump()}"
    assert "secret-path" not in shown
    assert SECRET not in shown


@pytest.fixture(autouse=True)
def _from_warnings_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "orchestify.events")
