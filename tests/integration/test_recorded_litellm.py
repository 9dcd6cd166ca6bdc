"""Recorded exchanges of the protocols that only LiteLLM speaks, through its lane.

What it reads is held against the recordings' own reading (`expect`). What differs stands in
`EXCEPTIONS`, with the reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from orchestify.core.providers import ProviderConfig
from orchestify.errors import APIError
from orchestify.lanes.litellm import LiteLLMLane, load
from orchestify.values import CompletionRequest, LLMMessage, LLMResponse, StreamEnd, Usage
from tests import recorded
from tests.lanes import LITELLMS_OWN_WARNINGS
from tests.recorded import Exchange

pytestmark = [
    *LITELLMS_OWN_WARNINGS,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
]

PREFIXES = {
    ("bedrock", "converse"): "bedrock/converse/",
    ("cohere", "nativechat"): "cohere_chat/",
    ("gemini", "generateContent"): "gemini/",
    ("ollama", "nativechat"): "ollama_chat/",
}
MODELS = {"bedrock": "amazon.nova-lite-v1:0"}  # the recorded names are not all in LiteLLM's list
COHERE_USAGE = "LiteLLM takes no client of ours for Cohere, and keeps the answer to itself"
COHERE_STREAM = "LiteLLM cannot read the `event:` lines that Cohere sends"
GEMINI_FRAGMENTS = "LiteLLM cannot read function calls that come in fragments"
NOVA = "LiteLLM takes Nova's <thinking> out of the text"

EXCEPTIONS = {
    "bedrock-converse-json-200-3a80a3dc15": ({"text"}, NOVA),
    "bedrock-converse-json-200-6dfc54f1e8": ({"text"}, NOVA),
    "cohere-nativechat-json-200-2878d87f3c": ({"cache_read", "source"}, COHERE_USAGE),
    "cohere-nativechat-json-200-43acd31305": ({"cache_read", "source"}, COHERE_USAGE),
    "cohere-nativechat-json-200-45f1efb8d1": ({"cache_read", "source"}, COHERE_USAGE),
    "cohere-nativechat-json-200-5b7d165167": ({"cache_read", "source"}, COHERE_USAGE),
    "cohere-nativechat-json-200-67b4751e9c": ({"cache_read", "source"}, COHERE_USAGE),
    "cohere-nativechat-json-200-9876841c67": ({"cache_read", "source"}, COHERE_USAGE),
    "cohere-nativechat-json-200-9b097ab6e6": ({"cache_read", "source"}, COHERE_USAGE),
    "cohere-nativechat-json-200-9ce8e33312": ({"cache_read", "source"}, COHERE_USAGE),
    "cohere-nativechat-json-200-b3d7b87a62": ({"cache_read", "source"}, COHERE_USAGE),
    "cohere-nativechat-json-200-c6f0d24b2f": ({"cache_read", "source"}, COHERE_USAGE),
    "cohere-nativechat-json-200-e454cfb767": ({"source"}, COHERE_USAGE),
    "cohere-nativechat-json-200-e51460d396": ({"source"}, COHERE_USAGE),
    "cohere-nativechat-json-200-97fd3f7c7a": ({"InvalidResponseError"}, "an answer of Cohere's v1"),
    "cohere-nativechat-json-200-c6ee06239a": (
        {"source", "tool_calls"},
        "two calls, counted as one",
    ),
    "cohere-nativechat-sse-200-13829720e2": ({"InvalidResponseError"}, COHERE_STREAM),
    "cohere-nativechat-sse-200-2d81350043": ({"InvalidResponseError"}, COHERE_STREAM),
    "cohere-nativechat-sse-200-3a045a2949": ({"InvalidResponseError"}, COHERE_STREAM),
    "cohere-nativechat-sse-200-7ef432b0f2": ({"InvalidResponseError"}, COHERE_STREAM),
    "cohere-nativechat-sse-200-866ca14b36": ({"InvalidResponseError"}, COHERE_STREAM),
    "cohere-nativechat-sse-200-94db93c22b": ({"InvalidResponseError"}, COHERE_STREAM),
    "cohere-nativechat-sse-200-cf2f501456": ({"InvalidResponseError"}, COHERE_STREAM),
    "cohere-nativechat-sse-200-ec6f59ab93": ({"InvalidResponseError"}, COHERE_STREAM),
    "cohere-nativechat-sse-200-fe5b832e41": ({"InvalidResponseError"}, COHERE_STREAM),
    "gemini-generateContent-sse-200-325d16d7d3": ({"InvalidResponseError"}, GEMINI_FRAGMENTS),
    "gemini-generateContent-sse-200-4698a29a82": ({"StreamInterruptedError"}, GEMINI_FRAGMENTS),
    "gemini-generateContent-sse-200-9344ca2f97": (
        {"output_tokens"},
        "the last chunk lacks a part of the output that an earlier one has",
    ),
}

REFUSED = {
    "bedrock-converse-json-400-61f3545261": "InvalidRequestError",
    "bedrock-converse-json-400-9d914a713b": "InvalidRequestError",
    "bedrock-converse-json-400-ba2595b5c3": "InvalidRequestError",
    "bedrock-converse-json-403-830b2a9d31": "PermissionDeniedError",
    "cohere-nativechat-json-400-d4d8fafd5e": "ContextWindowError",
    "cohere-nativechat-json-404-b2ab719520": "ModelNotFoundError",
    "gemini-generateContent-json-400-268523b6a5": "AuthenticationError",
    "gemini-generateContent-json-404-933613cf20": "ModelNotFoundError",
    "gemini-generateContent-json-404-c9098d5d73": "ModelNotFoundError",
    "gemini-generateContent-json-429-607f8385f4": "RateLimitError",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def port() -> AsyncIterator[int]:
    recorded.need_recorded()
    litellm = await load()
    runner, number, _ = await recorded.replay_module().serve(recorded.FOLDER / "interactions")
    yield number
    await litellm.close_litellm_async_clients()
    await runner.cleanup()


async def test_every_answer_is_read_as_recorded(port: int) -> None:
    differing = {}
    for exchange in chosen(200):
        found = await differences(exchange, port)
        if found:
            differing[exchange.id] = found
    assert differing == {name: found for name, (found, _) in EXCEPTIONS.items()}


async def test_every_refusal_is_classified(port: int) -> None:
    classes = {}
    for exchange in chosen(400):
        (found,) = await differences(exchange, port)
        classes[exchange.id] = found
    assert classes == REFUSED


def chosen(status: int) -> list[Exchange]:
    """The exchanges of these protocols, the ones that succeeded or the others."""
    return [
        exchange
        for exchange in recorded.exchanges()
        if (exchange.provider, exchange.kind) in PREFIXES
        and "-json-array-" not in exchange.id
        and (exchange.status == 200) is (status == 200)
    ]


async def differences(exchange: Exchange, port: int) -> set[str]:
    """What differs from the recording's reading, or the error's class."""
    try:
        response = await ask(exchange, f"http://127.0.0.1:{port}/i/{exchange.id}")
    except APIError as error:
        return {type(error).__name__}
    expect = exchange.expect
    told = expect["usage"] or {}
    usage = response.usage or Usage()
    pairs = {
        "text": (text_hash(response), expect["content_sha256"] or text_hash(response)),
        "tool_calls": (len(response.tool_calls), expect["tool_calls"] or 0),
        "source": (usage.source, "reported" if expect["usage"] else "unknown"),
        "input_tokens": (usage.input_tokens, told.get("prompt") or 0),
        "output_tokens": (usage.output_tokens, told.get("completion") or 0),
        "cache_read": (usage.cache_read, told.get("cached") or 0),
        "cache_write": (usage.cache_write, told.get("cache_write") or 0),
        "reasoning": (usage.reasoning, told.get("reasoning") or 0),
        "cost": (response.cost_usd, None),
    }
    return {name for name, (ours, theirs) in pairs.items() if ours != theirs}


async def ask(exchange: Exchange, address: str) -> LLMResponse:
    prefix = PREFIXES[exchange.provider, exchange.kind]
    model = prefix + (MODELS.get(exchange.provider) or exchange.model or "model")
    config: dict[str, Any] = {
        "type": "litellm",
        "api_key": "any-key-0123456789",
        "default_model": model,
        "base_url": address,
    }
    if exchange.provider == "bedrock":
        del config["api_key"]
        config["options"] = {
            "aws_bedrock_runtime_endpoint": address,
            "aws_access_key_id": "any",
            "aws_secret_access_key": "any",
            "aws_region_name": "us-east-1",
        }
    lane = LiteLLMLane("there", ProviderConfig.model_validate(config))
    request = CompletionRequest(messages=(LLMMessage("user", "hi"),), model=model, timeout_s=20)
    if "-json-" in exchange.id:
        return await lane.send(request)
    *_, end = [event async for event in lane.open_stream(request)]
    assert isinstance(end, StreamEnd)
    return end.response


def text_hash(response: LLMResponse) -> str:
    return hashlib.sha256(response.content.encode()).hexdigest()[:16]
