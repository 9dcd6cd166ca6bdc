from __future__ import annotations

import httpx
import pytest

from orchestify.errors import (
    APIConnectionError,
    APIError,
    AuthenticationError,
    ContextWindowError,
    InvalidRequestError,
    InvalidResponseError,
    MissingExtraError,
    OrchestifyError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
)
from orchestify.lanes.litellm.errors import our_error
from orchestify.values import CompletionRequest, LLMMessage

REQUEST = CompletionRequest(messages=(LLMMessage("user", "hi"),), model="m")


def litellms(name: str, message: str = "it failed", status: int | None = 500) -> Exception:
    """An exception as LiteLLM raises it: of its module, with its attributes."""
    kind = type(name, (Exception,), {"__module__": "litellm.exceptions"})
    error = kind(message)
    error.status_code = status
    error.message = message
    return error


def made_from(error: Exception, cause: Exception) -> Exception:
    error.__context__ = cause
    return error


def refused(status: int, body: str, headers: dict[str, str] | None = None) -> httpx.HTTPStatusError:
    request = httpx.Request("POST", "http://there/v1")
    response = httpx.Response(status, text=body, headers=headers, request=request)
    return httpx.HTTPStatusError("refused", request=request, response=response)


def ours(error: BaseException, *, sent: bool = False, body: object = None) -> OrchestifyError:
    return our_error(error, request=REQUEST, sent=sent, body=body)


def test_the_http_status_holds_against_litellms_class() -> None:
    wrong = made_from(litellms("BadRequestError", status=400), refused(401, "{}"))
    assert type(ours(wrong)) is AuthenticationError


def test_a_529_is_the_providers_fault_with_its_status() -> None:
    error = ours(made_from(litellms("InternalServerError"), refused(529, "{}")))
    assert type(error) is ServerError
    assert error.status == 529


def test_retry_after_comes_from_the_answer() -> None:
    answer = refused(429, "{}", {"retry-after": "7", "x-request-id": "r1"})
    error = ours(made_from(litellms("RateLimitError", status=429), answer))
    assert isinstance(error, RateLimitError)
    assert (error.retry_after_s, error.request_id) == (7, "r1")


def test_a_mid_stream_fallback_error_is_what_it_wraps() -> None:
    wrapper = litellms("MidStreamFallbackError", status=503)
    wrapper.original_exception = made_from(litellms("RateLimitError"), refused(429, "{}"))
    assert type(ours(wrapper)) is RateLimitError


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (httpx.ConnectError("no"), APIConnectionError),
        (httpx.ConnectTimeout("no"), APIConnectionError),
        (httpx.ReadTimeout("no"), RequestTimeoutError),
        (httpx.ReadError("no"), APIConnectionError),
        (ConnectionResetError(), APIConnectionError),
        (TimeoutError(), RequestTimeoutError),
    ],
)
def test_the_network_is_told_from_the_provider(cause: Exception, expected: type[APIError]) -> None:
    error = ours(made_from(litellms("InternalServerError"), cause))
    assert type(error) is expected
    assert error.retryable


def test_a_missing_package_is_no_connection_error() -> None:
    error = made_from(litellms("APIConnectionError"), ModuleNotFoundError("No module named 'mcp'"))
    with pytest.raises(MissingExtraError, match="mcp"):
        raise ours(error)


def test_what_litellm_cannot_write_is_an_invalid_request() -> None:
    error = ours(made_from(litellms("APIConnectionError"), KeyError("role")))
    assert type(error) is InvalidRequestError


def test_what_litellm_cannot_read_is_an_invalid_response_and_not_tried_again() -> None:
    error = ours(made_from(litellms("APIConnectionError"), ValueError("shape")), sent=True)
    assert type(error) is InvalidResponseError
    assert not error.retryable


def test_an_error_in_the_body_of_a_200_counts() -> None:
    body = {"error": {"code": "context_length_exceeded", "message": "too long"}}
    error = ours(litellms("APIError"), sent=True, body=body)
    assert type(error) is ContextWindowError


def test_litellms_conclusion_holds_where_nothing_else_is_known() -> None:
    error = ours(litellms("ContextWindowExceededError", status=400))
    assert type(error) is ContextWindowError


def test_neither_cause_nor_traceback_is_kept() -> None:
    error = ours(made_from(litellms("InternalServerError"), refused(500, "{}")))
    assert (error.__cause__, error.__context__, error.__traceback__) == (None, None, None)


def test_a_traceback_in_the_message_is_cut() -> None:
    text = "it failed\nTraceback (most recent call last):\n  File 'secret.py'"
    assert "secret.py" not in str(ours(litellms("APIConnectionError", text), sent=True))
