"""Whatever a body holds, the gateway refuses it or can send it."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from orchestify.calls.request import Defaults, call_of
from orchestify.errors import InvalidParameterError
from orchestify.lanes.anthropic import request as anthropic_messages
from orchestify.lanes.openai import request as openai_chat
from orchestify.lanes.openai.dialects import DIALECTS
from orchestify.server.gateway.chat.fields import OPTIONAL
from orchestify.server.gateway.chat.request import EFFORTS, chat_request

WORDS = (
    *("model", "messages", "tools", "tool_choice", "parallel_tool_calls", "response_format"),
    *("temperature", "top_p", "stop", "seed", "max_tokens", "max_completion_tokens", "n"),
    *("reasoning_effort", "thinking", "stream", "stream_options", "metadata", "include_usage"),
    *("role", "content", "name", "tool_calls", "tool_call_id", "type", "text", "image_url", "url"),
    *("function", "id", "arguments", "parameters", "strict", "json_schema", "schema"),
    *("reasoning_content", "thinking_blocks", "signature", "extra_content", "budget_tokens"),
    *OPTIONAL,
)
TEXTS = (
    *("system", "user", "assistant", "tool", "developer", "auto", "required", "json_object"),
    *("reasoning.text", "redacted_thinking", "data:image/png;base64,AA==", "https://x/a.png", "{}"),
    *WORDS,
    *EFFORTS,
)
leaves = st.sampled_from((*TEXTS, None, True, False)) | st.integers() | st.floats() | st.text()
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=20,
)


def fields(**known: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object of about the right shape, any of whose fields may hold anything."""
    return st.fixed_dictionaries({}, optional={name: each | trees for name, each in known.items()})


functions = fields(
    name=st.just("f"), arguments=st.just("{}"), parameters=trees, description=st.text()
)
calls = fields(id=st.just("1"), type=st.just("function"), function=functions)
parts = fields(type=st.sampled_from(["text", "image_url"]), text=st.text(), image_url=trees)
messages = fields(
    role=st.sampled_from(["system", "user", "assistant", "tool", "developer"]),
    content=st.text() | st.lists(parts, max_size=2),
    tool_calls=st.lists(calls, max_size=2),
    tool_call_id=st.just("1"),
    reasoning_content=st.text(),
    thinking_blocks=st.lists(fields(type=st.sampled_from(TEXTS), extra_content=trees), max_size=2),
)
bodies = fields(
    model=st.just("m"),
    messages=st.lists(messages, min_size=1, max_size=3),
    tools=st.lists(fields(type=st.just("function"), function=functions), max_size=2),
    tool_choice=st.sampled_from(["auto", "none", "required"]),
    response_format=fields(type=st.sampled_from(["json_object", "json_schema"]), json_schema=trees),
    metadata=st.dictionaries(st.text(), st.text(), max_size=2),
    **dict.fromkeys((WORDS[4], *WORDS[6:16]), trees),
)


@given(bodies)
@settings(max_examples=300, deadline=None)
def test_a_body_is_refused_or_can_be_sent(body: dict[str, Any]) -> None:
    with suppress(InvalidParameterError):
        asked = chat_request(json.dumps(body).encode())
        request = call_of(**asked.arguments).request(Defaults(), model=asked.model)
        for dialect in DIALECTS.values():
            assert json.dumps(openai_chat.request_body(request, dialect, stream=True))
        assert json.dumps(anthropic_messages.request_body(request, stream=False))


@given(st.binary(max_size=50))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidParameterError):
        chat_request(body)
