"""Many budgets in this process's memory: reserved together, waited for in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from orchestify.ledger.budgets.store import (
    Hold,
    OnThreshold,
    check_unpriced,
    refusal,
    utc_now,
)
from orchestify.policy.budget import ZERO, Budget, BudgetState, period_bounds
from orchestify.policy.wait_queue import CallLater, Waiter, WaitQueue, call_later


@dataclass(slots=True, kw_only=True)
class BudgetBook:
    """The states of all budgets, by name; each is made when it is first used.

    `on_threshold(state, share)` is called once a period for each share of the limit that is
    spent, outside the lock; it must not raise. `now` is the time of day, for the periods;
    `clock` is monotonic, for deadlines. One lock guards everything; callers may come from
    several event loops and threads.
    """

    now: Callable[[], datetime] = utc_now
    clock: Callable[[], float] = time.monotonic
    call_later: CallLater = call_later
    on_threshold: OnThreshold | None = None
    _accounts: dict[str, _Account] = field(default_factory=dict, init=False, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False)
    _warned: dict[str, datetime] = field(default_factory=dict, init=False, repr=False)
    _tickets: int = field(default=0, init=False, repr=False)

    async def reserve(
        self,
        budgets: Sequence[Budget],
        amount_usd: Decimal | None,
        deadline: float | None = None,
        record_id: str = "",
    ) -> Hold:
        """Hold `amount_usd` in all the budgets; see `BudgetStore`. There are no records here."""
        with self._lock:
            now = self.now()
            accounts = [self._account(budget, now) for budget in budgets]
            if not amount_usd:
                states = tuple(account.state for account in accounts)
                if amount_usd is None:
                    check_unpriced(states, self._warned)
                return Hold(ZERO, states)
            outcome = self._try(accounts, amount_usd, None)
            if isinstance(outcome, Hold):
                return outcome
            self._tickets += 1
            waiter = Waiter((0, self._tickets))
            outcome.queue.join(waiter)
        return await self._wait_for_room(waiter, outcome, accounts, amount_usd, deadline)

    def settle(self, hold: Hold, actual_usd: Decimal) -> None:
        """Book what the attempt cost, in full, and drop its hold; a second end does nothing."""
        told: list[tuple[BudgetState, float]] = []
        with self._lock:
            if not hold.is_open:
                return
            hold.is_open = False
            for state in hold.states:
                state.settle(hold.amount_usd, actual_usd)
                if shares := state.new_shares():
                    told += [(replace(state), share) for share in shares]
                self._accounts[state.budget.name].queue.wake_head()
        if self.on_threshold is not None:
            for state, share in told:
                self.on_threshold(state, share)

    def release(self, hold: Hold) -> None:
        """Drop the hold of an attempt that cost nothing; a second end does nothing."""
        self.settle(hold, ZERO)

    def state(self, budget: Budget) -> BudgetState:
        """Return a copy of the budget's state in the present period."""
        with self._lock:
            return replace(self._account(budget, self.now()).state)

    async def _wait_for_room(
        self,
        waiter: Waiter,
        at: _Account,
        accounts: list[_Account],
        amount_usd: Decimal,
        deadline: float | None,
    ) -> Hold:
        """Wait in the queue of the first budget without room, then of the next such one."""
        try:
            while True:
                await waiter.park(self._pause_s(waiter, at, deadline), self.call_later)
                with self._lock:
                    now = self.now()
                    for account in accounts:
                        account.roll_over(now)
                    outcome = self._try(accounts, amount_usd, waiter)
                    if isinstance(outcome, Hold):
                        return outcome
                    if deadline is not None and self.clock() >= deadline:
                        raise refusal(outcome.state, amount_usd, "until the call's deadline")
                    if outcome is not at:
                        at.queue.leave(waiter)
                        outcome.queue.join(waiter)
                        at = outcome
        finally:
            with self._lock:
                at.queue.leave(waiter)

    def _try(
        self, accounts: Sequence[_Account], amount_usd: Decimal, waiter: Waiter | None
    ) -> Hold | _Account:
        """Hold the amount everywhere, or return the first budget that has to be waited for."""
        full: _Account | None = None
        for account in accounts:
            decision = account.state.decide(amount_usd)
            if decision == "refuse":
                raise refusal(account.state, amount_usd)
            if full is None and (decision == "wait" or account.has_before(waiter)):
                full = account
        if full is not None:
            return full
        for account in accounts:
            account.state.hold(amount_usd)
        return Hold(amount_usd, tuple([account.state for account in accounts]))

    def _pause_s(self, waiter: Waiter, at: _Account, deadline: float | None) -> float | None:
        """Seconds until it is time to look again: at the deadline; the first, at the new period."""
        with self._lock:
            waits_s = [] if deadline is None else [deadline - self.clock()]
            if at.state.end is not None and at.queue.head() is waiter:
                waits_s.append((at.state.end - self.now()).total_seconds())
        return max(0.0, min(waits_s)) if waits_s else None

    def _account(self, budget: Budget, now: datetime) -> _Account:
        account = self._accounts.get(budget.name)
        if account is None:
            account = self._accounts[budget.name] = _Account(_new_state(budget, now))
        account.roll_over(now)
        return account


@dataclass(slots=True)
class _Account:
    """A budget's present state, and who waits for it to have room."""

    state: BudgetState
    queue: WaitQueue = field(default_factory=WaitQueue)

    def has_before(self, waiter: Waiter | None) -> bool:
        """Whether someone came before; a newcomer (None) comes after all who wait."""
        head = self.queue.head()
        return head is not None and (waiter is None or head.key < waiter.key)

    def roll_over(self, now: datetime) -> None:
        """Begin a new state where the period is over; open holds keep the old one."""
        if self.state.end is not None and now >= self.state.end:
            self.state = _new_state(self.state.budget, now)
            self.queue.wake_head()


def _new_state(budget: Budget, now: datetime) -> BudgetState:
    return BudgetState(budget, *period_bounds(budget.period, now))
