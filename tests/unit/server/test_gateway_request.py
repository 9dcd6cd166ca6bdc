"""A chat completion's body, as the gateway reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestify.errors import InvalidParameterError
from orchestify.server.gateway.chat.request import chat_request
from orchestify.values import FilePart, ImagePart, LLMMessage, TextPart, Thinking, ToolCall

USER = {"role": "user", "content": "hi"}
BODY: dict[str, Any] = {"model": "m", "messages": [USER]}
FILE = {"type": "file"}
FUNCTION = {"type": "function", "function": {"name": "f"}}


def read(**fields: Any) -> Any:
    return chat_request(json.dumps({**BODY, **fields}).encode())


def reason(body: bytes) -> str:
    with pytest.raises(InvalidParameterError) as caught:
        chat_request(body)
    return str(caught.value)


def message(**fields: Any) -> dict[str, Any]:
    return {"messages": [{**USER, **fields}]}


def part(**fields: Any) -> dict[str, Any]:
    return message(content=[fields])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b'{"model": NaN}',
        b'{"temperature": 1e999}',
        b'{"model": "\\ud800"}',
        b"[" * 100_000,
        b'{"seed": ' + b"9" * 5000 + b"}",
    ],
    ids=range(8),
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    assert reason(body) == "the body is no JSON"


def test_a_body_is_an_object() -> None:
    assert reason(b"[]") == "the body is JSON, but no object"


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"model": None}, "model: expected a text that is not empty"),
        ({"model": 5}, "model: expected a text"),
        ({"messages": []}, "messages: expected a list that is not empty"),
        ({"messages": "hi"}, "messages: expected a list"),
        ({"messages": ["hi"]}, "messages[0]: expected an object"),
        (message(role=None), "messages[0].role: expected a text that is not empty"),
        (
            message(role="function"),
            "messages[0].role: expected system, developer, user, assistant or tool",
        ),
        (message(content=None), "messages[0].content: expected a text or a list of parts"),
        (message(content=["hi"]), "messages[0].content[0]: expected an object"),
        (message(name=5), "messages[0].name: expected a text"),
        (message(role="tool"), "messages[0].tool_call_id: expected a text that is not empty"),
        (
            part(type="input_audio", input_audio={}),
            "messages[0].content[0].type: 'input_audio' is not supported; "
            "parts are text, image_url and file",
        ),
        (part(type="text", text=5), "messages[0].content[0].text: expected a text"),
        (
            part(type="image_url", image_url={"url": 5}),
            "messages[0].content[0].image_url.url: expected a text",
        ),
        (
            part(type="image_url", image_url="ftp://example.org/a.png"),
            "messages[0].content[0].image_url: an image's url begins with https://, http:// "
            "or data:",
        ),
        (
            message(role="assistant", tool_calls=[{"id": "1", "type": "custom"}]),
            "messages[0].tool_calls[0].type: only calls of functions are supported",
        ),
        (
            message(role="assistant", function_call={"name": "f"}),
            "messages[0].function_call: is deprecated; use tool_calls",
        ),
        (
            message(role="assistant", thinking_blocks=[{"type": "extra_content"}]),
            "messages[0].thinking_blocks[0].extra_content: expected an object that is not empty",
        ),
        ({"tools": {}}, "tools: expected a list"),
        (
            {"tools": [{"type": "web_search"}]},
            "tools[0].type: 'web_search' is not supported; tools are functions",
        ),
        ({"tools": [{"type": "function"}]}, "tools[0].function: expected an object"),
        (
            {"tool_choice": "any"},
            "tool_choice: expected auto, none, required or a function",
        ),
        (
            {"tool_choice": {"type": "allowed_tools"}},
            "tool_choice.type: only 'function' is supported",
        ),
        (
            {"response_format": {"type": "xml"}},
            "response_format.type: expected text, json_object or json_schema",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": 5}}},
            "response_format.json_schema.schema: expected an object",
        ),
        ({"max_tokens": 0}, "max_tokens: expected a number from 1 to 2147483647"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens: expected a whole number"),
        ({"reasoning_effort": "a lot"}, "reasoning_effort: expected one of none, minimal"),
        ({"n": 2}, "n: only one choice is supported; ask again for another"),
        ({"n": True}, "n: expected a whole number"),
        ({"stream": "yes"}, "stream: expected true or false"),
        ({"reasoning": {"effort": "lots"}}, "reasoning.effort: expected one of"),
        ({"reasoning": {"exclude": True}}, "reasoning.exclude: is not supported"),
        ({"reasoning": {"summary": "auto"}}, "reasoning.summary: is not supported"),
        ({"reasoning": {"max_tokens": 0}}, "reasoning.max_tokens: expected a number"),
        ({"top_logprobs": 3}, "top_logprobs: are not supported"),
        (
            {"messages": [{"role": "user", "content": [{**FILE, "file": {"file_id": "f"}}]}]},
            "messages[0].content[0].file.file_id: is not supported; give the file as file_data",
        ),
        (
            {"messages": [{"role": "user", "content": [{**FILE, "file": {"file_data": "f"}}]}]},
            "messages[0].content[0].file: a file is given as file_data, a base64 data: URL",
        ),
        ({"logprobs": True}, "logprobs: are not supported"),
        ({"modalities": ["text", "audio"]}, "modalities: only text is supported"),
        ({"functions": []}, "functions: is deprecated; use tools"),
        ({"metadata": {"run": 5}}, "metadata: expected texts of up to 512 characters"),
        ({"metadata": {"": "x"}}, "metadata: expected keys of 1 to 64 characters"),
        ({"metadata": {str(i): "x" for i in range(17)}}, "metadata: at most 16 labels, not 17"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_used_is_named(fields: dict[str, Any], what: str) -> None:
    assert reason(json.dumps({**BODY, **fields}).encode()).startswith(what)


def test_null_is_as_absent_and_other_fields_are_kept_apart() -> None:
    names = ("temperature", "tools", "tool_choice", "response_format", "n", "metadata", "stop")
    asked = read(**dict.fromkeys(names), service_tier="priority", nobody_knows={"a": 1})
    assert asked.arguments == {"messages": [LLMMessage("user", "hi")]}
    assert asked.others == {"service_tier": "priority", "nobody_knows": {"a": 1}}


def test_a_label_is_as_long_as_openais_and_cut_for_the_ledger() -> None:
    asked = read(metadata={"run": "x" * 512})
    assert asked.labels == {"run": "x" * 200}
    assert asked.warnings == ("metadata_cut",)


@pytest.mark.parametrize(
    ("fields", "thinking"),
    [
        ({"reasoning": {"effort": "high"}}, "high"),
        ({"reasoning": {"effort": "none"}}, False),
        ({"reasoning": {"enabled": True, "exclude": False}}, True),
        ({"reasoning": {"enabled": False}}, False),
        ({"reasoning": {"max_tokens": 2000}}, {"budget_tokens": 2000}),
        ({"reasoning": {"max_tokens": 100}}, {"budget_tokens": 1024}),
        ({"reasoning_effort": "max"}, "max"),
        ({"reasoning": {"effort": "low"}, "reasoning_effort": "xhigh"}, "xhigh"),
    ],
)
def test_how_much_to_think_is_said_in_either_form(fields: dict[str, Any], thinking: Any) -> None:
    assert read(**fields).arguments["thinking"] == thinking


def test_a_file_is_a_part() -> None:
    url = "data:application/pdf;base64,JVBERi0="
    part = {"type": "file", "file": {"filename": "a.pdf", "file_data": url}}
    asked = read(messages=[{"role": "user", "content": [part]}])
    (message,) = asked.arguments["messages"]
    assert message.content == (FilePart("JVBERi0=", "application/pdf", "a.pdf"),)


def test_a_tool_may_be_marked_for_a_cache() -> None:
    mark = {"type": "ephemeral", "ttl": "1h"}
    tool = {"type": "function", "function": {"name": "now"}, "cache_control": mark}
    assert read(tools=[tool]).arguments["tools"][0].cache_control == mark


def test_two_limits_of_tokens_that_differ_are_refused() -> None:
    body = json.dumps({**BODY, "max_tokens": 5, "max_completion_tokens": 7}).encode()
    assert reason(body).startswith("max_tokens: says another number than max_completion_tokens")
    assert read(max_tokens=5, max_completion_tokens=5).arguments["max_tokens"] == 5


def test_a_label_has_a_space_for_what_cannot_be_printed() -> None:
    asked = read(metadata={"a\u200bb": "l1\nl2"})
    assert (asked.labels, asked.warnings) == ({"a b": "l1 l2"}, ("metadata_changed",))


def test_parts_are_values() -> None:
    parts = [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}},
    ]
    (found,) = read(**message(content=parts)).arguments["messages"]
    image = ImagePart(url="https://example.org/a.png", detail="low")
    assert found.content == (TextPart("see"), image)


def test_marks_of_what_to_cache_are_kept() -> None:
    mark = {"type": "ephemeral"}
    parts = [{"type": "text", "text": "rules", "cache_control": mark}]
    (found,) = read(**message(content=parts)).arguments["messages"]
    assert found.content == (TextPart("rules", mark),)


def test_an_assistants_message_keeps_calls_and_thinking() -> None:
    block = {"type": "thinking", "thinking": "hm", "signature": "s"}
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    given = {"role": "assistant", "content": None, "tool_calls": [call]}
    (found,) = read(
        messages=[{**given, "reasoning_content": "hm", "thinking_blocks": [block]}]
    ).arguments["messages"]
    assert found.tool_calls == (ToolCall("1", "f", {"a": 1}, '{"a": 1}'),)
    assert found.thinking == Thinking("hm", (block,))


def test_arguments_that_are_no_json_are_kept_as_written() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{"}}
    (found,) = read(messages=[{"role": "assistant", "tool_calls": [call]}]).arguments["messages"]
    assert (found.tool_calls[0].raw_arguments, found.tool_calls[0].valid) == ("{", False)


def test_one_call_at_a_time_is_a_choice_of_tools() -> None:
    choice = read(tools=[FUNCTION], parallel_tool_calls=False).arguments["tool_choice"]
    assert (choice.mode, choice.parallel) == ("auto", False)


def test_without_tools_nothing_is_said_of_parallel_calls() -> None:
    assert "tool_choice" not in read(parallel_tool_calls=False).arguments


@pytest.mark.parametrize(
    ("fields", "thinking"),
    [
        ({"reasoning_effort": "none"}, False),
        ({"reasoning_effort": "minimal"}, "minimal"),
        ({"reasoning_effort": "high"}, "high"),
        ({"thinking": {"type": "enabled"}}, True),
        ({"thinking": {"type": "disabled"}}, False),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, {"budget_tokens": 2048}),
    ],
    ids=str,
)
def test_how_much_to_think(fields: dict[str, Any], thinking: Any) -> None:
    assert read(**fields).arguments["thinking"] == thinking


def test_a_repr_shows_no_prompt() -> None:
    asked = read(messages=[{"role": "user", "content": "in confidence"}])
    assert "in confidence" not in repr(asked)
