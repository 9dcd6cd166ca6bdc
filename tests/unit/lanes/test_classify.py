from __future__ import annotations

import json
from typing import Any

import pytest

from orchestify.errors import AuthenticationError, RateLimitError
from orchestify.lanes.classify import (
    Failure,
    build_error,
    error_class,
    failure_from_body,
    failure_from_data,
    redact,
)
from orchestify.values import CompletionRequest, ImagePart, LLMMessage, TextPart, ToolCall


def request_of(*messages: LLMMessage) -> CompletionRequest:
    return CompletionRequest(messages=messages, model="m")


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (307, "ModelNotFoundError"),
        (400, "InvalidRequestError"),
        (401, "AuthenticationError"),
        (402, "PermissionDeniedError"),
        (403, "PermissionDeniedError"),
        (404, "ModelNotFoundError"),
        (405, "ModelNotFoundError"),
        (408, "RequestTimeoutError"),
        (409, "ServerError"),
        (413, "ContextWindowError"),
        (407, "APIError"),
        (414, "InvalidRequestError"),
        (418, "APIError"),
        (421, "APIError"),
        (422, "InvalidRequestError"),
        (423, "APIError"),
        (424, "APIError"),
        (425, "ServerError"),
        (429, "RateLimitError"),
        (451, "PermissionDeniedError"),
        (500, "ServerError"),
        (503, "ServerError"),
        (504, "ServerError"),
        (529, "ServerError"),
        (None, "ServerError"),
    ],
)
def test_status_decides(status: int | None, name: str) -> None:
    assert error_class(Failure(status, "something")).__name__ == name


@pytest.mark.parametrize(
    ("status", "error", "name"),
    [
        (429, {"code": "insufficient_quota", "message": "You exceeded"}, "PermissionDeniedError"),
        (429, {"status": "RESOURCE_EXHAUSTED", "message": "quota"}, "RateLimitError"),
        (400, {"message": "Your credit balance is too low to access"}, "PermissionDeniedError"),
        (400, {"code": "context_length_exceeded", "message": "x"}, "ContextWindowError"),
        (400, {"code": "string_above_max_length", "message": "x"}, "ContextWindowError"),
        (400, {"message": "prompt is too long: 9 tokens > 8 maximum"}, "ContextWindowError"),
        (
            400,
            {"message": "input length and `max_tokens` exceed context limit: 1 + 2 > 2"},
            "ContextWindowError",
        ),
        (
            400,
            {"message": "max_tokens: 99 > 64, which is the maximum number of output tokens"},
            "InvalidRequestError",
        ),
        (400, {"code": "content_filter", "message": "x"}, "ContentFilterError"),
        (400, {"innererror": {"code": "ResponsibleAIPolicyViolation"}}, "ContentFilterError"),
        (400, {"message": "Output blocked by content filtering policy"}, "ContentFilterError"),
        (403, {"message": "requires moderation, your input was flagged"}, "ContentFilterError"),
        (400, {"message": "API key not valid. Pass a valid API key."}, "AuthenticationError"),
        (400, {"details": [{"reason": "API_KEY_INVALID"}]}, "AuthenticationError"),
        (400, {"message": "Model Not Exist"}, "ModelNotFoundError"),
        (400, {"message": "foo/bar is not a valid model ID"}, "ModelNotFoundError"),
        (401, {"message": "maximum context length"}, "AuthenticationError"),
        (500, {"message": "prompt is too long"}, "ServerError"),
    ],
)
def test_codes_and_wording_tell_apart_what_shares_a_status(
    status: int, error: dict[str, Any], name: str
) -> None:
    failure = failure_from_data({"error": error}, status=status)
    assert error_class(failure).__name__ == name


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"error": {"message": "a", "type": "t"}}', "a"),
        ('{"error": "b"}', "b"),
        ('{"message": "c"}', "c"),
        ('{"detail": "d"}', "d"),
        ('{"detail": [{"loc": ["body", 0], "msg": "e", "input": "the prompt"}]}', "body.0: e"),
        ('{"errors": [{"message": "f", "code": 1}]}', "f"),
        ('[{"error": {"message": "g"}}]', "g"),
        ('{"error": {"message": "h", "metadata": {"raw": "upstream"}}}', "h: upstream"),
        ("plain words", "plain words"),
        ("<html><head><title>502 Bad Gateway</title></head></html>", "an HTML page: 502 Bad"),
        ("null", ""),
    ],
)
def test_every_shape_of_body_gives_its_message(body: str, message: str) -> None:
    assert failure_from_body(400, {}, body).message.startswith(message)


