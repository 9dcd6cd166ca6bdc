"""The call path: what happens between a call and its answer, in this order.

strategy          which targets, in which order
 └ for each target, until one answers
    └ for each attempt (the only retry anywhere)
        breaker       open: next target, nothing sent
        rate limit    wait, at most what the deadline leaves
        budget        reserve the attempt's worst case, atomically
        admit         half open: one probe
        ledger        open the record
        send          one HTTP request
        finally       settle the budget, complete the record, whatever happened
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias, TypeVar

from orchestify.calls.attempt import Booking
from orchestify.calls.call import Failure, Run
from orchestify.calls.request import Call
from orchestify.calls.runtime import Runtime, Target
from orchestify.calls.stream import CompletionStream
from orchestify.core.policies import DEFAULT_TIMEOUT_S
from orchestify.errors import (
    AllTargetsFailedError,
    APIError,
    BudgetExceededError,
    InvalidParameterError,
    OrchestifyError,
    ProviderNotFoundError,
    StreamInterruptedError,
)
from orchestify.events.events import FallbackTaken, TargetSkipped
from orchestify.health.health import Health
from orchestify.models.capability import has_thinking, has_tools, lacking
from orchestify.models.pricing import CostRange
from orchestify.policy.strategy import Strategy
from orchestify.providers.base import LLMProvider
from orchestify.values import (
    CompletionRequest,
    LLMResponse,
    StreamEvent,
    TokenUsage,
    UsageUpdate,
)

T = TypeVar("T")
Attempt: TypeAlias = Callable[["Run", Target, CompletionRequest, float], Awaitable[T]]


class Opened(NamedTuple):
    """A stream that has begun: its booking, its source and the events that have come."""

    booking: Booking
    source: AsyncGenerator[StreamEvent, None]
    head: list[StreamEvent]


class Route(LLMProvider):
    """An ordered chain of targets that answers like one provider."""

    def __init__(
        self,
        runtime: Runtime,
        targets: Sequence[Target],
        *,
        agent: str = "",
        strategy: Strategy[Target] | None = None,
        fallback_on: frozenset[str] = frozenset(),
        resolve: Callable[[str, str | None], Target] | None = None,
    ) -> None:
        """Make a route over `targets`, in order of preference.

        `strategy` reorders them for each call, `fallback_on` names error classes that go on to
        the next target although they do not by themselves, and `resolve` finds targets that a
        caller names.
        """
        self.provider_id = targets[0].provider_id
        self._runtime = runtime
        self._targets = tuple(targets)
        self._agent = agent
        self._strategy = strategy
        self._fallback_on = fallback_on
        self._resolve = resolve

    @property
    def targets(self) -> tuple[Target, ...]:
        """The targets, in order of preference."""
        return self._targets

    def get_usage(self) -> TokenUsage:
        """Return the agent's usage since the last reset, or the provider's where there is none."""
        return self._runtime.usage(agent=self._agent, provider=self.provider_id)

    def reset_usage(self) -> None:
        """Start a new period for what `get_usage` counts."""
        self._runtime.reset(agent=self._agent, provider=self.provider_id)

    @property
    def provider_type(self) -> str:
        """The type of the first target's provider."""
        return self._first.provider_type

    def supports_tools(self) -> bool:
        """Whether the first target's model can call tools, as far as is known."""
        entry = self._runtime.entry(self._targets[0])
        return self._first.supports_tools() if entry is None else has_tools(entry)

    def supports_thinking(self) -> bool:
        """Whether the first target's model has extended thinking, as far as is known."""
        target = self._targets[0]
        entry = self._runtime.entry(target)
        if entry is None:
            return self._first.supports_thinking()
        return has_thinking(target.model, entry)

    def supports_code_execution(self) -> bool:
        """Whether the first target's provider can run code that the model writes."""
        return self._first.supports_code_execution()

    async def list_models(self) -> list[str] | None:
        """Return the models the first target's provider lists, by a free request."""
        return await self._first.list_models()

    def __repr__(self) -> str:
        chain = ", ".join(f"{each.provider_id}/{each.model}" for each in self._targets)
        return f"<Route {self._agent or self.provider_id}: {chain}>"

    @property
    def _health(self) -> Health:
        return self._runtime.health

    @property
    def _first(self) -> LLMProvider:
        return self._targets[0].provider

    def _count_tokens(self, call: Call) -> int:
        return self._runtime.tokens(*self._first_asked(call))[0]

    def _estimate_cost(self, call: Call) -> CostRange:
        return self._runtime.cost_range(*self._first_asked(call))

    def _first_asked(self, call: Call) -> tuple[Target, CompletionRequest]:
        first = self._targets[0]
        target = self._found(first.provider_id, call.model) if call.model else first
        return target, call.request(target.defaults, model=target.model)

    def _complete(self, call: Call) -> Coroutine[Any, Any, LLMResponse]:
        run = Run(call, self._agent, self._runtime, self._timeout_s(call))
        return self._until_one_answers(run, self._send)

    def _stream(self, call: Call) -> CompletionStream:
        run = Run(call, self._agent, self._runtime, self._timeout_s(call), is_stream=True)
        return CompletionStream(self._events(run), run)

    async def _events(self, run: Run) -> AsyncGenerator[StreamEvent, None]:
        booking, source, head = await self._until_one_answers(run, self._open)
        async with aclosing(source):
            try:
                for event in head:
                    yield run.note(booking, event)
                async for event in source:
                    yield run.note(booking, event)
            except BaseException as error:
                run.broke(booking, error)
                raise
            if not booking.closed:
                cut = StreamInterruptedError(
                    provider=booking.target.provider_id, model=booking.target.model
                )
                run.broke(booking, cut)
                raise cut

    async def _until_one_answers(self, run: Run, attempt: Attempt[T]) -> T:
        try:
            try:
                async with run.start():
                    return await self._over_targets(run, attempt)
            except TimeoutError:
                if not run.is_out_of_time:
                    raise
            target = self._targets[0] if run.booking is None else run.booking.target
            raise _combined([*run.failures, (target, run.timed_out(target))])
        except BaseException as error:
            run.ended(error)
            raise

    async def _over_targets(self, run: Run, attempt: Attempt[T]) -> T:
        targets = self._ordered(run)
        run.follow(targets[0])
        for position, target in enumerate(targets):
            following = targets[position + 1 :]
            try:
                request = self._request(run, target)
                return await self._with_retries(run, target, request, attempt, last=not following)
            except (APIError, BudgetExceededError, InvalidParameterError) as error:
                run.failures.append((target, error))
                if run.remaining_s() <= 0 or not self._moves_on(error):
                    break
            if following:
                self._tell(run, target, following[0], run.failures[-1][1])
                self._note_use(following[0])
        raise _combined(run.failures)

    async def _with_retries(
        self,
        run: Run,
        target: Target,
        request: CompletionRequest,
        attempt: Attempt[T],
        *,
        last: bool,
    ) -> T:
        policy = run.retry(target)
        patience_s = math.inf if last else policy.max_delay_s
        number = 0
        while True:
            number += 1
            try:
                return await attempt(run, target, request, patience_s)
            except APIError as error:
                delay_s = policy.delay_s(error, number, self._runtime.chance)
                if delay_s is None or delay_s >= run.remaining_s():
                    raise
                if delay_s > patience_s:
                    raise
                if delay_s < self._runtime.breaker(target).open_for_s:
                    raise
            await self._runtime.sleep(delay_s)

    async def _send(
        self, run: Run, target: Target, request: CompletionRequest, patience_s: float
    ) -> LLMResponse:
        booking = await self._admit(run, target, request, patience_s)
        try:
            return run.answered(booking, await target.provider.send(request))
        except BaseException as error:
            run.failed(booking, error)
            raise

    async def _open(
        self, run: Run, target: Target, request: CompletionRequest, patience_s: float
    ) -> Opened:
        booking = await self._admit(run, target, request, patience_s)
        source = target.provider.open_stream(request)
        head: list[StreamEvent] = []
        try:
            async for event in source:
                head.append(event)
                if not isinstance(event, UsageUpdate):
                    booking.first_chunk_s = self._runtime.clock() - booking.started
                    return Opened(booking, source, head)
                booking.usage = event.usage
            raise StreamInterruptedError(provider=target.provider_id, model=target.model)
        except BaseException as error:
            run.failed(booking, error)
            await source.aclose()
            raise

    async def _admit(
        self, run: Run, target: Target, request: CompletionRequest, patience_s: float
    ) -> Booking:
        """Pass the policies and open the record; a pause over `patience_s` is not waited for."""
        runtime = self._runtime
        breaker = runtime.breaker(target)
        booking = run.book(target, request)
        try:
            if not breaker.allows():
                raise run.circuit_open(target)
            if runtime.paused_for_s(target) > patience_s:
                raise run.paused(target)
            for limiter in runtime.limiters_of(target):
                grant = await limiter.acquire(
                    booking.tokens, priority=run.call.priority, deadline=run.deadline
                )
                booking.grants.append((limiter, grant))
            if booking.budgets:
                worst_usd = booking.record.cost_at_most_usd
                booking.hold = await runtime.book.reserve(
                    booking.budgets, worst_usd, run.deadline, booking.record.id
                )
            booking.permit = breaker.admit()
            if booking.permit is None:
                raise run.circuit_open(target)
            await runtime.ledger.open(booking.record)
            booking.opened = True
        except BaseException as error:
            run.failed(booking, error)
            raise
        return booking

    def _timeout_s(self, call: Call) -> float:
        default_s = self._targets[0].defaults.timeout_s
        given_s = default_s if call.timeout_s is None else call.timeout_s
        return DEFAULT_TIMEOUT_S if given_s is None else given_s

    def _ordered(self, run: Run) -> list[Target]:
        """The targets of a call: the caller's model and chain over the agent's, by strategy."""
        call = run.call
        targets = list(self._targets)
        if call.model is not None and call.model != targets[0].model:
            targets[0] = self._found(targets[0].provider_id, call.model)
        if call.fallback is not None:
            return targets[:1] + [self._found(*named) for named in call.fallback]
        if self._strategy is not None:
            return [targets[index] for index in self._strategy.order(targets)]
        return targets

    def _found(self, provider_id: str, model: str | None) -> Target:
        if self._resolve is not None:
            return self._resolve(provider_id, model)
        first = self._targets[0]
        if provider_id != first.provider_id:
            raise ProviderNotFoundError(f"no provider {provider_id!r}: this one has no registry")
        return replace(first, model=model or first.model)

    def _request(self, run: Run, target: Target) -> CompletionRequest:
        """Return what the target is asked; raise where it is known to lack what that needs."""
        request = run.call.request(target.defaults, model=target.model)
        lack = lacking(request, self._runtime.entry(target))
        if lack is not None:
            raise InvalidParameterError(f"{target.provider_id}/{target.model}: the model {lack}")
        return request

    def _moves_on(self, error: Failure) -> bool:
        if isinstance(error, BudgetExceededError):
            budgets = self._runtime.budgets
            return any(each.name == error.budget and each.match.is_of_target for each in budgets)
        if isinstance(error, APIError):
            return error.falls_back or type(error).__name__ in self._fallback_on
        return True

    def _tell(self, run: Run, target: Target, following: Target, error: Failure) -> None:
        events = self._runtime.events
        name = type(error).__name__
        where = (self._agent, target.provider_id, target.model)
        if isinstance(error, APIError) and run.attempts[-1].outcome != "skipped":
            events.emit(FallbackTaken(*where, following.provider_id, following.model, name))
        else:
            events.emit(TargetSkipped(*where, name))

    def _note_use(self, target: Target) -> None:
        """Tell the strategy that a call goes on to the target."""
        if self._strategy is not None:
            indices = (index for index, each in enumerate(self._targets) if each is target)
            self._strategy.used(next(indices, 0))


def _combined(failures: Sequence[tuple[Target, Failure]]) -> OrchestifyError:
    """The error of a call: its only target's own, or one that holds them all, in order."""
    errors = [error for _, error in failures]
    if len(errors) == 1:
        return errors[0]
    lines = [
        f"{target.provider_id}/{target.model}: {type(error).__name__}: {error.args[0]}"
        for target, error in failures
    ]
    return AllTargetsFailedError(
        "\n".join([f"none of {len(lines)} targets answered:", *lines]), errors
    )
