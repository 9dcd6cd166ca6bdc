from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestify.batches.requests import BatchRequest, Line, parse_line, read_lines, request_of
from orchestify.errors import InvalidParameterError
from orchestify.values import LLMMessage, ToolChoice

JSONL = Path("in.jsonl")
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
HI = [{"role": "user", "content": "Hi"}]


def line(form: Any, number: int = 7) -> BatchRequest:
    text = form if isinstance(form, bytes) else json.dumps(form).encode()
    return parse_line(Line(number, text), JSONL)


def openai(**body: Any) -> BatchRequest:
    return line({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body})


class TestRequest:
    def test_a_text_and_messages_are_the_messages(self) -> None:
        assert request_of("Hi").arguments == {"messages": "Hi"}
        assert request_of(HI).arguments == {"messages": HI}
        assert request_of(HI[0]).arguments == {"messages": HI[0]}
        message = LLMMessage("user", "Hi")
        assert request_of(message).arguments == {"messages": message}

    def test_a_mapping_holds_the_arguments_and_an_id(self) -> None:
        request = request_of({"prompt": "Hi", "max_tokens": 5, "custom_id": "a"})
        assert request == BatchRequest({"messages": "Hi", "max_tokens": 5}, "a")

    def test_a_request_stays_what_it_is(self) -> None:
        request = BatchRequest({"messages": "Hi"})
        assert request_of(request) is request

    def test_nothing_of_it_is_shown(self) -> None:
        assert repr(BatchRequest({"messages": "secret"}, "a", {"b": "secret"})) == (
            "BatchRequest(custom_id='a')"
        )


class TestOpenAIForm:
    def test_what_has_an_argument_becomes_it(self) -> None:
        request = openai(
            model="m",
            messages=HI,
            max_completion_tokens=9,
            temperature=0,
            reasoning_effort="low",
            metadata={"run": "r1"},
            stream=False,
            n=1,
        )
        assert request == BatchRequest(
            {"messages": HI, "model": "m", "temperature": 0, "max_tokens": 9, "thinking": "low"},
            "a",
            {"run": "r1"},
        )

    def test_other_fields_go_out_as_they_are(self) -> None:
        request = openai(messages=HI, logit_bias={"5": 1}, user="u", store=None)
        assert request.arguments["options"] == {"logit_bias": {"5": 1}, "user": "u"}

    def test_parallel_calls_belong_to_the_tool_choice(self) -> None:
        request = openai(messages=HI, tools=TOOLS, parallel_tool_calls=False)
        assert request.arguments["tool_choice"] == ToolChoice("auto", None, parallel=False)

    def test_a_function_may_be_chosen(self) -> None:
        choice = {"type": "function", "function": {"name": "look"}}
        request = openai(messages=HI, tools=TOOLS, tool_choice=choice, parallel_tool_calls=True)
        assert request.arguments["tool_choice"] == ToolChoice("tool", "look", parallel=True)


class TestLines:
    def test_one_without_an_id_is_named_after_its_line(self) -> None:
        assert line("Hi") == BatchRequest({"messages": "Hi"}, "request-7")
        assert line({"messages": "Hi"}).custom_id == "request-7"

    def test_a_line_of_a_txt_is_a_prompt_whatever_it_looks_like(self) -> None:
        request = parse_line(Line(1, b'{"a"'), Path("in.txt"))
        assert request == BatchRequest({"messages": '{"a"'}, "request-1")

    def test_empty_lines_marks_and_line_ends_are_no_part(self, tmp_path: Path) -> None:
        path = tmp_path / "in.txt"
        path.write_bytes(b"\xef\xbb\xbfone\r\n\n  \ntwo")
        assert list(read_lines(path)) == [Line(1, b"one"), Line(4, b"two")]

    @pytest.mark.parametrize(
        ("form", "said"),
        [
            (b"{", "the line is no JSON; a file of plain prompts is named .txt"),
            (b'{"prompt": "a", "seed": NaN}', "the line is no JSON"),
            (b"[" * 100_000, "the line is no JSON"),
            (b'"\xff"', "the line is not UTF-8; convert the file"),
            (5, "a line is an object or a text, in JSON"),
            ({"model": "m"}, "it has no messages; give messages, a prompt, or OpenAI's body"),
            ({"prompt": 5}, "prompt is not a text"),
            ({"prompt": "a", "messages": "b"}, "it has both prompt and messages"),
            ({"prompt": "a", "max_token": 5}, "unknown field 'max_token'; there are fallback,"),
            ({"prompt": "a", "native": {}}, "unknown field 'native'"),
            ({"prompt": "a", "custom_id": 5}, "custom_id is a text of 1 to 500 characters"),
            ({"prompt": "a", "custom_id": ""}, "custom_id is a text of 1 to 500 characters"),
            ({"prompt": "a", "max_tokens": 0}, "max_tokens is at least 1, not 0"),
            ({"prompt": "a", "tools": 5}, "tools are several, not a int"),
            ({"messages": []}, "messages is empty"),
            ({"messages": 5}, "messages is a text or a list of messages"),
            ({"body": {"messages": HI}, "urL": "x"}, "unknown field 'urL'"),
            ({"body": {"messages": HI}, "url": "/v1/embeddings"}, "url is not /v1/chat/comp"),
            ({"body": {"messages": HI}, "method": "GET"}, "method is not POST"),
            ({"body": 5}, "body is not an object"),
            ({"body": {"model": "m"}}, "body.messages is missing"),
            ({"body": {"messages": HI, "stream": True}}, "body.stream is true; a batch has whole"),
            ({"body": {"messages": HI, "n": 2}}, "body.n is not 1; write a line for each answer"),
            ({"body": {"messages": HI, "metadata": {"a": 1}}}, "body.metadata is an object of tex"),
            ({"body": {"messages": HI, "tool_choice": "auto"}}, "tool_choice needs tools to"),
            ({"body": {"messages": HI, "api_key": "k"}}, "options cannot hold api_key: these are"),
        ],
    )
    def test_one_that_cannot_be_asked_is_named_with_its_place(self, form: Any, said: str) -> None:
        with pytest.raises(InvalidParameterError) as raised:
            line(form)
        assert str(raised.value).startswith(f"in.jsonl:7: {said}")