@pytest.mark.parametrize(
    ("data", "status", "name"),
    [
        ({"error": {"message": "x", "code": 429}}, 429, "RateLimitError"),
        ({"type": "error", "error": {"type": "overloaded_error"}}, 529, "ServerError"),
        ({"error": {"type": "rate_limit_error"}}, 429, "RateLimitError"),
        ({"error": {"code": "context_length_exceeded"}}, 400, "ContextWindowError"),
        ({"error": {"message": "no words known"}}, 500, "ServerError"),
        ({"error": "text"}, 500, "ServerError"),
    ],
)
def test_an_inline_error_has_the_status_its_words_stand_for(
    data: dict[str, Any], status: int, name: str
) -> None:
    failure = failure_from_data(data)
    assert failure.status == status
    assert error_class(failure).__name__ == name


def test_an_error_carries_where_when_and_who() -> None:
    headers = {"Retry-After": "7", "Request-Id": "req_1"}
    failure = failure_from_body(429, headers, '{"error": {"message": "slow down"}}')
    error = build_error(failure, provider="p", model="m")
    assert isinstance(error, RateLimitError)
    assert error.retry_after_s == 7.0
    assert error.request_id == "req_1"
    assert str(error) == "p/m: slow down (status 429, retry after 7 s, request req_1)"


def test_an_error_without_a_message_has_its_class_own() -> None:
    error = build_error(Failure(401))
    assert isinstance(error, AuthenticationError)
    assert "api_key" in str(error)


def test_keys_are_struck_out() -> None:
    text = "bad key ab:cd/ef (the header was Bearer tok-12345678)"
    assert redact(text, ["ab:cd/ef"]) == "bad key *** (the header was ***)"


def test_a_short_key_is_struck_out_as_a_word_alone() -> None:
    assert redact("bad key k, 3 tokens", ["k"]) == "bad key ***, 3 tokens"


@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-abc123DEF456",
        "sk-ant-api03-abcdef",
        "gsk_abcdef123456",
        "xai-abcdef123456",
        "AIzaSyA1234567890abcdefghijk",
        "eyJhbGciOiJI.eyJzdWIiOiIx.abc",
        "Bearer abcdef-123456",
        "api_key=abcdefgh1234",
    ],
)
def test_what_looks_like_a_key_is_struck_out(key: str) -> None:
    assert redact(f"wrong: {key} given") == "wrong: *** given"


def test_words_are_no_keys() -> None:
    text = "risk-free task-oriented bearer authentication; check the token count"
    assert redact(text) == text


def test_an_echo_of_the_prompt_is_struck_out() -> None:
    request = request_of(LLMMessage("user", "my secret diagnosis is\nlumbago, doctor"))
    text = "cannot read 'secret diagnosis is lumbago' in messages"
    assert redact(text, (), request) == "cannot read '[...]' in messages"


def test_a_short_run_of_the_prompt_stays() -> None:
    request = request_of(LLMMessage("user", "the model gpt-5 please"))
    assert redact("the model gpt-5", (), request) == "the model gpt-5"


def test_echoes_of_parts_images_and_arguments_are_struck_out() -> None:
    request = request_of(
        LLMMessage(
            "user", [TextPart("first part of it"), ImagePart(url="https://a.example/secret.png")]
        ),
        LLMMessage("assistant", "", tool_calls=(ToolCall("1", "t", {}, '{"street": "Main 12"}'),)),
    )
    text = 'bad: first part of it; https://a.example/secret.png; {"street": "Main 12"}'
    assert redact(text, (), request) == "bad: [...]; [...]; [...]"


def test_a_message_is_cut_to_300_characters() -> None:
    shown = redact("word " * 200)
    assert len(shown) == 300
    assert shown.endswith("...")


def test_a_large_prompt_is_searched_quickly() -> None:
    request = request_of(LLMMessage("user", json.dumps(list(range(150_000)))))
    assert redact("prompt is too long: 999999 tokens", (), request).startswith("prompt is too")


def test_what_a_terminal_obeys_is_in_no_message_and_in_no_id() -> None:
    said = {"error": {"message": "\x1b[2J\x1b]0;a\x07\r\n2026 ERROR: b\u202e\u2028c"}}
    failure = failure_from_data(said, status=400, headers={"x-request-id": "\x1b[31md"})
    error = build_error(failure)
    assert error.args[0] == "[2J]0;a 2026 ERROR: b c"
    assert error.request_id == "[31md"


@pytest.mark.parametrize(
    "message",
    ["x" * 10**7, ["x" * 10**7] * 9, [[["x" * 10**5] * 99] * 99] * 99, {"msg": {"a": "x" * 10**7}}],
    ids=["text", "texts", "lists", "object"],
)
def test_of_a_long_message_a_part_is_looked_at(message: object) -> None:
    assert 900 < len(failure_from_data({"error": {"message": message}}).message) < 10**7
