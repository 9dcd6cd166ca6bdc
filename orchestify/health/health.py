"""Health of a registry's providers: statistics of real calls, and results of checks.

What counts against a provider is what its calls failed with. Cancelled calls and the caller's
own mistakes do not count at all; a rate limit is a failure but no outage.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from statistics import fmean
from typing import Any, Literal, NamedTuple, TypeAlias

from orchestify.errors import (
    ContentFilterError,
    ContextWindowError,
    InvalidParameterError,
    InvalidRequestError,
    RateLimitError,
    StructuredOutputError,
)
from orchestify.events.events import ErrorRateHigh, Event, ProviderUnavailable, SlowCall
from orchestify.ledger.record import Record, utc_now
from orchestify.resources.bounded import bounded_setdefault

Status: TypeAlias = Literal["healthy", "degraded", "unavailable", "unknown"]

OUTAGE_CALLS = 5  # failures in a row that make a provider unavailable; as many open a circuit
DEGRADED_RATE = 0.1  # the error rate that makes it degraded, where no alert says another
ALERT_CALLS = 10  # calls in the window before an error rate is worth an alert
RECOVERED = 0.5  # of the alert's rate: below it the alert may come again
SNAPSHOT_S, SNAPSHOTS = 300.0, 288  # the history: one every five minutes, for a day
RATE_LIMIT = RateLimitError.__name__  # a failure, but no outage
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

    def alert_at(self, *, error_rate: float | None, slow_s: float | None) -> None:
        """Take other thresholds of the alerts; None for none."""
        with self._lock:
            self._error_rate, self._slow_s = error_rate, slow_s

    def observe(self, record: Record) -> None:
        """Count a completed attempt, unless its outcome says nothing about the provider."""
        error = "" if record.outcome == "ok" else record.error or record.outcome
        if record.outcome in {"cancelled", "cached", "open"} or error in CALLERS_MISTAKES:
            return
        target, rate = (record.provider, record.model), None
        with self._lock:
            call = ObservedCall(self._clock(), error, record.latency_s, record.first_chunk_s)
            at = self._now()
            window = self._models.get(target)
            if window is None:
                window = bounded_setdefault(self._models, target, CallWindow())
            window.add(call)
            state = self._providers.get(record.provider) or self._provider(record.provider)
            is_outage = state.book(call, at)
            if self._error_rate is not None:
                rate = state.high_error_rate()
            if call.at >= state.keep_at:
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
            if now >= state.keep_at:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderHealth:
    """A provider's health at one moment.

    `calls`, `errors` (by class name), rates (0 to 1) and times are those of the last 200 calls
    of the last ten minutes. Latencies are of calls that went well, a stream's until its end.
    `uptime` (0 to 1) is the share of time, since the first call or check, in which the latest
    sign of the provider was a good one. `checked_at` and `check_latency_s` are the last
    check's. None means: not known. `message` says in a few words why the status is what it is.
    """

    provider: str
    status: Status = "unknown"
    at: datetime
    calls: int = 0
    success_rate: float | None = None
    error_rate: float | None = None
    latency_mean_s: float | None = None
    latency_p50_s: float | None = None
    latency_p95_s: float | None = None
    latency_p99_s: float | None = None
    first_chunk_p50_s: float | None = None
    first_chunk_p95_s: float | None = None
    errors: Mapping[str, int] = field(default_factory=dict)
    last_error: str = ""
    last_ok_at: datetime | None = None
    last_failure_at: datetime | None = None
    uptime: float | None = None
    checked_at: datetime | None = None
    check_latency_s: float | None = None
    message: str = ""

    @property
    def is_healthy(self) -> bool:
        """Whether the provider is known to work well; neither `degraded` nor `unknown` is."""
        return self.status == "healthy"

    def as_dict(self) -> dict[str, Any]:
        """Return every field and `is_healthy`, ready for JSON; moments in ISO 8601."""
        values = {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in asdict(self).items()
        }
        return {**values, "is_healthy": self.is_healthy}


class ObservedCall(NamedTuple):
    """One call as health sees it: `error` is a class name, "" where it went well."""

    at: float
    error: str
    latency_s: float | None
    first_chunk_s: float | None


@dataclass(slots=True)
class CallWindow:
    """The last `size` calls, none older than `age_s`, oldest first; counted as they come and go.

    Not thread safe. `latency_s` is the sum over the calls that went well.
    """

    size: int = 200
    age_s: float = 600.0
    calls: deque[ObservedCall] = field(default_factory=deque)
    failed: int = 0
    latency_s: float = 0.0

    def add(self, call: ObservedCall) -> None:
        """Take in a call, and let go of what no longer belongs."""
        if len(self.calls) == self.size:
            self._drop_oldest()
        self.calls.append(call)
        if call.error:
            self.failed += 1
        else:
            self.latency_s += call.latency_s or 0.0
        if self.calls[0].at < call.at - self.age_s:
            self.age(call.at)

    def age(self, now: float) -> None:
        """Let go of what is too old at `now`."""
        while self.calls and self.calls[0].at < now - self.age_s:
            self._drop_oldest()

    @property
    def error_rate(self) -> float:
        """The share of calls that failed, 0 to 1; 0 where there are none."""
        return self.failed / len(self.calls) if self.calls else 0.0

    @property
    def score(self) -> float | None:
        """The share of calls that went well, of which latency takes a tenth at most.

        One call more, a good one, is counted in, so that one failure is no verdict. None
        where there are no calls.
        """
        if not self.calls:
            return None
        well = len(self.calls) - self.failed
        speed = 1 / (1 + max(0.0, self.latency_s) / well) if well else 0.0
        return (well + 1) / (len(self.calls) + 1) * (0.9 + 0.1 * speed)

    def _drop_oldest(self) -> None:
        call = self.calls.popleft()
        if call.error:
            self.failed -= 1
        else:
            self.latency_s -= call.latency_s or 0.0


@dataclass(slots=True)
class ProviderState:
    """What is known of one provider. Not thread safe; `now` is the monotonic clock's, `at` UTC.

    `is_up` is what the latest sign said: five failures in a row or a failed check take a
    provider down, a call or a check that goes well brings it back. Before all signs it is
    taken as up, but no time counts as such before the first good one.
    """

    name: str
    alert_rate: float | None = None
    window: CallWindow = field(default_factory=CallWindow)
    history: deque[ProviderHealth] = field(default_factory=lambda: deque(maxlen=SNAPSHOTS))
    is_up: bool = True
    keep_at: float = -math.inf  # when the history is next added to
    check_failed: bool = False  # the last one that could tell, and no call went well since
    _failed_in_a_row: int = 0
    _is_alerted: bool = False
    _judged_at: float = -math.inf  # when a check last could tell
    _was_well: bool = False  # a call or a check went well, once
    _first_at: float | None = None  # the first sign
    _latest_at: float = 0.0  # the latest sign
    _up_s: float = 0.0  # between the two
    _last_error: str = ""
    _last_ok_at: datetime | None = None
    _last_failure_at: datetime | None = None
    _checked_at: datetime | None = None
    _check_latency_s: float | None = None
    _check_message: str = ""

    def book(self, call: ObservedCall, at: datetime) -> bool:
        """Count a call; return whether an outage begins with its failure."""
        self._pass(call.at)
        self.window.add(call)
        if not call.error:
            self._failed_in_a_row, self.is_up, self.check_failed = 0, True, False
            self._was_well, self._last_ok_at = True, at
            return False
        self._last_failure_at, self._last_error = at, call.error
        if call.error == RATE_LIMIT:
            return False
        self._failed_in_a_row += 1
        if self._failed_in_a_row < OUTAGE_CALLS:
            return False
        was_up, self.is_up = self.is_up, False
        return was_up and self._failed_in_a_row == OUTAGE_CALLS

    def check(
        self, now: float, at: datetime, ok: bool | None, latency_s: float | None, message: str
    ) -> bool:
        """Count a check (`ok` None: undecided); return whether an outage begins with it."""
        self._checked_at, self._check_latency_s, self._check_message = at, latency_s, message
        if ok is None:
            return False
        self._pass(now)
        was_up, self.is_up, self.check_failed = self.is_up, ok, not ok
        self._was_well, self._judged_at = self._was_well or ok, now
        return was_up and not ok

    def high_error_rate(self) -> float | None:
        """Return the error rate when it reaches the alert's, once until it has recovered."""
        rate = self.window.error_rate
        if self.alert_rate is None or rate < self.alert_rate * RECOVERED:
            self._is_alerted = False
        elif (
            rate >= self.alert_rate
            and len(self.window.calls) >= ALERT_CALLS
            and not self._is_alerted
        ):
            self._is_alerted = True
            return rate
        return None

    def is_known_down(self, now: float) -> bool:
        """Whether a check failed, no call went well since, and that is news still."""
        return self.check_failed and now - self._judged_at <= self.window.age_s

    def keep(self, now: float, at: datetime) -> None:
        """Add to the history what is due at `keep_at`; where no sign comes, there is a gap."""
        self.keep_at = now + SNAPSHOT_S
        self.history.append(self.stats(now, at))

    def stats(self, now: float, at: datetime) -> ProviderHealth:
        """Return the provider's health."""
        self.window.age(now)
        calls = self.window.calls
        well = [call for call in calls if not call.error]
        latency = sorted(call.latency_s for call in well if call.latency_s is not None)
        first = sorted(call.first_chunk_s for call in well if call.first_chunk_s is not None)
        status, message = self._status(now)
        return ProviderHealth(
            provider=self.name,
            status=status,
            at=at,
            calls=len(calls),
            success_rate=len(well) / len(calls) if calls else None,
            error_rate=self.window.error_rate if calls else None,
            latency_mean_s=fmean(latency) if latency else None,
            latency_p50_s=quantile(latency, 50),
            latency_p95_s=quantile(latency, 95),
            latency_p99_s=quantile(latency, 99),
            first_chunk_p50_s=quantile(first, 50),
            first_chunk_p95_s=quantile(first, 95),
            errors=dict(Counter(call.error for call in calls if call.error)),
            last_error=self._last_error,
            last_ok_at=self._last_ok_at,
            last_failure_at=self._last_failure_at,
            uptime=self._uptime(now),
            checked_at=self._checked_at,
            check_latency_s=self._check_latency_s,
            message=message,
        )

    def _status(self, now: float) -> tuple[Status, str]:
        """Return the status and its reason; calls and checks older than the window do not count."""
        window = self.window
        if not window.calls and now - self._judged_at > window.age_s:
            silence = f"neither called nor checked in the last {window.age_s:.0f} s"
            return "unknown", self._check_message or silence
        if not self.is_up and self.check_failed:
            return "unavailable", self._check_message or "the check failed"
        if not self.is_up:
            failures = self._failed_in_a_row
            return "unavailable", f"the last {failures} calls failed: {self._last_error}"
        if window.error_rate >= (self.alert_rate or DEGRADED_RATE):
            return "degraded", f"{window.failed} of {len(window.calls)} calls failed"
        return "healthy", "ok"

    def _uptime(self, now: float) -> float | None:
        """Return the share of time up since the first sign; None before it."""
        if self._first_at is None:
            return None
        is_seen_up = self.is_up and self._was_well
        if now <= self._first_at:
            return float(is_seen_up)
        up_s = self._up_s + (now - self._latest_at if is_seen_up else 0.0)
        return up_s / (now - self._first_at)

    def _pass(self, now: float) -> None:
        """Book the time since the latest sign as what that sign said."""
        if self._first_at is None:
            self._first_at = now
        elif self.is_up and self._was_well:
            self._up_s += now - self._latest_at
        self._latest_at = now


def quantile(ordered: Sequence[float], percent: int) -> float | None:
    """Return what `percent` (1 to 99) of the sorted values lie below; None where there are none.

    Linear between neighbours, as `statistics.quantiles(..., n=100, method="inclusive")`.
    Source: R. Hyndman, Y. Fan, "Sample Quantiles in Statistical Packages", 1996, definition 7.
    """
    if len(ordered) < 2:
        return ordered[0] if ordered else None
    at, part = divmod(percent * (len(ordered) - 1), 100)
    return (ordered[at] * (100 - part) + ordered[at + 1] * part) / 100
