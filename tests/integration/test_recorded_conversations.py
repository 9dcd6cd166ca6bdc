"""A conversation that one provider began goes on at any other: recorded answers with tool calls.

Each recorded call is answered, asked for again (so that its ids come twice) and sent on to every
endpoint; what goes out is held against what that provider refuses (`tests.protocols`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from orchestify.lanes.anthropic import answer as anthropic_answer
from orchestify.lanes.anthropic.answer import MessageAnswer
from orchestify.lanes.anthropic.request import request_body as messages_body
from orchestify.lanes.http.sse import EventReader
from orchestify.lanes.openai import answer as openai_answer
from orchestify.lanes.openai.answer import ChatAnswer
from orchestify.lanes.openai.dialects import dialect_of
from orchestify.lanes.openai.request import request_body as chat_body
from orchestify.values import CompletionRequest, LLMMessage, LLMResponse, ThinkingConfig, Tool
from tests import recorded
from tests.protocols import chat_problems, messages_problems
from tests.recorded import Exchange

ASKED = CompletionRequest(messages=(LLMMessage("user", "hi"),), model="asked")
TOOL = Tool("f", "does something", {"type": "object", "properties": {}})

CLAUDES: dict[str, tuple[str, ThinkingConfig | None]] = {
    "claude-sonnet-4-5": ("claude-sonnet-4-5", None),
    "claude-sonnet-4-5 thinking": ("claude-sonnet-4-5", ThinkingConfig()),
    "claude-opus-4-6 thinking": ("claude-opus-4-6", ThinkingConfig()),
    "claude-opus-4-6 by budget": ("claude-opus-4-6", ThinkingConfig(budget_tokens=2000)),
    "claude-opus-5-5": ("claude-opus-5-5", None),
}
CHATS: dict[str, tuple[str, str]] = {
    "openai": ("https://api.openai.com/v1", "gpt-5"),
    "azure": ("https://res.openai.azure.com/openai/v1", "my-deployment"),
    "deepseek": ("https://api.deepseek.com", "deepseek-v4-flash"),
    "zai": ("https://api.z.ai/api/paas/v4", "glm-4.6"),
    "moonshot": ("https://api.moonshot.ai/v1", "kimi-k2.5"),
    "alibaba": ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "qwen3-max"),
    "groq": ("https://api.groq.com/openai/v1", "qwen/qwen3-32b"),
    "cerebras": ("https://api.cerebras.ai/v1", "gpt-oss-120b"),
    "together": ("https://api.together.xyz/v1", "moonshotai/Kimi-K2-Thinking"),
    "huggingface": ("https://router.huggingface.co/v1", "openai/gpt-oss-20b"),
    "xai": ("https://api.x.ai/v1", "grok-4"),
    "mistral": ("https://api.mistral.ai/v1", "mistral-large-latest"),
    "openrouter": ("https://openrouter.ai/api/v1", "z-ai/glm-4.6"),
    "perplexity": ("https://api.perplexity.ai", "sonar"),
    "gemini 2.5": ("https://generativelanguage.googleapis.com/v1beta/openai", "gemini-2.5-flash"),
    "gemini 3": ("https://generativelanguage.googleapis.com/v1beta/openai", "gemini-3-pro-preview"),
    "vertex": ("https://aiplatform.googleapis.com/v1", "google/gemini-3-flash"),
    "ollama": ("https://ollama.com/v1", "qwen3"),
    "self-hosted": ("http://127.0.0.1:8000/v1", "llama-3"),
}


class Begun(NamedTuple):
    id: str
    provider: str
    messages: tuple[LLMMessage, ...]


@pytest.fixture(autouse=True)
def _recordings() -> None:
    recorded.need_recorded()


@pytest.mark.parametrize("target", CLAUDES)
def test_goes_on_at_anthropic(target: str) -> None:
    model, thinking = CLAUDES[target]
    assert {
        begun.id: found
        for begun in conversations()
        if (found := _at_claude(begun, model, thinking))
    } == {}


@pytest.mark.parametrize("target", CHATS)
def test_goes_on_at_chat_completions(target: str) -> None:
    base_url, model = CHATS[target]
    assert {
        begun.id: found for begun in conversations() if (found := _at_chat(begun, base_url, model))
    } == {}


def test_every_provider_with_recorded_tool_calls_begins_some() -> None:
    counts = Counter(begun.provider for begun in conversations())
    expected = Counter(each.provider for each in recorded.exchanges() if _has_calls(each))
    assert len(counts) >= 12
    assert counts == expected


def test_claudes_own_order_comes_back_as_it_was() -> None:
    """What Claude answered and is sent back has the recording's blocks in their order."""
    own = [each for each in recorded.exchanges() if _has_calls(each) and each.kind == "messages"]
    compared = 0
    for exchange in own:
        if exchange.is_stream:
            continue
        came = json.loads(exchange.body)["content"]
        message = _response(exchange).to_message()
        results = (LLMMessage("tool", "r", tool_call_id=call.id) for call in message.tool_calls)
        request = CompletionRequest(
            messages=(LLMMessage("user", "hi"), message, *results), model="claude-opus-4-6"
        )
        sent = messages_body(request, stream=False)["messages"][1]["content"]
        assert [block["type"] for block in sent] == _kinds(came), exchange.id
        compared += 1
    assert compared >= 10


