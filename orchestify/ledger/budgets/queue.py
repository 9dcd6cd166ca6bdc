"""The budgets' desk: what calls ask for, served together in the ledger's thread.

Who has to wait stands in line here, in the order of arrival. The line is looked at again when
something is settled in this process, and from time to time, since other processes settle too. A
process whose line has not moved for long takes the budget's turn, and the others let it go
first.
"""

from __future__ import annotations

import logging
import math
import queue
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime

from orchestify.errors import BudgetExceededError, LedgerError
from orchestify.ledger.budgets.batch import Key, Sitting
from orchestify.ledger.budgets.requests import Order, Settlement
from orchestify.ledger.budgets.store import Hold, OnThreshold
from orchestify.ledger.sql.journal import Journal
from orchestify.policy.budget import ZERO, BudgetState

GROUP = 1000
"""How many settlements one transaction holds at most."""

FIRST_POLL_S, MAX_POLL_S = 0.005, 0.25
PATIENCE_S = 0.5

log = logging.getLogger("orchestify.ledger")


class Desk:
    """Serves orders and settlements; a chore of the ledger's writer.

    `put` may be called from any thread, and then the writer is to be woken; the rest is the
    thread's. `now` is the time of day, for the periods.
    """

    def __init__(
        self,
        journal: Journal,
        now: Callable[[], datetime],
        on_threshold: OnThreshold | None = None,
    ) -> None:
        self._journal = journal
        self._now = now
        self._on_threshold = on_threshold
        self._inbox: queue.SimpleQueue[Order | Settlement | None] = queue.SimpleQueue()
        self._line: list[Order] = []
        self._settlements: deque[Settlement] = deque()
        self._still_since: dict[Key, float] = {}  # when the line at a budget last moved
        self._poll_s = FIRST_POLL_S
        self._poll_at = math.inf

    def put(self, item: Order | Settlement | None) -> None:
        """Take in an order or a settlement; None when an order has left. Takes no lock."""
        self._inbox.put(item)

    @property
    def due_at(self) -> float:
        """When there is something to do, on the monotonic clock."""
        if not self._inbox.empty() or (self._settlements and not self._journal.is_away):
            return 0.0
        return self._poll_at

    def run(self) -> None:
        """Serve what has come, and those in line who can go on."""
        self._collect()
        if not self._line and (not self._settlements or self._journal.is_away):
            self._poll_at = math.inf
            return
        group = [self._settlements.popleft() for _ in range(min(GROUP, len(self._settlements)))]
        sitting = Sitting(self._journal.owner, self._now(), self._line, group, self._stuck())
        try:
            self._journal.transact(sitting.serve)
        except LedgerError:
            self._settlements.extendleft(reversed(group))
            self._serve_blind(sitting)
        else:
            self._answer(sitting)

    def close(self) -> None:
        """Send away who waits, since nobody looks after the line any more."""
        self._collect()
        line, self._line = self._line, []
        for order in line:
            order.refuse(LedgerError("the ledger is closed"))
        if self._settlements:
            log.warning(
                "the ledger is closed while its database is away; %d calls count against their "
                "budgets with the most that they may have cost",
                len(self._settlements),
            )

    def _collect(self) -> None:
        while not self._inbox.empty():
            item = self._inbox.get_nowait()
            if isinstance(item, Order):
                self._line.append(item)
            elif item is not None:
                self._settlements.append(item)
        self._line = [order for order in self._line if not order.has_left]

    def _stuck(self) -> set[Key]:
        latest = time.monotonic() - PATIENCE_S
        return {key for key, since in self._still_since.items() if since < latest}

    def _answer(self, sitting: Sitting) -> None:
        for settlement in sitting.settlements:
            if not settlement.is_stored:
                settlement.is_stored = True
                self._settlements.append(settlement)
        self._line = [order for order in sitting.line if sitting.waits_for(order)]
        self._note_movement({sitting.waits_for(order) for order in self._line}, sitting.moved())
        for order, verdict in sitting.verdicts.items():
            if isinstance(verdict, BudgetState):
                order.put_off(verdict)
            else:
                self._end(order, verdict)
        if self._on_threshold is not None:
            for state, share in sitting.told:
                self._on_threshold(state, share)

    def _note_movement(self, waited_for: set[Key | None], moved: set[Key]) -> None:
        now, before = time.monotonic(), self._still_since
        self._still_since = {
            key: now if key in moved else before.get(key, now)
            for key in waited_for
            if key is not None
        }
        self._poll_s = FIRST_POLL_S if moved else min(2 * self._poll_s, MAX_POLL_S)
        self._poll_at = now + self._poll_s if self._line else math.inf

    def _end(self, order: Order, verdict: Hold | BudgetExceededError) -> None:
        if isinstance(verdict, BudgetExceededError):
            order.refuse(verdict)
        elif not order.grant(verdict) and verdict.id:
            self._settlements.append(Settlement(verdict, ZERO))

    def _serve_blind(self, sitting: Sitting) -> None:
        """Answer without the database: a hard budget refuses, one that warns lets pass."""
        states = sitting.states()
        self._line, self._still_since, self._poll_at = [], {}, math.inf
        for order in sitting.line:
            at = tuple(states[budget.key] for budget in order.budgets)
            # the transaction may have come through, and its answer been lost
            self._settlements.append(Settlement(Hold(order.amount_usd, at, id=order.id), ZERO))
            hard = next((each for each in at if each.budget.mode == "hard"), None)
            self._end(order, Hold(order.amount_usd, at) if hard is None else _blind(hard, order))


def _blind(state: BudgetState, order: Order) -> BudgetExceededError:
    return BudgetExceededError(
        f"budget {state.budget.name}: the ledger's database is away, so nobody knows what is "
        "left; try again when it is back",
        budget=state.budget.name,
        worst_case_usd=order.amount_usd,
        is_ledger_away=True,
    )
