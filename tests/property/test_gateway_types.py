"""Whatever type stands in a field of a body, the gateway answers, or says what is wrong."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from orchestify.testing import Reply
from tests.gateways import CHAT, HELLO, WEATHER, Gateway, gateway

SCHEMA: Any = {"type": "object", "properties": {"city": {"type": "string"}}}
PIXEL = "iVBORw0KGgo="
OTHERS: tuple[Any, ...] = (None, True, 1.5, "x", [], ["a"], {}, {"type": []})
"""Values of every JSON type, also empty ones and such with a wrong one inside."""

SIGNED = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
CHAT_BODY: dict[str, Any] = {
    "max_tokens": 50,
    "temperature": 0.5,
    "top_p": 0.5,
    "stop": ["END"],
    "seed": 7,
    "n": 1,
    "stream": False,
    "stream_options": {"include_usage": True},
    "metadata": {"team": "blue"},
    "tools": [WEATHER],
    "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
    "parallel_tool_calls": False,
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "city", "schema": SCHEMA, "strict": False, "description": "a city"},
    },
    "logprobs": False,
    "top_logprobs": 0,
    "modalities": ["text"],
    "frequency_penalty": 0,
    "logit_bias": {"5": 1},
    "user": "someone",
    "service_tier": "auto",
    "store": False,
    "messages": [
        {"role": "system", "content": "Be brief.", "name": "boss"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}},
                {
                    "type": "image_url",
                    "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "low"},
                },
                {
                    "type": "file",
                    "file": {
                        "file_data": f"data:application/pdf;base64,{PIXEL}",
                        "filename": "a.pdf",
                    },
                },
            ],
        },
        {
            "role": "assistant",
            "content": "Let me look.",
            "refusal": None,
            "reasoning_content": "Hm.",
            "thinking_blocks": [SIGNED],
            "extra_content": {"google": {"thought_signature": "x"}},
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": '{"city": "Rome"}'},
                    "extra_content": {"google": {"thought_signature": "x"}},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ],
}
THINKING_CHAT: dict[str, Any] = {
    "messages": HELLO,
    "reasoning": {"effort": "low", "max_tokens": 2000, "enabled": True, "exclude": False},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "reasoning_effort": "low",
}
MESSAGES_BODY: dict[str, Any] = {
    "max_tokens": 5000,
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 5,
    "stop_sequences": ["END"],
    "stream": False,
    "metadata": {"user_id": "u"},
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "service_tier": "auto",
    "context_management": {"edits": []},
    "tools": [{"name": "get_weather", "description": "Tells it", "input_schema": SCHEMA}],
    "tool_choice": {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True},
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "hi", "citations": None},
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
                },
                {
                    "type": "document",
                    "title": "a.txt",
                    "context": None,
                    "citations": {"enabled": False},
                    "source": {"type": "text", "media_type": "text/plain", "data": "words"},
                },
            ],
        },
        {
            "role": "assistant",
            "content": [
                SIGNED,
                {"type": "text", "text": "Let me look."},
                {
                    "type": "tool_use",
                    "id": "tu_1",
                    "name": "get_weather",
                    "input": {"city": "Rome"},
                },
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "tu_1",
                    "content": [{"type": "text", "text": "sunny"}],
                    "is_error": False,
                }
            ],
        },
    ],
}
THINKING_MESSAGES: dict[str, Any] = {
    "max_tokens": 5000,
    "messages": HELLO,
    "thinking": {"type": "enabled", "budget_tokens": 1024, "display": "omitted"},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
    "cache_control": {"type": "ephemeral", "ttl": "5m"},
}
EFFORT_MESSAGES: dict[str, Any] = {
    "max_tokens": 5000,
    "messages": HELLO,
    "output_config": {"effort": "low", "task_budget": None},
}
RESPONSES_BODY: dict[str, Any] = {
    "instructions": "Be brief.",
    "max_output_tokens": 5000,
    "temperature": 0.5,
    "top_p": 0.5,
    "store": False,
    "stream": False,
    "background": False,
    "stream_options": {"include_obfuscation": False},
    "metadata": {"team": "blue"},
    "include": ["reasoning.encrypted_content"],
    "reasoning": {"effort": "low", "summary": "auto"},
    "text": {
        "verbosity": "low",
        "format": {"type": "json_schema", "name": "city", "schema": SCHEMA, "strict": False},
    },
    "truncation": "auto",
    "service_tier": "auto",
    "prompt_cache_key": "k",
    "user": "someone",
    "previous_response_id": None,
    "parallel_tool_calls": False,
    "tool_choice": {
        "type": "allowed_tools",
        "mode": "auto",
        "tools": [{"type": "function", "name": "get_weather"}],
    },
    "tools": [
        {"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": False},
        {"type": "custom", "name": "shell", "description": "runs", "format": {"type": "text"}},
        {
            "type": "namespace",
            "name": "space",
            "description": "of more",
            "tools": [{"type": "function", "name": "other", "parameters": SCHEMA}],
        },
        {"type": "web_search", "filters": {"allowed_domains": []}},
    ],
    "input": [
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "hi"},
                {
                    "type": "input_image",
                    "image_url": f"data:image/png;base64,{PIXEL}",
                    "detail": "low",
                },
                {
                    "type": "input_file",
                    "filename": "a.pdf",
                    "file_data": f"data:application/pdf;base64,{PIXEL}",
                },
            ],
        },
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "Hm."}],
            "content": [{"type": "reasoning_text", "text": "Hm."}],
            "encrypted_content": "orchestify.W10=",
        },
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "Let me look.", "annotations": [], "logprobs": []}
            ],
        },
        {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "call_1",
            "name": "get_weather",
            "namespace": None,
            "arguments": '{"city": "Rome"}',
        },
        {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
        {"type": "custom_tool_call", "call_id": "call_2", "name": "shell", "input": "ls"},
        {
            "type": "custom_tool_call_output",
            "call_id": "call_2",
            "output": [{"type": "input_text", "text": "a"}],
        },
        {"type": "item_reference", "id": "msg_1"},
    ],
}
REFERRING: dict[str, Any] = {"input": [{"type": "item_reference", "id": "msg_1"}]}
EMBEDDINGS_BODY: dict[str, Any] = {
    "input": ["hello", "there"],
    "dimensions": 8,
    "encoding_format": "float",
    "user": "someone",
}
BODIES = {
    "chat": (CHAT, CHAT_BODY),
    "thinking chat": (CHAT, THINKING_CHAT),
    "messages": ("/v1/messages", MESSAGES_BODY),
    "thinking messages": ("/v1/messages", THINKING_MESSAGES),
    "effort of messages": ("/v1/messages", EFFORT_MESSAGES),
    "counted": ("/v1/messages/count_tokens", MESSAGES_BODY),
    "responses": ("/v1/responses", RESPONSES_BODY),
    "referring responses": ("/v1/responses", REFERRING),
    "embeddings": ("/v1/embeddings", EMBEDDINGS_BODY),
}
MORE = {"own": {"type": "openai", "api": "responses", "default_model": "gpt-5.1"}}
MODELS = ("gpt/gpt-4o", "claude/claude-sonnet-4-5", "own/gpt-5.1")
"""Each of the direct lanes; they take turns."""

LIMITS = {"requests_per_minute": 1_000_000}


@pytest_asyncio.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path, more=MORE, settings=LIMITS) as each:
        yield each


def places(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths of all that is in a value, but for the insides of schemas."""
    if at and at[-1] in ("schema", "parameters", "input_schema"):
        return
    keys = value if isinstance(value, dict) else range(len(value)) if type(value) is list else ()
    for key in keys:
        yield (*at, key)
        yield from places(value[key], (*at, key))


def replaced(body: dict[str, Any], at: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(body)
    holder: Any = changed
    for key in at[:-1]:
        holder = holder[key]
    holder[at[-1]] = value
    return changed


@pytest.mark.parametrize("name", BODIES)
async def test_no_type_of_a_field_makes_the_gateway_fail(gate: Gateway, name: str) -> None:
    path, body = BODIES[name]
    asked = {"model": "", **body}
    changes = [(at, value) for at in places(asked) for value in OTHERS]
    gate.stub.script(*[Reply(text="ok")] * len(changes))
    failed = []
    async with gate.served.client(gate.token) as client:
        for (at, value), model in zip(changes, cycle(MODELS), strict=False):
            answer = await client.post(path, json=replaced({**asked, "model": model}, at, value))
            if answer.status_code >= 500:
                failed.append((at, value, model, answer.status_code, answer.text[:200]))
    assert failed == []
