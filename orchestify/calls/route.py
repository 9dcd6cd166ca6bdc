"""The call path itself: strategy, targets, retries, policies, one attempt; read this first."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import TypeAlias, TypeVar, cast

from orchestify.calls.cached import from_cache, recorded
from orchestify.calls.call import AttemptState, CallState, StepDue, TargetError
from orchestify.calls.embedding import EmbeddingCall, booked, summed
from orchestify.calls.key_pool import keyed, other_key
from orchestify.calls.opened_stream import OpenedStream
from orchestify.calls.request import Call, lacking
from orchestify.calls.runtime import Runtime, most_tokens
from orchestify.calls.stream import CompletionStream
from orchestify.calls.target import Target
from orchestify.core.policies import DEFAULT_TIMEOUT_S
from orchestify.errors import (
    AgentNotFoundError,
    AllTargetsFailedError,
    APIError,
    BudgetExceededError,
    InvalidParameterError,
    OrchestifyError,
    ProviderNotFoundError,
    RateLimitError,
    RequestTimeoutError,
    StreamInterruptedError,
)
from orchestify.events.events import FallbackTaken, TargetSkipped
from orchestify.models.pricing import CostRange
from orchestify.policy.breaker import CircuitBreaker
from orchestify.policy.budget import Budget, StepDown
from orchestify.policy.strategy import Strategy
from orchestify.values import (
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    LLMResponse,
    NativeEvent,
    Priority,
    StreamEvent,
    TokenCount,
    TokenUsage,
    UsageUpdate,
)

# How often a call goes out otherwise because a refusal taught what the model takes; each is an
# attempt of its own in the account, beside those that the retries allow.
MOST_AMENDMENTS = 4
CLOSED = "the registry is closed; call inside its `async with`, before `aclose`"
WAIT_TOLD_S = 1.0  # at a limit, a budget or a probe, before the log tells of it

T = TypeVar("T")
Send: TypeAlias = Callable[[CallState, AttemptState], Awaitable[T]]


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
        priority: Priority = "normal",
        chain_of: Callable[[str], Sequence[Target]] | None = None,
    ) -> None:
        """Make a route over `targets`, in order of preference.

        `strategy` reorders them for each call, `fallback_on` names error classes that go on to
        the next target although they do not by themselves, `resolve` finds targets that a
        caller names, and `chain_of` those of an agent. `priority` is that of calls which name
        none.
        """
        self.runtime = runtime
        self.targets = tuple(targets)
        self._agent = agent
        self._strategy = strategy
        self._fallback_on = fallback_on
        self._resolve = resolve
        self._priority = priority
        self._chain_of = chain_of

    def __repr__(self) -> str:
        chain = ", ".join(f"{each.provider_id}/{each.model}" for each in self.targets)
        return f"<Route {self._agent or self.targets[0].provider_id}: {chain}>"

    @property
    def agent(self) -> str:
        """The agent whose calls take the route, "" where it is none's."""
        return self._agent

    async def complete(self, call: Call) -> LLMResponse:
        """Send a call and return the whole answer."""
        return await self._until_one_answers(self._begun(call), _send)

    def stream(self, call: Call) -> CompletionStream:
        """Return the answer to a call as it arrives; nothing is sent before it is read."""
        state = self._begun(call, is_stream=True)
        events = OpenedStream.events(partial(self._until_one_answers, state, _open))
        state.events = weakref.ref(events)
        return CompletionStream(events, state)

    async def embed(self, call: EmbeddingCall) -> EmbeddingResponse:
        """Send the inputs in batches, one after the other, within the call's time.

        The target that answers the first batch gets all others: vectors of two models cannot be
        compared.
        """
        route, answers = self, list[EmbeddingResponse]()
        state = first = self._begun(call)
        ends_at = self.runtime.clock() + state.timeout_s
        reachable = self._reachable(call)
        for batch in call.batches(reachable):
            if answers:
                state = CallState(batch, self._agent, self.runtime, ends_at - self.runtime.clock())
                state.call_id, state.attempts = first.call_id, first.attempts
            state.call = batch
            target, answer = await route._until_one_answers(state, _embed)
            answers.append(answer)
            at = (target.provider_id, target.model)
            pool = [each for each in reachable if (each.provider_id, each.model) == at] or [target]
            route = Route(self.runtime, pool[:1], agent=self._agent, priority=self._priority)
        return summed(answers)

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

    def highest_cost_usd(self, call: Call) -> Decimal | None:
        """Return what one attempt costs at most, at the dearest target; None where unpriced."""
        targets = list(self.targets) if call.fallback is None else self._ordered(call)
        costs = [self._worst_case(call, target)[0] for target in targets]
        known = [cost for cost in costs if cost is not None]
        return max(known) if len(known) == len(costs) else None

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
        return first.with_model(model or first.model)

    def _begun(self, call: Call, *, is_stream: bool = False) -> CallState:
        timeout_s = call.timeout_s
        if timeout_s is None:
            timeout_s = self.targets[0].defaults.timeout_s
        if timeout_s is None:
            timeout_s = DEFAULT_TIMEOUT_S
        whole_s = self.targets[0].defaults.stream_timeout_s
        if is_stream and whole_s is not None:
            timeout_s = min(timeout_s, whole_s)
        state = CallState(call, self._agent, self.runtime, timeout_s, is_stream)
        for budget in state.scope.budgets:
            self._check_steps(budget)
        return state

    async def _until_one_answers(self, state: CallState, send: Send[T]) -> T:
        """Try the targets within the call's time, and end the call with what came of it."""
        runtime = self.runtime
        if runtime.is_closed and not state.attempts:  # it has not begun
            raise OrchestifyError(CLOSED)
        state.deadline = runtime.clock() + state.timeout_s
        state.timer, state.loop = asyncio.timeout(state.timeout_s), asyncio.get_running_loop()
        runtime.under_way[state.call_id] = state
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
        targets = self._ordered(state.call)
        if self.runtime.tracer is not None:
            state.begin_trace(self.runtime.tracer, targets[0])
        while targets:
            target = targets.pop(0)
            try:
                request = state.call.request(target.defaults, model=target.model)
                lack = lacking(request, self.runtime.entry(target))
                if lack is not None:
                    raise InvalidParameterError(
                        f"{target.provider_id}/{target.model}: the model {lack}"
                    )
                if target.response_cache is None or state.call.response_cache is False:
                    return await self._with_retries(state, target, request, send, len(targets))
                ask = partial(self._with_retries, state, target, request, send, len(targets))
                return await from_cache(state, target, target.response_cache, request, ask)
            except StepDue as due:
                targets = [*self._stepped(state, target, due.budget, [due.step]), target, *targets]
                continue
            except (APIError, BudgetExceededError, InvalidParameterError) as error:
                state.errors.append((target, error))
                targets = self._worth_trying(state, error, targets)
            if targets:
                self._fall_back(state, target, targets[0])
        raise _combined(state.errors)

    async def _with_retries(
        self,
        state: CallState,
        target: Target,
        request: CompletionRequest,
        send: Send[T],
        following: int,
    ) -> T:
        """Repeat the attempt as the target's policy says; the only retry anywhere.

        With `following` targets left, a 429, a pause and a limit of the attempt's own move on at
        once. Of a pool of keys each is tried before that counts as an attempt that failed.
        """
        policy, given = target.retry, state.call.max_attempts
        if given is not None:
            policy = replace(policy, max_attempts=given)
        now, own_s = self.runtime.clock(), target.defaults.provider_timeout_s
        state.leave_at = state.deadline if own_s is None else min(state.deadline, now + own_s)
        tried: set[str] = set()
        pool, labels = target, state.scope.labels
        if pool.keys:
            target = keyed(self.runtime, pool, state.call, labels)
        number = amendments = 0
        while True:
            number += 1
            try:
                return await self._attempt(state, target, request, send, following)
            except APIError as error:
                tried.add(target.credential)
                other = other_key(self.runtime, pool, state.call, labels, tried, error)
                if other is not None:
                    target = other
                    number -= 1
                    continue
                if error.amended and amendments < MOST_AMENDMENTS:
                    amendments += 1
                    number -= 1
                    continue
                delay_s = policy.delay_s(error, number, self.runtime.chance)
                if delay_s is None or not self._may_wait(state, target, error, delay_s, following):
                    raise
                state.log_wait("retry", delay_s, type(error).__name__)
            await self.runtime.sleep(delay_s)
            if pool.keys:
                tried.clear()
                target = keyed(self.runtime, pool, state.call, labels)

    def _may_wait(
        self, state: CallState, target: Target, error: APIError, delay_s: float, following: int
    ) -> bool:
        """Whether a call waits for another attempt at the target, or goes on to those following."""
        if following and isinstance(error, (RateLimitError, RequestTimeoutError)):
            return False
        if following and delay_s > target.retry.max_delay_s:
            return False
        is_in_time = delay_s < state.leave_at - self.runtime.clock()
        return is_in_time and delay_s >= self.runtime.breaker(target).open_for_s

    async def _attempt(
        self,
        state: CallState,
        target: Target,
        request: CompletionRequest,
        send: Send[T],
        following: int,
    ) -> T:
        """Pass the policies, open the record and send; whatever fails closes the account.

        With `following` targets left, neither a pause nor a probe under way is waited for.
        """
        runtime = self.runtime
        breaker = runtime.breaker(target)
        attempt = state.next_attempt(target, request)
        try:
            while not breaker.allows():
                await self._probed(state, target, breaker, following)
            limiters = target.limiters
            if runtime.pauses or runtime.passed_until:
                limiters = runtime.limiters_of(target)
                if following and (passed_by := state.passed_by(target)):
                    raise passed_by
            for limiter in limiters:
                grant = await limiter.acquire(
                    attempt.tokens,
                    priority=state.call.priority or self._priority,
                    deadline=state.leave_at,
                )
                attempt.grants.append((limiter, grant))
            if attempt.budgets:
                await attempt.reserve(state.leave_at)
            while (permit := breaker.admit()) is None:
                await self._probed(state, target, breaker, following)
            attempt.permit = permit
            if (waited_s := runtime.clock() - attempt.started) > WAIT_TOLD_S:
                state.log_wait("waited_for_turn", waited_s)
            await runtime.ledger.open(attempt.record)
            attempt.opened = True
            attempt.limit_s = state.limit_s(attempt, following)
            if attempt.limit_s >= state.deadline - runtime.clock():
                return await send(state, attempt)
            return await _send_within(state, attempt, send)
        except BaseException as error:
            state.failed(attempt, error)
            raise

    async def _probed(
        self, state: CallState, target: Target, breaker: CircuitBreaker, following: int
    ) -> None:
        """Wait for the verdict on a probe under way where no other target is left.

        Raises:
            CircuitOpenError: there is another target, or no probe, or no time to wait.
        """
        left_s = state.leave_at - self.runtime.clock()
        if following or left_s <= 0 or not breaker.probe_ends_in_s:
            raise state.circuit_open(target)
        await breaker.probed(left_s)

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

    def _reachable(self, call: Call) -> list[Target]:
        """The targets that a call may come to, in no order but the first."""
        named = [self.found(*each) for each in call.fallback or ()]
        return [self._first_asked(call)[0], *self.targets[1:], *named]

    def _first_asked(self, call: Call) -> tuple[Target, CompletionRequest]:
        first = self.targets[0]
        target = self.found(first.provider_id, call.model) if call.model else first
        return target, call.request(target.defaults, model=target.model)

    def _worth_trying(
        self, state: CallState, error: TargetError, targets: list[Target]
    ) -> list[Target]:
        """The targets of those left that may answer where this one could not.

        After a budget of all targets that is those whose price fits what is left of it, and first
        those of the budget's steps that were not taken yet.
        """
        if state.remaining_s() <= 0:
            return []
        if isinstance(error, APIError):
            goes_on = error.falls_back or type(error).__name__ in self._fallback_on
            return targets if goes_on else []
        if not isinstance(error, BudgetExceededError):
            return targets
        steps = [] if error.is_ledger_away else self._steps_left(state, error)
        steps = [each for each in steps if self._fits(state.call, each, error)]
        budgets = self.runtime.budgets
        if any(each.name == error.budget and each.match.is_of_target for each in budgets):
            return [*steps, *targets]
        if error.is_ledger_away or error.remaining_calls == 0:
            return []
        return [*steps, *(each for each in targets if self._fits(state.call, each, error))]

    def _steps_left(self, state: CallState, error: BudgetExceededError) -> list[Target]:
        """The targets of the full budget's steps that the call has not taken."""
        target, _ = state.errors[-1]
        for budget in state.attempt.budgets if state.attempt is not None else ():
            if (budget.name, budget.value) == (error.budget, error.value):
                taken = (state.stepped or {}).get(budget.key, 0.0)
                left = (error.remaining_usd, error.remaining_tokens, error.remaining_calls)
                return self._stepped(state, target, budget, budget.steps_left(left, taken))
        return []

    def _stepped(
        self, state: CallState, target: Target, budget: Budget, steps: Sequence[StepDown]
    ) -> list[Target]:
        """The targets of steps, which the call takes from here on; told once a step and period."""
        found: list[Target] = []
        for step in steps:
            state.stepped = {**(state.stepped or {}), budget.key: step.at}
            own = self._step_targets(step)
            found += own
            if own:
                names = dict.fromkeys(((each.provider_id, each.model) for each in own), budget.name)
                state.step_targets = {**(state.step_targets or {}), **names}
                self.runtime.tell_step(budget, step.at, self._agent, target, own[0])
        return found

    def _step_targets(self, step: StepDown) -> Sequence[Target]:
        """The targets of a step; none where its provider or agent is off."""
        try:
            return self._named_by(step)
        except (AgentNotFoundError, ProviderNotFoundError):
            return ()

    def _named_by(self, step: StepDown) -> Sequence[Target]:
        if step.agent is not None:
            return self._chain_of(step.agent) if self._chain_of is not None else ()
        return [self.found(step.provider or "", step.model)]

    def _check_steps(self, budget: Budget) -> None:
        """Check that the steps of a scope's budget lead somewhere in this registry."""
        for step in budget.step_down if self._resolve is not None else ():
            try:
                self._named_by(step)
            except (AgentNotFoundError, ProviderNotFoundError) as error:
                if not error.is_off:
                    raise InvalidParameterError(
                        f"step_down of the budget {budget.title}: {error}"
                    ) from error

    def _fits(self, call: Call, target: Target, error: BudgetExceededError) -> bool:
        """Whether a call's worst case at the target is within what the full budget has left."""
        usd, tokens = self._worst_case(call, target)
        left_usd, left = error.remaining_usd, error.remaining_tokens
        fits = left_usd is None or (usd is not None and usd <= left_usd)
        return fits and (left is None or most_tokens(tokens) <= left)

    def _worst_case(self, call: Call, target: Target) -> tuple[Decimal | None, tuple[int, int]]:
        """Return what a call may cost at a target, in USD where that is known, and in tokens."""
        request = call.request(target.defaults, model=target.model)
        tokens = self.runtime.tokens(target, request)
        return self.runtime.worst_case_usd(target, tokens, request.price_terms), tokens

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


