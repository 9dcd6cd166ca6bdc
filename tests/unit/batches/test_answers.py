from __future__ import annotations

import json
from decimal import Decimal

import pytest

from orchestify.batches.answers import answer_of, encode_line, may_be_billed
from orchestify.batches.many import BatchResult
from orchestify.errors import (
    AllTargetsFailedError,
    BudgetExceededError,
    OrchestifyError,
    RateLimitError,
    RequestTimeoutError,
)
from orchestify.values import LLMResponse, ToolCall, Usage

RESPONSE = LLMResponse(
    "Hi \u2028 there",
    "m-1",
    10,
    4,
    "stop",
    usage=Usage(10, 4, cache_read=6, reasoning=1),
    cost_usd=Decimal("0.0012"),
    provider="gpt",
    call_id="c1",
)


def test_an_answer_is_a_line_of_openais_batch_output_with_its_cost() -> None:
    answer = answer_of(BatchResult(3, "a", RESPONSE))
    body = answer["response"]["body"]
    assert body.pop("created") > 1_700_000_000
    assert answer == {
        "id": "batch_req_c1",
        "custom_id": "a",
        "response": {"status_code": 200, "request_id": "c1", "body": body},
        "error": None,
    }
    assert body == {
        "id": "chatcmpl-c1",
        "object": "chat.completion",
        "model": "m-1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi \u2028 there", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 4,
            "total_tokens": 14,
            "prompt_tokens_details": {"cached_tokens": 6, "cache_write_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 1},
            "cost": 0.0012,
        },
        "provider": "gpt",
    }


def test_calls_of_tools_and_warnings_are_told() -> None:
    call = ToolCall("t1", "look", {"at": "é"})
    response = LLMResponse("", "m", 1, 1, "tool_calls", tool_calls=(call,), warnings=("x_dropped",))
    body = answer_of(BatchResult(0, None, response))["response"]["body"]
    message = body["choices"][0]["message"]
    assert message["tool_calls"] == [
        {"id": "t1", "type": "function", "function": {"name": "look", "arguments": '{"at": "é"}'}}
    ]
    assert body["usage"]["cost"] is None
    assert body["warnings"] == ("x_dropped",)


def test_an_error_is_told_by_its_class_and_words() -> None:
    error = RateLimitError("slow down", provider="gpt", model="m", status=429)
    error.call_id = "c2"
    assert answer_of(BatchResult(0, "a", error=error)) == {
        "id": "batch_req_c2",
        "custom_id": "a",
        "response": None,
        "error": {
            "code": "RateLimitError",
            "message": "gpt/m: slow down (status 429)",
            "status": 429,
            "may_be_billed": False,
        },
    }


@pytest.mark.parametrize(
    ("error", "billed"),
    [
        (RequestTimeoutError(), True),
        (RateLimitError(), False),
        (BudgetExceededError("no room"), False),
        (AllTargetsFailedError("all", [RateLimitError(), RequestTimeoutError()]), True),
        (AllTargetsFailedError("all", [RateLimitError()]), False),
    ],
)
def test_what_may_have_been_billed_is_said(error: OrchestifyError, billed: bool) -> None:
    assert may_be_billed(error) is billed


def test_a_line_holds_what_cannot_be_encoded_as_an_escape() -> None:
    line = encode_line({"a": "é\ud800\n"})
    assert line == '{"a":"é\\ud800\\n"}\n'.encode()
    assert json.loads(line) == {"a": "é\ud800\n"}
