"""One attempt and its account: what it holds while it runs, and how it is closed, exactly once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal

from orchestify.calls.runtime import Runtime
from orchestify.calls.target import Target
from orchestify.calls.tracing import Trace, TracedAttempt
from orchestify.errors import (
    APIError,
    AuthenticationError,
    InvalidParameterError,
    PermissionDeniedError,
    RateLimitError,
    StreamInterruptedError,
)
from orchestify.ledger.budgets.reservation import Reservation
from orchestify.ledger.record import Outcome, Record, utc_now
from orchestify.models.estimate import count_tokens, estimate_output_tokens
from orchestify.models.pricing import UNPRICED, Cost, Price, cost_of
from orchestify.policy.breaker import Permit
from orchestify.policy.budget import ZERO, Budget
from orchestify.policy.rate_limit import Grant, Limiter
from orchestify.policy.rate_limit_headers import rate_headers
from orchestify.values import UNKNOWN_USAGE, Attempt, CompletionRequest, LLMResponse, Usage

_OF_THE_KEY = (RateLimitError, AuthenticationError, PermissionDeniedError)
_log = logging.getLogger("orchestify.usage")


@dataclass(slots=True)
class AttemptState:
    """What one attempt holds: places at the limits, a budget reservation, a permit, an open record.

    `tokens` is what a rate limit reserves for it. `timer` ends it after `limit_s`, where it has a
    limit of its own. `usage` and `pieces` grow with a
    stream, so that whatever stops it can be booked. `close` is synchronous and works in
    `finally`, in a cancelled task and in `__del__`; only its first call counts.
    """

    runtime: Runtime
    target: Target
    request: CompletionRequest = field(repr=False)
    record: Record
    started: float
    tokens: int = 0
    budgets: tuple[Budget, ...] = ()
    trace: Trace | None = field(default=None, repr=False)
    grants: list[tuple[Limiter, Grant]] = field(default_factory=list)
    reservation: Reservation | None = None
    permit: Permit | None = None
    opened: bool = False
    closed: bool = False
    booked: bool = False
    outcome: Outcome = "open"
    timer: asyncio.Timeout | None = None
    limit_s: float = 0.0
    usage: Usage = UNKNOWN_USAGE
    pieces: list[str] = field(default_factory=list, repr=False)
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
        try:
            return self._settled(outcome, usage, answered, reported_usd, error)
        except Exception as failure:
            self._let_go(failure)
            return UNPRICED

    def _settled(
        self,
        outcome: Outcome,
        usage: Usage,
        answered: str,
        reported_usd: Decimal | None,
        error: BaseException | None,
    ) -> Cost:
        runtime, record = self.runtime, self.record
        name = "" if error is None else type(error).__name__
        price = None if reported_usd else runtime.price(self.target, answered)
        cost = cost_of(usage, reported_usd, price, self._price_of)
        at_most_usd = record.cost_at_most_usd
        if outcome != "ok":
            at_most_usd = self._at_most_usd(cost, error)
            self._teach(error)
        for _, grant in self.grants:
            if not self.opened:
                grant.give_back()
            elif usage.source != "unknown" or at_most_usd == 0:
                grant.settle(usage.total_tokens)
            grant.release()
        if self.reservation is not None:
            possible_usd = at_most_usd if cost.usd is None else None
            runtime.book.settle(self.reservation, cost.usd or ZERO, possible_usd or ZERO)
        if self.permit is not None:
            if outcome == "ok":
                self.permit.succeeded()
            else:
                self._judge(self.permit, error)
        if self.opened:
            completed = record.completed(
                outcome,
                usage=usage,
                model_answered=answered,
                cost=cost,
                cost_at_most_usd=at_most_usd,
                latency_s=runtime.clock() - self.started,
                first_chunk_s=self.first_chunk_s,
                error=name,
            )
            self.booked = True
            runtime.ledger.complete(completed)
            runtime.observe(completed)
        if self.trace is not None:
            self.trace.attempted(self._traced(usage, cost, name))
        return cost

    def _let_go(self, failure: Exception) -> None:
        """Release and book what is left after a step of closing raised; nothing stays held."""
        _log.error("an attempt was not closed as it should be: %s", type(failure).__name__)
        runtime, record = self.runtime, self.record
        for _, grant in self.grants:
            with suppress(Exception):
                grant.release()
        if self.reservation is not None:
            with suppress(Exception):
                possible_usd = record.cost_at_most_usd if self.opened else ZERO
                runtime.book.settle(self.reservation, ZERO, possible_usd or ZERO)
        if self.permit is not None:
            with suppress(Exception):
                self.permit.released()
        if self.opened and not self.booked:
            self.booked = True
            with suppress(Exception):
                outcome: Outcome = "interrupted" if self.outcome == "ok" else self.outcome
                runtime.ledger.complete(
                    record.completed(
                        outcome,
                        usage=UNKNOWN_USAGE,
                        model_answered="",
                        cost=UNPRICED,
                        cost_at_most_usd=record.cost_at_most_usd,
                        latency_s=runtime.clock() - self.started,
                        first_chunk_s=self.first_chunk_s,
                        error=type(failure).__name__,
                    )
                )

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

    def _price_of(self, model: str) -> Price | None:
        """The price of another model that a part of the answer ran on, at the same endpoint."""
        target = self.target
        return self.runtime.prices.price(target.provider_id, model, target.endpoint)

    def _at_most_usd(self, cost: Cost, error: BaseException | None) -> Decimal | None:
        """What a failed attempt may have cost at most: nothing where it was refused or not sent."""
        unsent = not self.opened or isinstance(error, InvalidParameterError)
        if unsent or (isinstance(error, APIError) and not error.may_be_billed):
            return ZERO
        at_most_usd = self.record.cost_at_most_usd
        if at_most_usd is None and cost.usd is None:
            tokens = self.runtime.tokens(self.target, self.request)
            return self.runtime.worst_case_usd(self.target, tokens, self.request.options)
        return at_most_usd

    def _judge(self, permit: Permit, error: BaseException | None) -> None:
        if isinstance(error, APIError) and error.trips_breaker:
            permit.failed()
        else:
            permit.released()

    def _teach(self, error: BaseException | None) -> None:
        """Hold the target's key back for as long as the provider asks, and halve its rates."""
        if not self.opened or not isinstance(error, _OF_THE_KEY):
            return
        is_429 = isinstance(error, RateLimitError)
        if is_429 and not error.retry_after_s:
            self.runtime.pass_by(self.target)
        if is_429 or error.retry_after_s:
            pause = self.runtime.pause(self.target)
            pause.penalise(error.retry_after_s, sent_at=self.started)

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
