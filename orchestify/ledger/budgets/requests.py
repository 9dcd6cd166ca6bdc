"""What calls put on the budgets' desk: orders for holds, and settlements of them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from decimal import Decimal

from orchestify.errors import OrchestifyError
from orchestify.ledger.budgets.store import Hold
from orchestify.policy.budget import Budget, BudgetState
from orchestify.policy.wait_queue import Waiter


@dataclass(slots=True, eq=False)
class Order:
    """A call that wants a hold; made by the coroutine that waits for it.

    The thread sets `hold` or `error` and wakes it, and also once when it has to wait: then
    `full` is the budget it waits for, as last seen. It may leave at any moment.
    """

    id: str
    budgets: tuple[Budget, ...]
    amount_usd: Decimal
    waiter: Waiter
    hold: Hold | None = None
    error: OrchestifyError | None = None
    full: BudgetState | None = None
    has_left: bool = False
    _handing: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def grant(self, hold: Hold) -> bool:
        """Hand the hold over; False where the caller has left, so that it must be released."""
        with self._handing:
            if self.has_left:
                return False
            self.hold = hold
        self.waiter.wake()
        return True

    def refuse(self, error: OrchestifyError) -> None:
        """Let the caller raise `error`."""
        self.error = error
        self.waiter.wake()

    def put_off(self, full: BudgetState) -> None:
        """Let the caller know which budget it waits for."""
        is_news, self.full = self.full is None, full
        if is_news:
            self.waiter.wake()

    def leave(self) -> Hold | None:
        """Give up; return the hold that was handed over meanwhile, None where none was."""
        with self._handing:
            self.has_left = True
            return self.hold


@dataclass(slots=True)
class Settlement:
    """What a hold's attempt cost; kept until it is in the database, the hold before it."""

    hold: Hold
    cost_usd: Decimal
    is_stored: bool = True
