"""One call under way: its deadline, what was tried, and the attempt that is open."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from orchestify.calls.attempt import Booking
from orchestify.calls.request import Call
from orchestify.calls.runtime import Runtime, Target
from orchestify.calls.structured import parsed_answer
from orchestify.calls.tracing import Ending, Trace, TracedCall
from orchestify.errors import (
    APIError,
    BudgetExceededError,
    CircuitOpenError,
    InvalidParameterError,
    OrchestifyError,
    RateLimitError,
    RequestTimeoutError,
)
from orchestify.ledger.record import Record, current_labels, new_id, utc_now
from orchestify.policy.retry import RetryPolicy
from orchestify.values import (
    Attempt,
    CompletionRequest,
    LLMResponse,
    StreamEnd,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    UsageUpdate,
)

Failure: TypeAlias = APIError | BudgetExceededError | InvalidParameterError


@dataclass(slots=True)
class Run:
    """The state of one call; `deadline` is a moment of the runtime's clock."""

    call: Call
    agent: str
    runtime: Runtime
    timeout_s: float
    is_stream: bool = False
    timer: asyncio.Timeout | None = None
    call_id: str = field(default_factory=new_id)
    deadline: float = 0.0
    attempts: list[Attempt] = field(default_factory=list)
    failures: list[tuple[Target, Failure]] = field(default_factory=list)
    booking: Booking | None = None
    trace: Trace | None = None

    def start(self) -> asyncio.Timeout:
        """Begin to count the time, and return the timer that ends the call."""
        self.deadline = self.runtime.clock() + self.timeout_s
        self.timer = asyncio.timeout(self.timeout_s)
        return self.timer

    @property
    def is_out_of_time(self) -> bool:
        """Whether the timer has ended the call."""
        return self.timer is not None and self.timer.expired()

    @property
    def tried(self) -> tuple[Attempt, ...]:
        """The attempts so far; the one under way is the last, its outcome is `open`."""
        if self.booking is None or self.booking.closed:
            return tuple(self.attempts)
        return (*self.attempts, self.booking.attempt("open"))

    def remaining_s(self) -> float:
        """Seconds left until the deadline."""
        return self.deadline - self.runtime.clock()

    def retry(self, target: Target) -> RetryPolicy:
        """Return the target's retries, as far as the caller did not say otherwise."""
        given = self.call.max_attempts
        return target.retry if given is None else replace(target.retry, max_attempts=given)

    def book(self, target: Target, request: CompletionRequest) -> Booking:
        """Return a booking for the next attempt; nothing is held or recorded yet."""
        runtime, number = self.runtime, len(self.attempts) + 1
        labels = current_labels()
        budgets = runtime.budgets_of(target, self.agent, labels) if runtime.budgets else ()
        tokens = runtime.tokens(target, request) if runtime.estimates else (0, 0)
        worst = runtime.worst_case_usd(target, tokens) if runtime.estimates else None
        record = Record(
            id=f"{self.call_id}-{number}",
            call_id=self.call_id,
            attempt=number,
            started_at=utc_now(),
            provider=target.provider_id,
            agent=self.agent,
            model=target.model,
            cost_at_most_usd=worst,
            labels=labels,
        )
        self.booking = Booking(
            runtime, target, request, record, runtime.clock(), sum(tokens), budgets
        )
        self.booking.trace = self.trace
        return self.booking

    def note(self, booking: Booking, event: StreamEvent) -> StreamEvent:
        """Keep what an event tells for the account; the end is booked and completed."""
        kind = type(event)
        if kind is TextDelta or kind is ThinkingDelta:
            booking.pieces.append(event.text)  # type: ignore[union-attr]
        elif isinstance(event, ToolCallDelta):
            booking.pieces.append(event.arguments)
        elif isinstance(event, UsageUpdate):
            booking.usage = event.usage
        elif isinstance(event, StreamEnd):
            return StreamEnd(self.answered(booking, event.response))
        return event

    def answered(self, booking: Booking, response: LLMResponse) -> LLMResponse:
        """Book an answer and return it with what only the call knows.

        Raises:
            StructuredOutputError: it does not fit the form that was asked for; it is booked.
        """
        usage, cost = booking.succeed(response)
        self.attempts.append(booking.attempt("ok"))
        complete = LLMResponse(  # `replace` would take 2 µs more
            content=response.content,
            model=response.model or booking.target.model,
            tokens_input=usage.input_tokens,
            tokens_output=usage.output_tokens,
            finish_reason=response.finish_reason,
            raw_response=response.raw_response,
            tool_calls=response.tool_calls,
            thinking=response.thinking,
            parsed=response.parsed,
            usage=usage,
            cost_usd=cost.usd,
            cost_source=cost.source,
            provider=booking.target.provider_id,
            latency_s=self.runtime.clock() - booking.started,
            attempts=tuple(self.attempts),
            call_id=self.call_id,
            headers=response.headers,
        )
        form = booking.request.response_format
        if form is not None:
            complete = parsed_answer(complete, form)
        if self.trace is not None:
            self.ended(complete)
        return complete

    def failed(self, booking: Booking, error: BaseException) -> None:
        """Book an attempt that raised `error`, or one that the deadline ended."""
        if isinstance(error, asyncio.CancelledError) and self.is_out_of_time:
            error = self.timed_out(booking.target)
        if isinstance(error, APIError) and error.provider is None:
            error.provider, error.model = booking.target.provider_id, booking.target.model
        booking.fail(error)
        outcome = booking.outcome if booking.opened else "skipped"
        self.attempts.append(booking.attempt(outcome, error))

    def broke(self, booking: Booking, error: BaseException) -> None:
        """Book the attempt of a stream that did not reach its end, and end the call."""
        booking.fail(error)
        self.ended(error)

    def follow(self, target: Target) -> None:
        """Let the runtime's tracer, where there is one, follow the call from its first target."""
        tracer = self.runtime.tracer
        if tracer is not None:
            request = self.call.request(target.defaults, model=target.model)
            self.trace = tracer.start(
                TracedCall(
                    call_id=self.call_id,
                    agent=self.agent,
                    provider=target.provider,
                    endpoint=target.endpoint,
                    request=request,
                    is_stream=self.is_stream,
                )
            )

    def ended(self, ending: Ending) -> None:
        """Give an error the call's id, and tell who follows the call; only the first end counts."""
        if isinstance(ending, OrchestifyError):
            ending.call_id = self.call_id
        trace, self.trace = self.trace, None
        if trace is not None:
            trace.ended(ending)

    def circuit_open(self, target: Target) -> CircuitOpenError:
        """Return the error of a target whose circuit is open."""
        return CircuitOpenError(
            provider=target.provider_id,
            model=target.model,
            retry_after_s=self.runtime.breaker(target).open_for_s,
        )

    def paused(self, target: Target) -> RateLimitError:
        """Return the error of a target whose provider asked for a pause."""
        wait_s = self.runtime.paused_for_s(target)
        return RateLimitError(
            f"the provider asked that nothing be sent for {wait_s:.3g} s more",
            provider=target.provider_id,
            model=target.model,
            retry_after_s=wait_s,
        )

    def timed_out(self, target: Target) -> RequestTimeoutError:
        """Return the error of a call whose time is up."""
        waits = self.booking is not None and not self.booking.opened
        error = RequestTimeoutError(
            f"{self._missed(target) if waits else 'no answer'} within {self.timeout_s:g} s",
            provider=target.provider_id,
            model=target.model,
        )
        error.may_be_billed = not waits
        # A caller's own impatience says nothing about the provider.
        error.trips_breaker = self.call.timeout_s is None
        return error

    def _missed(self, target: Target) -> str:
        """Say what a call waited for before it was sent: what is configured, else the ledger."""
        budgets = self.booking is not None and self.booking.budgets
        held = ["rate limits"] if self.runtime.limiters_of(target) else []
        held += ["budgets"] if budgets else []
        return f"no turn at the {' and '.join(held or ['ledger'])}"

    def abandon(self) -> None:
        """Book the open attempt as one that its caller no longer wants."""
        if self.booking is not None and not self.booking.closed:
            self.booking.abandon()
