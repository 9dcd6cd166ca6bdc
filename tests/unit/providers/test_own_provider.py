"""A host's own provider as hosts write it: constructor, model, arguments, questions, usage."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from orchestify.core.config import ProviderConfig, parse_config
from orchestify.errors import APIError, InvalidParameterError
from orchestify.providers import ProviderRegistry
from orchestify.providers.base import LLMProvider
from orchestify.values import LLMMessage, LLMResponse, TokenCount, TokenUsage

CONFIG = {"api_key": "sk-own", "default_model": "own-large"}
TYPED = ProviderConfig(
    type="openai",
    api_key="sk-own",
    default_model="own-large",
    price={"input_usd_per_mtok": 1000, "output_usd_per_mtok": 1000},
)


class Host(LLMProvider):
    """What hosts wrote against the interface: it reads its configuration, and books by itself."""

    provider_type = "host"

    def __init__(self, config: Any = None) -> None:
        super().__init__("mine", config)
        self.models: list[str | None] = []
        self.error: Exception | None = None
        self.says = LLMResponse("hello", "own-1", 0, 0, "stop")
        self.is_well: Any = True

    async def complete(  # type: ignore[override]
        self,
        messages: list[LLMMessage],
        model: str | None = None,
        temperature: float = 0.7,
        max_tokens: int = 8192,
        tools: list[dict[str, Any]] | None = None,
        thinking: bool = False,
    ) -> LLMResponse:
        self.models.append(model)
        self._track_usage(100, 20, 0.25)
        if self.error is not None:
            raise self.error
        return self.says

    async def stream(  # type: ignore[override]
        self,
        messages: list[LLMMessage],
        model: str | None = None,
        temperature: float = 0.7,
        max_tokens: int = 8192,
    ) -> AsyncIterator[str]:
        yield "one "
        await asyncio.sleep(0)
        self._track_usage(10, 2, 0.5)
        yield "two"

    async def health_check(self) -> Any:  # type: ignore[override]
        return self.is_well

    async def list_models(self) -> list[str] | None:
        return ["own-large", "own-small"]

    def count_tokens(self, text: Any) -> int:  # type: ignore[override]
        return len(text) * 1000

    def supports_tools(self) -> bool:
        return False


class SendsOnly(LLMProvider):
    """Defines `send` alone."""

    provider_type = "host"

    async def send(self, request: Any) -> LLMResponse:
        return LLMResponse(f"model {request.model!r}", "own-1", 1, 1, "stop")


def registered(own: LLMProvider) -> LLMProvider:
    registry = ProviderRegistry()
    registry.register("mine", own)
    return registry.get("mine")


class TestConstructor:
    @pytest.mark.parametrize("config", [CONFIG, TYPED, None])
    def test_it_keeps_name_and_configuration(self, config: Any) -> None:
        own = Host(config)
        assert (own.provider_id, own.config) == ("mine", config)

    async def test_it_need_not_be_called(self) -> None:
        class Bare(Host):
            def __init__(self) -> None:
                self.models, self.error = [], None
                self.says = LLMResponse("hello", "own-1", 1, 1, "stop")

        own = Bare()
        assert (own.provider_id, own.config) == ("", None)
        assert (await registered(own).complete("hi")).content == "hello"
        assert own.provider_id == "mine"


class TestModel:
    async def test_none_is_given_where_nobody_names_one(self) -> None:
        own = Host(CONFIG)
        response = await registered(own).complete("hi")
        assert own.models == [None]
        assert response.model == "own-1"

    async def test_send_has_an_empty_one_where_nobody_names_one(self) -> None:
        assert (await registered(SendsOnly()).complete("hi")).content == "model ''"

    async def test_the_callers_is_given(self) -> None:
        own = Host()
        await registered(own).complete("hi", model="own-small")
        assert own.models == ["own-small"]

    async def test_that_of_its_own_configuration_is_given_and_priced(self) -> None:
        own = Host(TYPED)
        provider = registered(own)
        await provider.complete("hi")
        assert own.models == ["own-large"]
        assert provider.estimate_cost("hi", max_tokens=10).high_usd == Decimal("0.020")

    async def test_that_of_the_yaml_is_given_before_its_own(self) -> None:
        own = Host(TYPED)
        config = parse_config("providers: {mine: {type: external, default_model: from-yaml}}")
        registry = ProviderRegistry.from_config(config)
        registry.register("mine", own)
        await registry.get("mine").complete("hi")
        assert own.models == ["from-yaml"]

    async def test_of_two_under_one_name_the_last_ones_configuration_counts(self) -> None:
        registry, later = ProviderRegistry(), Host(CONFIG)
        registry.register("mine", Host(TYPED))
        registry.register("mine", later)
        await registry.get("mine").complete("hi")
        assert later.models == [None]


class TestArguments:
    async def test_one_it_lacks_is_an_error_that_names_it(self) -> None:
        own = Host()
        with pytest.raises(InvalidParameterError, match=r"Host\.complete takes no top_p, seed"):
            await registered(own).complete("hi", top_p=0.5, seed=1)
        assert own.models == []

    async def test_its_stream_lacks_tools(self) -> None:
        with pytest.raises(InvalidParameterError, match=r"Host\.stream takes no tools"):
            await anext(registered(Host()).stream("hi", tools=[{"name": "look"}]))

    async def test_options_are_left_out_with_one_warning(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        provider = registered(Host())
        for _ in range(3):
            response = await provider.complete("hi", options={"a": "secret"})
        assert response.warnings == ("options_dropped",)
        (record,) = caplog.records
        assert record.getMessage() == "Host.complete takes no options; it is left out"

    async def test_thinking_turned_off_asks_for_nothing(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with registered(Host()).stream("hi", thinking=False) as stream:
            assert [text async for text in stream] == ["one ", "two"]
        assert stream.response.warnings == ()
        assert caplog.records == []

    async def test_thinking_of_the_agents_configuration_is_left_out(self) -> None:
        config = parse_config(
            "{providers: {mine: {type: external}}, agents: {a: {provider: mine, thinking: true}}}"
        )
        registry = ProviderRegistry.from_config(config)
        registry.register("mine", Host())
        async with registry.get_for_agent("a").stream("hi") as stream:
            assert [text async for text in stream] == ["one ", "two"]
        assert stream.response.warnings == ("thinking_dropped",)


class TestQuestions:
    @pytest.mark.parametrize(
        ("says", "status"),
        [
            (True, "healthy"),
            (False, "unavailable"),
            (None, "unknown"),
            (SimpleNamespace(is_healthy=True), "healthy"),
            (SimpleNamespace(is_healthy=False), "unavailable"),
            ("yes", "unavailable"),
        ],
    )
    async def test_its_health_check_is_asked(self, says: Any, status: str) -> None:
        own = Host()
        own.is_well = says
        assert (await registered(own).health_check()).status == status

    async def test_its_health_check_is_asked_with_all_others(self) -> None:
        registry, own = ProviderRegistry(), Host()
        own.is_well = False
        registry.register("mine", own)
        assert (await registry.check_health())["mine"].status == "unavailable"

    async def test_one_that_returns_no_verdict_is_told(self) -> None:
        own = Host()
        own.is_well = "yes"
        message = (await registered(own).health_check()).message
        assert "health_check returned a str, not a bool" in message

    async def test_its_count_of_tokens_is_asked(self) -> None:
        provider = registered(Host())
        assert provider.count_tokens("four") == 4000
        assert await provider.count_tokens_exact("four") == TokenCount(4000, "reported")

    async def test_a_coroutine_counts_exactly_alone(self) -> None:
        class Asks(Host):
            async def count_tokens(self, messages: Any, model: str | None = None) -> int:  # type: ignore[override]
                return 77 if model == "own-small" else 7

        provider = registered(Asks())
        assert provider.count_tokens("hi") == 8
        assert await provider.count_tokens_exact("hi") == TokenCount(7, "reported")
        assert (await provider.count_tokens_exact("hi", model="own-small")).tokens == 77

    async def test_what_it_supports_is_its_own_word_also_of_a_known_model(self) -> None:
        known = ProviderConfig(type="openai", default_model="gpt-4o", api_key="sk-own")
        provider = registered(Host(known))
        assert provider.supports_tools() is False
        assert await provider.list_models() == ["own-large", "own-small"]


class TestTrackedUsage:
    async def test_it_is_booked_once(self) -> None:
        own = Host()
        provider = registered(own)
        response = await provider.complete("hi")
        assert (response.tokens_input, response.tokens_output) == (100, 20)
        assert (response.cost_usd, response.cost_source) == (Decimal("0.25"), "provider")
        once = TokenUsage(100, 20, 0.25, 1, 0)
        assert provider.get_usage() == own.get_usage() == once

    async def test_the_answers_own_counts_are_not_added_to(self) -> None:
        own = Host()
        own.says = LLMResponse("hello", "own-1", 7, 3, "stop")
        response = await registered(own).complete("hi")
        assert (response.tokens_input, response.tokens_output) == (7, 3)
        assert response.cost_usd == Decimal("0.25")

    async def test_a_streams_is_booked_once(self) -> None:
        provider = registered(Host())
        assert [text async for text in provider.stream("hi")] == ["one ", "two"]
        assert provider.get_usage() == TokenUsage(10, 2, 0.5, 1, 0)

    async def test_two_streams_in_one_task_keep_theirs_apart(self) -> None:
        provider = registered(Host())
        first, second = provider.stream("hi"), provider.stream("hi")
        assert [await anext(first), await anext(second)] == ["one ", "one "]
        assert [await anext(first), await anext(second)] == ["two", "two"]
        assert [await anext(each, None) for each in (first, second)] == [None, None]
        assert provider.get_usage() == TokenUsage(20, 4, 1.0, 2, 0)

    async def test_a_failed_calls_is_booked(self) -> None:
        own = Host()
        own.error = RuntimeError("secret")
        registry = ProviderRegistry()
        registry.register("mine", own)
        with pytest.raises(APIError, match="raised RuntimeError"):
            await registry.get("mine").complete("hi", max_attempts=1)
        row = registry.get_usage_summary()["by_provider"]["mine"]
        assert (row["calls"], row["failed"], row["cost_usd"]) == (0, 1, 0.25)

    async def test_that_of_one_own_provider_inside_another_stays_its_own(self) -> None:
        registry, inner = ProviderRegistry(), Host()

        class Outer(Host):
            async def complete(self, messages: Any, **given: Any) -> LLMResponse:  # type: ignore[override]
                self._track_usage(1, 1, 0.01)
                await registry.get("inner").complete(messages)
                self._track_usage(1, 1, 0.01)
                return self.says

        registry.register("inner", inner)
        registry.register("outer", Outer())
        await registry.get("outer").complete("hi")
        summary: Mapping[str, Any] = registry.get_usage_summary()["by_provider"]
        assert (summary["outer"]["cost_usd"], summary["inner"]["cost_usd"]) == (0.02, 0.25)

    async def test_without_a_registry_its_own_account_has_it(self) -> None:
        own, other = Host(), Host()
        await own.complete([LLMMessage("user", "hi")])
        await own.complete([LLMMessage("user", "hi")])
        assert own.get_usage() == TokenUsage(200, 40, 0.5, 2, 0)
        assert other.get_usage() == TokenUsage()
        own.reset_usage()
        assert own.get_usage() == TokenUsage()

    async def test_past_its_registry_it_is_told_in_the_log(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        own = Host()
        provider = registered(own)
        with caplog.at_level(logging.WARNING):
            await own.complete([LLMMessage("user", "hi")])
        assert "Host told of usage outside a call of its registry" in caplog.text
        assert provider.get_usage() == TokenUsage()

    async def test_counts_that_cannot_be_true_are_left_out(self) -> None:
        class Wrong(Host):
            async def complete(self, messages: Any, **given: Any) -> LLMResponse:  # type: ignore[override]
                self._track_usage(-5, 20, float("nan"))
                return self.says

        response = await registered(Wrong()).complete("hi")
        assert response.usage is not None
        assert response.usage.invalid == ("input_tokens",)
        assert response.cost_usd is None
