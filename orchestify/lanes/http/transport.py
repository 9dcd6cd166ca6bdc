"""What goes wrong between a direct lane and its provider, and what that means."""

from __future__ import annotations

import os
from typing import NamedTuple

import aiohttp

from orchestify.errors import (
    APIConnectionError,
    APIError,
    EndpointRefusedError,
    InvalidResponseError,
)
from orchestify.lanes.failures import (
    CutError,
    IdleError,
    MalformedError,
    RefusedError,
)
from orchestify.lanes.http.sse import MAX_EVENT_LINES, EventTooLongError

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


def transport_error(error: BaseException, connect_timeout_s: float | None) -> APIError:
    """Return the error for an answer that did not come, without what the library's error holds."""
    refused = getattr(error, "os_error", None)
    if isinstance(refused, EndpointRefusedError):
        return EndpointRefusedError(*refused.args)
    row = next(row for row in _MEANINGS if isinstance(error, row.cause))
    message = row.message.format(connect_timeout_s=connect_timeout_s, reason=_reason(error))
    explained = row.error(message)
    explained.retryable = row.retryable and not getattr(error, "misread", False)
    explained.may_be_billed = row.may_be_billed
    return explained


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
        f"an event of the stream has more than {MAX_EVENT_LINES:,} lines",
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
        "nothing more came within idle_timeout_s or timeout_s",
        may_be_billed=True,
    ),
    _Meaning(
        aiohttp.InvalidURL,
        APIConnectionError,
        "the host in base_url cannot be used; write an address as it is usually written",
        retryable=False,
    ),
    _Meaning(
        aiohttp.ConnectionTimeoutError,
        APIConnectionError,
        "no connection within {connect_timeout_s} s",
    ),
    _Meaning(
        aiohttp.ClientConnectorCertificateError,
        APIConnectionError,
        "the endpoint's TLS certificate could not be verified: {reason}; an authority of one's "
        "own is named by SSL_CERT_FILE or REQUESTS_CA_BUNDLE in the environment",
        retryable=False,
    ),
    _Meaning(
        aiohttp.ClientSSLError,
        APIConnectionError,
        "no TLS connection: {reason}; check that base_url is an https address",
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
        may_be_billed=True,
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
    """Return what a message may quote: our own words, OpenSSL's or the operating system's."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return str(getattr(error.certificate_error, "verify_message", "")) or "it is not trusted"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        reason = getattr(error.os_error, "reason", None) or type(error.os_error).__name__
        return str(reason).replace("_", " ").lower()[:100]
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno  # asyncio's own words hold the address
        return (os.strerror(number) if number else type(error.os_error).__name__).lower()
    return str(error) if isinstance(error, MalformedError) else ""
