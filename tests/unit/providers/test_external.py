"""Hosts' own providers, called through the same path and booked from what they answer."""

from __future__ import annotations

import asyncio
import re
import traceback
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from orchestify.errors import (
    APIConnectionError,
    APIError,
    AuthenticationError,
    InvalidParameterError,
    InvalidResponseError,
    RequestTimeoutError,
    StreamInterruptedError,
)
from orchestify.providers import MockProvider, ProviderRegistry
from orchestify.providers.base import LLMProvider
from orchestify.providers.external import ExternalLane
from orchestify.values import (
    CompletionRequest,
    LLMMessage,
    LLMResponse,
    StreamEnd,
    StreamEvent,
    TextDelta,
    Thinking,
    Tool,
    Usage,
    UsageUpdate,
)
from tests.calls import Bench, answer

TOOL = {"name": "look", "description": "", "input_schema": {"type": "object"}}


class Seed(LLMProvider):
    """A provider as one writes it first: `complete`, and `stream` as an async generator."""

    provider_type = "own"

    def __init__(self, result: Any = "mine") -> None:
        self.result = result
        self.given: dict[str, Any] = {}
        self.has_cleaned_up = False

    async def complete(  # type: ignore[override]
        self,
        messages: list[LLMMessage],
        model: str | None = None,
        temperature: float = 0.7,
        max_tokens: int = 8192,
        tools: list[dict[str, Any]] | None = None,
        thinking: bool = False,
    ) -> LLMResponse:
        self.given = {key: value for key, value in locals().items() if key != "self"}
        if isinstance(self.result, BaseException):
            raise self.result
        return LLMResponse("mine", "own-1", 7, 3, "stop") if self.result == "mine" else self.result

    async def stream(  # type: ignore[override]
        self,
        messages: list[LLMMessage],
        model: str | None = None,
        temperature: float = 0.7,
        max_tokens: int = 8192,
    ) -> AsyncIterator[str]:
        self.given = {"messages": messages, "temperature": temperature}
        try:
            yield "one "
            yield "two"
            if isinstance(self.result, BaseException):
                raise self.result
        finally:
            await asyncio.sleep(0)
            self.has_cleaned_up = True


class Coroutine(LLMProvider):
    """Its `stream` is a coroutine that returns an iterator, as the seed's signature may be read."""

    provider_type = "own"

    async def complete(self, messages: Any, **arguments: Any) -> LLMResponse:  # type: ignore[override]
        self.given = arguments
        return answer()

    async def stream(self, messages: Any, **arguments: Any) -> AsyncIterator[str]:  # type: ignore[override]
        async def pieces() -> AsyncIterator[str]:
            yield "a"

        return pieces()


class Wrapping(LLMProvider):
    """Passes calls on to a provider of ours."""

    provider_type = "own"

    def __init__(self) -> None:
        self.inner = MockProvider(answers=["one two"])

    async def complete(self, messages: Any, **arguments: Any) -> LLMResponse:  # type: ignore[override]
        return await self.inner.complete(messages)

    def stream(self, messages: Any, **arguments: Any) -> Any:
        return self.inner.stream(messages)


class Typed(LLMProvider):
    """Has the two methods of ours."""

    provider_type = "own"

    def __init__(self, *events: StreamEvent | BaseException) -> None:
        self.events = events
        self.has_cleaned_up = False

    async def send(self, request: CompletionRequest) -> LLMResponse:
        return answer(f"sent to {request.model}")

    async def open_stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent, None]:
        try:
            for event in self.events:
                if isinstance(event, BaseException):
                    raise event
                yield event
        finally:
            await asyncio.sleep(0)
            self.has_cleaned_up = True


def face(bench: Bench, provider: LLMProvider) -> Any:
    lane = ExternalLane("one", provider)
    return bench.route(replace(bench.target(provider), lane=lane, provider_id="one"))


