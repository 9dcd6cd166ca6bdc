"""What goes wrong on a direct lane, before it is one of our errors."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

from orchestify.errors import APIError, StreamInterruptedError
from orchestify.lanes.classify import Failure, failure_from_data
from orchestify.values import Usage


class UnusableError(Exception):
    """An answer came and is none; `usage` and `cost_usd` are what it reports all the same."""

    usage: Usage | None = None
    cost_usd: Decimal | None = None


class RefusedError(UnusableError):
    """The provider answered with an error."""

    def __init__(self, failure: Failure) -> None:
        super().__init__()
        self.failure = failure


class MalformedError(UnusableError):
    """The answer is not of the protocol; the message says how.

    `misread` says that a field is of another type than the protocol's: the next answer would be
    the same.
    """

    def __init__(self, message: str, *, misread: bool = False) -> None:
        super().__init__(message)
        self.misread = misread


class CutError(Exception):
    """The stream ended before its protocol's end."""


class IdleError(Exception):
    """Nothing came between two chunks for too long."""


# What parsing raises where JSON has another shape than the protocol's.
MISSHAPEN = (AttributeError, KeyError, IndexError, TypeError, ValueError, RecursionError)


UNREADABLE = (*MISSHAPEN, UnusableError)
"""What reading an answer raises."""


def too_long(most_bytes: int) -> MalformedError:
    """Return the error for an answer of more bytes than one may have."""
    whole = most_bytes >= 1 << 20 and not most_bytes % (1 << 20)
    most = f"{most_bytes >> 20} MiB" if whole else f"{most_bytes:,} bytes"
    return MalformedError(f"the answer is longer than {most} (answer_bounds)")


def misread(what: str) -> MalformedError:
    """Return the error for a part of an answer that has another type than the protocol's."""
    return MalformedError(f"{what} is of another shape than the protocol's", misread=True)


def refused_inline(data: Any) -> RefusedError:
    """Return an error that came inside an answer with status 200."""
    return RefusedError(failure_from_data(data))


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
    cut.cost_usd = error.cost_usd
    return cut
