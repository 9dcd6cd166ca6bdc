"""What providers really send: odd streams, odd shapes, odd figures, and what is made of them."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from orchestify.errors import APIError, InvalidResponseError, StreamInterruptedError
from orchestify.lanes.answers import finish_reason, merged, openai_usage
from orchestify.lanes.anthropic import answer as anthropic
from orchestify.lanes.anthropic.answer import MessageAnswer
from orchestify.lanes.classify import error_class, failure_from_body, failure_from_data
from orchestify.lanes.failures import MalformedError, RefusedError
from orchestify.lanes.openai import answer as openai
from orchestify.lanes.openai.answer import ChatAnswer
from orchestify.lanes.openai.dialects import dialect_of
from orchestify.values import CompletionRequest, LLMMessage, LLMResponse, TextDelta, Usage
from tests.streams import read_stream

REQUEST = CompletionRequest(messages=(LLMMessage("user", "hi"),), model="asked")
REPORT = {"prompt_tokens": 9, "completion_tokens": 4}


def chunk(finish: Any = None, index: Any = 0, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


def sse(*events: Any, done: bool = True) -> bytes:
    texts = [each if isinstance(each, str) else f"data: {json.dumps(each)}\n\n" for each in events]
    return "".join([*texts, "data: [DONE]\n\n" if done else ""]).encode()


async def chat(*events: Any, done: bool = True) -> LLMResponse | APIError:
    return (await read_stream(ChatAnswer(REQUEST), sse(*events, done=done)))[1]


def call(index: Any = None, call_id: Any = None, **function: Any) -> dict[str, Any]:
    piece = {"index": index, "id": call_id, "function": function}
    return chunk(tool_calls=[{name: each for name, each in piece.items() if each is not None}])


async def calls(*events: Any) -> list[tuple[str, dict[str, Any], bool]]:
    response = await chat(*events, chunk("tool_calls"))
    assert isinstance(response, LLMResponse)
    return [(each.name, dict(each.arguments), each.valid) for each in response.tool_calls]


def message_of(finish: Any = "stop", **message: Any) -> LLMResponse:
    return openai.answer({"choices": [{"message": message, "finish_reason": finish}]}, REQUEST)


async def test_a_finish_word_is_a_success_with_an_empty_text() -> None:
    response = await chat(chunk("stop"), done=False)
    assert isinstance(response, LLMResponse)
    assert (response.content, response.finish_reason) == ("", "stop")


@pytest.mark.parametrize(
    "events",
    [
        (),
        (chunk(role="assistant", content=""),),
        (chunk("what"),),
        (chunk(""),),
        ({"choices": []},),
    ],
)
async def test_the_end_alone_is_no_success(events: tuple[Any, ...]) -> None:
    assert isinstance(await chat(*events), APIError)


@pytest.mark.parametrize("word", ["", None])
async def test_a_cut_behind_an_empty_finish_word_is_a_cut(word: str | None) -> None:
    assert isinstance(await chat(chunk(word, content="par"), done=False), StreamInterruptedError)


@pytest.mark.parametrize(
    "indexes", [(0, 1, 2, 3), (None, 0, 0, 0), (None,) * 4, (0, None, 0, None)]
)
async def test_one_choice_is_read_whatever_its_index_does(indexes: tuple[Any, ...]) -> None:
    first, second, third, last = indexes
    response = await chat(
        chunk(index=first, role="assistant", content="One "),
        chunk(index=second, content="two "),
        chunk(index=third, role="assistant", content="three"),
        chunk("stop", index=last, role="assistant", content=""),
    )
    assert isinstance(response, LLMResponse)
    assert response.content == "One two three"


async def test_of_two_choices_in_a_stream_the_first_is_the_answer() -> None:
    response = await chat(
        chunk(index=0, role="assistant", content=""),
        chunk(index=1, role="assistant", content=""),
        chunk(index=1, content="second"),
        chunk(index=0, content="first"),
        chunk("length", index=1),
        chunk("stop", index=0),
    )
    assert isinstance(response, LLMResponse)
    assert (response.content, response.finish_reason) == ("first", "stop")


@pytest.mark.parametrize(
    ("pieces", "read"),
    [
        (
            (call(0, "i1", name="f", arguments=""), call(0, "i2", arguments='{"a":'),
             call(0, "i3", arguments="1}")),
            [("f", {"a": 1}, True)],
        ),
        (
            (call(0, "i1", name="f", arguments=""), call(1, "i2", arguments='{"a":'),
             call(2, "i3", arguments="1}")),
            [("f", {"a": 1}, True)],
        ),
        (
            (call(0, "i1", name="f"), call(arguments='{"a":'), call(3, arguments="1}")),
            [("f", {"a": 1}, True)],
        ),
        (
            (call(0, "i", name="f", arguments='{"a":'), call(0, "i", name="f", arguments="1}")),
            [("f", {"a": 1}, True)],
        ),
        (
            (call(0, name="f", arguments='{"a":1}'), call(0, name="f", arguments='{"a":2}')),
            [("f", {"a": 1}, True), ("f", {"a": 2}, True)],
        ),
        (
            (call(name="f", arguments='{"a":1}'), call(name="f", arguments='{"a":2}')),
            [("f", {"a": 1}, True), ("f", {"a": 2}, True)],
        ),
        (
            (call(0, "call_0", name="f", arguments="{}"), call(1, "call_0", name="f"),
             call(1, "call_0", arguments='{"a":2}')),
            [("f", {}, True), ("f", {"a": 2}, True)],
        ),
        (
            (call(0, "k1", name="f"), call(0, "k2", name="g"), call(0, "k1", arguments='{"a":1}')),
            [("f", {"a": 1}, True), ("g", {}, True)],
        ),
        (
            (call(0, "k1", name="f", arguments='{"a":1}'), call(0, "k2", arguments='{"b":2}')),
            [("f", {}, False)],
        ),
    ],
)  # fmt: skip
async def test_pieces_of_calls_go_to_one_call(pieces: Any, read: Any) -> None:
    assert await calls(*pieces) == read


async def test_a_function_call_of_old_is_a_call() -> None:
    assert await calls(
        chunk(function_call={"name": "f", "arguments": ""}),
        chunk(function_call={"arguments": '{"a": 1}'}),
    ) == [("f", {"a": 1}, True)]
    whole = message_of("function_call", function_call={"name": "f", "arguments": "{}"})
    assert (whole.finish_reason, whole.tool_calls[0].name) == ("tool_calls", "f")
    assert message_of(content="x", function_call={"name": "", "arguments": ""}).tool_calls == ()


async def test_a_custom_call_has_its_text_as_input() -> None:
    events = [
        chunk(tool_calls=[{"index": 0, "id": "c", "custom": {"name": "sql", "input": "SELECT"}}]),
        chunk(tool_calls=[{"index": 0, "custom": {"input": " 1"}}]),
    ]
    assert await calls(*events) == [("sql", {"input": "SELECT 1"}, True)]


@pytest.mark.parametrize(
    "event",
    [
        'event: error\ndata: {"code": 400, "details": "no"}\n\n',
        "event: error\ndata: the engine died\n\n",
        "event: error\n\n",
        {"object": "error", "message": "stopped", "code": 500},
        {"type": "error", "message": "stopped"},
        {"error": "stopped", **chunk(content="more")},
        {"message": "stopped"},
        {"detail": "stopped"},
        {"base_resp": {"status_code": 1013, "status_msg": "stopped"}, "choices": None},
        {"choices": [{"index": 0, "delta": {}, "error": {"code": 502, "message": "up"}}]},
    ],
)
async def test_an_error_in_a_stream_raises_whatever_stands_beside_it(event: Any) -> None:
    assert isinstance(await chat(event), APIError)
    assert isinstance(
        await chat(chunk(content="par"), event, chunk("stop")), StreamInterruptedError
    )


@pytest.mark.parametrize(
    "beside", [{"error": None}, {"error": {}}, {"error": {"message": None, "code": None}},
               {"base_resp": {"status_code": 0, "status_msg": "success"}}]
)  # fmt: skip
async def test_an_error_that_says_nothing_is_none(beside: dict[str, Any]) -> None:
    response = await chat({**chunk("stop", content="so"), **beside})
    assert isinstance(response, LLMResponse)


def test_an_error_in_a_choice_keeps_its_code() -> None:
    body = {"choices": [{"error": {"code": 429, "message": "slow down"}}], "usage": REPORT}
    with pytest.raises(RefusedError) as caught:
        openai.answer(body, REQUEST)
    assert caught.value.failure.status == 429
    assert caught.value.usage == Usage(9, 4)


@pytest.mark.parametrize(
    "body",
    [
        {"choices": []},
        {"choices": 5},
        {"choices": [{"message": 5}]},
        {"choices": [{"message": {"content": 5}}]},
        {"choices": [{"message": {"tool_calls": [{"function": {"name": 5}}]}}]},
        {"choices": [{"message": {}, "finish_reason": ["stop"]}]},
        {"choices": [{"message": {"content": ""}, "finish_reason": "what"}]},
    ],
)
def test_an_answer_that_cannot_be_used_says_what_it_used(body: dict[str, Any]) -> None:
    with pytest.raises(MalformedError) as caught:
        openai.answer({**body, "usage": {**REPORT, "cost": 0.25}}, REQUEST)
    assert caught.value.usage == Usage(9, 4)
    assert caught.value.cost_usd == Decimal("0.25")


async def test_an_error_chunk_says_what_was_used() -> None:
    outcome = await chat(
        {"error": {"message": "no", "code": 500}, "usage": {**REPORT, "cost": 0.5}}
    )
    assert isinstance(outcome, APIError)
    assert (outcome.usage, outcome.cost_usd) == (Usage(9, 4), Decimal("0.5"))


def test_an_unusable_message_says_what_it_used() -> None:
    usage = {"input_tokens": 9, "output_tokens": 4}
    with pytest.raises(MalformedError) as caught:
        anthropic.answer({"content": [{"type": "text", "text": 5}], "usage": usage}, REQUEST)
    assert caught.value.usage == Usage(9, 4)
    assert caught.value.misread


@pytest.mark.parametrize(
    ("message", "unread"),
    [
        ({"reasoning": {"content": "hm"}}, ()),
        ({"reasoning_content": [{"text": "hm"}, "so"]}, ()),
        ({"reasoning_content": 5}, ("unread:reasoning_content",)),
        ({"reasoning_details": [None]}, ("unread:reasoning_details",)),
        ({"reasoning_details": "hm"}, ("unread:reasoning_details",)),
        ({"content": [None, {"type": "text", "text": "so"}]}, ("unread:content",)),
        ({"tool_calls": [None]}, ("unread:tool_calls",)),
        ({"tool_calls": [{"type": "mcp", "id": "x"}]}, ("unread:tool_calls",)),
        ({"extra_content": 5}, ("unread:extra_content",)),
        ({"reasoning_details": None, "tool_calls": None, "refusal": None}, ()),
    ],
)
def test_decorations_never_cost_the_answer(message: dict[str, Any], unread: Any) -> None:
    response = message_of(**{"content": "so", **message})
    assert (response.content, response.warnings) == ("so", unread)


@pytest.mark.parametrize("data", ["ping", ": keep-alive", "5", "null", '"still there"'])
async def test_words_to_keep_a_stream_alive_are_skipped(data: str) -> None:
    response = await chat(f"data: {data}\n\n", chunk("stop", content="so"))
    assert isinstance(response, LLMResponse)
    assert (response.content, response.warnings) == ("so", ("unread:data",))


async def test_half_a_chunk_is_a_broken_stream() -> None:
    assert isinstance(await chat('data: {"choices": [\n\n'), InvalidResponseError)


async def test_halves_of_an_emoji_in_two_chunks_are_one() -> None:
    events, response = await read_stream(
        ChatAnswer(REQUEST),
        sse(chunk(content="ok \ud83d"), chunk(content="\ude00!"), chunk("stop", content=" \ud83d")),
    )
    assert events == [TextDelta("ok "), TextDelta("😀!"), TextDelta(" ")]
    assert isinstance(response, LLMResponse)
    assert response.content == "ok 😀! "


def test_a_servers_tool_whose_input_was_cut_costs_nothing_else() -> None:
    stream = MessageAnswer(REQUEST)
    cut = {"type": "server_tool_use", "id": "s", "name": "search", "input": {}}
    for event in (
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "a"}},
        {"type": "content_block_start", "index": 1, "content_block": cut},
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "input_json_delta", "partial_json": '{"q": "o'},
        },
        {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}},
        {"type": "message_stop"},
    ):
        stream.feed(event)
    response = stream.response()
    assert (response.content, response.finish_reason, response.thinking) == ("a", "length", None)
    assert response.warnings == ("unread:input",)


@pytest.mark.parametrize(
    ("usage", "read"),
    [
        ({"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109}, Usage(35, 74)),
        (
            {"prompt_tokens": 9, "completion_tokens": 201, "total_tokens": 585,
             "prompt_tokens_details": {"audio_tokens": 375}},
            Usage(384, 201, input_audio=375),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 2}, Usage(9, 4)),
        ({"input_tokens": 9, "output_tokens": 4}, Usage(9, 4)),
        (
            {"prompt_tokens": 0, "completion_tokens": 4},
            Usage(0, 4, invalid=("prompt_tokens",)),
        ),
        (
            {"prompt_tokens": "9", "completion_tokens": 4, "total_tokens": 13},
            Usage(0, 4, invalid=("prompt_tokens",)),
        ),
        ([], Usage(source="unknown", invalid=("usage",))),
    ],
)  # fmt: skip
def test_figures_are_reconciled_or_named(usage: Any, read: Usage) -> None:
    assert openai_usage(usage) == read


def test_no_output_beside_output_is_named() -> None:
    body = {"choices": [{"message": {"content": "so"}, "finish_reason": "stop"}]}
    response = openai.answer(
        {**body, "usage": {"prompt_tokens": 9, "completion_tokens": 0}}, REQUEST
    )
    assert response.usage == Usage(9, 0, invalid=("completion_tokens",))


@pytest.mark.parametrize("later", [0, None, "many", -1, float("nan")])
def test_a_later_report_replaces_no_count_by_nothing(later: Any) -> None:
    earlier = {"a": 5, "details": {"b": 6}}
    assert merged(earlier, {"a": later, "details": {"b": later}}) == earlier
    assert merged(earlier, {"a": 7, "details": None}) == {"a": 7, "details": {"b": 6}}


async def test_kimi_reports_within_its_choice() -> None:
    stream = ChatAnswer(REQUEST, "delta", dialect_of("https://api.moonshot.ai/v1"))
    stream.feed({"choices": [{"index": 0, "delta": {"content": "so"}, "usage": REPORT}]})
    assert stream.usage == Usage(9, 4)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("PROHIBITED_CONTENT", "content_filter"),
        ("content_filter: SPII", "content_filter"),
        ("FinishReason.MAX_TOKENS", "length"),
        ("guardrail_intervened", "content_filter"),
        (1, "stop"),
        ("2", "length"),
        (3.0, "content_filter"),
        ("COMPLETE", "stop"),
    ],
)
def test_finish_words_of_all_protocols_are_known(word: Any, reason: str) -> None:
    assert finish_reason(word, has_calls=False, has_output=False) == reason


@pytest.mark.parametrize(
    "word", ["MALFORMED_FUNCTION_CALL", "function_call_filter: MALFORMED_FUNCTION_CALL", "abort"]
)
def test_an_answer_that_failed_is_an_error(word: str) -> None:
    with pytest.raises(RefusedError):
        finish_reason(word, has_calls=False)


@pytest.mark.parametrize(
    "message",
    [
        "Your request exceeded model token limit: 262144 (requested: 300000)",
        "Prompt exceeds max length",
        "This model's maximum prompt length is 131072 but the request contains 140000 tokens.",
        "too many tokens: size limit exceeded by 19296 tokens.",
        "Input Tokens Exceeded: the number of input tokens exceeds the maximum",
        "Range of input length should be [1, 129024]",
        "Please reduce the length of the messages or completion.",
    ],
)
def test_too_long_is_told_in_many_words(message: str) -> None:
    failure = failure_from_body(400, {}, json.dumps({"error": {"message": message}}))
    assert error_class(failure).__name__ == "ContextWindowError"


@pytest.mark.parametrize(
    "message", ["max_tokens: 100000 > 64000, the maximum allowed number of output tokens",
                "stop sequences must have at most 4 entries"]
)  # fmt: skip
def test_other_limits_are_not_the_prompts(message: str) -> None:
    failure = failure_from_body(400, {}, json.dumps({"error": {"message": message}}))
    assert error_class(failure).__name__ == "InvalidRequestError"


def test_googles_retry_info_counts_as_retry_after() -> None:
    detail = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "13.5s"}
    failure = failure_from_data([{"error": {"code": 429, "details": [{}, detail]}}])
    assert (failure.status, failure.retry_after_s) == (429, 13.5)


async def test_an_errors_message_can_be_encoded() -> None:
    outcome = await chat({"error": {"message": "\ud83d no", "code": 500}})
    assert str(outcome) == "no (status 500)"
