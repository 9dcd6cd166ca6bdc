"""What LiteLLM raises, as our errors.

Its own classes and statuses cannot be trusted: a refused connection is a 500, so is a 529, and a
failed import is a failed connection. The truth is in the exceptions that its own were made from.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from orchestify.errors import (
    APIConnectionError,
    APIError,
    InvalidRequestError,
    InvalidResponseError,
    MissingExtraError,
    OrchestifyError,
    RequestTimeoutError,
)
from orchestify.lanes.classify import (
    Failure,
    build_error,
    failure_from_body,
    failure_from_data,
)
from orchestify.lanes.redaction import redact
from orchestify.values import NOTHING, CompletionRequest

MAX_CHAIN = 30
NO_ANSWER = "Empty or invalid response from LLM endpoint"  # and then the whole body
CUT_OFF = "Stream ended before a finish_reason was received"  # from 1.109 on; before, a `stop`
_Error = TypeVar("_Error", bound=BaseException)

# Classes by name, so that nothing need be imported to know them; each counts with its subclasses.
_REFUSED = frozenset({"HTTPStatusError", "APIStatusError"})  # httpx's; the OpenAI SDK's
_NO_CONNECTION = frozenset({"ConnectError", "ConnectTimeout", "ProxyError"})
_TOO_LATE = frozenset({"TimeoutException", "APITimeoutError", "TimeoutError"})
_LOST = frozenset({"TransportError", "ClientError", "ConnectionError", "EndpointConnectionError"})
_MISREAD = frozenset({"ValueError", "LookupError", "TypeError", "AttributeError"})

# What LiteLLM concluded from a message that came without an HTTP status: status and code.
_CONCLUDED: Mapping[str, tuple[int, str]] = {
    "ContextWindowExceededError": (400, "context_length_exceeded"),
    "ContentPolicyViolationError": (400, "content_filter"),
}


def our_error(
    error: BaseException,
    *,
    request: CompletionRequest,
    keys: Collection[str] = (),
    sent: bool | None = False,
    body: Any = None,
) -> OrchestifyError:
    """Return what an exception of LiteLLM means; to be raised outside the handler that caught it.

    `sent` says whether the request had left when LiteLLM failed, None where nobody knows; `body`
    is what was answered.
    """
    if isinstance(error, OrchestifyError):
        return bare(error)
    chain = list(_chain(error))
    failure = _http_refusal(chain) or _inline_refusal(chain, body)
    if failure is None:
        missing = next((each for each in chain if isinstance(each, ImportError)), None)
        if missing is not None:
            return MissingExtraError(f"litellm lacks a package: {redact(str(missing), keys)}")
        unanswered = _unanswered(chain) or _misread(chain, sent=sent)
        if unanswered is not None:
            return unanswered
        failure = _judgement(chain)
    return build_error(failure, keys=keys, request=request)


def cut_off() -> APIConnectionError:
    """Return the error for a stream whose protocol's end never came."""
    cut = APIConnectionError("the stream ended before the answer did")
    cut.may_be_billed = True
    return cut


def bare(error: _Error) -> _Error:
    """Strip an exception of its frames and of its causes: their locals may hold the key."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and all it was made from, the outermost first."""
    seen: list[BaseException | None] = [None]
    waiting: list[Any] = [error]
    while waiting and len(seen) <= MAX_CHAIN:
        each = waiting.pop(0)
        if isinstance(each, BaseException) and all(each is not other for other in seen):
            seen.append(each)
            yield each
            waiting += [getattr(each, "original_exception", None), each.__cause__, each.__context__]


def _is(error: BaseException, names: frozenset[str]) -> bool:
    return any(base.__name__ in names for base in type(error).__mro__)


def _is_litellms(error: BaseException) -> bool:
    return type(error).__module__.startswith("litellm")


def _http_refusal(chain: list[BaseException]) -> Failure | None:
    """Return the HTTP answer that refused the request, from the exception nearest to the wire."""
    for error in reversed(chain):
        response = getattr(error, "response", None)
        if _is(error, _REFUSED) and not _is_litellms(error) and response is not None:
            return failure_from_body(response.status_code, response.headers, _body(chain, response))
    return None


def _body(chain: list[BaseException], response: Any) -> str:
    """Return the refusal's body; of a stream LiteLLM has read it and keeps it in its message."""
    with suppress(Exception):  # httpx.ResponseNotRead, StreamClosed, StreamConsumed
        return str(response.text)
    for error in chain:
        same = getattr(error, "status_code", None) == response.status_code
        if same and type(error).__module__.startswith("litellm.llms."):
            return _message(error)
    return ""


def _message(error: BaseException) -> str:
    """Return an exception's message, without the traceback that LiteLLM writes behind it."""
    text = str(getattr(error, "message", error))
    if text.startswith(("b'", 'b"')):
        with suppress(ValueError, SyntaxError):
            text = ast.literal_eval(text).decode("utf-8", "replace")
    return text.partition("\nTraceback (most recent call last)")[0]


def _unanswered(chain: list[BaseException]) -> APIError | None:
    for error in chain:
        if CUT_OFF in _message(error):
            return cut_off()
        if _is_litellms(error):
            continue
        if _is(error, _NO_CONNECTION):
            return APIConnectionError()
        if _is(error, _TOO_LATE):
            return RequestTimeoutError()
        if _is(error, _LOST):
            lost = APIConnectionError("the connection was lost in the middle of the answer")
            lost.may_be_billed = True
            return lost
    return None


def _misread(chain: list[BaseException], *, sent: bool | None) -> APIError | None:
    """Return the error for what LiteLLM itself could not write or read; it fails every time."""
    if any(NO_ANSWER in _message(each) for each in chain):
        return InvalidResponseError()
    culprit = next((each for each in chain if not _is_litellms(each) and _is(each, _MISREAD)), None)
    if culprit is None:
        return None
    what = type(culprit).__name__
    if sent is False:
        return InvalidRequestError(f"litellm could not write the request ({what})")
    could_not = "read the answer" if sent else "write the request, or read the answer"
    misread = InvalidResponseError(f"litellm could not {could_not} ({what})")
    misread.retryable = False
    return misread


def _inline_refusal(chain: list[BaseException], body: Any) -> Failure | None:
    """Return the error that came inside a 2xx answer or a stream."""
    bodies = [body, *(getattr(error, "body", None) for error in chain)]
    bodies = [each for each in bodies if isinstance(each, Mapping)]
    found = next((each for each in bodies if each.get("error") or each is not body), None)
    return None if found is None else failure_from_data(found)


def _judgement(chain: list[BaseException]) -> Failure:
    """Return what LiteLLM, or its adapter for the provider, says where nothing else is known."""
    outermost = next(each for each in chain if type(each).__name__ != "MidStreamFallbackError")
    concluded = _CONCLUDED.get(type(outermost).__name__)
    if concluded is not None:
        return Failure(concluded[0], _message(outermost), frozenset({concluded[1]}))
    adapters = (each for each in chain if type(each).__module__.startswith("litellm.llms."))
    nearest = next(adapters, outermost)
    status = getattr(nearest, "status_code", None)
    if not isinstance(status, int) or not 400 <= status < 600:
        status = 500
    return failure_from_body(status, NOTHING, _message(nearest))
