"""A circuit breaker: stops sending to a target that keeps failing.

Source: M. Nygard, "Release It!", 2007, "Circuit Breaker". Here failures are counted within a
sliding window, and when half open exactly one call goes through, for a limited time.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from orchestify.policy.wait_queue import CallLater, Waiter, call_later
from orchestify.values import CircuitState

OnChange: TypeAlias = Callable[[CircuitState, CircuitState], None]


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a circuit opens: at `failures` within `window_s`; and for how long.

    The first time for `open_s`, then for twice as long after each failed probe, at most
    `max_open_s`.
    """

    failures: int = 5
    window_s: float = 60.0
    open_s: float = 30.0
    max_open_s: float = 300.0


@dataclass(slots=True)
class CircuitBreaker:
    """Opens at `failures` within `window_s`; `open_s` later lets one probe through.

    The probe's success closes it; its failure opens it again for twice as long, at most
    `max_open_s`. A probe without a verdict after as long as the circuit was open loses its place to
    the next; its own verdict still counts. A verdict counts only in the state its call was admitted
    in: the late answer of a call from before the opening neither closes nor opens anything.
    `on_change(old, new)` is called outside the lock. Times are in seconds of `clock`. Safe across
    threads, and a permit may be released by a `__del__` that interrupts the holder of the lock.
    """

    settings: BreakerSettings = BreakerSettings()
    clock: Callable[[], float] = time.monotonic
    on_change: OnChange | None = None
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False)
    _state: CircuitState = field(default="closed", init=False)
    _changes: int = field(default=0, init=False)  # of state: what makes a permit too old
    _failed_at: deque[float] = field(default_factory=deque, init=False, repr=False)
    _openings: int = field(default=0, init=False)  # in a row, without a success in between
    _probe_at: float = field(default=0.0, init=False)
    _probe: Permit | None = field(default=None, init=False, repr=False)
    _probe_s: float = field(default=0.0, init=False)  # how long a probe keeps its place
    _probe_until: float = field(default=0.0, init=False)
    _waiting: set[Waiter] = field(default_factory=set, init=False, repr=False)

    @property
    def state(self) -> CircuitState:
        """The state now; `open` becomes `half_open` by the mere passing of time."""
        if self._state == "open" and self.clock() >= self._probe_at:
            return "half_open"
        return self._state

    @property
    def open_for_s(self) -> float:
        """Seconds until a probe may go through; 0 unless open."""
        return max(0.0, self._probe_at - self.clock()) if self._state == "open" else 0.0

    @property
    def probe_ends_in_s(self) -> float:
        """Seconds until the place of the probe under way is free at the latest; 0 without one."""
        return 0.0 if self._probe is None else max(0.0, self._probe_until - self.clock())

    def allows(self) -> bool:
        """Whether `admit` would let a call through now; takes nothing."""
        if self._state == "closed":
            return True
        return self.clock() >= (self._probe_at if self._probe is None else self._probe_until)

    async def probed(self, seconds: float, call_later: CallLater = call_later) -> None:
        """Wait until the probe under way has ended, for `seconds` at most."""
        waiter = Waiter((0, 0))
        with self._lock:
            self._waiting.add(waiter)
        try:
            if self._probe is not None:
                await waiter.park(min(seconds, self.probe_ends_in_s), call_later)
        finally:
            with self._lock:
                self._waiting.discard(waiter)

    def admit(self) -> Permit | None:
        """Return a permit to send one request, or None: nothing may be sent.

        Whoever holds a permit ends it with `succeeded`, `failed` or `released`.
        """
        changes = self._changes  # read before the state: a permit may be too old, never too young
        if self._state == "closed":
            return Permit(self, changes)
        return self._admit_probe()

    def _admit_probe(self) -> Permit | None:
        with self._lock:
            if not self.allows():
                return None
            old = self._state
            if old == "open":
                self._change("half_open")
            permit = Permit(self, self._changes)
            if self._state == "half_open":
                self._probe = permit
                self._probe_until = self.clock() + self._probe_s
                permit.limit_s = self._probe_s
        self._tell(old, self._state)
        return permit

    def _judge(self, permit: Permit, *, ok: bool | None) -> None:
        """Take a permit's verdict; None frees a probe's place without one."""
        with self._lock:
            old = new = self._state
            if permit._changes == self._changes:
                new = self._verdict(old, permit, ok)
                if new != old:
                    self._change(new)
            if self._probe is None:
                for waiter in self._waiting:
                    waiter.wake()
        self._tell(old, new)

    def _verdict(self, state: CircuitState, permit: Permit, ok: bool | None) -> CircuitState:
        if state == "half_open":
            if ok is None:
                self._probe = None if self._probe is permit else self._probe
                return state
            return "closed" if ok else "open"
        if ok is False and self._is_too_many():
            return "open"
        return state

    def _is_too_many(self) -> bool:
        """Book a failure; whether the last `failures` of them lie within the window."""
        now = self.clock()
        self._failed_at.append(now)
        while self._failed_at[0] < now - self.settings.window_s:
            self._failed_at.popleft()
        return len(self._failed_at) >= self.settings.failures

    def _change(self, new: CircuitState) -> None:
        self._state = new
        self._changes += 1
        self._probe = None
        self._failed_at.clear()
        if new == "open":
            open_s, max_open_s = self.settings.open_s, self.settings.max_open_s
            doubled_s = open_s * 2.0 ** min(self._openings, 60)
            self._probe_s = min(doubled_s, max(open_s, max_open_s))
            self._probe_at = self.clock() + self._probe_s
            self._openings += 1
        elif new == "closed":
            self._openings = 0

    def _tell(self, old: CircuitState, new: CircuitState) -> None:
        if old != new and self.on_change is not None:
            self.on_change(old, new)


@dataclass(slots=True, eq=False)
class Permit:
    """The right to send one request; only the first verdict counts.

    `limit_s` is how long a probe keeps its place, None for what is no probe.
    """

    _breaker: CircuitBreaker
    _changes: int
    _ended: bool = False
    limit_s: float | None = None

    def succeeded(self) -> None:
        """The target answered."""
        self._end(ok=True)

    def failed(self) -> None:
        """The target failed; the caller has decided that this counts against it."""
        self._end(ok=False)

    def released(self) -> None:
        """The call ended without a verdict (cancelled, or the caller's own mistake)."""
        self._end(ok=None)

    def _end(self, *, ok: bool | None) -> None:
        if self._ended:
            return
        self._ended = True
        if ok is False or self._breaker._state != "closed":
            self._breaker._judge(self, ok=ok)
