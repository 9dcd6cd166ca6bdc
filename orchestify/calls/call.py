"""The state of one call and of its attempts: what is held, and how it is booked, exactly once."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TypeAlias

from orchestify.calls.attempt_usage import answered_usage, lacks_counts, used_so_far
from orchestify.calls.key_pool import OF_THE_KEY, REFUSED_REST_S
from orchestify.calls.output_fit import LOWERED, fitted_output
from orchestify.calls.request import Call
from orchestify.calls.runtime import INPUT_MARGIN, Runtime, most_tokens
from orchestify.calls.structured import parsed_answer
from orchestify.calls.target import Target
from orchestify.calls.tracing import Ending, Trace, TracedAttempt, TracedCall, Tracer
from orchestify.core.policies import FAIR_AT_LEAST_S
from orchestify.errors import (
    APIError,
    BudgetExceededError,
    CircuitOpenError,
    InvalidParameterError,
    OrchestifyError,
    RateLimitError,
    RecordingError,
    RequestTimeoutError,
    StreamInterruptedError,
)
from orchestify.lanes.lane import Lane
from orchestify.ledger.budgets.reservation import Reservation
from orchestify.ledger.record import SCOPE, Outcome, Record, Scope, new_id, utc_now
from orchestify.models.pricing import UNPRICED, Cost, Price, cost_of
from orchestify.policy.breaker import Permit
from orchestify.policy.budget import NO_AMOUNT, ZERO, Amount, Budget, BudgetKey, StepDown
from orchestify.policy.rate_limit import Grant, Limiter
from orchestify.policy.rate_limit_headers import rate_headers
from orchestify.resources.log_fields import log_fields
from orchestify.response_cache.cache import Flight
from orchestify.values import (
    UNKNOWN_USAGE,
    Attempt,
    CompletionRequest,
    LLMResponse,
    StreamEvent,
    Usage,
)

_log = logging.getLogger("orchestify.usage")
call_log = logging.getLogger("orchestify.calls")

TargetError: TypeAlias = APIError | BudgetExceededError | InvalidParameterError
"""What one target ends with, and the next may be tried after."""


@dataclass(slots=True)
class CallState:
    """The state of one call; `deadline` is a moment of the runtime's clock.

    `leave_at` is the moment until which it may stay at the present target, the deadline at most.
    `attempts` are those that have ended, `attempt` is the latest, `errors` holds each target
    that was given up with its last error. `scope` is what was in force where the call was made: a
    stream may be read elsewhere. `stepped` has the budgets whose steps it has taken, and
    up to which share; `step_targets` has by provider and model the budget whose step leads there.
    `flight` is what equal calls may wait for, where answers are kept.
    """

    call: Call = field(repr=False)
    agent: str
    runtime: Runtime
    timeout_s: float
    is_stream: bool = False
    scope: Scope = field(default_factory=SCOPE.get)
    leave_at: float = 0.0
    timer: asyncio.Timeout | None = None
    call_id: str = field(default_factory=new_id)
    deadline: float = 0.0
    attempts: list[Attempt] = field(default_factory=list)
    errors: list[tuple[Target, TargetError]] = field(default_factory=list)
    attempt: AttemptState | None = None
    trace: Trace | None = field(default=None, repr=False)
    stepped: Mapping[BudgetKey, float] | None = None
    step_targets: Mapping[tuple[str, str], str] | None = None
    loop: asyncio.AbstractEventLoop | None = None
    end_stream: Callable[[str], None] | None = field(default=None, repr=False)
    events: weakref.ref[AsyncGenerator[StreamEvent, None]] | None = None  # of a stream
    flight: Flight | None = field(default=None, repr=False)

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for it: a stream whose reader asks for nothing."""
        if self.events is None:
            return False
        return not getattr(self.events(), "ag_running", False)

    @property
    def lane(self) -> Lane | None:
        """The lane of the attempt under way, None where there is none."""
        attempt = self.attempt
        return None if attempt is None or attempt.closed else attempt.target.lane

    def end(self) -> None:
        """End the call, from any thread: it raises that the registry was closed."""
        loop = self.loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        if self.call_id not in self.runtime.under_way:
            return
        if self.end_stream is not None:
            self.end_stream("the registry was closed")
        elif self.timer is not None:
            self.timer.reschedule(0.0)

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
        labels, budgets = self.scope
        if runtime.budgets:
            budgets = (*runtime.budgets_of(target, self.agent, labels), *budgets)
        estimates = runtime.estimates or bool(budgets)
        tokens = runtime.tokens(target, request) if estimates else (0, 0)
        terms, is_plain = request.options, not (request.native or request.cache or request.tools)
        for message in request.messages:
            is_plain = is_plain and isinstance(message.content, str)
        if not is_plain:
            terms = request.price_terms
        record = Record(
            id=f"{self.call_id}-{number}",
            call_id=self.call_id,
            attempt=number,
            started_at=utc_now(),
            provider=target.provider_id,
            agent=self.agent,
            model=target.model,
            key=target.key,
            cost_at_most_usd=(runtime.worst_case_usd(target, tokens, terms) if estimates else None),
            labels=labels,
        )
        reserved = (
            runtime.expected_tokens(target, self.agent, request, tokens) if target.limiters else 0
        )
        self.attempt = AttemptState(
            runtime, target, request, record, runtime.clock(), reserved, budgets, self.trace
        )
        if budgets:
            self.attempt.stepped = self.stepped
            self.attempt.most_tokens = int(tokens[0] * INPUT_MARGIN) + tokens[1]
        return self.attempt

    def answered(self, attempt: AttemptState, response: LLMResponse) -> LLMResponse:
        """Book an answer and return it with what only the call knows.

        Raises:
            StructuredOutputError: it does not fit the form that was asked for; it is booked.
        """
        target = attempt.target
        usage = response.usage or UNKNOWN_USAGE
        if usage.source == "unknown" or (usage.invalid and lacks_counts(usage)):
            usage = answered_usage(attempt.request, response)
        if "0" in response.headers.values():  # something is used up
            attempt.learn(response.headers)
        reported_usd = response.cost_usd if response.cost_source == "provider" else None
        cost = attempt.close("ok", usage, response.model, reported_usd)
        self.runtime.under_way.pop(self.call_id, None)
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
            warnings=response.warnings + attempt.warnings,
        )
        if self.step_targets:
            budget = self.step_targets.get((target.provider_id, target.model))
            told = () if budget is None else (f"stepped_down:{budget}",)
            complete = replace(complete, warnings=complete.warnings + told)
        form = attempt.request.response_format
        if form is not None:
            complete = parsed_answer(complete, form)
        if self.flight is not None:
            self.flight.answered(complete, is_whole=LOWERED not in attempt.warnings)
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

    def log_wait(self, name: str, wait_s: float, error: str = "") -> None:
        """Log that the call waits, or has waited, at its present attempt."""
        if self.attempt is not None:
            record = self.attempt.record
            fields = {
                "call_id": record.call_id,
                "attempt": record.attempt,
                "provider": record.provider,
                "model": record.model,
                "agent": record.agent,
                "wait_s": wait_s,
            }
            log_fields(call_log, logging.INFO, name, fields | ({"error": error} if error else {}))

    def ended(self, ending: Ending) -> None:
        """Give an error the call's id, and tell who follows the call; only the first end counts."""
        if isinstance(ending, OrchestifyError):
            ending.call_id = self.call_id
        self.runtime.under_way.pop(self.call_id, None)
        trace, self.trace = self.trace, None
        if trace is not None:
            trace.ended(ending)

    def abandon(self) -> None:
        """Book the open attempt as one that its caller no longer wants."""
        self.runtime.under_way.pop(self.call_id, None)
        if self.attempt is not None:
            self.attempt.abandon()

    def circuit_open(self, target: Target) -> CircuitOpenError:
        """Return the error of a target whose circuit is open."""
        return CircuitOpenError(
            provider=target.provider_id,
            model=target.model,
            retry_after_s=self.runtime.breaker(target).open_for_s,
        )

    def passed_by(self, target: Target) -> APIError | None:
        """Return the error of a target that calls with another one pass by; None: they do not."""
        wait_s, because = self.runtime.passed_for_s(target)
        if wait_s <= 0:
            return None
        return because(
            f"the provider refused this key before; it is passed by for {wait_s:.3g} s more",
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
        missed = self._missed(target) if waits else "no answer"
        within = f"within {self.timeout_s:g} s"
        error = RequestTimeoutError(
            f"{missed} {'before the registry was closed' if self.runtime.is_closed else within}",
            provider=target.provider_id,
            model=target.model,
        )
        error.may_be_billed = not waits
        # A caller's own impatience says nothing about the provider.
        error.trips_breaker = self.call.timeout_s is None and not self.runtime.is_closed
        return error

    def _missed(self, target: Target) -> str:
        """Say what a call waited for before it was sent: what is configured, else the ledger."""
        budgets = self.attempt is not None and self.attempt.budgets
        held = ["rate limits"] if self.runtime.limiters_of(target) else []
        held += ["budgets"] if budgets else []
        return f"no turn at the {' and '.join(held or ['ledger'])}"


class StepDue(Exception):  # noqa: N818 - it ends no call
    """A step of a budget is due: the call goes to its targets first."""

    def __init__(self, budget: Budget, step: StepDown) -> None:
        super().__init__(budget.title)
        self.budget = budget
        self.step = step


@dataclass(slots=True)
class AttemptState:
    """What one attempt holds: places at the limits, a budget reservation, a permit, an open record.

    `tokens` is what a rate limit reserves for it, `most_tokens` what a budget does. `timer` ends
    it after `limit_s`, where it has a limit of its own. `usage` and `pieces` grow with a stream,
    so that whatever stops it can be booked. `stepped` has the budgets whose steps the call has
    taken, up to which share. `close` is synchronous and works in
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
    most_tokens: int = 0
    stepped: Mapping[BudgetKey, float] | None = None
    warnings: tuple[str, ...] = ()

    async def reserve(self, deadline: float) -> None:
        """Reserve the attempt's worst case in its budgets, or what is left where that is said.

        Raises:
            BudgetExceededError: a budget has no room for it.
            StepDue: a budget has, and one of its steps is due that the call has not taken.
        """
        while self.reservation is None:
            record = self.record
            try:
                self.reservation = await self.runtime.book.reserve(
                    self.budgets,
                    record.cost_at_most_usd,
                    deadline,
                    record.id,
                    tokens=self.most_tokens,
                )
            except BudgetExceededError as error:
                if not self._fits_output(error):
                    raise
        for state in self.reservation.states:
            if state.budget.step_down:
                step = state.step_due()
                if step is not None and step.at > (self.stepped or {}).get(state.budget.key, 0.0):
                    raise StepDue(state.budget, step)

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
        self.close(
            outcome,
            used_so_far(self.request, self.usage, self.pieces),
            reported_usd=reported_usd,
            error=error,
        )

    def abandon(self) -> None:
        """Book an attempt that its caller no longer wants."""
        if not self.closed:
            self.close("cancelled", used_so_far(self.request, self.usage, self.pieces))

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
            cost = self._settled(outcome, usage, answered, reported_usd, error)
        except Exception as failure:
            self._let_go(failure)
            cost = UNPRICED
        if call_log.isEnabledFor(logging.DEBUG):
            self._log_ended(usage, cost, error)
        return cost

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
        at_most_usd, possible, is_of_provider = record.cost_at_most_usd, NO_AMOUNT, True
        if outcome != "ok":
            is_of_provider = not _is_own_limit(error)
            at_most_usd = self._at_most_usd(cost, error)
            possible = self._possible(usage, cost, at_most_usd, error)
            self._teach(error)
        if self.grants:
            self._give_back(usage, is_known=usage.source != "unknown" or at_most_usd == 0)
        if self.reservation is not None:
            calls = int(usage.source != "unknown")
            taken = Amount(cost.usd or ZERO, usage.total_tokens, calls)
            runtime.book.settle(self.reservation, taken, possible)
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
            runtime.observe(completed, is_of_provider=is_of_provider)
        if self.trace is not None:
            self.trace.attempted(self._traced(usage, cost, name))
        return cost

    def _give_back(self, usage: Usage, *, is_known: bool) -> None:
        """Settle and release the places at the rate limits; learn what an answer takes there."""
        for _, grant in self.grants:
            if not self.opened:
                grant.give_back()
            elif is_known:
                grant.settle(usage.total_tokens)
            grant.release()
        if self.outcome == "ok" and usage.source == "reported" and usage.output_tokens:
            self.runtime.note_output(self.target, self.record.agent, usage.output_tokens)

    def _fits_output(self, error: BudgetExceededError) -> bool:
        """Lower the output to what the full budget has left, if it says so and that is enough."""
        if not any(
            each.fit_output and (each.name, each.value) == (error.budget, error.value)
            for each in self.budgets
        ):
            return False
        runtime, target = self.runtime, self.target
        fitted = fitted_output(runtime, target, self.request, error)
        if fitted is None:
            return False
        tokens = runtime.tokens(target, fitted)
        usd = runtime.worst_case_usd(target, tokens, fitted.options)
        self.request, self.most_tokens, self.warnings = fitted, most_tokens(tokens), (LOWERED,)
        self.record = replace(self.record, cost_at_most_usd=usd)
        return True

    def _possible(
        self, usage: Usage, cost: Cost, at_most_usd: Decimal | None, error: BaseException | None
    ) -> Amount:
        """Return what a failed attempt, beside what is known, may have taken of its budgets."""
        possible_usd = ZERO if cost.usd is not None else at_most_usd or ZERO
        if usage.source != "unknown" or not self._may_be_billed(error):
            return Amount(possible_usd)
        return Amount(possible_usd, self.most_tokens, 1)

    def _let_go(self, failure: Exception) -> None:
        """Release and book what is left after a step of closing raised; nothing stays held."""
        _log.error("an attempt was not closed as it should be: %s", type(failure).__name__)
        runtime, record = self.runtime, self.record
        for _, grant in self.grants:
            with suppress(Exception):
                grant.release()
        if self.reservation is not None:
            with suppress(Exception):
                possible = Amount(record.cost_at_most_usd or ZERO, self.most_tokens, 1)
                runtime.book.settle(
                    self.reservation, NO_AMOUNT, possible if self.opened else NO_AMOUNT
                )
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

    def _log_ended(self, usage: Usage, cost: Cost, error: BaseException | None) -> None:
        record = self.record
        fields = {
            "call_id": record.call_id,
            "attempt": record.attempt,
            "provider": record.provider,
            "model": record.model,
            "agent": record.agent,
            "outcome": self.outcome if self.opened else "skipped",
            "error": "" if error is None else type(error).__name__,
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cost_usd": cost.usd,
            "latency_s": self.runtime.clock() - self.started,
        }
        log_fields(call_log, logging.DEBUG, "attempt_ended", fields)

    def told(self, outcome: str, error: BaseException | None = None) -> Attempt:
        """Return the attempt as the response and the errors tell it."""
        return Attempt(
            self.target.provider_id,
            self.target.model,
            outcome,
            None if error is None else type(error).__name__,
            self.runtime.clock() - self.started,
        )

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
        if not self._may_be_billed(error):
            return ZERO
        at_most_usd = self.record.cost_at_most_usd
        if at_most_usd is None and cost.usd is None:
            tokens = self.runtime.tokens(self.target, self.request)
            return self.runtime.worst_case_usd(self.target, tokens, self.request.price_terms)
        return at_most_usd

    def _may_be_billed(self, error: BaseException | None) -> bool:
        """Whether something was sent, and not refused."""
        if not self.opened or isinstance(error, (InvalidParameterError, RecordingError)):
            return False
        return not isinstance(error, APIError) or error.may_be_billed

    def _judge(self, permit: Permit, error: BaseException | None) -> None:
        if isinstance(error, APIError) and error.trips_breaker:
            permit.failed()
        else:
            permit.released()

    def _teach(self, error: BaseException | None) -> None:
        """Hold the target's key back for as long as the provider asks; a 429 halves its rates."""
        if not self.opened or not isinstance(error, OF_THE_KEY):
            return
        is_429 = isinstance(error, RateLimitError)
        if not error.retry_after_s:
            rest_s = REFUSED_REST_S if self.target.is_of_pool and not is_429 else None
            self.runtime.pass_by(self.target, type(error), rest_s)
        if is_429 or error.retry_after_s:
            pause = self.runtime.pause(self.target)
            pause.penalise(error.retry_after_s, sent_at=self.started)

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


def _is_own_limit(error: BaseException | None) -> bool:
    """Whether an attempt ended by a limit of its caller or host, which says nothing else."""
    return isinstance(error, APIError) and type(error).trips_breaker and not error.trips_breaker
