"""Budgets in this process's memory: callers waiting for each, in arrival order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import cast

from orchestify.ledger.budgets.reservation import (
    OnThreshold,
    Reservation,
    ReservationRequest,
    Settlement,
    decide,
)
from orchestify.ledger.record import utc_now
from orchestify.policy.budget import (
    NO_AMOUNT,
    WINDOW,
    Amount,
    Budget,
    BudgetKey,
    BudgetState,
    state_bounds,
)
from orchestify.policy.wait_queue import WaitQueue


class MemoryStore:
    """The states of all budgets, each made when first used; see `BudgetStore`.

    A caller that finds the lock free serves everything in the inbox; one that finds it taken
    leaves its item to the lock's holder, so that nobody waits and the garbage collector may
    settle at any moment. `on_threshold` is called outside the lock; it must not raise. `now` is
    the time of day, for the periods.
    """

    def __init__(
        self, now: Callable[[], datetime] = utc_now, on_threshold: OnThreshold | None = None
    ) -> None:
        self.now = now
        self._on_threshold = on_threshold
        self._accounts: dict[BudgetKey, _Account] = {}
        self._values: dict[BudgetKey, dict[BudgetKey, _Account]] = {}  # of each budget, by last use
        self._waits_at: dict[ReservationRequest, _Account] = {}
        self._inbox: deque[ReservationRequest | Settlement] = deque()
        self._crossed: deque[tuple[BudgetState, float]] = deque()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Do nothing: memory is always ready."""

    def reserve_now(
        self, reservation_id: str, budgets: tuple[Budget, ...], amount: Amount
    ) -> Reservation | None:
        """Reserve where nobody waits and the amount fits everywhere."""
        if self._waits_at or self._inbox or not self._lock.acquire(blocking=False):
            return None
        try:
            now, states = self.now(), []
            for budget in budgets:
                state = self._account(budget, now).state
                if state.decide(amount) != "fits":
                    return None
                states.append(state)
            for state in states:
                state.reserve(amount)
        finally:
            self._lock.release()
        if self._inbox or self._crossed:
            self._serve()
        return Reservation(amount, tuple(states), id=reservation_id)

    def submit(self, request: ReservationRequest) -> None:
        """Answer the request, or let it wait at the first budget without room."""
        self._inbox.append(request)
        self._serve()

    def look(self, request: ReservationRequest) -> None:
        """Remove a request whose caller has left, or begin new periods where these are over."""
        self._inbox.append(request)
        self._serve()

    def settle(self, reservation: Reservation, taken: Amount, possible: Amount = NO_AMOUNT) -> None:
        """Book it in the periods it was reserved in, and serve the requests waiting there."""
        self._inbox.append(Settlement(reservation, taken, possible=possible))
        self._serve()

    def present(self, budget: Budget) -> BudgetState:
        """Return the budget's state itself, in its present period."""
        with self._lock:
            state = self._account(budget, self.now()).state
        self._serve()
        return state

    def state(self, budget: Budget) -> BudgetState:
        """Return a copy of the budget's state in its present period."""
        self._serve()
        return replace(self.present(budget))

    def _serve(self) -> None:
        """Book and answer what is in the inbox, and tell the thresholds that were crossed."""
        while self._inbox and self._lock.acquire(blocking=False):
            try:
                while self._inbox:
                    item = self._inbox.popleft()
                    if isinstance(item, Settlement):
                        self._book(item)
                    else:
                        now = self.now()
                        self._consider(item, [self._account(each, now) for each in item.budgets])
            finally:
                self._lock.release()
        while self._crossed and self._on_threshold is not None:
            self._on_threshold(*self._crossed.popleft())

    def _consider(self, request: ReservationRequest, accounts: list[_Account]) -> None:
        """Answer a new request; remove one whose caller has left."""
        at = self._waits_at.get(request)
        if request.has_left:
            self._stop_waiting(request)
            if at is not None:
                self._advance(at)
        elif at is None and request.reservation is None and request.error is None:
            self._try(request, accounts)

    def _book(self, settlement: Settlement) -> None:
        reservation = settlement.reservation
        for state in reservation.states:
            state.settle(reservation.amount, settlement.taken, settlement.possible)
            if self._on_threshold is not None and (shares := state.crossed_thresholds()):
                self._crossed.extend((replace(state), share) for share in shares)
            if self._waits_at and (account := self._accounts.get(state.budget.key)) is not None:
                self._advance(account)

    def _advance(self, account: _Account) -> None:
        """Answer the requests waiting at a budget, until the first has to wait further."""
        while (head := account.head()) is not None:
            self._try(head, [self._accounts[budget.key] for budget in head.budgets])
            if account.head() is head:
                return

    def _try(self, request: ReservationRequest, accounts: list[_Account]) -> None:
        waiting = accounts if self._waits_at else ()
        blocked = {each.key for each in waiting if each.has_before(request)}
        verdict = decide(request, [each.state for each in accounts], blocked)
        if isinstance(verdict, BudgetState):
            self._wait(request, self._accounts[verdict.budget.key])
            request.postpone(verdict)
            return
        self._stop_waiting(request)
        if not isinstance(verdict, Reservation):
            request.refuse(verdict)
        elif not request.grant(verdict):
            self._inbox.append(Settlement(verdict, NO_AMOUNT))

    def _wait(self, request: ReservationRequest, account: _Account) -> None:
        if self._waits_at.get(request) is not account:
            self._stop_waiting(request)
            self._waits_at[request] = account
            account.waiting.join(request)

    def _stop_waiting(self, request: ReservationRequest) -> None:
        account = self._waits_at.pop(request, None)
        if account is not None:
            account.waiting.leave(request)

    def _account(self, budget: Budget, now: datetime) -> _Account:
        """Return the budget's account in the period of `now`; open reservations keep the old."""
        account = self._accounts.get(budget.key)
        if account is None:
            account = self._accounts[budget.key] = _Account(_new_state(budget, now))
        elif account.state.end is not None and now >= account.state.end:
            self._renew(account, now)
        if budget.value is None and budget is not account.state.budget:
            self._change(account, budget, now)
        if budget.value is not None:
            self._used(account, budget, now)
        return account

    def _renew(self, account: _Account, now: datetime) -> None:
        """Begin a new period, and answer the requests that waited for it."""
        if account.state.budget.period == "rolling_24h":
            account.state.roll(now)
        else:
            account.state = _new_state(account.state.budget, now)
        self._advance(account)

    def _change(self, account: _Account, budget: Budget, now: datetime) -> None:
        """Go on under the budget as it is configured now; only another period begins anew."""
        if budget.period == account.state.budget.period:
            account.state.budget = budget
        else:
            account.state = _new_state(budget, now)
        self._advance(account)

    def _used(self, account: _Account, budget: Budget, now: datetime) -> None:
        """Note the use of one value's budget, and drop those whose last use is too long ago."""
        account.state.budget, account.state.end = budget, state_bounds(budget, now)[1]
        values = self._values.setdefault((budget.tenant, budget.name, ""), {})
        is_new = values.pop(budget.key, None) is None
        values[budget.key] = account
        while is_new and not self._waits_at:
            oldest = next(iter(values.values()))
            if not oldest.is_over(now):
                return
            del values[oldest.key], self._accounts[oldest.key]


@dataclass(slots=True)
class _Account:
    """A budget's present state, and the requests that wait for it to have room."""

    state: BudgetState
    waiting: WaitQueue = field(default_factory=WaitQueue)

    @property
    def key(self) -> BudgetKey:
        return self.state.budget.key

    def is_over(self, now: datetime) -> bool:
        """Whether the period has ended with nothing that could count in another one."""
        state = self.state
        is_in_use = len(self.waiting) or state.held_usd or state.held_tokens or state.held_calls
        keeps_until = state.end
        if keeps_until is not None and state.budget.period == "rolling_24h":
            keeps_until += WINDOW
        return not is_in_use and keeps_until is not None and now >= keeps_until

    def head(self) -> ReservationRequest | None:
        """Return the earliest waiting request."""
        return cast("ReservationRequest | None", self.waiting.head())

    def has_before(self, request: ReservationRequest) -> bool:
        """Whether an earlier request waits here."""
        head = self.waiting.head()
        return head is not None and head.key < request.key


def _new_state(budget: Budget, now: datetime) -> BudgetState:
    return BudgetState(budget, *state_bounds(budget, now))
