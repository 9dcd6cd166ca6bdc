"""Requests that are fitted to their target, over the whole path: what is sent, told and booked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from orchestify import (
    InvalidParameterError,
    InvalidRequestError,
    LLMMessage,
    PermissionDeniedError,
    ProviderRegistry,
)
from orchestify.core.config import parse_config
from orchestify.testing import Reply, StubServer
from orchestify.values import TokenCount, Tool
from tests.lanes import opened

KEY = "key-of-the-tests-0123456789"
INSTEAD = Reply(
    status=400,
    error={
        "message": "Unsupported parameter: 'max_tokens' is not supported with this model. "
        "Use 'max_completion_tokens' instead.",
        "type": "invalid_request_error",
        "param": "max_tokens",
        "code": "unsupported_parameter",
    },
)
NO_TEMPERATURE = Reply(
    status=400,
    error={
        "message": "Unsupported value: 'temperature' does not support 0.2 with this model. "
        "Only the default (1) value is supported.",
        "type": "invalid_request_error",
        "param": "temperature",
        "code": "unsupported_value",
    },
)
LIMITS = ("max_tokens", "max_completion_tokens")


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as stub:
        yield stub


def configured(server: StubServer, type_: str, model: str, **agent: Any) -> Any:
    base_url = server.anthropic_url if type_ == "anthropic" else server.openai_url
    provider = {"type": type_, "base_url": base_url, "api_key": KEY, "default_model": model}
    written = {
        "providers": {"p": provider},
        "agents": {"a": {"provider": "p", **agent}},
        "retry": {"max_attempts": 1},
        "budgets": [{"name": "b", "limit_usd": 1, "period": "day", "on_unpriced": "allow"}],
    }
    return parse_config(json.dumps(written))


def limits_sent(server: StubServer) -> list[list[str]]:
    return [[name for name in LIMITS if name in seen.body] for seen in server.requests]


async def test_a_refusal_that_names_the_other_limit_is_answered_once_with_it(
    server: StubServer,
) -> None:
    server.script(INSTEAD, Reply(text="yes"))
    async with opened(configured(server, "openai", "prod-gpt5")) as registry:
        provider = registry.get_for_agent("a")
        response = await provider.complete("hi", max_tokens=50)
        again = await provider.complete("hi", max_tokens=50)
        summary = registry.get_usage_summary()
    assert response.content == "yes"
    assert [each.outcome for each in response.attempts] == ["failed", "ok"]
    assert [each.outcome for each in again.attempts] == ["ok"]  # it is known by now
    assert limits_sent(server) == [["max_tokens"], *[["max_completion_tokens"]] * 2]
    total = summary["total"]
    assert (total["attempts"], total["failed"], total["calls"]) == (3, 1, 2)


async def test_a_stream_is_begun_again_with_the_other_limit(server: StubServer) -> None:
    server.script(INSTEAD, Reply(text="yes"))
    async with opened(configured(server, "openai", "prod-gpt5")) as registry:
        stream = registry.get_for_agent("a").stream("hi", max_tokens=50)
        assert "".join([piece async for piece in stream]) == "yes"
    assert limits_sent(server) == [["max_tokens"], ["max_completion_tokens"]]
    assert [each.outcome for each in stream.response.attempts] == ["failed", "ok"]


async def test_a_model_that_refuses_the_other_limit_too_is_not_asked_again(
    server: StubServer,
) -> None:
    refusal = {"message": "Unrecognized request argument supplied: max_completion_tokens"}
    server.script(INSTEAD, Reply(status=400, error=refusal), INSTEAD)
    async with opened(configured(server, "openai", "odd")) as registry:
        with pytest.raises(InvalidRequestError):
            await registry.get_for_agent("a").complete("hi", max_tokens=50)
    assert limits_sent(server) == [["max_tokens"], ["max_completion_tokens"]]


async def test_a_model_that_says_the_same_for_ever_is_asked_a_few_times(server: StubServer) -> None:
    server.respond = lambda seen: INSTEAD
    async with opened(configured(server, "openai", "odd")) as registry:
        with pytest.raises(InvalidRequestError):
            await registry.get_for_agent("a").complete("hi", max_tokens=50)
    assert len(server.requests) == 5


async def test_sampling_that_a_model_of_ones_own_name_refuses_is_learned_and_told(
    server: StubServer,
) -> None:
    server.script(INSTEAD, NO_TEMPERATURE, Reply(text="yes"))
    async with opened(configured(server, "openai", "prod-gpt5", temperature=0.2)) as registry:
        response = await registry.get_for_agent("a").complete("hi", max_tokens=50)
    assert response.warnings == ("temperature_dropped",)
    assert ["temperature" in seen.body for seen in server.requests] == [True, True, False]


async def test_what_was_changed_is_told_by_answers_and_streams(server: StubServer) -> None:
    config = configured(server, "anthropic", "claude-sonnet-4-5", temperature=0.2, top_p=0.9)
    async with opened(config) as registry:
        provider = registry.get_for_agent("a")
        response = await provider.complete("hi", stop=["\n"])
        stream = provider.stream("hi")
        assert [piece async for piece in stream]
    assert response.warnings == ("top_p_dropped", "stop_dropped")
    assert stream.response.warnings == ("top_p_dropped",)
    assert "top_p" not in server.requests[0].body


async def test_an_answer_without_changes_has_no_warnings(server: StubServer) -> None:
    async with opened(configured(server, "openai", "gpt-4o")) as registry:
        assert (await registry.get_for_agent("a").complete("hi")).warnings == ()


async def test_what_cannot_be_mended_is_an_error_before_anything_is_sent_or_held(
    server: StubServer,
) -> None:
    begun = [LLMMessage("user", "hi"), LLMMessage("assistant", "So")]
    async with opened(configured(server, "anthropic", "claude-opus-4-6")) as registry:
        provider = registry.get_for_agent("a")
        with pytest.raises(InvalidParameterError, match="began"):
            await provider.complete(begun)
        with pytest.raises(InvalidParameterError, match="began"):
            assert [piece async for piece in provider.stream(begun)]
        (budget,) = registry.budgets()
    assert not server.requests
    assert budget.remaining_usd == 1


async def test_a_tool_conversation_with_thinking_passes_what_anthropic_refuses(
    server: StubServer,
) -> None:
    tools = [Tool("f", "does it", {"type": "object", "properties": {}})]
    config = configured(server, "anthropic", "claude-sonnet-4-5", thinking=True)
    async with opened(config) as registry:
        provider = registry.get_for_agent("a")
        first = await provider.complete("call f", tools=tools, tool_choice="f")
        results = [LLMMessage("tool", "42", tool_call_id=call.id) for call in first.tool_calls]
        hint = LLMMessage("system", "be quick")
        second = await provider.complete(
            [LLMMessage("user", "call f"), first.to_message(), hint, *results], tools=tools
        )
    assert first.warnings == ("thinking_dropped",)
    assert second.warnings == ("thinking_dropped",)  # the turn did not begin with thinking
    assert [seen.status for seen in server.requests] == [200, 200]


async def test_input_is_counted_by_anthropic(server: StubServer) -> None:
    async with opened(configured(server, "anthropic", "claude-sonnet-4-5")) as registry:
        counted = await registry.get_for_agent("a").count_tokens_exact("hello there")
        totals = registry.get_usage_summary()
    body = server.requests[0].body
    assert server.requests[0].path == "/v1/messages/count_tokens"
    assert set(body) == {"model", "messages"}
    assert counted == TokenCount(6, "reported")
    assert totals["total"]["attempts"] == 0


async def test_input_is_estimated_where_nobody_counts(server: StubServer) -> None:
    async with opened(configured(server, "openai", "gpt-4o")) as registry:
        provider = registry.get_for_agent("a")
        counted = await provider.count_tokens_exact("hello there")
        assert counted == TokenCount(provider.count_tokens("hello there"), "estimated")
    assert not server.requests


class Google:
    """A proxy that answers Gemini's counting requests with `status`; `seen` holds them."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.seen: list[tuple[str, str, Any]] = []

    async def answer(self, request: web.Request) -> web.Response:
        key = request.headers.get("x-goog-api-key", "")
        self.seen.append((str(request.rel_url.path), key, await request.json()))
        return web.json_response({"totalTokens": 31}, status=self.status)


