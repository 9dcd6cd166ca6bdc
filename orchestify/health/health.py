"""Health of a registry's providers: statistics of real calls, and results of checks.

What counts against a provider is what its calls failed with. Cancelled calls and the caller's
own mistakes do not count at all; a rate limit is a failure but no outage.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from orchestify.errors import (
    ContentFilterError,
    ContextWindowError,
    InvalidParameterError,
    InvalidRequestError,
    StructuredOutputError,
)
from orchestify.events.events import ErrorRateHigh, Event, ProviderUnavailable, SlowCall
from orchestify.health.provider_health import (
    CallWindow,
    ObservedCall,
    ProviderHealth,
    ProviderState,
    Status,
)
from orchestify.ledger.record import Record, utc_now
from orchestify.resources.bounded import bounded_setdefault

__all__ = ["Health", "ProviderHealth", "Status"]

UNTRIED = 0.9  # the score of what was never called: as what always answers, if slowly

CALLERS_MISTAKES = frozenset(
    error.__name__
    for error in (
        ContentFilterError,
        ContextWindowError,
        InvalidParameterError,
        InvalidRequestError,
        StructuredOutputError,
    )
)


class Health:
    """Watches the providers of one registry; its memory does not grow with calls.

    `error_rate` (0 to 1) and `slow_s` are the configuration's alerts, None for none; `emit`
    takes the events. `clock` is monotonic, in seconds; `now` is the time of day, in UTC. Safe
    across threads; a cancelled record takes no lock, so `__del__` may bring one.
    """

    def __init__(
        self,
        *,
        error_rate: float | None = None,
        slow_s: float | None = None,
        emit: Callable[[Event], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._error_rate = error_rate
        self._slow_s = slow_s
        self._emit = emit
        self._clock = clock
        self._now = now
        self._lock = threading.Lock()
        self._providers: dict[str, ProviderState] = {}
        self._models: dict[tuple[str, str], CallWindow] = {}

    def observe(self, record: Record) -> None:
        """Count a completed attempt, unless its outcome says nothing about the provider."""
        error = "" if record.outcome == "ok" else record.error or record.outcome
        if record.outcome in {"cancelled", "open"} or error in CALLERS_MISTAKES:
            return
        with self._lock:
            call = ObservedCall(self._clock(), error, record.latency_s, record.first_chunk_s)
            at = self._now()
            self._model(record.provider, record.model).add(call)
            state = self._provider(record.provider)
            is_outage = state.book(call, at)
            rate = state.high_error_rate()
            state.keep(call.at, at)
        if self._emit is None:
            return
        if is_outage:
            self._emit(ProviderUnavailable(record.provider, error))
        if rate is not None:
            self._emit(ErrorRateHigh(record.provider, rate))
        if self._slow_s is not None and (record.latency_s or 0.0) >= self._slow_s:
            self._emit(SlowCall(record.provider, record.model, record.latency_s or 0.0))

    def note_check(
        self, provider: str, ok: bool | None, latency_s: float | None = None, message: str = ""
    ) -> None:
        """Take in what a check found; `ok` is None where nothing could be checked for free."""
        with self._lock:
            now, at = self._clock(), self._now()
            state = self._provider(provider)
            is_outage = state.check(now, at, ok, latency_s, message)
            state.keep(now, at)
        if is_outage and self._emit is not None:
            self._emit(ProviderUnavailable(provider, message or "the check failed"))

    def stats(self, provider: str) -> ProviderHealth:
        """Return the provider's health now; `unknown` where it was neither called nor checked."""
        with self._lock:
            state = self._providers.get(provider) or ProviderState(provider)
            return state.stats(self._clock(), self._now())

    def all(self) -> dict[str, ProviderHealth]:
        """Return the health of every provider that was called or checked, first seen first."""
        return {provider: self.stats(provider) for provider in tuple(self._providers)}

    def history(self, provider: str) -> list[ProviderHealth]:
        """Return a day of the provider's past, oldest first, at most one for five minutes."""
        with self._lock:
            state = self._providers.get(provider)
            return [] if state is None else list(state.history)

    def export(self) -> list[dict[str, Any]]:
        """Return each provider's history and then its present, ready for JSON."""
        return [
            health.as_dict()
            for provider, present in self.all().items()
            for health in (*self.history(provider), present)
        ]

    def score(self, provider: str, model: str) -> float:
        """Return how good a choice the target is, 0 to 1.

        The share of calls that went well, of which latency takes a tenth at most. A model
        without calls is judged by its provider's; without those, 0.9. After a failed check, 0.
        """
        with self._lock:
            state = self._providers.get(provider)
            if state is None:
                return UNTRIED
            now = self._clock()
            if state.is_known_down(now):
                return 0.0
            for window in (self._models.get((provider, model)), state.window):
                if window is not None:
                    window.age(now)
                    score = window.score
                    if score is not None:
                        return score
            return UNTRIED

    def _provider(self, name: str) -> ProviderState:
        state = self._providers.get(name)
        if state is None:
            state = self._providers[name] = ProviderState(name, self._error_rate)
        return state

    def _model(self, provider: str, model: str) -> CallWindow:
        window = self._models.get((provider, model))
        if window is None:
            window = bounded_setdefault(self._models, (provider, model), CallWindow())
        return window
