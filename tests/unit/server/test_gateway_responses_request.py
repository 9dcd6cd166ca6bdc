"""Requests of Responses as arguments of a call, and what goes back in reasoning items."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from orchestify.errors import InvalidParameterError
from orchestify.server.gateway.responses.reasoning import blocks_in, content_of
from orchestify.server.gateway.responses.request import responses_request
from orchestify.values import Thinking

SIGNED = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
GEMINIS = {
    "type": "extra_content",
    "tool_call_id": "c",
    "extra_content": {"google": {"thought_signature": "s"}},
}


def asked(**fields: Any) -> Any:
    return responses_request(json.dumps({"model": "m", "input": "hi", **fields}).encode())


@pytest.mark.parametrize("block", [SIGNED, GEMINIS])
def test_blocks_come_back_out_of_encrypted_content(block: dict[str, Any]) -> None:
    content = content_of(Thinking("Hm.", (block,)))
    assert blocks_in({"type": "reasoning", "encrypted_content": content}) == (block,)


@pytest.mark.parametrize(
    "content",
    [
        "",
        None,
        7,
        "orchestify.",
        "orchestify.!!!",
        "orchestify." + base64.urlsafe_b64encode(b"{}").decode(),
        "orchestify." + base64.urlsafe_b64encode(b"[1, {}]").decode(),
        "orchestify." + base64.urlsafe_b64encode(b"[" + b"[]," * 9_000 + b"[]]").decode(),
        "orchestify." + base64.urlsafe_b64encode(b"[" * 9_000).decode(),
    ],
)
def test_encrypted_content_that_nobody_wrote_has_no_blocks(content: Any) -> None:
    assert blocks_in({"type": "reasoning", "encrypted_content": content}) == ()


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": {"role": "user"}}, "input"),
        ({"input": ["hi"]}, "input[0]"),
        ({"input": [{"type": "item_reference", "id": {}}]}, "input[0].id"),
        ({"input": [{"type": "item_reference", "id": ["a"]}]}, "input[0].id"),
        ({"input": [{"type": "item_reference"}]}, "input[0].id"),
        ({"input": [{"type": "reasoning", "summary": 1}]}, "input[0].summary"),
        ({"input": [{"type": "reasoning", "summary": [1]}]}, "input[0].summary[0]"),
        ({"input": [{"type": "reasoning", "content": "x"}]}, "input[0].content"),
        ({"input": [{"type": "reasoning", "encrypted_content": 1}]}, "input[0].encrypted_content"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": 3}]}, "input[0].content"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
        ({"include": 5}, "include"),
        ({"include": [{}]}, "include"),
        ({"previous_response_id": 5}, "previous_response_id"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "namespace", "name": "n", "tools": [{}]}]}, "tools[0].tools[0].type"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"background": True}, "background"),
    ],
)
def test_what_cannot_be_used_is_named(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(
        InvalidParameterError, match=f"^{place.replace('[', '.').replace(']', '.')}"
    ):
        asked(**fields)


def test_items_between_others_are_one_turn() -> None:
    call = {"type": "function_call", "name": "f", "arguments": "{}"}
    result = {"type": "function_call_output", "output": "ok"}
    messages = asked(
        instructions="Be brief.",
        input=[
            {"role": "developer", "content": "x"},
            {"role": "user", "content": "y"},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
            {"role": "assistant", "content": [{"type": "output_text", "text": "So"}]},
            {**call, "call_id": "a"},
            {**call, "call_id": "b"},
            {**result, "call_id": "a"},
            {**result, "call_id": "b"},
        ],
    ).arguments["messages"]
    roles = ["system", "system", "user", "assistant", "tool", "tool"]
    assert [message.role for message in messages] == roles
    assert [call.id for call in messages[3].tool_calls] == ["a", "b"]
    assert (messages[3].text, str(messages[3].thinking)) == ("So", "Hm.")


def test_allowed_tools_are_the_only_ones() -> None:
    tools = [{"type": "function", "name": name} for name in "abc"]
    choice = {"type": "allowed_tools", "mode": "required", "tools": [tools[1]]}
    arguments = asked(tools=tools, tool_choice=choice).arguments
    assert [tool.name for tool in arguments["tools"]] == ["b"]
    assert arguments["tool_choice"].mode == "required"
