"""One attempt and its account: what it holds while it runs, and how it is closed, exactly once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from orchestify.calls.runtime import Runtime
from orchestify.calls.target import Target
from orchestify.calls.tracing import Trace, TracedAttempt
from orchestify.errors import (
    APIError,
    InvalidParameterError,
    RateLimitError,
    StreamInterruptedError,
)
from orchestify.ledger.budgets.reservation import Reservation
from orchestify.ledger.record import Outcome, Record, utc_now
from orchestify.models.estimate import count_tokens, estimate_output_tokens
from orchestify.models.pricing import UNPRICED, Cost, cost_of
from orchestify.policy.breaker import Permit
from orchestify.policy.budget import ZERO, Budget
from orchestify.policy.rate_limit import Grant, Limiter
from orchestify.policy.rate_limit_headers import rate_headers
from orchestify.values import UNKNOWN_USAGE, Attempt, CompletionRequest, LLMResponse, Usage


@dataclass(slots=True)
class AttemptState:
    """What one attempt holds: places at the limits, a budget reservation, a permit, an open record.

    `tokens` is its input estimate and its output cap together. `usage` and `pieces` grow with a
    stream, so that whatever stops it can be booked. `close` is synchronous and works in
    `finally`, in a cancelled task and in `__del__`; only its first call counts.
    """

    runtime: Runtime
    target: Target
    request: CompletionRequest
    record: Record
    started: float
    tokens: int = 0
    budgets: tuple[Budget, ...] = ()
    trace: Trace | None = None
    grants: list[tuple[Limiter, Grant]] = field(default_factory=list)
    reservation: Reservation | None = None
    permit: Permit | None = None
    opened: bool = False
    closed: bool = False
    outcome: Outcome = "open"
    usage: Usage = UNKNOWN_USAGE
    pieces: list[str] = field(default_factory=list)
    first_chunk_s: float | None = None

    def fail(self, error: BaseException) -> None:
        """Book what became of an attempt that raised `error`, with the usage that it reports."""
        if not isinstance(error, Exception):
            self.abandon()
            return
        reported_usd = None
        if isinstance(error, APIError):
            self.usage = error.usage or self.usage
            reported_usd = error.cost_usd
        outcome: Outcome = "interrupted" if isinstance(error, StreamInterruptedError) else "failed"
        self.close(outcome, self._so_far(), reported_usd=reported_usd, error=error)

    def abandon(self) -> None:
        """Book an attempt that its caller no longer wants."""
        if not self.closed:
            self.close("cancelled", self._so_far())

    def close(
        self,
        outcome: Outcome,
        usage: Usage = UNKNOWN_USAGE,
        answered: str = "",
        reported_usd: Decimal | None = None,
        error: BaseException | None = None,
    ) -> Cost:
        """Settle and release everything, complete the record, and return the cost.

        `answered` is the model that answered, `reported_usd` the cost by the provider itself.
        """
        if self.closed:
            return UNPRICED
        self.closed, self.outcome = True, outcome
        runtime, permit = self.runtime, self.permit
        price = None if reported_usd is not None else runtime.price(self.target, answered)
        cost = cost_of(usage, reported_usd, price)
        name = "" if error is None else type(error).__name__
        try:
            if self.grants or self.reservation is not None or error is not None:
                self._release(usage, cost, error)
            if permit is None:
                pass
            elif outcome == "ok":
                permit.succeeded()
            elif isinstance(error, APIError) and error.trips_breaker:
                permit.failed()
            else:
                permit.released()
        finally:
            if self.opened:
                record = self.record.completed(
                    outcome,
                    usage=usage,
                    model_answered=answered,
                    cost=cost,
                    latency_s=runtime.clock() - self.started,
                    first_chunk_s=self.first_chunk_s,
                    error=name,
                )
                runtime.ledger.complete(record)
                runtime.observe(record)
            if self.trace is not None:
                self.trace.attempted(self._traced(usage, cost, name))
        return cost

    def told(self, outcome: str, error: BaseException | None = None) -> Attempt:
        """Return the attempt as the response and the errors tell it."""
        return Attempt(
            self.target.provider_id,
            self.target.model,
            outcome,
            None if error is None else type(error).__name__,
            self.runtime.clock() - self.started,
        )

    def estimated(self, response: LLMResponse) -> Usage:
        """Return the usage of an answer that came without it, estimated from its words."""
        calls = (call.name + (call.raw_arguments or "") for call in response.tool_calls)
        written = "".join((response.content, str(response.thinking or ""), *calls))
        return self._estimated(response.usage or UNKNOWN_USAGE, written)

    def learn(self, headers: Mapping[str, str]) -> None:
        """Pause the target where its provider says that nothing is left until a reset."""
        hint = rate_headers(headers, utc_now())
        if hint is not None and hint.exhausted_s > 0:
            self.runtime.pause(self.target).learn(hint)

    def _release(self, usage: Usage, cost: Cost, error: BaseException | None) -> None:
        unsent = not self.opened or isinstance(error, InvalidParameterError)
        unsent = unsent or (isinstance(error, APIError) and not error.may_be_billed)
        if isinstance(error, RateLimitError) and self.opened:
            self._slow_down(error)
        for _, grant in self.grants:
            if not self.opened:
                grant.give_back()
            elif usage.source != "unknown" or unsent:
                grant.settle(usage.total_tokens)
            grant.release()
        if self.reservation is not None:
            worst = self.record.cost_at_most_usd
            unknown = ZERO if unsent or worst is None else worst
            actual = unknown if cost.usd is None else cost.usd
            self.runtime.book.settle(self.reservation, actual)

    def _slow_down(self, error: RateLimitError) -> None:
        """Pause the target for as long as the provider asks, and halve the rates that led here."""
        self.runtime.pause(self.target).penalise(error.retry_after_s)
        for limiter, grant in self.grants:
            limiter.penalise(None, grant)

    def _so_far(self) -> Usage:
        """What was used when the attempt ended early, as far as can be known."""
        text = "".join(self.pieces)
        if not text and not lacks_counts(self.usage):
            return self.usage
        return self._estimated(self.usage, text, may_go_on=True)

    def _estimated(self, known: Usage, text: str, *, may_go_on: bool = False) -> Usage:
        """Return a usage with what is missing counted; an output `may_go_on` behind its count."""
        request = self.request
        output = known.output_tokens
        if may_go_on or not output:
            output = max(output, estimate_output_tokens(text, request.model))
        given = known.input_tokens or count_tokens(request.messages, request.tools, request.model)
        if known.source != "unknown" and (given, output) == (
            known.input_tokens,
            known.output_tokens,
        ):
            return known
        return replace(known, input_tokens=given, output_tokens=output, source="estimated")

    def _traced(self, usage: Usage, cost: Cost, error: str) -> TracedAttempt:
        return TracedAttempt(
            target=self.target,
            outcome=self.outcome if self.opened else "skipped",
            error=error,
            latency_s=self.runtime.clock() - self.started,
            first_chunk_s=self.first_chunk_s,
            usage=usage,
            cost_usd=cost.usd,
        )


def lacks_counts(usage: Usage) -> bool:
    """Whether a count that was reported cannot be true, and is missing."""
    return bool(usage.invalid) and not (usage.input_tokens and usage.output_tokens)
