"""Typed events of providers, circuits and budgets; each is also one log line."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import weakref
from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, TypeAlias, TypeVar, overload

from orchestify.errors import InvalidParameterError
from orchestify.events.dispatch import EventThread, Subscription
from orchestify.events.webhook import Webhook
from orchestify.resources.log_fields import log_fields
from orchestify.values import CircuitState

logger = logging.getLogger("orchestify.events")

CAPACITY = 1000  # events that wait for slow handlers, before more are dropped


@dataclass(frozen=True, slots=True)
class CircuitOpened:
    """A target failed too often; nothing is sent to it for `open_s` (None where unsaid)."""

    provider: str
    model: str
    open_s: float | None = None


@dataclass(frozen=True, slots=True)
class CircuitHalfOpened:
    """One probe goes to a target whose circuit was open."""

    provider: str
    model: str


@dataclass(frozen=True, slots=True)
class CircuitClosed:
    """A target's probe went well; calls are sent to it again."""

    provider: str
    model: str


@dataclass(frozen=True, slots=True)
class TargetSkipped:
    """A route passed a target over without sending; `reason` says why."""

    agent: str
    provider: str
    model: str
    reason: str


@dataclass(frozen=True, slots=True)
class FallbackTaken:
    """A target failed with `error` (a class name), and the call went on to the next."""

    agent: str
    provider: str
    model: str
    to_provider: str
    to_model: str
    error: str


@dataclass(frozen=True, slots=True)
class BudgetThreshold:
    """A budget passed one of its `alert_at`; `share` is that part of the limit, 1 is all of it.

    `value` is the label's value where the budget is one of many. A limit is None where there is
    none, and so is then what is spent in tokens or calls.
    """

    budget: str
    share: float
    spent_usd: Decimal
    limit_usd: Decimal | None
    value: str | None = None
    spent_tokens: int | None = None
    limit_tokens: int | None = None
    spent_calls: int | None = None
    limit_calls: int | None = None


@dataclass(frozen=True, slots=True)
class BudgetSteppedDown:
    """A budget's step is taken: calls go from a target to another first, from the share `at` on.

    Told once a period for each budget (`value` is the label's value where it is one of many),
    step, agent and target.
    """

    budget: str
    at: float
    agent: str
    provider: str
    model: str
    to_provider: str
    to_model: str
    value: str | None = None


@dataclass(frozen=True, slots=True)
class ErrorRateHigh:
    """A provider's error rate (0 to 1) reached the alert's; told once until it has recovered."""

    provider: str
    error_rate: float


@dataclass(frozen=True, slots=True)
class ProviderUnavailable:
    """A provider's last calls all failed, or its check did; `error` says with what."""

    provider: str
    error: str


@dataclass(frozen=True, slots=True)
class SlowCall:
    """A call took as long as the alert's `slow_s`, or longer."""

    provider: str
    model: str
    latency_s: float


@dataclass(frozen=True, slots=True)
class ForecastHigh:
    """A month (as 2026-11) is expected to cost `limit_usd` or more; told once a month.

    `low_usd` and `high_usd` bound what is likely; `spent_usd` is booked already.
    """

    month: str
    expected_usd: Decimal
    low_usd: Decimal
    high_usd: Decimal
    spent_usd: Decimal
    limit_usd: Decimal


@dataclass(frozen=True, slots=True)
class ConfigReloaded:
    """A changed configuration came into force without a restart.

    `providers` and `agents` are the names of those that were added, changed or removed. `settings`
    are the changed keys beside these: policies, budgets, tasks.
    """

    providers: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConfigRefused:
    """A changed configuration cannot be used, and the present one stays in force.

    `problems` has a line for each, with file, line and column.
    """

    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EventsDropped:
    """Handlers are slower than events come; `Events.dropped` counts what they miss. Told once."""

    capacity: int


Event: TypeAlias = (
    CircuitOpened
    | CircuitHalfOpened
    | CircuitClosed
    | TargetSkipped
    | FallbackTaken
    | BudgetThreshold
    | BudgetSteppedDown
    | ErrorRateHigh
    | ProviderUnavailable
    | SlowCall
    | ForecastHigh
    | ConfigReloaded
    | ConfigRefused
    | EventsDropped
)
E = TypeVar("E")

ALERTS: Mapping[type[Any], str] = {
    BudgetThreshold: "budget.threshold",
    ErrorRateHigh: "error_rate.high",
    ProviderUnavailable: "provider.unavailable",
    SlowCall: "call.slow",
    ForecastHigh: "forecast.high",
}
"""The events that are alerts, and what a webhook calls them."""

_QUIET = (CircuitHalfOpened, CircuitClosed, TargetSkipped)  # logged at INFO, the rest at WARNING


