"""What may watch calls from their start to their end: the interface, and what it is told."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol, TypeAlias

from orchestify.calls.target import Target
from orchestify.values import CompletionRequest, EmbeddingResponse, LLMResponse, Usage

Ending: TypeAlias = LLMResponse | EmbeddingResponse | BaseException
"""What a call ends with: its answer, or what it raised; `GeneratorExit` for a stream let go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedCall:
    """A call that begins: what its first target is asked."""

    call_id: str
    agent: str
    target: Target
    request: CompletionRequest
    is_stream: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedAttempt:
    """An attempt that has ended: `ok`, `failed`, `skipped`, `cancelled`, `interrupted` or `cached`.

    `skipped` is one for which nothing was sent: its circuit was open, a budget was used up. Of one
    that is `cached` the response cache had the answer.
    `error` is the error's class name, "" where there is none. `cost_usd` is None where nobody
    knows the price.
    """

    target: Target
    outcome: str
    error: str
    latency_s: float
    first_chunk_s: float | None
    usage: Usage
    cost_usd: Decimal | None


class Trace(Protocol):
    """Follows one call. Its methods are quick and raise nothing."""

    def attempted(self, attempt: TracedAttempt) -> None:
        """Take in an attempt's end; it comes from any thread and from `__del__`, so no locks."""

    def ended(self, ending: Ending) -> None:
        """Take in the call's end, once, in the task that made the call or closes its stream."""


class Tracer(Protocol):
    """Begins to follow calls."""

    def start(self, call: TracedCall) -> Trace:
        """Follow a call; the context is its caller's. It raises nothing."""
