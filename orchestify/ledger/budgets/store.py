"""Budgets as the call path uses them: reserve before a call, settle after it, over any store."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from orchestify.errors import LedgerError
from orchestify.ledger.budgets.memory_store import MemoryStore
from orchestify.ledger.budgets.reservation import (
    Reservation,
    ReservationRequest,
    check_unpriced,
    refusal,
)
from orchestify.ledger.record import new_id
from orchestify.policy.budget import NO_AMOUNT, ZERO, Amount, Budget, BudgetState
from orchestify.policy.wait_queue import CallLater, call_later

LOOK_AGAIN_S = 0.05
"""The shortest wait between two looks at a budget whose period is over."""

_CLOSED = "the ledger is closed"


class BudgetStore(Protocol):
    """Keeps the budgets' figures and answers requests in arrival order.

    All but `start` and `state` return at once; they may be called from any thread, while a task
    is cancelled and in `__del__`.
    """

    now: Callable[[], datetime]

    def start(self) -> None:
        """Be ready for requests.

        Raises:
            LedgerError: the ledger is closed.
        """

    def reserve_now(
        self, reservation_id: str, budgets: tuple[Budget, ...], amount: Amount
    ) -> Reservation | None:
        """Reserve without a request where nothing is in the way; None where one is needed."""

    def submit(self, request: ReservationRequest) -> None:
        """Answer a request, at once or later."""

    def look(self, request: ReservationRequest) -> None:
        """Look at a waiting request again: its caller has left, or a period has ended."""

    def settle(self, reservation: Reservation, taken: Amount, possible: Amount = NO_AMOUNT) -> None:
        """Book what the reservation's attempt took, in full, and drop the reservation."""

    def present(self, budget: Budget) -> BudgetState:
        """Return the state that stands for the budget in its present period."""

    def state(self, budget: Budget) -> BudgetState:
        """Return a copy of the budget's figures in its present period."""