@pytest.fixture
async def google(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Google]:
    app, proxy = web.Application(), Google()
    app.router.add_route("*", "/{tail:.*}", proxy.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{runner.addresses[0][1]}")
    monkeypatch.delenv("no_proxy", raising=False)
    yield proxy
    await runner.cleanup()


def gemini() -> Any:
    provider = {
        "type": "openai",
        "base_url": "http://generativelanguage.googleapis.com",
        "allow_http": True,
        "api_key": KEY,
        "default_model": "gemini-2.5-flash",
    }
    return parse_config(json.dumps({"providers": {"g": provider}}))


async def test_input_is_counted_by_gemini(google: Google) -> None:
    tools = [Tool("f", "does it", {"type": "object", "properties": {}})]
    async with ProviderRegistry.from_config(gemini()) as registry:
        messages = [LLMMessage("system", "rules"), LLMMessage("user", "hi")]
        counted = await registry.get("g").count_tokens_exact(messages, tools)
    assert counted == TokenCount(31, "reported")
    path, key, body = google.seen[0]
    assert (path, key) == ("/v1beta/models/gemini-2.5-flash:countTokens", KEY)
    assert body["generateContentRequest"] == {
        "model": "models/gemini-2.5-flash",
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "systemInstruction": {"parts": [{"text": "rules"}]},
        "tools": [
            {
                "functionDeclarations": [
                    {
                        "name": "f",
                        "description": "does it",
                        "parametersJsonSchema": {"type": "object", "properties": {}},
                    }
                ]
            }
        ],
    }


async def test_a_server_that_does_not_count_leaves_the_estimate(google: Google) -> None:
    google.status = 404
    async with ProviderRegistry.from_config(gemini()) as registry:
        counted = await registry.get("g").count_tokens_exact("hi")
    assert counted.source == "estimated"


async def test_a_refused_count_is_an_error(google: Google) -> None:
    google.status = 403
    async with ProviderRegistry.from_config(gemini()) as registry:
        with pytest.raises(PermissionDeniedError):
            await registry.get("g").count_tokens_exact("hi")
