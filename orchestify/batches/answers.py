"""One request's result as a line of a file: OpenAI's batch output, with cost and provider.

    {"id": "batch_req_...", "custom_id": "a", "response": {"status_code": 200, "request_id": "...",
     "body": {... a chat completion; usage.cost in USD, null where nobody knows it}}, "error": null}

Where the request failed, `response` is null and `error` is `{"code": "RateLimitError", "message",
"status", "may_be_billed"}`: the error's class, and the HTTP status, null where there was none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from msgspec.json import encode

from orchestify.batches.many import BatchResult
from orchestify.calls.chat_completion import completion_of
from orchestify.errors import AllTargetsFailedError, OrchestifyError
from orchestify.values import LLMResponse


def answer_of(result: BatchResult) -> dict[str, Any]:
    """Return what the line of a result holds."""
    response, error = result.response, result.error
    call_id = error.call_id if response is None and error is not None else ""
    if response is not None:
        call_id = response.call_id
    return {
        "id": f"batch_req_{call_id}" if call_id else None,
        "custom_id": result.custom_id,
        "response": None if response is None else _response(response),
        "error": None if error is None else _error(error),
    }


def encode_line(answer: Mapping[str, Any]) -> bytes:
    """Return a line, with its end; halves of characters are written as JSON's escapes."""
    try:
        return encode(answer) + b"\n"
    except (TypeError, ValueError):  # such a half, or a mapping that is no dict
        text = json.dumps(answer, ensure_ascii=False, separators=(",", ":"), default=dict)
        return text.encode("utf-8", "backslashreplace") + b"\n"


def may_be_billed(error: BaseException) -> bool:
    """Whether a provider may have done the work before the call failed."""
    if isinstance(error, AllTargetsFailedError):
        return any(may_be_billed(each) for each in error.errors)
    return bool(getattr(error, "may_be_billed", False))


def _response(response: LLMResponse) -> dict[str, Any]:
    body = completion_of(response, response.model)
    body["provider"] = response.provider
    if response.warnings:
        body["warnings"] = response.warnings
    return {"status_code": 200, "request_id": response.call_id, "body": body}


def _error(error: OrchestifyError) -> dict[str, Any]:
    return {
        "code": type(error).__name__,
        "message": str(error),
        "status": getattr(error, "status", None),
        "may_be_billed": may_be_billed(error),
    }
