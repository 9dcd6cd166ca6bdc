"""Budgets that hold across processes and restarts: the ledger's database keeps them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from orchestify.errors import LedgerError
from orchestify.ledger.budgets.queue import Desk
from orchestify.ledger.budgets.requests import Order, Settlement
from orchestify.ledger.budgets.reservations import kept_usd, read
from orchestify.ledger.budgets.store import Hold, check_unpriced, refusal, utc_now
from orchestify.ledger.record import new_id
from orchestify.policy.budget import ZERO, Budget, BudgetState, period_bounds
from orchestify.policy.wait_queue import CallLater, Waiter, call_later

T = TypeVar("T")

_CLOSED = "the ledger is closed"


class Keeper(Protocol):
    """What the budgets need of their ledger."""

    def start(self) -> None:
        """Begin the thread that serves the desk, once.

        Raises:
            LedgerError: the ledger is closed, or another process began it.
        """

    def wake(self) -> None:
        """Have the thread look at the desk."""

    def read(self, work: Callable[[Connection], T]) -> T:
        """Do `work`, which only reads, in a transaction."""


class SqlBudgetBook:
    """The budgets' states in the ledger's database; see `BudgetStore`.

    Calls of one process get their turn in the order they came, and processes take turns.
    Thresholds are told once a period, by the process whose settlement passed them, in the
    ledger's thread. While the database is away, hard budgets refuse and those that warn let
    pass; what was settled meanwhile is written afterwards. All its budgets are `tenant`'s.
    """

    def __init__(
        self,
        desk: Desk,
        ledger: Keeper,
        *,
        tenant: str = "",
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
        call_later: CallLater = call_later,
    ) -> None:
        self._desk = desk
        self._ledger = ledger
        self._tenant = tenant
        self._now = now
        self._clock = clock
        self._call_later = call_later
        self._warned: dict[str, datetime] = {}
        self._own_budgets: dict[str, tuple[Budget, Budget]] = {}  # as given, and the tenant's
        self._waiting: set[Order] = set()
        self._is_closed = False
        self._ending = threading.RLock()  # what is collected in its grasp may settle, too

    async def reserve(
        self,
        budgets: Sequence[Budget],
        amount_usd: Decimal | None,
        deadline: float | None = None,
        record_id: str = "",
    ) -> Hold:
        """Hold `amount_usd` in all the budgets at once, or in none; see `BudgetStore`.

        Raises:
            BudgetExceededError: as there, or the ledger's database is away.
            LedgerError: the ledger is closed.
        """
        self._ledger.start()
        if not amount_usd:
            return self._free(budgets, amount_usd)
        key = record_id or new_id()
        order = Order(key, tuple(map(self._own, budgets)), kept_usd(amount_usd), Waiter((0, 0)))
        self._enter(order)
        try:
            return await self._answer(order, deadline)
        except BaseException:
            hold = order.leave()
            if hold is not None:
                self.release(hold)
            elif order.error is None or self._is_closed:
                self._put(None)
            raise
        finally:
            self._waiting.discard(order)

    def settle(self, hold: Hold, actual_usd: Decimal) -> None:
        """Book what the attempt cost, in full, and drop its hold; a second end does nothing."""
        with self._ending:
            if not hold.is_open:
                return
            hold.is_open = False
        is_stored = hold.id != ""
        if hold.states and (is_stored or actual_usd):
            hold.id = hold.id or new_id()
            self._put(Settlement(hold, kept_usd(actual_usd), is_stored))

    def release(self, hold: Hold) -> None:
        """Drop the hold of an attempt that cost nothing; a second end does nothing."""
        self.settle(hold, ZERO)

    def close(self) -> None:
        """Let nobody in any more, and send away who waits; holds are still settled."""
        with self._ending:
            self._is_closed = True
            waiting = list(self._waiting)
        for order in waiting:
            order.refuse(LedgerError(_CLOSED))

    def state(self, budget: Budget) -> BudgetState:
        """Return the budget's state as the database has it, where all processes write.

        It is read here and now. What this process settled a moment ago may not be in it yet.

        Raises:
            LedgerError: the database could not be read.
        """
        empty = self._empty(budget)
        return self._ledger.read(lambda connection: read(connection, empty))

    def _enter(self, order: Order) -> None:
        with self._ending:
            if self._is_closed:
                raise LedgerError(_CLOSED)
            self._waiting.add(order)
        self._put(order)

    async def _answer(self, order: Order, deadline: float | None) -> Hold:
        """Wait for the desk's first answer, and from then on until the deadline."""
        pause_s: float | None = None
        while True:
            await order.waiter.park(pause_s, self._call_later)
            if order.hold is not None:
                return order.hold
            if order.error is not None:
                raise order.error
            if order.full is not None and deadline is not None:
                pause_s = deadline - self._clock()
                if pause_s <= 0:
                    raise refusal(order.full, order.amount_usd, "until the call's deadline")

    def _free(self, budgets: Sequence[Budget], amount_usd: Decimal | None) -> Hold:
        """Return the hold of a call without a cost, or without one that is known."""
        states = tuple(self._empty(budget) for budget in budgets)
        if amount_usd is None:
            check_unpriced(states, self._warned)
        return Hold(ZERO, states)

    def _empty(self, budget: Budget) -> BudgetState:
        return BudgetState(self._own(budget), *period_bounds(budget.period, self._now()))

    def _own(self, budget: Budget) -> Budget:
        """Return the budget as this tenant's; made once, for each call comes through here."""
        if budget.tenant == self._tenant:
            return budget
        given, own = self._own_budgets.get(budget.name, (None, budget))
        if given is not budget:
            own = replace(budget, tenant=self._tenant)
            self._own_budgets[budget.name] = (budget, own)
        return own

    def _put(self, item: Order | Settlement | None) -> None:
        self._desk.put(item)
        self._ledger.wake()
