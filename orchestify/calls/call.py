"""The state of one call: its deadline, what was tried, and the attempt that is open."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TypeAlias

from orchestify.calls.attempt import AttemptState, lacks_counts
from orchestify.calls.request import Call
from orchestify.calls.runtime import Runtime
from orchestify.calls.structured import parsed_answer
from orchestify.calls.target import Target
from orchestify.calls.tracing import Ending, Trace, TracedCall, Tracer
from orchestify.core.policies import FAIR_AT_LEAST_S
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
from orchestify.values import (
    UNKNOWN_USAGE,
    Attempt,
    CompletionRequest,
    LLMResponse,
)

TargetError: TypeAlias = APIError | BudgetExceededError | InvalidParameterError
"""What one target ends with, and the next may be tried after."""


@dataclass(slots=True)
class CallState:
    """The state of one call; `deadline` is a moment of the runtime's clock.

    `leave_at` is the moment until which it may stay at the present target, the deadline at most.
    `attempts` are those that have ended, `attempt` is the latest, `errors` holds each target
    that was given up with its last error.
    """

    call: Call = field(repr=False)
    agent: str
    runtime: Runtime
    timeout_s: float
    is_stream: bool = False
    leave_at: float = 0.0
    timer: asyncio.Timeout | None = None
    call_id: str = field(default_factory=new_id)
    deadline: float = 0.0
    attempts: list[Attempt] = field(default_factory=list)
    errors: list[tuple[Target, TargetError]] = field(default_factory=list)
    attempt: AttemptState | None = None
    trace: Trace | None = None

    @property
    def is_out_of_time(self) -> bool:
        """Whether the timer has ended the call."""
        return self.timer is not None and self.timer.expired()

    @property
    def tried(self) -> tuple[Attempt, ...]:
        """The attempts so far; the one under way is the last, its outcome is `open`."""
        if self.attempt is None or self.attempt.closed:
            return tuple(self.attempts)
        return (*self.attempts, self.attempt.told("open"))

    def remaining_s(self) -> float:
        """Seconds left until the deadline."""
        return self.deadline - self.runtime.clock()

    def begin_trace(self, tracer: Tracer, target: Target) -> None:
        """Let a tracer follow the call from its first target."""
        self.trace = tracer.start(
            TracedCall(
                call_id=self.call_id,
                agent=self.agent,
                target=target,
                request=self.call.request(target.defaults, model=target.model),
                is_stream=self.is_stream,
            )
        )

    def next_attempt(self, target: Target, request: CompletionRequest) -> AttemptState:
        """Return the state of the next attempt; nothing is held or recorded yet."""
        runtime, number = self.runtime, len(self.attempts) + 1
        labels = current_labels()
        budgets = runtime.budgets_of(target, self.agent, labels) if runtime.budgets else ()
        tokens = runtime.tokens(target, request) if runtime.estimates else (0, 0)
        record = Record(
            id=f"{self.call_id}-{number}",
            call_id=self.call_id,
            attempt=number,
            started_at=utc_now(),
            provider=target.provider_id,
            agent=self.agent,
            model=target.model,
            cost_at_most_usd=(
                runtime.worst_case_usd(target, tokens, request.options)
                if runtime.estimates
                else None
            ),
            labels=labels,
        )
        reserved = (
            runtime.expected_tokens(target, self.agent, request, tokens) if target.limiters else 0
        )
        self.attempt = AttemptState(
            runtime, target, request, record, runtime.clock(), reserved, budgets, self.trace
        )
        return self.attempt

    def answered(self, attempt: AttemptState, response: LLMResponse) -> LLMResponse:
        """Book an answer and return it with what only the call knows.

        Raises:
            StructuredOutputError: it does not fit the form that was asked for; it is booked.
        """
        target = attempt.target
        usage = response.usage or UNKNOWN_USAGE
        if usage.source == "unknown" or lacks_counts(usage):
            usage = attempt.estimated(response)
        if "0" in response.headers.values():  # something is used up
            attempt.learn(response.headers)
        reported_usd = response.cost_usd if response.cost_source == "provider" else None
        if target.limiters and usage.source == "reported":
            self.runtime.note_output(target, self.agent, usage.output_tokens)
        cost = attempt.close("ok", usage, response.model, reported_usd)
        self.attempts.append(attempt.told("ok"))
        complete = LLMResponse(  # `replace` would take 2 µs more
            content=response.content,
            model=response.model or target.model,
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
            provider=target.provider_id,
            latency_s=self.runtime.clock() - attempt.started,
            attempts=tuple(self.attempts),
            call_id=self.call_id,
            headers=response.headers,
            warnings=response.warnings,
        )
        form = attempt.request.response_format
        if form is not None:
            complete = parsed_answer(complete, form)
        if self.trace is not None:
            self.ended(complete)
        return complete

    def failed(self, attempt: AttemptState, error: BaseException) -> None:
        """Book an attempt that raised `error`, or one that the deadline ended; once."""
        if attempt.closed:
            return
        if isinstance(error, asyncio.CancelledError):
            if self.is_out_of_time:
                error = self.timed_out(attempt.target)
            elif attempt.timer is not None and attempt.timer.expired():
                error = self.too_late(attempt)
        if isinstance(error, APIError) and error.provider is None:
            error.provider, error.model = attempt.target.provider_id, attempt.target.model
        attempt.fail(error)
        outcome = attempt.outcome if attempt.opened else "skipped"
        self.attempts.append(attempt.told(outcome, error))

    def ended(self, ending: Ending) -> None:
        """Give an error the call's id, and tell who follows the call; only the first end counts."""
        if isinstance(ending, OrchestifyError):
            ending.call_id = self.call_id
        trace, self.trace = self.trace, None
        if trace is not None:
            trace.ended(ending)

    def abandon(self) -> None:
        """Book the open attempt as one that its caller no longer wants."""
        if self.attempt is not None:
            self.attempt.abandon()

    def circuit_open(self, target: Target) -> CircuitOpenError:
        """Return the error of a target whose circuit is open."""
        return CircuitOpenError(
            provider=target.provider_id,
            model=target.model,
            retry_after_s=self.runtime.breaker(target).open_for_s,
        )

    def paused(self, target: Target) -> RateLimitError:
        """Return the error of a target whose provider asked for a pause."""
        wait_s = self.runtime.passed_for_s(target)
        return RateLimitError(
            f"a 429 of this key asks that nothing be sent for {wait_s:.3g} s more",
            provider=target.provider_id,
            model=target.model,
            retry_after_s=wait_s,
        )

    def limit_s(self, attempt: AttemptState, following: int) -> float:
        """Return the seconds that an attempt may take, of a stream until its first output.

        Besides the call's deadline and the provider's own part: what is configured for an attempt;
        for a stream with other targets a fair part of what is left; for a probe with other targets
        as long as it keeps its place.
        """
        defaults, permit = attempt.target.defaults, attempt.permit
        limit_s = self.leave_at - self.runtime.clock()
        if defaults.attempt_timeout_s is not None:
            limit_s = min(limit_s, defaults.attempt_timeout_s)
        if self.is_stream and defaults.first_output_timeout_s is not None:
            limit_s = min(limit_s, defaults.first_output_timeout_s)
        elif self.is_stream and following:
            limit_s = min(limit_s, max(FAIR_AT_LEAST_S, self.remaining_s() / (following + 1)))
        if following and permit is not None and permit.limit_s is not None:
            limit_s = min(limit_s, permit.limit_s)
        return limit_s

    def too_late(self, attempt: AttemptState) -> RequestTimeoutError:
        """Return the error of an attempt whose own time is up; it is possibly billed."""
        target = attempt.target
        return RequestTimeoutError(
            f"no {'output' if self.is_stream else 'answer'} within the {attempt.limit_s:.3g} s of "
            "one attempt",
            provider=target.provider_id,
            model=target.model,
        )

    def timed_out(self, target: Target) -> RequestTimeoutError:
        """Return the error of a call whose time is up."""
        waits = self.attempt is not None and not self.attempt.opened
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
        budgets = self.attempt is not None and self.attempt.budgets
        held = ["rate limits"] if self.runtime.limiters_of(target) else []
        held += ["budgets"] if budgets else []
        return f"no turn at the {' and '.join(held or ['ledger'])}"