class BudgetBook:
    """Budgets over a store: in this process's memory where none is given.

    The calls of one process are served in the order of their arrival at each budget. Callers
    may come from several event loops and threads. All its budgets are `tenant`'s. `clock` is
    monotonic, for deadlines.
    """

    def __init__(
        self,
        store: BudgetStore | None = None,
        *,
        tenant: str = "",
        clock: Callable[[], float] = time.monotonic,
        call_later: CallLater = call_later,
    ) -> None:
        self._store: BudgetStore = MemoryStore() if store is None else store
        self._tenant = tenant
        self._clock = clock
        self._call_later = call_later
        self._warned: dict[str, datetime] = {}
        self._own_budgets: dict[str, tuple[Budget, Budget]] = {}  # as given, and the tenant's
        self._arrivals = itertools.count()
        self._waiting: set[ReservationRequest] = set()
        self._is_closed = False
        self._ending = threading.RLock()  # the garbage collector may settle while it is held

    async def reserve(
        self,
        budgets: Sequence[Budget],
        amount_usd: Decimal | None,
        deadline: float | None = None,
        record_id: str = "",
        *,
        tokens: int = 0,
    ) -> Reservation:
        """Reserve an attempt's worst case in all the budgets at once, or in none: one call.

        A call that fits once other calls' reservations settle waits for that, in order of
        arrival at each budget, until `deadline` (a time of the monotonic clock). A cancelled
        wait reserves nothing. None, an unknown price, reserves no money and goes by
        `on_unpriced`; zero always passes where tokens and calls are not limited. `record_id` is
        the ledger's record of the attempt.

        Raises:
            BudgetExceededError: what is spent and the amount pass a hard limit, or the room did
                not come before the deadline, or the price is unknown and `on_unpriced` blocks,
                or the ledger's database is away.
            LedgerError: the ledger is closed.
        """
        self._store.start()
        own = tuple(map(self._own, budgets))
        if not amount_usd:
            if amount_usd is None:
                check_unpriced([self._store.present(budget) for budget in own], self._warned)
            if not any(budget.counts_free_calls for budget in own):
                return Reservation(NO_AMOUNT, tuple(self._store.present(each) for each in own))
        if self._is_closed:
            raise LedgerError(_CLOSED)
        reservation_id, amount = record_id or new_id(), Amount(amount_usd or ZERO, tokens, 1)
        at_once = self._store.reserve_now(reservation_id, own, amount)
        if at_once is not None:
            return at_once
        request = ReservationRequest(reservation_id, own, amount, next(self._arrivals))
        self._enter(request)
        try:
            return await self._answer(request, deadline)
        except BaseException:
            reservation = request.leave()
            if reservation is not None:
                self.release(reservation)
            elif request.error is None or self._is_closed:
                self._store.look(request)
            raise
        finally:
            self._waiting.discard(request)

    def settle(self, reservation: Reservation, taken: Amount, possible: Amount = NO_AMOUNT) -> None:
        """Book what the attempt took, in full, and drop the reservation; once.

        `possible`, what it may have taken at most where nobody knows, counts against the limits
        until the period ends.
        Never waits; may be called while a task is cancelled, from any thread, in `__del__`.
        """
        with self._ending:
            if not reservation.is_open:
                return
            reservation.is_open = False
        self._store.settle(reservation, taken, possible)

    def release(self, reservation: Reservation) -> None:
        """Drop the reservation of an attempt that took nothing; once."""
        self.settle(reservation, NO_AMOUNT)

    def state(self, budget: Budget) -> BudgetState:
        """Return a copy of the budget's state in the present period.

        From a database it is read here and now. What this process settled a moment ago may not
        be in it yet.

        Raises:
            LedgerError: the database could not be read.
        """
        return self._store.state(self._own(budget))

    def change(self, budgets: Sequence[Budget]) -> None:
        """Let the calls that wait go on under the budgets as they are configured now, by name."""
        present = {each.name: each for each in map(self._own, budgets)}
        for request in list(self._waiting):
            request.budgets = tuple(_changed(each, present) for each in request.budgets)
            self._store.look(request)

    def close(self) -> None:
        """Refuse all waiting and later requests; reservations are still settled."""
        with self._ending:
            self._is_closed = True
            waiting = list(self._waiting)
        for request in waiting:
            request.refuse(LedgerError(_CLOSED))

    def _enter(self, request: ReservationRequest) -> None:
        with self._ending:
            if self._is_closed:
                raise LedgerError(_CLOSED)
            self._waiting.add(request)
        self._store.submit(request)

    async def _answer(self, request: ReservationRequest, deadline: float | None) -> Reservation:
        """Wait for the store's first answer, and from then on until the deadline."""
        while True:
            if request.reservation is not None:
                return request.reservation
            if request.error is not None:
                raise request.error
            full = request.full
            if full is not None and deadline is not None and self._clock() >= deadline:
                raise refusal(full, request.amount, "until the call's deadline")
            pause_s = None if full is None else self._pause_s(full, deadline)
            await request.park(pause_s, self._call_later)
            if full is not None and self._is_due(full, deadline):
                self._store.look(request)

    def _pause_s(self, full: BudgetState, deadline: float | None) -> float | None:
        """Seconds until the deadline or the end of the budget's period; None without either."""
        waits_s = [] if deadline is None else [max(0.0, deadline - self._clock())]
        if full.end is not None:
            left_s = (full.end - self._store.now()).total_seconds()
            waits_s.append(max(LOOK_AGAIN_S, left_s))
        return min(waits_s, default=None)

    def _is_due(self, full: BudgetState, deadline: float | None) -> bool:
        """Whether the deadline has come or the budget's period is over."""
        is_late = deadline is not None and self._clock() >= deadline
        return is_late or (full.end is not None and self._store.now() >= full.end)

    def _own(self, budget: Budget) -> Budget:
        """Return the budget as this tenant's; made once, for each call comes through here."""
        if budget.tenant == self._tenant:
            return budget
        if budget.value is not None:  # there are too many of them to keep
            return replace(budget, tenant=self._tenant)
        given, own = self._own_budgets.get(budget.name, (None, budget))
        if given is not budget:
            own = replace(budget, tenant=self._tenant)
            self._own_budgets[budget.name] = (budget, own)
        return own


def _changed(budget: Budget, present: Mapping[str, Budget]) -> Budget:
    """Return a budget as it is configured now; one that is no more stays as it was."""
    now = present.get(budget.name)
    if now is None or now.per != budget.per:
        return budget
    return now if budget.value is None else replace(now, value=budget.value)
