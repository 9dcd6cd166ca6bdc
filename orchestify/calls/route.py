"""The call path itself: strategy, targets, retries, policies, one attempt; read this first."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import NamedTuple, TypeAlias, TypeVar

from orchestify.calls.attempt import AttemptState
from orchestify.calls.call import CallState, TargetError
from orchestify.calls.request import Call
from orchestify.calls.runtime import Runtime
from orchestify.calls.stream import CompletionStream
from orchestify.calls.target import Target
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
from orchestify.models.capability import lacking
from orchestify.models.pricing import CostRange
from orchestify.policy.strategy import Strategy
from orchestify.values import (
    CompletionRequest,
    LLMResponse,
    NativeEvent,
    StreamEvent,
    TextDelta,
    TokenCount,
    TokenUsage,
    UsageUpdate,
)

# How often a call goes out otherwise because a refusal taught what the model takes; each is an
# attempt of its own in the account, beside those that the retries allow.
MOST_AMENDMENTS = 4

T = TypeVar("T")
Send: TypeAlias = Callable[[CallState, AttemptState], Awaitable[T]]


class OpenedStream(NamedTuple):
    """A stream that has begun: its attempt, its source and the events that have come."""

    attempt: AttemptState
    source: AsyncGenerator[StreamEvent, None]
    head: list[StreamEvent]


class Route:
    """An ordered chain of targets; a call ends at the first that answers."""

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
        self.runtime = runtime
        self.targets = tuple(targets)
        self._agent = agent
        self._strategy = strategy
        self._fallback_on = fallback_on
        self._resolve = resolve

    def __repr__(self) -> str:
        chain = ", ".join(f"{each.provider_id}/{each.model}" for each in self.targets)
        return f"<Route {self._agent or self.targets[0].provider_id}: {chain}>"

    async def complete(self, call: Call) -> LLMResponse:
        """Send a call and return the whole answer."""
        return await self._until_one_answers(self._begun(call), _send)

    def stream(self, call: Call) -> CompletionStream:
        """Return the answer to a call as it arrives; nothing is sent before it is read."""
        state = self._begun(call, is_stream=True)
        return CompletionStream(self._events(state), state)

    def count_tokens(self, call: Call) -> int:
        """Return about how many input tokens the call has at its first target."""
        return self.runtime.tokens(*self._first_asked(call))[0]

    async def count_tokens_exact(self, call: Call) -> TokenCount:
        """Return the input tokens at the first target, counted by its provider if it counts."""
        target, request = self._first_asked(call)
        counted = await target.lane.count_input(request)
        if counted is not None:
            return TokenCount(counted, "reported")
        return TokenCount(self.runtime.tokens(target, request)[0], "estimated")

    def estimate_cost(self, call: Call) -> CostRange:
        """Return what one attempt at the first target costs, at least and at most."""
        return self.runtime.cost_range(*self._first_asked(call))

    def get_usage(self) -> TokenUsage:
        """Return the agent's usage since the last reset, or the provider's where there is none."""
        return self.runtime.usage(agent=self._agent, provider=self.targets[0].provider_id)

    def reset_usage(self) -> None:
        """Start a new period for what `get_usage` counts."""
        self.runtime.reset(agent=self._agent, provider=self.targets[0].provider_id)

    def found(self, provider_id: str, model: str | None) -> Target:
        """Return the target that a caller names.

        Raises:
            ProviderNotFoundError: there is none, or it is off.
        """
        if self._resolve is not None:
            return self._resolve(provider_id, model)
        first = self.targets[0]
        if provider_id != first.provider_id:
            raise ProviderNotFoundError(f"no provider {provider_id!r}: this one has no registry")
        return replace(first, model=model or first.model)

    def _begun(self, call: Call, *, is_stream: bool = False) -> CallState:
        timeout_s = call.timeout_s
        if timeout_s is None:
            timeout_s = self.targets[0].defaults.timeout_s
        if timeout_s is None:
            timeout_s = DEFAULT_TIMEOUT_S
        return CallState(call, self._agent, self.runtime, timeout_s, is_stream)

    async def _until_one_answers(self, state: CallState, send: Send[T]) -> T:
        """Try the targets within the call's time, and end the call with what came of it."""
        state.deadline = self.runtime.clock() + state.timeout_s
        state.timer = asyncio.timeout(state.timeout_s)
        try:
            try:
                async with state.timer:
                    return await self._over_targets(state, send)
            except TimeoutError:
                if not state.is_out_of_time:
                    raise
            target = self.targets[0] if state.attempt is None else state.attempt.target
            raise _combined([*state.errors, (target, state.timed_out(target))])
        except BaseException as error:
            state.ended(error)
            raise

    async def _over_targets(self, state: CallState, send: Send[T]) -> T:
        """Try each target with its retries until one answers; raise what all failed with."""
        targets, models = self._ordered(state.call), self.runtime.prices.model_map
        if self.runtime.tracer is not None:
            state.begin_trace(self.runtime.tracer, targets[0])
        for position, target in enumerate(targets):
            following = targets[position + 1 :]
            try:
                request = state.call.request(target.defaults, model=target.model)
                lack = lacking(request, models.entry(target.model, target.endpoint))
                if lack is not None:
                    raise InvalidParameterError(
                        f"{target.provider_id}/{target.model}: the model {lack}"
                    )
                return await self._with_retries(state, target, request, send, last=not following)
            except (APIError, BudgetExceededError, InvalidParameterError) as error:
                state.errors.append((target, error))
                if state.remaining_s() <= 0 or not self._moves_on(error):
                    break
            if following:
                self._fall_back(state, target, following[0])
        raise _combined(state.errors)

    async def _with_retries(
        self,
        state: CallState,
        target: Target,
        request: CompletionRequest,
        send: Send[T],
        *,
        last: bool,
    ) -> T:
        """Repeat the attempt as the target's policy says; the only retry anywhere."""
        policy, given = target.retry, state.call.max_attempts
        if given is not None:
            policy = replace(policy, max_attempts=given)
        patience_s = math.inf if last else policy.max_delay_s
        number = amendments = 0
        while True:
            number += 1
            try:
                return await self._attempt(state, target, request, send, patience_s)
            except APIError as error:
                if error.amended and amendments < MOST_AMENDMENTS:
                    amendments += 1
                    number -= 1
                    continue
                delay_s = policy.delay_s(error, number, self.runtime.chance)
                if delay_s is None or delay_s >= state.remaining_s():
                    raise
                if delay_s > patience_s:
                    raise
                if delay_s < self.runtime.breaker(target).open_for_s:
                    raise
            await self.runtime.sleep(delay_s)

    async def _attempt(
        self,
        state: CallState,
        target: Target,
        request: CompletionRequest,
        send: Send[T],
        patience_s: float,
    ) -> T:
        """Pass the policies, open the record and send; whatever fails closes the account.

        A pause of the target over `patience_s` is not waited for.
        """
        runtime = self.runtime
        breaker = runtime.breaker(target)
        attempt = state.next_attempt(target, request)
        try:
            if not breaker.allows():
                raise state.circuit_open(target)
            limiters = target.limiters
            if runtime.pauses:
                limiters = runtime.limiters_of(target)
                if runtime.paused_for_s(target) > patience_s:
                    raise state.paused(target)
            for limiter in limiters:
                grant = await limiter.acquire(
                    attempt.tokens, priority=state.call.priority, deadline=state.deadline
                )
                attempt.grants.append((limiter, grant))
            if attempt.budgets:
                worst_usd = attempt.record.cost_at_most_usd
                attempt.reservation = await runtime.book.reserve(
                    attempt.budgets, worst_usd, state.deadline, attempt.record.id
                )
            attempt.permit = breaker.admit()
            if attempt.permit is None:
                raise state.circuit_open(target)
            await runtime.ledger.open(attempt.record)
            attempt.opened = True
            return await send(state, attempt)
        except BaseException as error:
            state.failed(attempt, error)
            raise

    async def _events(self, state: CallState) -> AsyncGenerator[StreamEvent, None]:
        """Open a stream and yield its events; whatever ends it closes the account."""
        attempt, source, head = await self._until_one_answers(state, _open)
        async with aclosing(source):
            try:
                for event in head:
                    yield state.note(attempt, event)
                async for event in source:
                    if type(event) is TextDelta:
                        attempt.pieces.append(event.text)
                        yield event
                    else:
                        yield state.note(attempt, event)
                if not attempt.closed:
                    target = attempt.target
                    raise StreamInterruptedError(provider=target.provider_id, model=target.model)
            except BaseException as error:
                attempt.fail(error)
                state.ended(error)
                raise

    def _ordered(self, call: Call) -> list[Target]:
        """The targets of a call: the caller's model and chain over the agent's, by strategy."""
        targets = list(self.targets)
        if call.model is not None and call.model != targets[0].model:
            targets[0] = self.found(targets[0].provider_id, call.model)
        if call.fallback is not None:
            return targets[:1] + [self.found(*named) for named in call.fallback]
        if self._strategy is not None:
            return [targets[index] for index in self._strategy.order(targets)]
        return targets

    def _first_asked(self, call: Call) -> tuple[Target, CompletionRequest]:
        first = self.targets[0]
        target = self.found(first.provider_id, call.model) if call.model else first
        return target, call.request(target.defaults, model=target.model)

    def _moves_on(self, error: TargetError) -> bool:
        if isinstance(error, BudgetExceededError):
            budgets = self.runtime.budgets
            return any(each.name == error.budget and each.match.is_of_target for each in budgets)
        if isinstance(error, APIError):
            return error.falls_back or type(error).__name__ in self._fallback_on
        return True

    def _fall_back(self, state: CallState, target: Target, following: Target) -> None:
        """Tell the listeners, and the strategy, that a call goes on to the next target."""
        events, error = self.runtime.events, state.errors[-1][1]
        where = (self._agent, target.provider_id, target.model)
        name = type(error).__name__
        if isinstance(error, APIError) and state.attempts[-1].outcome != "skipped":
            events.emit(FallbackTaken(*where, following.provider_id, following.model, name))
        else:
            events.emit(TargetSkipped(*where, name))
        if self._strategy is not None:
            indices = (index for index, each in enumerate(self.targets) if each is following)
            self._strategy.used(next(indices, 0))


async def _send(state: CallState, attempt: AttemptState) -> LLMResponse:
    return state.answered(attempt, await attempt.target.lane.send(attempt.request))


async def _open(state: CallState, attempt: AttemptState) -> OpenedStream:
    """Open a stream and read it until its first output."""
    target = attempt.target
    source = target.lane.open_stream(attempt.request)
    head: list[StreamEvent] = []
    try:
        async for event in source:
            head.append(event)
            if _is_output(event):
                attempt.first_chunk_s = state.runtime.clock() - attempt.started
                return OpenedStream(attempt, source, head)
            if isinstance(event, UsageUpdate):
                attempt.usage = event.usage
        raise StreamInterruptedError(provider=target.provider_id, model=target.model)
    except BaseException as error:
        state.failed(attempt, error)  # before the source is closed, which may wait
        await source.aclose()
        raise


def _is_output(event: StreamEvent) -> bool:
    """Whether something of the answer has come, so that no other target may answer."""
    if isinstance(event, NativeEvent):
        return event.is_output
    return not isinstance(event, UsageUpdate)


def _combined(failures: Sequence[tuple[Target, TargetError]]) -> OrchestifyError:
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
