"""Providers that strangers configured reach no address that they may not, by whatever name."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from orchestify import EndpointRefusedError, ProviderRegistry
from orchestify.core.addresses import AddressRule
from orchestify.core.config import parse_config
from orchestify.errors import AllTargetsFailedError, APIConnectionError, ConfigError
from orchestify.lanes.http.endpoint import _sockets
from orchestify.ledger.record import Record
from orchestify.providers.building import provider_of
from orchestify.providers.shared import SharedParts
from orchestify.testing import StubServer
from tests.lanes import ANTHROPIC, KEY, LANE_NAME, OPENAI, Lane

INSIDE = ["localhost", "LOCALHOST", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0x7f000001"]
DIRECT = pytest.mark.parametrize("lane", [ANTHROPIC, OPENAI], ids=LANE_NAME)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as running:
        yield running


def assembled(
    providers: dict[str, dict[str, Any]],
    agents: dict[str, dict[str, Any]] | None = None,
    *,
    rule: AddressRule | None = None,
    guarded: tuple[str, ...] = ("it",),
    observers: tuple[Any, ...] = (),
) -> ProviderRegistry:
    """Return a registry in which strangers configured `it`; calls are tried three times."""
    defaults = {"type": "openai", "api_key": KEY, "default_model": "stub"}
    written = {
        "providers": {name: defaults | provider for name, provider in providers.items()},
        "agents": agents or {},
        "retry": {"max_attempts": 3, "first_delay_s": 0.001, "max_delay_s": 0.002},
    }
    shared = SharedParts(addresses=rule, guarded=frozenset(guarded), observers=observers)
    return ProviderRegistry.assemble(parse_config(json.dumps(written)), shared)


def to(server: StubServer, lane: Lane, host: str = "127.0.0.1") -> dict[str, Any]:
    """Return a provider that finds the server by a host."""
    base_url = lane.base_url(server).replace("127.0.0.1", host)
    return {**lane.settings, "base_url": base_url, "allow_http": True}


@DIRECT
@pytest.mark.parametrize("host", INSIDE)
async def test_no_way_of_writing_it_leads_to_loopback(
    server: StubServer, lane: Lane, host: str
) -> None:
    async with assembled({"it": to(server, lane, host)}) as registry:
        with pytest.raises(EndpointRefusedError, match="--allow-endpoint"):
            await registry.get("it").complete("hi")
    assert server.connections.opened == 0


async def test_the_refusal_tells_the_host_and_not_its_address(server: StubServer) -> None:
    async with assembled({"it": to(server, OPENAI, "localhost")}) as registry:
        with pytest.raises(EndpointRefusedError) as caught:
            await registry.get("it").complete("hi")
    assert str(caught.value) == (
        "it/gpt-4o: the base_url leads to no address that is allowed; check the name, or have the "
        f"operator allow it with --allow-endpoint localhost:{server.port}"
    )


@pytest.mark.parametrize("host", ["localhost", "nothing.invalid"])
async def test_a_name_inside_and_a_name_that_is_none_are_answered_alike(host: str) -> None:
    base_url = f"https://{host}:9/v1"
    async with assembled({"it": {"base_url": base_url}}) as registry:
        with pytest.raises(EndpointRefusedError) as called:
            await registry.get("it").complete("hi")
        with pytest.raises(EndpointRefusedError) as listed:
            await registry.get("it").list_models()
    said = (
        "the base_url leads to no address that is allowed; check the name, or have the operator "
        f"allow it with --allow-endpoint {host}:9"
    )
    assert str(called.value) == f"it/stub: {said}"
    assert str(listed.value).endswith(said)


async def test_on_loopback_a_name_that_is_none_is_told() -> None:
    base_url = "https://nothing.invalid:9/v1"
    rule = AddressRule(loopback=True)
    async with assembled({"it": {"base_url": base_url}}, rule=rule) as registry:
        with pytest.raises(APIConnectionError, match="could not be resolved"):
            await registry.get("it").complete("hi", max_attempts=1)


async def test_a_host_that_only_a_resolver_could_read_is_refused(server: StubServer) -> None:
    async with assembled({"it": to(server, OPENAI, "127.1")}) as registry:
        with pytest.raises(APIConnectionError, match="the host in base_url cannot be used"):
            await registry.get("it").complete("hi", max_attempts=3)
        assert registry.get_usage_summary()["total"]["attempts"] == 1
    assert server.connections.opened == 0


@DIRECT
async def test_neither_a_stream_nor_a_free_request_leads_there(
    server: StubServer, lane: Lane
) -> None:
    async with assembled({"it": to(server, lane, "localhost")}) as registry:
        provider = registry.get("it")
        with pytest.raises(EndpointRefusedError):
            await provider.list_models()
        with pytest.raises(EndpointRefusedError):
            async for _ in provider.stream("hi"):
                pass
        health = await registry.check_health()
    assert health["it"].status != "healthy"
    assert server.connections.opened == 0


async def test_a_refusal_is_tried_once_and_blames_no_one(server: StubServer) -> None:
    seen: list[Record] = []
    providers = {"it": to(server, OPENAI, "localhost")}
    async with assembled(providers, observers=(seen.append,)) as registry:
        for _ in range(10):
            with pytest.raises(EndpointRefusedError):
                await registry.get("it").complete("hi")
        breakers = registry._runtime.breakers()
    assert [record.error for record in seen] == ["EndpointRefusedError"] * 10
    assert {record.cost_usd for record in seen} == {None}
    assert [breaker.state for breaker in breakers.values()] == ["closed"]


async def test_a_refusal_goes_on_to_the_next_target(server: StubServer) -> None:
    providers = {"it": to(server, OPENAI, "localhost"), "own": to(server, OPENAI)}
    agents = {"planner": {"provider": "it", "fallback": ["own"]}}
    async with assembled(providers, agents) as registry:
        answer = await registry.get_for_agent("planner").complete("hi")
    assert answer.provider == "own"


async def test_an_agents_own_key_does_not_lift_the_rule(server: StubServer) -> None:
    agents = {"planner": {"provider": "it", "api_key": "key-of-the-agent-0123"}}
    async with assembled({"it": to(server, OPENAI, "localhost")}, agents) as registry:
        with pytest.raises(EndpointRefusedError):
            await registry.get_for_agent("planner").complete("hi")
    assert server.connections.opened == 0


@DIRECT
@pytest.mark.parametrize("entry", ["localhost", "localhost:{port}", "127.0.0.0/8", "127.0.0.1"])
async def test_what_the_operator_allows_is_reached(
    server: StubServer, lane: Lane, entry: str
) -> None:
    rule = AddressRule(allowed=(entry.format(port=server.port),))
    async with assembled({"it": to(server, lane, "localhost")}, rule=rule) as registry:
        assert (await registry.get("it").complete("hi")).content
        assert await registry.get("it").list_models()


async def test_another_port_of_an_allowed_host_is_not(server: StubServer) -> None:
    rule = AddressRule(allowed=("localhost:1", "127.0.0.1:2"))
    async with assembled({"it": to(server, OPENAI, "localhost")}, rule=rule) as registry:
        with pytest.raises(EndpointRefusedError):
            await registry.get("it").complete("hi")
    assert server.connections.opened == 0


async def test_a_service_on_loopback_only_reaches_loopback(server: StubServer) -> None:
    rule = AddressRule(loopback=True)
    async with assembled({"it": to(server, OPENAI, "localhost")}, rule=rule) as registry:
        assert (await registry.get("it").complete("hi")).content


async def test_what_the_operator_configured_is_free(server: StubServer) -> None:
    async with assembled({"own": to(server, OPENAI, "localhost")}) as registry:
        assert (await registry.get("own").complete("hi")).content


class Rebinding(AbstractResolver):
    """Answers every question otherwise: the addresses in turn."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0
            )
            for address in self.answers.pop(0)
        ]

    async def close(self) -> None:
        """Nothing is open."""