class Events:
    """Delivers events to subscribed handlers, and to the log `orchestify.events`.

    `emit` may be called from any thread, any task and `__del__`. Handlers and the log run in
    one daemon thread, in order, so a slow one delays the others and no call; at most `capacity`
    events wait, `dropped` counts what did not fit. A forked child has its own thread. The log
    names the `tenant` whose events they are, where there is one. A `webhook` is sent the alerts,
    and closed with the events.
    """

    def __init__(
        self, *, capacity: int = CAPACITY, tenant: str = "", webhook: Webhook | None = None
    ) -> None:
        self.capacity = capacity
        self._overflowed = 0
        self._log = Subscription(partial(_log_line, tenant), (), None)
        self._subscriptions: tuple[Subscription, ...] = (self._log,)
        self._threads: dict[int, EventThread] = {}  # by process: a fork takes no threads along
        self._is_closed = False
        self._webhook: Webhook | None = None
        self._end_webhook: Callable[[], None] = _nothing
        self.send_to(webhook)

    @property
    def dropped(self) -> int:
        """How many events did not fit, here or at a coroutine function with 100 calls running."""
        return self._overflowed + sum(each.dropped for each in self._subscriptions)

    @overload
    def on(self, handler: Callable[[Event], object]) -> Callable[[], None]: ...
    @overload
    def on(self, handler: Callable[[E], object], event_type: type[E], /) -> Callable[[], None]: ...
    @overload
    def on(self, handler: Callable[[Any], object], *types: type[Event]) -> Callable[[], None]: ...
    def on(self, handler: Callable[[Any], object], *types: type[Any]) -> Callable[[], None]:
        """Call `handler(event)` for events of the types, or for all; return what ends that.

        A coroutine function runs on the event loop that is running now, at most 100 calls of it
        at once. What a handler raises is logged by its class, once a handler.

        Raises:
            InvalidParameterError: a coroutine function, and no event loop is running; or no
                function, or no class of events.
        """
        if not callable(handler):
            raise InvalidParameterError(f"a handler is a function, not a {type(handler).__name__}")
        for each in types:
            if not (isinstance(each, type) and issubclass(each, Event)):
                raise InvalidParameterError(
                    f"{getattr(each, '__name__', each)!r} is no class of orchestify's events"
                )
        subscription = Subscription(handler, types, _loop_of(handler))
        self._subscriptions = (*self._subscriptions, subscription)

        def unsubscribe() -> None:
            subscription.end()
            self._subscriptions = tuple(s for s in self._subscriptions if s is not subscription)

        return unsubscribe

    def send_to(self, webhook: Webhook | None) -> Webhook | None:
        """Send alerts to this webhook from now on; return the one before, which the caller closes.

        None sends them nowhere.
        """
        before, self._webhook = self._webhook, webhook
        self._end_webhook()
        self._end_webhook = _nothing if webhook is None else self.on(webhook.send, *ALERTS)
        return before

    def emit(self, event: Event) -> None:
        """Hand the event over; never waits and never raises."""
        subscriptions = self._subscriptions
        if self._is_closed or not (len(subscriptions) > 1 or logger.isEnabledFor(_level(event))):
            return
        thread = self._threads.get(os.getpid()) or self._start()
        if thread.waiting() < self.capacity:
            thread.put(event, subscriptions)
            return
        self._overflowed += 1
        if self._overflowed == 1:
            thread.put(EventsDropped(self.capacity), subscriptions)

    def circuit(
        self,
        provider: str,
        model: str,
        old: CircuitState,
        new: CircuitState,
        open_s: float | None = None,
    ) -> None:
        """Emit a circuit breaker's change of state, as its `on_change` tells it."""
        if new == "open":
            self.emit(CircuitOpened(provider, model, open_s))
        elif new == "half_open":
            self.emit(CircuitHalfOpened(provider, model))
        else:
            self.emit(CircuitClosed(provider, model))

    def close(self, timeout_s: float = 1.0) -> None:
        """Wait until what was emitted is delivered, at most `timeout_s`; later events are ignored.

        A webhook is waited for as well, for 2 s at most.

        On an event loop: `await asyncio.to_thread(events.close)`.
        """
        self._is_closed = True
        thread = self._threads.pop(os.getpid(), None)
        if thread is not None:
            thread.stop()
            thread.join(timeout_s)
        if self._webhook is not None:
            self._webhook.close()

    def _start(self) -> EventThread:
        fresh = EventThread()
        thread = self._threads.setdefault(os.getpid(), fresh)  # atomic: no lock to be forked with
        if thread is fresh:
            fresh.start()
            weakref.finalize(self, fresh.stop)
        return thread


def _loop_of(handler: Callable[[Any], object]) -> AbstractEventLoop | None:
    call = getattr(handler, "__call__", None)  # noqa: B004 - an object may have an async __call__
    if not (iscoroutinefunction(handler) or iscoroutinefunction(call)):
        return None
    try:
        return get_running_loop()
    except RuntimeError:
        raise InvalidParameterError(
            "a coroutine function is no handler where no event loop is running; "
            "call on() inside the loop that shall run it, or pass a plain function"
        ) from None


def _nothing() -> None:
    """Stand for what ends a subscription where there is none."""


def _level(event: Event) -> int:
    return logging.INFO if isinstance(event, _QUIET) else logging.WARNING


def _log_line(tenant: str, event: Event) -> None:
    """Log `circuit_opened provider=main model=m open_s=30`, on one line whatever the names."""
    name = re.sub(r"(?<!^)([A-Z])", r"_\1", type(event).__name__).lower()
    fields = {each.name: getattr(event, each.name) for each in dataclasses.fields(event)}
    whose = {"tenant": tenant} if tenant else {}
    log_fields(logger, _level(event), name, {**whose, **fields}, event=event)