class TestComplete:
    async def test_its_complete_is_booked_from_its_answer(self) -> None:
        bench = Bench()
        response = await face(bench, Seed()).complete("hi")
        assert response.content == "mine"
        assert response.model == "own-1"
        assert response.provider == "one"
        assert response.usage == Usage(7, 3)
        assert response.cost_usd == Decimal("0.01")
        assert bench.ledger.outcomes == [("one", "ok", "")]

    async def test_it_is_given_what_was_asked_for_by_name(self) -> None:
        seed = Seed()
        await face(Bench(), seed).complete("hi", temperature=0.1, tools=[TOOL], thinking=True)
        assert seed.given == {
            "messages": [LLMMessage("user", "hi")],
            "model": "m",
            "temperature": 0.1,
            "max_tokens": 100,
            "tools": [TOOL],
            "thinking": True,
        }

    async def test_what_was_not_asked_for_is_left_to_its_own_defaults(self) -> None:
        seed = Seed()
        await face(Bench(), seed).complete("hi")
        assert (seed.given["temperature"], seed.given["thinking"]) == (0.7, False)

    async def test_one_that_takes_anything_is_given_all_that_was_asked(self) -> None:
        own = Coroutine()
        await face(Bench(), own).complete("hi", top_p=0.5, stop="X", seed=1, options={"a": 1})
        assert own.given == {
            "model": "m",
            "max_tokens": 100,
            "top_p": 0.5,
            "stop": ["X"],
            "seed": 1,
            "options": {"a": 1},
        }

    async def test_a_tool_the_provider_runs_itself_is_passed_on(self) -> None:
        seed = Seed()
        search = {"type": "web_search_20250305", "name": "web_search"}
        await face(Bench(), seed).complete("hi", tools=[search, Tool("look")])
        assert seed.given["tools"] == [
            search,
            {"name": "look", "description": "", "input_schema": {}},
        ]

    async def test_its_own_cost_counts(self) -> None:
        told = replace(answer(), cost_usd=0.25)  # type: ignore[arg-type]
        response = await face(Bench(), Seed(told)).complete("hi")
        assert (response.cost_usd, response.cost_source) == (Decimal("0.25"), "provider")

    async def test_usage_it_does_not_tell_is_estimated(self) -> None:
        told = LLMResponse("one two three", "own", 0, 0, "stop")
        response = await face(Bench(), Seed(told)).complete("hi")
        assert response.usage == Usage(8, 3, source="estimated")

    async def test_its_send_is_preferred(self) -> None:
        assert (await face(Bench(), Typed()).complete("hi")).content == "sent to m"

    async def test_no_response_at_all_is_an_error_and_is_booked(self) -> None:
        bench = Bench()
        with pytest.raises(InvalidResponseError, match="returned a dict, not an LLMResponse"):
            await face(bench, Seed({"content": "x"})).complete("hi", max_attempts=1)
        assert bench.ledger.outcomes == [("one", "failed", "InvalidResponseError")]

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (TimeoutError("secret"), RequestTimeoutError),
            (ConnectionResetError("secret"), APIConnectionError),
            (RuntimeError("secret"), APIError),
            (KeyError("secret"), APIError),
        ],
    )
    async def test_foreign_errors_become_ours_by_their_class_alone(
        self, error: Exception, kind: type[APIError]
    ) -> None:
        bench = Bench()
        with pytest.raises(kind) as caught:
            await face(bench, Seed(error)).complete("hi", max_attempts=1)
        assert type(caught.value) is kind
        told = rf"one/m: the provider raised {type(error).__name__} at \w+\.py:\d+"
        assert re.fullmatch(told, str(caught.value))
        assert "secret" not in "".join(traceback.format_exception(caught.value))
        assert bench.ledger.outcomes == [("one", "failed", kind.__name__)]

    async def test_our_own_errors_pass_as_they_are(self) -> None:
        error = AuthenticationError()
        with pytest.raises(AuthenticationError) as caught:
            await face(Bench(), Seed(error)).complete("hi")
        assert caught.value is error