def rebound(server: StubServer, *answers: list[str]) -> aiohttp.ClientSession:
    """Return a session that may reach 127.0.0.1 only, and asks for a name each time anew."""
    url = URL(f"http://provider.example:{server.port}")
    connector = aiohttp.TCPConnector(
        resolver=Rebinding(*answers),
        use_dns_cache=False,
        force_close=True,
        socket_factory=_sockets(url, AddressRule(allowed=("127.0.0.1",))),
    )
    return aiohttp.ClientSession(url, connector=connector)


async def test_a_name_that_leads_elsewhere_the_next_time_is_refused_then(
    server: StubServer,
) -> None:
    async with rebound(server, ["127.0.0.1"], ["127.0.0.2"]) as session:
        async with session.get("/v1/models"):
            pass
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await session.get("/v1/models")
    assert isinstance(caught.value.os_error, EndpointRefusedError)
    assert server.connections.opened == 1


@pytest.mark.parametrize("answers", [["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"]])
async def test_of_several_addresses_only_the_allowed_are_tried(
    server: StubServer, answers: list[str]
) -> None:
    async with rebound(server, answers) as session, session.get("/v1/models"):
        pass
    assert server.connections.opened == 1


async def test_no_proxy_of_the_environment_stands_in(
    server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with StubServer() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        rule = AddressRule(allowed=("127.0.0.0/8",))
        async with assembled({"it": to(server, OPENAI, "localhost")}, rule=rule) as registry:
            assert (await registry.get("it").complete("hi")).content
        assert proxy.connections.opened == 0


@pytest.mark.parametrize(
    "more",
    [{}, {"base_url": "https://api.groq.com/openai/v1"}, {"base_url": "https://api.openai.com"}],
)
async def test_a_vendors_fixed_address_is_reached_through_the_proxy(
    monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with assembled({"it": {"connect_timeout_s": 1, **more}}) as registry:
        with pytest.raises(APIConnectionError, match="no connection to the proxy"):
            await registry.get("it").complete("hi", max_attempts=1)


async def test_several_refused_targets_are_told_of_all(server: StubServer) -> None:
    providers = {name: to(server, OPENAI, "localhost") for name in ("it", "too")}
    agents = {"planner": {"provider": "it", "fallback": ["too"]}}
    async with assembled(providers, agents, guarded=("it", "too")) as registry:
        with pytest.raises(AllTargetsFailedError, match="EndpointRefusedError"):
            await registry.get_for_agent("planner").complete("hi")


def test_a_provider_that_is_built_apart_obeys_too(tmp_path: Path) -> None:
    written = {"type": "litellm", "default_model": "bedrock/claude", "api_key": KEY}
    config = parse_config(json.dumps({"providers": {"it": written}})).providers.providers["it"]
    with pytest.raises(ConfigError, match="begins with one of azure/, gemini/, ollama_chat/"):
        provider_of("it", config, SharedParts(guarded=frozenset({"it"})))
