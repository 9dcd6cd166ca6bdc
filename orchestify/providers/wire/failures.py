"""What goes wrong on a direct lane, before it is one of our errors."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import aiohttp

from orchestify.errors import (
    APIConnectionError,
    APIError,
    InvalidResponseError,
    StreamInterruptedError,
)
from orchestify.providers.classify import Failure, failure_from_data
from orchestify.providers.wire.sse import EventTooLongError
from orchestify.values import Usage


class RefusedError(Exception):
    """The provider answered with an error."""

    def __init__(self, failure: Failure) -> None:
        super().__init__()
        self.failure = failure


class MalformedError(Exception):
    """The answer is not of the protocol; the message says how."""


class CutError(Exception):
    """The stream ended before its protocol's end."""


class IdleError(Exception):
    """Nothing came between two chunks for too long."""


# RuntimeError is aiohttp's for a session that was closed meanwhile.
FAILURES = (
    RefusedError,
    MalformedError,
    CutError,
    IdleError,
    EventTooLongError,
    aiohttp.ClientError,
    OSError,
    RuntimeError,
)
# What parsing raises where JSON has another shape than the protocol's.
MISSHAPEN = (AttributeError, KeyError, IndexError, TypeError, ValueError, RecursionError)


def refused_inline(data: Any) -> RefusedError:
    """Return an error that came inside an answer with status 200."""
    return RefusedError(failure_from_data(data))


def transport_error(error: BaseException, connect_timeout_s: float | None) -> APIError:
    """Return the error for an answer that did not come, without what the library's error holds."""
    row = next(row for row in _MEANINGS if isinstance(error, row.cause))
    message = row.message.format(connect_timeout_s=connect_timeout_s, reason=_reason(error))
    explained = row.error(message)
    explained.retryable = row.retryable
    explained.may_be_billed = row.may_be_billed
    return explained


def bare(error: asyncio.CancelledError) -> asyncio.CancelledError:
    """Return a cancellation without the frames it passed: the library's hold the headers."""
    error.__context__ = None
    return error.with_traceback(None)


def interrupted(error: APIError, text: str, usage: Usage | None) -> StreamInterruptedError:
    """Return the error for a stream of which the caller has seen a part."""
    cut = StreamInterruptedError(
        f"{error.args[0]} ({type(error).__name__})",
        provider=error.provider,
        model=error.model,
        status=error.status,
        retry_after_s=error.retry_after_s,
        request_id=error.request_id,
    )
    cut.text = text
    cut.usage = usage
    return cut


class _Meaning(NamedTuple):
    cause: type[BaseException]
    error: type[APIError]
    message: str
    may_be_billed: bool = False
    retryable: bool = True


_MEANINGS = (
    _Meaning(MalformedError, InvalidResponseError, "{reason}", may_be_billed=True),
    _Meaning(
        EventTooLongError,
        InvalidResponseError,
        "an event of the stream is longer than 64 MiB",
        may_be_billed=True,
    ),
    _Meaning(
        CutError,
        APIConnectionError,
        "the stream ended before its protocol's end",
        may_be_billed=True,
    ),
    _Meaning(
        IdleError,
        APIConnectionError,
        "nothing more came within idle_timeout_s",
        may_be_billed=True,
    ),
    _Meaning(
        aiohttp.ConnectionTimeoutError,
        APIConnectionError,
        "no connection within {connect_timeout_s} s",
    ),
    _Meaning(
        aiohttp.ClientSSLError,
        APIConnectionError,
        "the endpoint's TLS certificate could not be verified",
        retryable=False,
    ),
    _Meaning(
        aiohttp.ClientConnectorDNSError,
        APIConnectionError,
        "the host's name could not be resolved; check base_url",
    ),
    _Meaning(aiohttp.ClientProxyConnectionError, APIConnectionError, "no connection to the proxy"),
    _Meaning(aiohttp.ClientHttpProxyError, APIConnectionError, "the proxy refused the connection"),
    _Meaning(aiohttp.ClientConnectorError, APIConnectionError, "no connection: {reason}"),
    _Meaning(
        aiohttp.ServerDisconnectedError,
        APIConnectionError,
        "the provider hung up before it answered",
    ),
    _Meaning(
        aiohttp.ClientResponseError,
        InvalidResponseError,
        "the answer is no HTTP",
        may_be_billed=True,
    ),
    _Meaning(
        BaseException,
        APIConnectionError,
        "the connection was lost in the middle of the answer",
        may_be_billed=True,
    ),
)


def _reason(error: BaseException) -> str:
    """Return what a message may quote: our own words, or the operating system's."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return (error.os_error.strerror or type(error.os_error).__name__).lower()[:100]
    return str(error) if isinstance(error, MalformedError) else ""