async def _send_within(state: CallState, attempt: AttemptState, send: Send[T]) -> T:
    """Send within the time that the attempt has for itself."""
    attempt.timer = asyncio.timeout(attempt.limit_s)
    try:
        async with attempt.timer:
            return await send(state, attempt)
    except TimeoutError as error:
        if isinstance(error, APIError) or not attempt.timer.expired():
            raise
    raise state.too_late(attempt)


async def _send(state: CallState, attempt: AttemptState) -> LLMResponse:
    return state.answered(attempt, await attempt.target.lane.send(attempt.request))


async def _embed(state: CallState, attempt: AttemptState) -> tuple[Target, EmbeddingResponse]:
    answer = await attempt.target.lane.embed_inputs(cast("EmbeddingRequest", attempt.request))
    return attempt.target, booked(state, attempt, answer)


async def _open(state: CallState, attempt: AttemptState) -> OpenedStream:
    """Open a stream and read it until its first output."""
    target = attempt.target
    source = target.lane.open_stream(attempt.request)
    if state.flight is not None:
        source = recorded(state, state.flight, source)
    head: list[StreamEvent] = []
    try:
        async for event in source:
            head.append(event)
            if _is_output(event):
                attempt.first_chunk_s = state.runtime.clock() - attempt.started
                if attempt.permit is not None and attempt.permit.limit_s is not None:
                    attempt.permit.succeeded()  # a probe is judged at its first output
                    attempt.permit = state.runtime.breaker(target).admit()
                return OpenedStream(state, attempt, source, head)
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
