"""The direct lanes are held to LiteLLM: for the same request, the same body on the wire.

Both bodies are what the stub server received. What differs stands in `DIFFERENCES`, with its
reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from typing import Any, NamedTuple

import pytest

from orchestify import ImagePart, LLMMessage, StructuredOutputError, TextPart, Thinking
from orchestify.testing import StubServer
from orchestify.values import ToolCall
from tests.lanes import (
    ANTHROPIC,
    ANTHROPIC_TOOL,
    LITELLMS_OWN_WARNINGS,
    OPENAI,
    OPENAI_TOOL,
    Lane,
    configured,
    opened,
)

pytestmark = LITELLMS_OWN_WARNINGS

MODELS = {"anthropic": "claude-sonnet-4-5", "openai": "gpt-4o"}
PICTURE = ImagePart(url="https://example.com/cat.png")
PIXEL = ImagePart(data="iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ", media_type="image/png")
NOW: dict[str, Any] = {"name": "now"}
STRICT: dict[str, Any] = {
    "type": "function",
    "function": {**OPENAI_TOOL["function"], "strict": True},
}
PERSON: dict[str, Any] = {
    "type": "object",
    "title": "Person",
    "properties": {"name": {"type": "string", "minLength": 1}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
CALLS = (
    ToolCall("call_1", "get_weather", {"location": "Oslo"}),
    ToolCall("call_2", "get_weather", {"location": "Rome"}),
)
SIGNED = Thinking("hm", ({"type": "thinking", "thinking": "hm", "signature": "c2ln"},))
SYSTEM = LLMMessage("system", "be brief")
HI = LLMMessage("user", "hi")
RESULTS = [
    LLMMessage("tool", "rain", tool_call_id="call_1"),
    LLMMessage("tool", "sun", tool_call_id="call_2"),
]

REQUESTS: dict[str, dict[str, Any]] = {
    "text": {"messages": "hi"},
    "beyond ascii": {"messages": "zażółć 🦊"},
    "system": {"messages": [SYSTEM, HI]},
    "two system prompts": {"messages": [SYSTEM, LLMMessage("system", "be kind"), HI]},
    "turns": {"messages": [HI, LLMMessage("assistant", "hello"), LLMMessage("user", "and?")]},
    "two user messages": {"messages": [HI, LLMMessage("user", "and?")]},
    "prefill": {"messages": [HI, LLMMessage("assistant", "It is ")]},
    "sampling": {"messages": "hi", "temperature": 0.2, "max_tokens": 50, "stop": ["END", "STOP"]},
    "top_p": {"messages": "hi", "top_p": 0.9},
    "seed": {"messages": "hi", "seed": 7},
    "image by url": {"messages": LLMMessage("user", (TextPart("what?"), PICTURE))},
    "image as base64": {"messages": LLMMessage("user", (TextPart("what?"), PIXEL))},
    "tools": {"messages": "hi", "tools": [ANTHROPIC_TOOL]},
    "tool in openai's form": {"messages": "hi", "tools": [OPENAI_TOOL]},
    "tool without a schema": {"messages": "hi", "tools": [NOW]},
    "strict tool": {"messages": "hi", "tools": [STRICT]},
    "tool choice auto": {"messages": "hi", "tools": [ANTHROPIC_TOOL], "tool_choice": "auto"},
    "tool choice none": {"messages": "hi", "tools": [ANTHROPIC_TOOL], "tool_choice": "none"},
    "tool choice required": {
        "messages": "hi",
        "tools": [ANTHROPIC_TOOL],
        "tool_choice": "required",
    },
    "tool choice by name": {
        "messages": "hi",
        "tools": [ANTHROPIC_TOOL],
        "tool_choice": "get_weather",
    },
    "tool results": {
        "messages": [SYSTEM, HI, LLMMessage("assistant", "Wait.", tool_calls=CALLS), *RESULTS],
        "tools": [ANTHROPIC_TOOL],
    },
    "tool results after no text": {
        "messages": [HI, LLMMessage("assistant", "", tool_calls=CALLS), *RESULTS],
        "tools": [ANTHROPIC_TOOL],
    },
    "tool results and a question": {
        "messages": [HI, LLMMessage("assistant", "", tool_calls=CALLS), *RESULTS, HI],
        "tools": [ANTHROPIC_TOOL],
    },
    "tool results without tools": {
        "messages": [HI, LLMMessage("assistant", "", tool_calls=CALLS), *RESULTS],
    },
    "json schema": {"messages": "hi", "response_format": PERSON},
    "json object": {"messages": "json, please", "response_format": {"type": "json_object"}},
    "call ids of another provider": {
        "messages": [
            HI,
            LLMMessage("assistant", "", tool_calls=(ToolCall("functions.w:0", "get_weather"),)),
            LLMMessage("tool", "rain", tool_call_id="functions.w:0"),
        ],
        "tools": [ANTHROPIC_TOOL],
    },
    "image in a tool's result": {
        "messages": [
            HI,
            LLMMessage("assistant", "", tool_calls=CALLS[:1]),
            LLMMessage(
                "tool",
                (TextPart("see"), PIXEL),
                tool_call_id="call_1",
            ),
        ],
        "tools": [ANTHROPIC_TOOL],
    },
    "system prompt in the middle": {"messages": [HI, LLMMessage("assistant", "hello"), SYSTEM, HI]},
    "assistant first": {"messages": [LLMMessage("assistant", "hello"), HI]},
    "two assistant messages": {
        "messages": [HI, LLMMessage("assistant", "hello"), LLMMessage("assistant", "there"), HI]
    },
    "text in parts": {"messages": LLMMessage("user", (TextPart("what"), TextPart(" is it?")))},
    "nested schema": {
        "messages": "hi",
        "response_format": {
            "type": "object",
            "properties": {
                "people": {"type": "array", "items": {"$ref": "#/$defs/P"}, "minItems": 1},
                "kind": {"enum": ["a", "b"]},
            },
            "required": ["people", "kind"],
            "$defs": {"P": PERSON},
        },
    },
    "empty tool result": {
        "messages": [
            HI,
            LLMMessage("assistant", "", tool_calls=CALLS[:1]),
            LLMMessage("tool", "", tool_call_id="call_1"),
        ],
        "tools": [ANTHROPIC_TOOL],
    },
    "thinking of another provider": {
        "messages": [HI, LLMMessage("assistant", "hello", thinking=Thinking("hm")), HI],
    },
    "empty user message": {
        "messages": [HI, LLMMessage("assistant", "hello"), LLMMessage("user", "")]
    },
    "options": {"messages": "hi", "options": {"top_k": 5}},
}
CLAUDES: dict[str, dict[str, Any]] = {
    "thinking": {"messages": "hi", "thinking": True, "max_tokens": 4096},
    "thinking budget": {"messages": "hi", "thinking": {"budget_tokens": 2000}, "max_tokens": 4096},
    "thinking budget over the limit": {
        "messages": "hi",
        "thinking": {"budget_tokens": 2000},
        "max_tokens": 100,
    },
    "thinking effort": {"messages": "hi", "thinking": "high", "max_tokens": 8192},
    "thinking and temperature": {"messages": "hi", "thinking": True, "temperature": 0.2},
    "thinking sent back": {
        "messages": [HI, LLMMessage("assistant", "", tool_calls=CALLS, thinking=SIGNED), *RESULTS],
        "tools": [ANTHROPIC_TOOL],
        "thinking": True,
    },
    "adaptive thinking": {"messages": "hi", "thinking": True, "model": "claude-opus-4-6"},
    "adaptive thinking effort": {"messages": "hi", "thinking": "low", "model": "claude-opus-4-6"},
    "schema on an older model": {
        "messages": "hi",
        "response_format": PERSON,
        "model": "claude-3-5-haiku-20241022",
    },
    "schema with thinking": {"messages": "hi", "response_format": PERSON, "thinking": True},
    "server tool": {
        "messages": "hi",
        "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 1}],
    },
    "service tier": {"messages": "hi", "options": {"service_tier": "auto"}},
    "metadata": {"messages": "hi", "options": {"metadata": {"user_id": "u1"}}},
    "code tool": {
        "messages": "hi",
        "tools": [{"type": "code_execution_20250522", "name": "code_execution"}],
    },
    "cached system alone": {"messages": [SYSTEM, HI], "agent": "caching"},
    "newest": {
        "messages": "hi",
        "model": "claude-opus-4-7",
        "temperature": 0.2,
        "thinking": {"budget_tokens": 2048},
    },
    "cached": {"messages": [SYSTEM, HI], "tools": [ANTHROPIC_TOOL, NOW], "agent": "caching"},
}
GPTS: dict[str, dict[str, Any]] = {
    "reasoning model": {"messages": "hi", "model": "o3", "max_tokens": 50, "temperature": 1},
    "reasoning effort": {"messages": "hi", "model": "o3", "thinking": "low"},
    "reasoning unasked temperature": {
        "messages": "hi",
        "model": "gpt-5",
        "temperature": 0.2,
        "max_tokens": 50,
    },
    "service tier": {"messages": "hi", "options": {"service_tier": "flex"}},
    "metadata": {"messages": "hi", "options": {"metadata": {"run": "r1"}}},
    "parallel calls off": {
        "messages": "hi",
        "tools": [OPENAI_TOOL],
        "options": {"parallel_tool_calls": False},
    },
    "name": {"messages": LLMMessage("user", "hi", name="ada")},
    "cached": {"messages": [SYSTEM, HI], "agent": "caching"},
}

ABSENT = "(absent)"
_P = {
    "type": "object",
    "title": "Person",
    "properties": {
        "name": {"type": "string", "description": "Note: minimum length: 1."},
        "age": {"type": "integer"},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


class Difference(NamedTuple):
    """Where two bodies differ: by path, what the direct lane and what LiteLLM sends."""

    reason: str
    at: dict[str, tuple[Any, Any]]


INSTALLED = tuple(map(int, metadata.version("litellm").split(".")[:2]))
# What a release of LiteLLM changed: since which, and where its bodies differ more.
SINCE: dict[tuple[str, str], tuple[tuple[int, ...], dict[str, tuple[Any, Any]]]] = {
    # Anthropic takes no other minItems than 0 and 1; LiteLLM passes these on.
    ("anthropic", "nested schema"): (
        (1, 108),
        {
            "output_format.schema.properties.people.description": (
                "Note: minimum number of items: 1.",
                ABSENT,
            ),
            "output_format.schema.properties.people.minItems": (ABSENT, 1),
        },
    ),
}

DIFFERENCES: dict[tuple[str, str], Difference] = {
    ("anthropic", "nested schema"): Difference(
        "Anthropic takes $defs and $ref; LiteLLM writes each definition out where it is used",
        {
            "output_format.schema.$defs": ({"P": _P}, ABSENT),
            "output_format.schema.properties.people.items": ({"$ref": "#/$defs/P"}, _P),
        },
    ),
    ("anthropic", "strict tool"): Difference(
        "Claude has strict tools; LiteLLM leaves the word out",
        {
            "(anthropic-beta)": ("structured-outputs-2025-11-13", ABSENT),
            "tools.0.input_schema.additionalProperties": (False, ABSENT),
            "tools.0.strict": (True, ABSENT),
        },
    ),
    ("anthropic", "code tool"): Difference(
        "the tool's older version needs its beta header, which LiteLLM leaves out",
        {"(anthropic-beta)": ("code-execution-2025-05-22", ABSENT)},
    ),
    ("openai", "thinking of another provider"): Difference(
        "self-hosted reasoning models want their thinking back; OpenAI's own host is sent none",
        {"messages.1.reasoning_content": ("hm", ABSENT)},
    ),
    ("openai", "metadata"): Difference(
        "LiteLLM keeps a field of this name to itself",
        {"metadata": ({"run": "r1"}, ABSENT)},
    ),
}

CASES = [
    *(("anthropic", name) for name in REQUESTS | CLAUDES),
    *(("openai", name) for name in REQUESTS | GPTS),
]


def through_litellm(lane: Lane) -> Lane:
    """Return the same provider, through LiteLLM."""
    return Lane(f"{lane.name}-litellm", lane.protocol, {**lane.settings, "engine": "litellm"})


async def body_of(server: StubServer, lane: Lane, request: dict[str, Any], stream: bool) -> Any:
    """Return the body that a lane sends, with its beta header."""
    given = dict(request)
    agent = given.pop("agent", "plain")
    async with opened(configured(lane, lane.base_url(server))) as registry:
        provider = registry.get_for_agent(agent)
        with suppress(StructuredOutputError):  # the stub answers a wish for any JSON with text
            if stream:
                assert [event async for event in provider.stream(**given).events()]
            else:
                await provider.complete(**given)
    seen = server.requests[-1]
    beta = seen.headers.get("anthropic-beta")
    return {**seen.body, **({"(anthropic-beta)": beta} if beta else {})}


def differences(direct: Any, other: Any, path: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Yield where two bodies differ, as deep as both have the same shape."""
    if isinstance(direct, list) and isinstance(other, list):
        direct, other = ({str(n): x for n, x in enumerate(each)} for each in (direct, other))
    alike = isinstance(direct, dict) and isinstance(other, dict)
    if alike and (direct.keys() & other.keys() or not path):
        for key in sorted(direct.keys() | other.keys()):
            pair = (direct.get(key, ABSENT), other.get(key, ABSENT))
            yield from differences(*pair, f"{path}.{key}" if path else key)
    elif direct != other:
        yield path, (direct, other)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("protocol", "name"), CASES)
async def test_direct_lane_sends_what_litellm_sends(protocol: str, name: str, stream: bool) -> None:
    lane, own = {"anthropic": (ANTHROPIC, CLAUDES), "openai": (OPENAI, GPTS)}[protocol]
    request = (REQUESTS | own)[name]
    async with StubServer() as server:
        direct = await body_of(server, lane, request, stream)
        litellms = await body_of(server, through_litellm(lane), request, stream)
    expected = DIFFERENCES.get((protocol, name), Difference("", {})).at
    since, more = SINCE.get((protocol, name), (INSTALLED, {}))
    assert dict(differences(direct, litellms)) == expected | (more if since <= INSTALLED else {})


def test_every_difference_belongs_to_a_request() -> None:
    assert set(DIFFERENCES) <= set(CASES)