class TestStream:
    async def test_an_async_generator(self) -> None:
        bench = Bench()
        stream = face(bench, Seed()).stream("hi", temperature=0.1)
        assert [text async for text in stream] == ["one ", "two"]
        assert stream.response.content == "one two"
        assert stream.response.usage == Usage(8, 2, source="estimated")
        assert bench.ledger.outcomes == [("one", "ok", "")]

    async def test_a_coroutine_that_returns_an_iterator(self) -> None:
        stream = face(Bench(), Coroutine()).stream("hi")
        assert [text async for text in stream] == ["a"]

    async def test_a_stream_of_ours(self) -> None:
        own = Wrapping()
        stream = face(Bench(), own).stream("hi")
        assert [text async for text in stream] == ["one ", "two"]

    async def test_a_stream_of_ours_is_closed_with_the_outer_one(self) -> None:
        own = Wrapping()
        async with face(Bench(), own).stream("hi") as stream:
            await anext(stream)
        assert own.inner.route.runtime.ledger.totals.total().cancelled == 1

    async def test_typed_events(self) -> None:
        own = Typed(UsageUpdate(Usage(5, 0)), TextDelta("a"), StreamEnd(answer("a")))
        events = [event async for event in face(Bench(), own).stream("hi").events()]
        assert events[0] == TextDelta("a")
        assert isinstance(events[1], StreamEnd)

    @pytest.mark.parametrize("provider", [Seed(), Typed(TextDelta("a"), StreamEnd(answer()))])
    async def test_closing_early_has_cleaned_up_when_it_returns(self, provider: Any) -> None:
        async with face(Bench(), provider).stream("hi") as stream:
            await anext(stream)
        assert provider.has_cleaned_up

    async def test_a_foreign_error_after_output_is_a_cut_with_the_text(self) -> None:
        bench = Bench()
        stream = face(bench, Seed(RuntimeError("secret"))).stream("hi")
        with pytest.raises(StreamInterruptedError) as caught:
            async for _ in stream:
                pass
        assert caught.value.text == "one two"
        assert "secret" not in "".join(traceback.format_exception(caught.value))
        assert bench.ledger.outcomes == [("one", "interrupted", "StreamInterruptedError")]

    async def test_an_error_of_ours_after_output_is_a_cut_with_the_usage(self) -> None:
        own = Typed(UsageUpdate(Usage(5, 1)), TextDelta("a"), APIConnectionError("gone"))
        stream = face(Bench(), own).stream("hi")
        assert await anext(stream) == "a"
        with pytest.raises(StreamInterruptedError) as caught:
            await anext(stream)
        assert caught.value.usage == Usage(5, 1)
        assert caught.value.text == "a"

    async def test_an_error_before_output_is_itself(self) -> None:
        with pytest.raises(AuthenticationError):
            await anext(face(Bench(), Typed(AuthenticationError())).stream("hi"))

    async def test_a_stream_without_its_end_is_a_cut(self) -> None:
        stream = face(Bench(), Typed(TextDelta("a"))).stream("hi")
        assert await anext(stream) == "a"
        with pytest.raises(StreamInterruptedError, match="ended before its StreamEnd") as caught:
            await anext(stream)
        assert caught.value.text == "a"

    async def test_a_stream_of_nothing_is_an_invalid_response(self) -> None:
        with pytest.raises(InvalidResponseError):
            await anext(face(Bench(), Typed()).stream("hi", max_attempts=1))


class TestFace:
    def test_one_that_defines_nothing_is_refused(self) -> None:
        class Empty(LLMProvider):
            provider_type = "own"

        with pytest.raises(InvalidParameterError, match="Empty defines neither"):
            ExternalLane("one", Empty())

    async def test_it_says_what_the_host_says(self) -> None:
        class Able(Typed):
            def supports_tools(self) -> bool:
                return False

            def supports_thinking(self) -> bool:
                return True

            def supports_code_execution(self) -> bool:
                return True

            async def list_models(self) -> list[str] | None:
                return ["own-1"]

        registry = ProviderRegistry()
        registry.register("one", Able())
        one = registry.get("one")
        assert one.provider_type == "own"
        assert (one.supports_tools(), one.supports_thinking()) == (False, True)
        assert one.supports_code_execution() is True
        assert await one.list_models() == ["own-1"]

    async def test_thinking_goes_back_in_messages(self) -> None:
        seed = Seed()
        message = LLMMessage("assistant", "x", thinking=Thinking("hm"))
        await face(Bench(), seed).complete([LLMMessage("user", "hi"), message])
        assert seed.given["messages"][1].thinking == Thinking("hm")


class Least(LLMProvider):
    """As little as a provider can be: one method."""

    async def complete(  # type: ignore[override]
        self, messages: list[LLMMessage], **_: Any
    ) -> LLMResponse:
        if messages[0].text == "fail":
            raise LookupError("in the host's own code")
        return LLMResponse("all of it", "m", 3, 2, "stop")


async def test_one_method_is_enough_to_answer_and_to_stream() -> None:
    async with ProviderRegistry() as registry:
        registry.register("least", Least())
        least = registry.get("least")
        response = await least.complete("hello")
        async with least.stream("hello") as stream:
            pieces = [text async for text in stream]
    assert (response.content, response.usage.total_tokens) == ("all of it", 5)
    assert (pieces, stream.response.usage.total_tokens) == (["all of it"], 5)
    assert least.provider_type == "external"


async def test_what_a_provider_raises_is_kept_behind_our_error_and_not_printed() -> None:
    async with ProviderRegistry() as registry:
        registry.register("least", Least())
        with pytest.raises(APIError) as answered:
            await registry.get("least").complete("fail")
        with pytest.raises(APIError) as streamed:
            await anext(registry.get("least").stream("fail"))
    assert isinstance(answered.value.__context__, LookupError)
    assert isinstance(streamed.value.__context__, LookupError)
    for caught in (answered, streamed):
        assert "in the host's own code" not in "".join(traceback.format_exception(caught.value))
