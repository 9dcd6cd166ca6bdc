"""What the stub server has seen: one `StubRequest` a request, and the totals."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from orchestify.values import Usage

Outcome: TypeAlias = Literal["active", "whole", "error", "cut", "client_left", "server_closed"]


@dataclass(slots=True, eq=False)
class StubRequest:
    """One request, and what became of it.

    `body` is the parsed JSON (None where there was none), `raw_body` the bytes; `model` is what
    the client wrote, with its directives. `index` counts from 0 in order of arrival.

    `outcome` is `active`, then `whole` (an answer, sent to its end), `error` (an error or garbage
    in its place), `cut` (the reply told the server to break off), `client_left`, or
    `server_closed`. `chunks_sent` counts the pieces of output of a stream. `billed` is what a
    provider would bill: of a stream that was not sent whole, the input and the share of the output
    until then; None where nothing is billed or the reply brought its own mapping. `reported` is
    what the client was last told. What was sent was given to the socket; whether it arrived, no
    server knows.

    Times are `time.monotonic()`, in seconds.
    """

    index: int
    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: Any = field(default=None, repr=False)
    raw_body: bytes = field(default=b"", repr=False)
    model: str = ""
    stream: bool = False
    status: int | None = None
    outcome: Outcome = "active"
    chunks_sent: int = 0
    billed: Usage | None = None
    reported: Usage | None = None
    started_at: float = field(default_factory=time.monotonic)
    ended_at: float | None = None


@dataclass(slots=True)
class UsageSum:
    """Tokens summed over requests; the counts are those of `Usage`."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0

    def add(self, usage: Usage) -> None:
        """Add one request's tokens."""
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        self.cache_read += usage.cache_read
        self.cache_write += usage.cache_write
        self.cache_write_1h += usage.cache_write_1h
        self.reasoning += usage.reasoning


@dataclass(slots=True)
class Account:
    """Totals over every request, also those that are no longer in `StubServer.requests`.

    `received` counts requests when they arrive; all else is booked when they end. `statuses`
    counts by HTTP status sent (a request that got none is not in it), `outcomes` by outcome.
    """

    received: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    billed: UsageSum = field(default_factory=UsageSum)
    reported: UsageSum = field(default_factory=UsageSum)

    @property
    def answered(self) -> int:
        """How many requests got a whole answer."""
        return self.outcomes["whole"]

    def book(self, request: StubRequest) -> None:
        """Add a request that has ended."""
        self.outcomes[request.outcome] += 1
        if request.status is not None:
            self.statuses[request.status] += 1
        if request.billed is not None:
            self.billed.add(request.billed)
        if request.reported is not None:
            self.reported.add(request.reported)


class Connections(NamedTuple):
    """TCP connections: those `open` now, and all that were ever `opened`."""

    open: int
    opened: int
