"""What is told of providers while real calls go to them: events, statistics, checks, `explain`."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest

from orchestify import (
    AgentNotFoundError,
    CircuitOpenError,
    InvalidParameterError,
    LLMProvider,
    LLMResponse,
    ProviderRegistry,
    ServerError,
)
from orchestify.events.events import (
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    ErrorRateHigh,
    Event,
    FallbackTaken,
    ProviderUnavailable,
    SlowCall,
    TargetSkipped,
)
from orchestify.health.health import ProviderHealth
from orchestify.testing import Reply, StubServer
from orchestify.values import CompletionRequest
from tests.ledgers import until
from tests.registries import registry_on

BREAKER = {"failures": 2, "window_s": 60, "open_s": 0.1, "max_open_s": 60}
CHAIN = {"it": {"provider": "a", "fallback": ["b"]}}


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as server:
        yield server


async def fails(provider: LLMProvider) -> str:
    """Call once; return the error's class."""
    try:
        await provider.complete("hi", max_attempts=1)
    except (ServerError, CircuitOpenError) as error:
        return type(error).__name__
    return ""


class TestEvents:
    async def test_a_circuit_tells_each_of_its_changes(self, server: StubServer) -> None:
        told: list[Event] = []
        server.script(Reply(status=503), Reply(status=503), model="a")
        async with registry_on(server, {"a": {"circuit_breaker": BREAKER}}) as registry:
            registry.on(told.append, CircuitOpened, CircuitHalfOpened, CircuitClosed)
            provider = registry.get("a")
            ends = [await fails(provider) for _ in range(3)]
            await asyncio.sleep(0.12)
            await provider.complete("hi")
        assert ends == ["ServerError", "ServerError", "CircuitOpenError"]
        assert server.account.received == 3
        opened, *others = told
        assert isinstance(opened, CircuitOpened)
        assert (opened.provider, opened.model) == ("a", "a")
        assert opened.open_s == pytest.approx(0.1, abs=0.01)
        assert others == [CircuitHalfOpened("a", "a"), CircuitClosed("a", "a")]

    async def test_fallbacks_and_skips_are_told_apart(self, server: StubServer) -> None:
        told: list[Event] = []
        server.script(*[Reply(status=503)] * 2, model="a")
        async with registry_on(
            server, {"a": {"circuit_breaker": {**BREAKER, "open_s": 60}}, "b": {}}, CHAIN
        ) as registry:
            registry.on(told.append, FallbackTaken, TargetSkipped)
            agent = registry.get_for_agent("it")
            for _ in range(3):
                await agent.complete("hi", max_attempts=1)
        assert told == [
            FallbackTaken("it", "a", "a", "b", "b", "ServerError"),
            FallbackTaken("it", "a", "a", "b", "b", "ServerError"),
            TargetSkipped("it", "a", "a", "CircuitOpenError"),
        ]

    async def test_alerts_are_told(self, server: StubServer) -> None:
        told: list[Event] = []
        server.script(*[Reply(status=500)] * 10, Reply(slow_headers_s=0.15), model="a")
        providers = {"a": {"circuit_breaker": {"failures": 100}}}
        alerts = {"error_rate": 0.5, "slow_s": 0.1}
        async with registry_on(server, providers, alerts=alerts) as registry:
            registry.on(told.append)
            for _ in range(10):
                await fails(registry.get("a"))
            await registry.get("a").complete("hi")
        unavailable, high, slow = told
        assert unavailable == ProviderUnavailable("a", "ServerError")
        assert high == ErrorRateHigh("a", 1.0)
        assert isinstance(slow, SlowCall)
        assert 0.1 <= slow.latency_s < 5

    async def test_handlers_that_fail_or_are_slow_harm_no_call(
        self, server: StubServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        told: list[Event] = []
        seen_by_coroutine: list[Event] = []
        all_answered, was_answered = threading.Event(), []

        def fail(event: Event) -> None:
            raise RuntimeError("the handler's secret")

        def dawdle(event: Event) -> None:
            was_answered.append(all_answered.wait(20))

        async def note(event: Event) -> None:
            seen_by_coroutine.append(event)
            raise RuntimeError("the handler's secret")

        server.respond = lambda request: Reply(status=404 if request.model == "a" else 200)
        async with registry_on(server, {"a": {}, "b": {}}, CHAIN) as registry:
            for handler in (fail, dawdle, note, told.append):
                registry.on(handler, FallbackTaken)
            agent = registry.get_for_agent("it")
            answers = [await agent.complete("hi") for _ in range(5)]
            all_answered.set()
        assert [each.provider for each in answers] == ["b"] * 5
        assert was_answered == [True] * 5
        assert len(told) == 5
        assert seen_by_coroutine
        assert "fail failed: RuntimeError; told once" in caplog.text
        assert "secret" not in caplog.text

    async def test_without_handlers_each_is_one_line_in_the_log(
        self, server: StubServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "orchestify.events")
        server.script(Reply(status=401), model="a")
        async with registry_on(server, {"a": {}, "b": {}}, CHAIN) as registry:
            await registry.get_for_agent("it").complete("hi")
        assert caplog.messages == [
            "fallback_taken agent=it provider=a model=a to_provider=b to_model=b "
            "error=AuthenticationError"
        ]


class Silent(LLMProvider):
    """A host's provider that has no free request."""

    provider_type = "mine"

    async def send(self, request: CompletionRequest) -> LLMResponse:
        return LLMResponse("yes", request.model, 1, 1, "stop")


class Hanging(Silent):
    """One whose list of models never comes."""

    asked: ClassVar[set[int]] = set()
    asked_at_once: ClassVar[int] = 0

    async def list_models(self) -> list[str] | None:
        self.asked.add(id(self))
        Hanging.asked_at_once = max(self.asked_at_once, len(self.asked))
        try:
            await asyncio.Event().wait()
        finally:
            self.asked.discard(id(self))
        return None


def checked(server: StubServer) -> ProviderRegistry:
    """Three providers that are well, one with a wrong key, one not to be asked, two that hang."""
    providers: dict[str, dict[str, Any]] = {
        "well": {},
        "claude": {"type": "anthropic"},
        "locked": {"api_key": "wrong-key-0123456789"},
        "mock": {"type": "mock"},
    }
    registry = registry_on(server, providers)
    registry.register("silent", Silent())
    registry.register("hanging", Hanging())
    registry.register("hanging too", Hanging())
    return registry


def briefly(found: dict[str, ProviderHealth]) -> dict[str, tuple[str, str]]:
    """The status of each provider, and why, as far as the class of an error."""
    return {name: (each.status, each.message.split(": ")[0]) for name, each in found.items()}


EXPECTED = {
    "well": ("healthy", "ok"),
    "claude": ("healthy", "ok"),
    "locked": ("unavailable", "AuthenticationError"),
    "mock": ("healthy", "ok"),
    "silent": ("unknown", "no free request to check with"),
    "hanging": ("unavailable", "no answer in 1 s"),
    "hanging too": ("unavailable", "no answer in 1 s"),
}


class TestChecks:
    async def test_all_are_asked_at_once_each_for_a_while(self, server: StubServer) -> None:
        async with checked(server) as registry:
            found = await registry.check_health(timeout_s=1)
            assert briefly(found) == briefly(registry.get_health()) == EXPECTED
            assert registry.get_usage_summary()["total"]["attempts"] == 0
        assert Hanging.asked_at_once == 2
        assert [each.path for each in server.requests] == ["/v1/models"] * 3

    async def test_a_monitor_checks_again_and_again_and_ends(self, server: StubServer) -> None:
        told: list[Event] = []
        async with checked(server) as registry:
            registry.on(told.append, ProviderUnavailable)
            async with registry.monitor(interval_s=0.01, timeout_s=1):
                await until(lambda: server.account.received >= 6)
                found = registry.get_health()
            before = server.account.received
            await asyncio.sleep(0.05)
            assert server.account.received == before
            assert briefly(found) == EXPECTED
        assert sorted(each.provider for each in told) == ["hanging", "hanging too", "locked"]

    @pytest.mark.parametrize(("name", "expected"), EXPECTED.items())
    async def test_one_provider_is_asked_by_its_own_method(
        self, server: StubServer, name: str, expected: tuple[str, str]
    ) -> None:
        async with checked(server) as registry:
            found = await registry.get(name).health_check(timeout_s=1)
            assert briefly({name: found}) == {name: expected}
            assert briefly(registry.get_health())[name] == expected

    async def test_an_agent_asks_its_first_provider(self, server: StubServer) -> None:
        async with registry_on(server, {"a": {}, "b": {}}, CHAIN) as registry:
            found = await registry.get_for_agent("it").health_check()
        assert (found.provider, found.status) == ("a", "healthy")

    async def test_a_provider_without_a_registry_is_asked_too(self) -> None:
        found = await Hanging().health_check(timeout_s=0.01)
        assert (found.status, found.message) == ("unavailable", "no answer in 0.01 s")

    async def test_real_calls_speak_for_themselves(self, server: StubServer) -> None:
        server.script(Reply(status=503), model="a")
        async with registry_on(server, {"a": {}}) as registry:
            provider = registry.get("a")
            await fails(provider)
            for _ in range(3):
                stream = provider.stream("hi")
                assert [piece async for piece in stream]
            health = registry.get_health()["a"]
        assert (health.calls, health.success_rate, health.status) == (4, 0.75, "degraded")
        assert health.errors == {"ServerError": 1}
        assert health.first_chunk_p50_s is not None
        assert health.latency_p95_s is not None
        assert 0 < health.first_chunk_p50_s <= health.latency_p95_s


class TestReports:
    async def test_all_together_are_as_well_as_the_parts(self, server: StubServer) -> None:
        async with checked(server) as registry:
            before = registry.get_health().overall_status
            found = await registry.check_health(timeout_s=1)
        assert (before, found.overall_status) == ("unknown", "degraded")

    async def test_health_is_exported_as_json(self, server: StubServer) -> None:
        providers = {"a": {"rate_limit": {"requests_per_minute": 60}}, "b": {}}
        async with registry_on(server, providers) as registry:
            await registry.get("a").complete("hi")
            await registry.check_health()
            exported = json.loads(registry.export_health())
        assert exported["overall_status"] == "healthy"
        assert list(exported["providers"]) == ["a", "b"]
        assert exported["providers"]["a"]["calls"] == 1
        assert exported["rate_limits"]["a"]["usage"] == {
            "requests_per_minute": {"used": 1, "limit": 60}
        }
        assert {each["provider"] for each in exported["history"]} == {"a", "b"}

    async def test_how_far_limits_are_used_is_told_of_providers_and_of_agents(
        self, server: StubServer
    ) -> None:
        limit = {"requests_per_minute": 2}
        agents = {"it": {"provider": "b", "rate_limit": {"concurrency": 7}}}
        async with registry_on(server, {"a": {"rate_limit": limit}, "b": {}}, agents) as registry:
            fresh = registry.rate_limits()
            for _ in range(2):
                await registry.get("a").complete("hi")
            await registry.get_for_agent("it").complete("hi")
            used, agents_used = registry.rate_limits(), registry.rate_limits("agent")
        assert (fresh["a"].usage["requests_per_minute"], fresh["a"].wait_s) == ((0, 2), 0)
        assert used["a"].usage["requests_per_minute"].used == 2
        assert 0 < used["a"].wait_s <= 30
        assert list(used) == ["a"]
        assert agents_used["it"].usage == {"concurrency": (0, 7)}

    async def test_the_summary_has_the_mean_time_of_an_attempt(self, server: StubServer) -> None:
        async with registry_on(server, {"a": {}, "b": {}}) as registry:
            await registry.get("a").complete("hi")
            summary = registry.get_usage_summary()
        latency_s = summary["by_model"]["a"]["latency_mean_s"]
        assert 0 < latency_s < 60
        assert summary["total"]["latency_mean_s"] == latency_s
        assert summary["by_provider"]["b"]["latency_mean_s"] is None

    async def test_the_configuration_says_how_often_each_provider_is_checked(
        self, server: StubServer
    ) -> None:
        providers = {"a": {"health_check_interval_s": 0.01}, "b": {}}
        async with registry_on(server, providers, health_check_interval_s=600) as registry:
            async with registry.monitor() as monitor:
                await until(lambda: server.account.received >= 6)
            checked_at = {name: each.checked_at for name, each in registry.get_health().items()}
            given = registry.monitor(5, intervals_s={"b": 7})
        assert None not in checked_at.values()
        assert checked_at["a"] > checked_at["b"]  # type: ignore[operator]
        assert (monitor.interval_s, monitor.intervals_s) == (600, {"a": 0.01})
        assert (given.interval_s, given.intervals_s) == (5, {"a": 0.01, "b": 7})

    async def test_an_interval_of_no_provider_is_refused(self, server: StubServer) -> None:
        async with registry_on(server, {"a": {}}) as registry:
            with pytest.raises(InvalidParameterError, match="no provider 'aa' is registered"):
                registry.monitor(intervals_s={"aa": 1})
            with pytest.raises(InvalidParameterError, match="interval_s: expected seconds above"):
                registry.monitor(0)


class TestExplain:
    async def test_a_running_registry_tells_what_it_would_skip(self, server: StubServer) -> None:
        breaker = {**BREAKER, "failures": 1, "open_s": 600, "max_open_s": 600}
        providers = {"a": {"circuit_breaker": breaker}, "b": {}}
        async with registry_on(server, providers, CHAIN) as registry:
            fresh = registry.explain("it")
            server.script(Reply(status=503), model="a")
            await fails(registry.get("a"))
            assert [each.skipped for each in fresh.targets] == [None, None]
            first, second = registry.explain("it").targets
        assert first.skipped is not None
        assert re.fullmatch(r"its circuit is open for [1-9]\d* s more", first.skipped)
        assert second.skipped is None

    async def test_an_agent_that_is_not_there_is_said(self, server: StubServer) -> None:
        async with registry_on(server, {"a": {}}) as registry:
            with pytest.raises(AgentNotFoundError):
                registry.explain("nobody")