def _kinds(blocks: list[dict[str, Any]]) -> list[str]:
    """The types of blocks, neighbouring texts as one and blank ones left out."""
    kinds: list[str] = []
    for block in blocks:
        if block["type"] == "text" and not block["text"].strip():
            continue
        if block["type"] == "text" and kinds and kinds[-1] == "text":
            continue
        kinds.append(block["type"])
    return kinds


def _at_claude(begun: Begun, model: str, thinking: ThinkingConfig | None) -> list[str]:
    request = CompletionRequest(
        messages=begun.messages, model=model, tools=(TOOL,), thinking=thinking
    )
    return messages_problems(messages_body(request, stream=False))


def _at_chat(begun: Begun, base_url: str, model: str) -> list[str]:
    request = CompletionRequest(messages=begun.messages, model=model, tools=(TOOL,))
    body = chat_body(request, dialect_of(base_url), stream=False)
    return chat_problems(body, urlsplit(base_url).hostname or "")


@cache
def conversations() -> tuple[Begun, ...]:
    """Return every recorded answer with tool calls as a conversation of two such turns."""
    return tuple(_begun(each) for each in recorded.exchanges() if _has_calls(each))


def _has_calls(exchange: Exchange) -> bool:
    if exchange.kind not in ("chat", "messages") or exchange.status != 200:
        return False
    return bool(exchange.expect["tool_calls"]) and bool(_response(exchange).tool_calls)


def _begun(exchange: Exchange) -> Begun:
    message = _response(exchange).to_message()
    results = [LLMMessage("tool", "42", tool_call_id=call.id) for call in message.tool_calls]
    hint = LLMMessage("system", "be quick")
    messages = (
        LLMMessage("user", "hi"),
        message,
        *results,
        LLMMessage("user", "and again"),
        LLMMessage("assistant", " \n"),
        message,
        hint,
        *results,
    )
    return Begun(exchange.id, exchange.provider, messages)


@cache
def _response_of(exchange_id: str) -> LLMResponse:
    exchange = next(each for each in recorded.exchanges() if each.id == exchange_id)
    is_chat = exchange.kind == "chat"
    if not exchange.is_stream:
        read = openai_answer.answer if is_chat else anthropic_answer.answer
        return read(json.loads(exchange.body), ASKED)
    growing = ChatAnswer(ASKED) if is_chat else MessageAnswer(ASKED)
    for data in _events(exchange.body):
        growing.feed(data)
    return growing.response()


def _response(exchange: Exchange) -> LLMResponse:
    return _response_of(exchange.id)


def _events(body: bytes) -> Iterator[Mapping[str, Any]]:
    for data in EventReader().feed(body + b"\n\n"):
        if data.strip() != "[DONE]":
            yield json.loads(data)
