"""Every recorded chat, messages and responses exchange, through the direct lanes.

What the lanes read is held against the recordings' own reading (`expect`) and against the official
SDKs, which read the same bytes from the same server.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from openai import AsyncOpenAI

from orchestify.core.providers import ProviderConfig
from orchestify.errors import APIError, StreamInterruptedError
from orchestify.lanes.direct import AnthropicLane, OpenAILane
from orchestify.lanes.responses.lane import ResponsesLane
from orchestify.values import (
    CompletionRequest,
    LLMMessage,
    LLMResponse,
    StreamEnd,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
)
from tests import recorded
from tests.extras import needs
from tests.recorded import Exchange

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

KINDS = {"chat": "openai", "messages": "anthropic", "responses": "openai"}
LANES = {"chat": OpenAILane, "messages": AnthropicLane, "responses": ResponsesLane}
REQUEST = CompletionRequest(messages=(LLMMessage("user", "hi"),), model="asked")

FINISH = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "refusal": "refusal",
    "incomplete": "length",
    None: "stop",
}

FORCED = "a forced tool call ends with `stop`; where calls came, the reason is tool_calls"
SEVERAL = "two choices were asked for (n=2); the answer is the first, the recording joins them"
REFUSAL = "the text of a refusal is the answer's text, and its finish reason is refusal"
CACHE = "more tokens read from the cache than the prompt has: not booked, named in `invalid`"
CUSTOM = "a call of a custom tool is a tool call with one argument, `input`"
LEGACY = "a call of a function as OpenAI had them before tools is a tool call"
# What differs from the recording's reading, and why.
EXCEPTIONS: dict[str, tuple[set[str], str]] = {
    "azure-chat-json-200-23b5b86ff6": ({"cached"}, CACHE),
    "azure-chat-json-200-533fe48c23": ({"cached"}, CACHE),
    "azure-chat-json-200-6190797c26": ({"cached"}, CACHE),
    "azure-chat-json-200-b983a3237b": ({"cached"}, CACHE),
    "azure-chat-json-200-cde25e6a9e": ({"cached"}, CACHE),
    "azure-chat-sse-200-1c015eb05d": ({"cached"}, CACHE),
    "azure-chat-sse-200-49e119134a": ({"cached"}, CACHE),
    "azure-chat-sse-200-c09c084ba7": ({"cached"}, CACHE),
    "gemini-chat-json-200-413340ccf0": (
        {"completion"},
        "the total counts thinking that nothing else counts: it is output",
    ),
    "mistral-chat-json-200-de13f0eaa8": (
        {"prompt"},
        "the total counts audio that the prompt leaves out: it is input",
    ),
    "openai-chat-json-200-03f85f7180": ({"tool_calls"}, LEGACY),
    "openai-chat-json-200-ff2e77f8d5": ({"tool_calls"}, LEGACY),
    "openrouter-chat-json-200-61402e6fd5": (
        {"cache_write"},
        "the same 2161 tokens are reported as read from the cache and as written to it, of 2168",
    ),
    "openrouter-chat-json-200-901cbf5eca": (
        {"cost_usd"},
        "with a key of one's own the cost is what the upstream took, not the 0 beside it",
    ),
    "cloudflare-chat-json-200-68299ae4ed": (
        {"text"},
        "the content is a JSON object instead of text; it is given as its JSON text",
    ),
    "openai-chat-json-200-022664efbd": ({"text", "finish"}, REFUSAL),
    "openai-chat-sse-200-bba5fe26ae": ({"text", "finish"}, REFUSAL),
    "openai-chat-json-200-2ce80f844e": ({"text"}, SEVERAL),
    "openai-chat-json-200-45bc6fb089": ({"text"}, SEVERAL),
    "openai-chat-json-200-e60af5efeb": ({"text"}, SEVERAL),
    "openai-chat-sse-200-30773e8c3c": ({"text"}, SEVERAL),
    "openai-chat-sse-200-f52a0b52ab": ({"text"}, SEVERAL),
    "openai-chat-sse-200-e6fc74fee8": ({"tool_calls"}, SEVERAL),
    "openai-chat-json-200-117b5b8b3a": ({"finish"}, FORCED),
    "openai-chat-json-200-5da6fbfcfc": ({"finish"}, FORCED),
    "openai-chat-sse-200-691e436b89": ({"finish"}, FORCED),
    "openai-chat-sse-200-833f071d4a": ({"finish"}, FORCED),
    "openai-responses-json-200-6424ae615c": ({"tool_calls", "finish"}, CUSTOM),
    "snowflake-chat-json-200-e3f1b17434": (
        {"finish"},
        "the reason is empty although a tool call came",
    ),
}

# Errors inside an answer with status 200.
INLINE_ERRORS = {
    "azure-chat-json-200-22a5746a7b": "ContentFilterError",
    "groq-chat-sse-200-65bf4bd4b0": "StreamInterruptedError",
    "openai-responses-json-200-7d7fd9b153": "InvalidResponseError",  # queued: asked in background
}

REFUSED = {
    "anthropic-messages-json-400-2a40d186cc": "InvalidRequestError",
    "anthropic-messages-json-400-a8392d9635": "InvalidRequestError",
    "anthropic-messages-json-401-2092d3ccec": "AuthenticationError",
    "anthropic-messages-json-401-270866a28e": "AuthenticationError",
    "anthropic-messages-json-401-371369b808": "AuthenticationError",
    "anthropic-messages-json-401-458e0fb32b": "AuthenticationError",
    "anthropic-messages-json-404-101f6b22f1": "ModelNotFoundError",
    "anthropic-messages-json-404-1c0a187d6b": "ModelNotFoundError",
    "anthropic-messages-json-404-2290ac43d1": "ModelNotFoundError",
    "anthropic-messages-json-404-2dbb147b85": "ModelNotFoundError",
    "anthropic-messages-json-404-54c875f689": "ModelNotFoundError",
    "azure-chat-json-404-3a288646ba": "ModelNotFoundError",
    "azure-chat-json-429-a2be03baa7": "RateLimitError",
    "deepseek-chat-json-400-a2856b5c9b": "ContextWindowError",
    "groq-chat-json-400-229e64ca0e": "InvalidRequestError",
    "groq-chat-json-404-299b46f3c2": "ModelNotFoundError",
    "mistral-chat-json-401-e88c1dcd58": "AuthenticationError",
    "ollama-chat-json-400-4315417009": "ContextWindowError",
    "ollama-chat-json-401-1edabe3350": "AuthenticationError",
    "openai-chat-json-400-088c4ce664": "InvalidRequestError",
    "openai-chat-json-400-243b8fe0a7": "InvalidRequestError",
    "openai-chat-json-400-aa621a445c": "InvalidRequestError",
    "openai-chat-json-400-d09044aa72": "InvalidRequestError",
    "openai-chat-json-400-d69f9f30a2": "InvalidRequestError",
    "openai-chat-json-401-3103c03df0": "AuthenticationError",
    "openai-chat-json-401-c54288a063": "AuthenticationError",
    "openai-chat-json-404-241b9da20f": "ModelNotFoundError",
    "openai-chat-json-404-8815395952": "ModelNotFoundError",
    "openai-chat-json-404-8feff5c1af": "ModelNotFoundError",
    "openai-responses-json-400-20b2671cdb": "ModelNotFoundError",
    "openai-responses-json-400-60537d487a": "InvalidRequestError",
    "openai-responses-json-400-c178383f6b": "InvalidRequestError",
    "openai-responses-json-401-0fbd024c1d": "AuthenticationError",
    "openai-responses-json-401-436c148e3b": "AuthenticationError",
    "openrouter-chat-json-401-a64fe8715b": "AuthenticationError",
    "openrouter-chat-json-429-81e9267712": "RateLimitError",
    "perplexity-chat-json-400-4a25a55cd9": "ContextWindowError",
}


async def test_every_answer_is_read_as_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    recorded.need_recorded()
    seen: Counter[str] = Counter()
    equal: Counter[str] = Counter()
    differences: dict[str, set[str]] = {}

    async with _replay() as url:
        for exchange in _answered():
            whole = await _read(exchange, f"{url}/i/{exchange.id}")
            in_pieces = await _read(exchange, f"{url}/i/{exchange.id};chunk=7")
            assert _facts(whole) == _facts(in_pieces), exchange.id
            differing = _differing(whole, exchange.expect)
            differences |= {exchange.id: differing} if differing else {}
            seen[exchange.provider] += 1
            equal[exchange.provider] += not differing

    with capsys.disabled():
        print(_table(seen, equal))  # noqa: T201 - the table is the point
    assert differences == {id_: fields for id_, (fields, _) in EXCEPTIONS.items()}
    assert sum(seen.values()) == 823


async def test_tools_and_thinking_are_what_the_official_sdks_read() -> None:
    recorded.need_recorded()
    async with _replay() as url, _sdks() as (openai, anthropic):
        for exchange in _answered():
            base_url = f"{url}/i/{exchange.id}"
            ours = await _read(exchange, base_url)
            calls, thinking = await _read_by_sdk(exchange, base_url, openai, anthropic)
            assert [(call.name, dict(call.arguments)) for call in ours.tool_calls] == calls, (
                exchange.id
            )
            assert str(ours.thinking or "") == thinking, exchange.id


async def test_inline_errors_raise() -> None:
    recorded.need_recorded()
    async with _replay() as url:
        raised = {id_: await _raised(_exchange(id_), f"{url}/i/{id_}") for id_ in INLINE_ERRORS}
    assert {id_: type(error).__name__ for id_, error in raised.items()} == INLINE_ERRORS
    cut = raised["groq-chat-sse-200-65bf4bd4b0"]
    assert isinstance(cut, StreamInterruptedError)
    assert cut.text == "maybe"
    assert "InvalidRequestError" in str(cut)


async def test_every_refusal_gives_its_class() -> None:
    recorded.need_recorded()
    refused = [x for x in recorded.exchanges() if x.kind in KINDS and x.status >= 400]
    async with _replay() as url:
        raised = {x.id: await _raised(x, f"{url}/i/{x.id}") for x in refused}
    assert {id_: type(error).__name__ for id_, error in raised.items()} == REFUSED


@asynccontextmanager
async def _replay() -> AsyncIterator[str]:
    runner, port, _ = await recorded.replay_module().serve(recorded.FOLDER / "interactions")
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _sdks() -> AsyncIterator[tuple[AsyncOpenAI, AsyncAnthropic]]:
    needs("anthropic", "peers")
    from anthropic import AsyncAnthropic  # noqa: PLC0415 - an extra

    async with (
        AsyncOpenAI(api_key="test-key", max_retries=0) as openai,
        AsyncAnthropic(api_key="test-key", max_retries=0) as anthropic,
    ):
        yield openai, anthropic


def _answered() -> list[Exchange]:
    return [
        exchange
        for exchange in recorded.exchanges()
        if exchange.kind in KINDS and exchange.status < 300 and exchange.id not in INLINE_ERRORS
    ]


def _exchange(id_: str) -> Exchange:
    return next(exchange for exchange in recorded.exchanges() if exchange.id == id_)


def _lane(exchange: Exchange, base_url: str) -> OpenAILane | AnthropicLane:
    config = ProviderConfig.model_validate(
        {
            "type": KINDS[exchange.kind],
            "api_key": "test-key",
            "default_model": "asked",
            "base_url": base_url,
        }
    )
    return LANES[exchange.kind]("recorded", config)


async def _read(exchange: Exchange, base_url: str) -> LLMResponse:
    lane = _lane(exchange, base_url)
    try:
        if not exchange.is_stream:
            return await lane.send(REQUEST)
        events = [event async for event in lane.open_stream(REQUEST)]
    finally:
        await lane.aclose()
    last = events[-1]
    assert isinstance(last, StreamEnd)
    _check_pieces(events, last.response)
    return last.response


def _check_pieces(events: list[StreamEvent], response: LLMResponse) -> None:
    """The pieces of a stream, joined, are the answer at its end."""
    texts = [event.text for event in events if isinstance(event, TextDelta)]
    thoughts = [event.text for event in events if isinstance(event, ThinkingDelta)]
    calls = [event for event in events if isinstance(event, ToolCallDelta)]
    assert "".join(texts) == response.content
    assert "".join(thoughts) == str(response.thinking or "")
    for index, call in enumerate(response.tool_calls):
        pieces = [event for event in calls if event.index == index]
        assert {(piece.id, piece.name) for piece in pieces} == {(call.id, call.name)}
        assert "".join(piece.arguments for piece in pieces) == (call.raw_arguments or "")
    assert len({event.index for event in calls}) == len(response.tool_calls)


async def _raised(exchange: Exchange, base_url: str) -> APIError:
    with pytest.raises(APIError) as caught:
        await _read(exchange, base_url)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


def _facts(response: LLMResponse) -> tuple[Any, ...]:
    calls = [(call.name, call.arguments) for call in response.tool_calls]
    return (
        response.content,
        response.thinking,
        calls,
        response.usage,
        response.cost_usd,
        response.finish_reason,
        response.model,
    )


def _differing(response: LLMResponse, expect: dict[str, Any]) -> set[str]:
    usage = response.usage
    assert usage is not None
    assert (usage.source == "unknown") == (expect["usage"] is None)
    wanted = {name: value or 0 for name, value in (expect["usage"] or {}).items()}
    digest = hashlib.sha256(response.content.encode()).hexdigest()[:16]
    pairs = {
        "text": (digest if response.content else None, expect["content_sha256"]),
        "tool_calls": (len(response.tool_calls), expect["tool_calls"]),
        "finish": (response.finish_reason, _finish(expect)),
        "prompt": (usage.input_tokens, wanted.get("prompt", 0)),
        "completion": (usage.output_tokens, wanted.get("completion", 0)),
        "cached": (usage.cache_read, wanted.get("cached", 0)),
        "cache_write": (usage.cache_write, wanted.get("cache_write", 0)),
        "reasoning": (usage.reasoning, wanted.get("reasoning", 0)),
        "cost_usd": (
            None if response.cost_usd is None else float(response.cost_usd),
            expect["cost_usd"],
        ),
    }
    return {name for name, (ours, theirs) in pairs.items() if ours != theirs}


def _finish(expect: dict[str, Any]) -> str:
    """Our word for what was recorded; Responses say `completed` beside tool calls too."""
    if expect["finish"] in ("completed", "complete"):
        return "tool_calls" if expect["tool_calls"] else "stop"
    return FINISH[expect["finish"]]


async def _read_by_sdk(
    exchange: Exchange, base_url: str, openai: AsyncOpenAI, anthropic: AsyncAnthropic
) -> tuple[list[tuple[str, Any]], str]:
    if exchange.kind == "chat":
        return await _read_by_openai(exchange, openai.with_options(base_url=base_url))
    if exchange.kind == "responses":
        return await _read_by_responses(exchange, openai.with_options(base_url=base_url))
    return await _read_by_anthropic(exchange, anthropic.with_options(base_url=base_url))


async def _read_by_responses(
    exchange: Exchange, client: AsyncOpenAI
) -> tuple[list[tuple[str, Any]], str]:
    answer: Any
    if exchange.is_stream:
        stream: Any = await client.responses.create(model="asked", input="hi", stream=True)
        events = [event async for event in stream]
        done = [each.item for each in events if each.type == "response.output_item.done"]
        answer = done or events[-1].response.output
    else:
        answer = (await client.responses.create(model="asked", input="hi")).output
    calls = [
        (item.name, json.loads(item.arguments or "{}"))
        if item.type == "function_call"
        else (item.name, {"input": item.input})
        for item in answer
        if item.type in ("function_call", "custom_tool_call")
    ]
    reasoning = [item for item in answer if item.type == "reasoning"]
    thoughts = [[part.text for part in item.content or item.summary] for item in reasoning]
    return calls, "".join("\n\n".join(parts) for parts in thoughts)


async def _read_by_openai(
    exchange: Exchange, client: AsyncOpenAI
) -> tuple[list[tuple[str, Any]], str]:
    answer: Any = await client.chat.completions.create(
        model="asked", messages=[{"role": "user", "content": "hi"}], stream=exchange.is_stream
    )
    if not exchange.is_stream:
        message = answer.choices[0].message
        called = [c.function for c in message.tool_calls or []]
        called += [message.function_call] if message.function_call else []
        calls = [(c.name, c.arguments) for c in called if c.name]
        return [(name, json.loads(text or "{}")) for name, text in calls], _thought(message)
    names: dict[int, str] = {}
    arguments: dict[int, str] = {}
    thoughts: list[str] = []
    async for chunk in answer:
        for choice in chunk.choices[:1]:
            if choice.index or choice.delta is None:
                continue
            thoughts.append(_thought(choice.delta))
            for call in choice.delta.tool_calls or []:
                names[call.index] = names.get(call.index) or call.function.name or ""
                arguments.setdefault(call.index, "")
                arguments[call.index] += call.function.arguments or ""
    return [(names[i], json.loads(arguments[i] or "{}")) for i in sorted(names)], "".join(thoughts)


def _thought(message: Any) -> str:
    """What a message or a delta holds of thinking, in the fields that the SDK passes on."""
    extra = message.model_extra or {}
    text = extra.get("reasoning_content") or extra.get("reasoning")
    if not text:
        details = extra.get("reasoning_details") or []
        text = "".join(detail.get("text") or detail.get("summary") or "" for detail in details)
    if isinstance(message.content, list):
        parts = [part for part in message.content if part["type"] == "thinking"]
        text = "".join(piece["text"] for part in parts for piece in part["thinking"])
    return text or ""


async def _read_by_anthropic(
    exchange: Exchange, client: AsyncAnthropic
) -> tuple[list[tuple[str, Any]], str]:
    ask: dict[str, Any] = {
        "model": "asked",
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "hi"}],
    }
    if exchange.is_stream:
        async with client.messages.stream(**ask) as stream:
            message = await stream.get_final_message()
    else:
        message = await client.messages.create(**ask)
    calls = [(block.name, block.input) for block in message.content if block.type == "tool_use"]
    thoughts = [block.thinking for block in message.content if block.type == "thinking"]
    return calls, "".join(thoughts)


def _table(seen: Counter[str], equal: Counter[str]) -> str:
    rows = [f"{name:<12} {seen[name]:>9} {equal[name]:>5}" for name in sorted(seen)]
    total = f"{'TOTAL':<12} {seen.total():>9} {equal.total():>5}"
    return "\n".join(["", f"{'provider':<12} exchanges equal", *rows, total])
