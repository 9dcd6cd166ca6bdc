"""The worker of budgets in SQL: requests in arrival order, served in batches.

It runs in the ledger's thread, as one of the writer's chores. One transaction settles what has
ended and answers the whole queue. The queue is served again when something is settled in this
process, and from time to time, since other processes settle too. A process whose queue at a
budget has not moved for `PATIENCE_S` is starved: it takes a short lease on the budget, and the
other processes let nobody in until it has moved on.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from orchestify.errors import BudgetExceededError, LedgerError
from orchestify.ledger.budgets.reservation import (
    OnThreshold,
    Reservation,
    ReservationRequest,
    Settlement,
    Verdict,
    decide,
)
from orchestify.ledger.budgets.sql_store import (
    PeriodRow,
    drop,
    lock,
    period_id,
    save,
    settle,
    store,
    stored_end,
)
from orchestify.ledger.record import utc_now
from orchestify.ledger.sql.journal import Journal
from orchestify.ledger.sql.schema import database_now
from orchestify.policy.budget import NO_AMOUNT, BudgetKey, BudgetState, state_bounds

GROUP = 1000
"""How many settlements one transaction has at most."""

PRESENT_KEPT = 100
FIRST_POLL_S, MAX_POLL_S = 0.005, 0.25
PATIENCE_S = 0.5

LEASE = timedelta(seconds=2)
"""How long a lease on a budget lasts that its owner does not renew."""

log = logging.getLogger("orchestify.ledger")


class ReservationWorker:
    """Answers requests and books settlements; a chore of the ledger's writer.

    `put`, `listen` and `stop_listening` may be called from any thread, and after `put` the
    writer is to be woken; the rest is the writer's thread's. `now` is the time of day, for the
    periods. One worker serves all tenants of a ledger, many of their calls in one transaction.
    """

    def __init__(self, journal: Journal, now: Callable[[], datetime] = utc_now) -> None:
        self._journal = journal
        self._now = now
        self._listeners: dict[str, OnThreshold | None] = {}
        self._changing = threading.Lock()
        self._inbox: queue.SimpleQueue[ReservationRequest | Settlement | None] = queue.SimpleQueue()
        self._queue: list[ReservationRequest] = []
        self._settlements: deque[Settlement] = deque()
        self._still_since: dict[BudgetKey, float] = {}  # when the queue at a budget last moved
        self._poll_s = FIRST_POLL_S
        self._poll_at = math.inf
        self._present: dict[str, BudgetState] = {}  # present periods as last seen, by their id
        self._most_present = PRESENT_KEPT  # then those that are over are dropped
        self._reserved: dict[str, Reservation] = {}  # what is open in this process
        journal.restorers.append(self._restore)

    def put(self, item: ReservationRequest | Settlement | None) -> None:
        """Queue a request or a settlement; None when a caller has left. Takes no lock."""
        self._inbox.put(item)

    def listen(self, tenant: str, on_threshold: OnThreshold | None) -> None:
        """Report the thresholds of a tenant's budgets here, in place of the listener before."""
        with self._changing:
            self._listeners[tenant] = on_threshold

    def stop_listening(self, tenant: str, on_threshold: OnThreshold | None) -> None:
        """Report here no longer; a listener that has taken its place stays."""
        with self._changing:
            if self._listeners.get(tenant) is on_threshold:
                self._listeners.pop(tenant, None)

    def tell(self, crossed: Iterable[tuple[BudgetState, float]]) -> None:
        """Report thresholds to whoever listens for the tenants of their budgets."""
        for state, share in crossed:
            on_threshold = self._listeners.get(state.budget.tenant)
            if on_threshold is not None:
                on_threshold(state, share)

    @property
    def due_at(self) -> float:
        """When there is something to do, on the monotonic clock."""
        if not self._inbox.empty() or (self._settlements and not self._journal.is_away):
            return 0.0
        return self._poll_at

    def run(self) -> None:
        """Book the settlements and answer the requests that can be answered."""
        self._collect()
        if not self._queue and (not self._settlements or self._journal.is_away):
            self._poll_at = math.inf
            return
        group = [self._settlements.popleft() for _ in range(min(GROUP, len(self._settlements)))]
        batch = Batch(self._journal.owner, self._now(), self._queue, group, self._starved())
        try:
            self._journal.transact(batch.serve)
        except LedgerError:
            self._settlements.extendleft(reversed(group))
            self._answer_without_database(batch)
        else:
            self._answer(batch)

    def close(self) -> None:
        """Refuse all waiting requests: nobody serves the queue any more."""
        self._collect()
        waiting, self._queue = self._queue, []
        for request in waiting:
            request.refuse(LedgerError("the ledger is closed"))
        unsettled = sum(not each.was_refused for each in self._settlements)
        if unsettled:
            log.warning(
                "the ledger is closed while its database is away; %d calls count against their "
                "budgets with the most that they may have cost",
                unsettled,
            )

    def _collect(self) -> None:
        while not self._inbox.empty():
            item = self._inbox.get_nowait()
            if isinstance(item, ReservationRequest):
                self._queue.append(item)
            elif item is not None:
                self._settlements.append(item)
        self._queue = [each for each in self._queue if not each.has_left]

    def _starved(self) -> set[BudgetKey]:
        latest = time.monotonic() - PATIENCE_S
        return {key for key, since in self._still_since.items() if since < latest}

    def _answer(self, batch: Batch) -> None:
        for settlement in batch.settlements:
            if not settlement.is_stored:
                settlement.is_stored = True
                self._settlements.append(settlement)
        self._queue = [each for each in batch.queue if batch.waits_for(each)]
        self._note_movement({batch.waits_for(each) for each in self._queue}, batch.moved())
        self._remember(batch)
        for request, verdict in batch.verdicts.items():
            if isinstance(verdict, BudgetState):
                request.postpone(verdict)
            else:
                self._end(request, verdict)
        self.tell(batch.crossed)

    def _remember(self, batch: Batch) -> None:
        """Keep the state that a new database would need."""
        for settlement in batch.settlements:
            self._reserved.pop(settlement.reservation.id, None)
        for verdict in batch.verdicts.values():
            if isinstance(verdict, Reservation):
                self._reserved[verdict.id] = verdict
        self._present |= {key: period.state for key, period in batch.periods.items()}
        if len(self._present) > self._most_present:
            self._present = {
                key: state
                for key, state in self._present.items()
                if (end := stored_end(state)) is None or end > batch.now
            }
            self._most_present = 2 * len(self._present) + PRESENT_KEPT

    def _restore(self, connection: Connection) -> None:
        """Write the present periods and the open reservations to a database that lost them."""
        held = {
            period_id(state): state
            for reservation in self._reserved.values()
            for state in reservation.states
        }
        periods = lock(connection, held | self._present)
        for key, known in self._present.items():
            there = periods[key].state
            for name in _RESTORED:
                setattr(there, name, max(getattr(there, name), getattr(known, name)))
            there.hours = known.hours or there.hours
        save(connection, periods.values())
        store(connection, self._journal.owner, self._reserved.values(), self._now())

    def _note_movement(self, waited_for: set[BudgetKey | None], moved: set[BudgetKey]) -> None:
        now, before = time.monotonic(), self._still_since
        self._still_since = {
            key: now if key in moved else before.get(key, now)
            for key in waited_for
            if key is not None
        }
        self._poll_s = FIRST_POLL_S if moved else min(2 * self._poll_s, MAX_POLL_S)
        self._poll_at = now + self._poll_s if self._queue else math.inf

    def _end(self, request: ReservationRequest, verdict: Reservation | BudgetExceededError) -> None:
        if isinstance(verdict, BudgetExceededError):
            request.refuse(verdict)
        elif not request.grant(verdict) and verdict.id:
            self._settlements.append(Settlement(verdict, NO_AMOUNT))

    def _answer_without_database(self, batch: Batch) -> None:
        """Refuse at hard budgets, and let pass at those that warn."""
        states = batch.states()
        self._queue, self._still_since, self._poll_at = [], {}, math.inf
        for request in batch.queue:
            at = tuple(states[budget.key] for budget in request.budgets)
            # the transaction may have come through, and its answer been lost
            stored = Reservation(request.amount, at, id=request.id)
            self._settlements.append(Settlement(stored, NO_AMOUNT, was_refused=True))
            hard = next((each for each in at if each.budget.mode == "hard"), None)
            passed = Reservation(request.amount, at)
            self._end(request, passed if hard is None else _ledger_is_away(hard, request))


@dataclass(slots=True)
class Batch:
    """What is decided together; it counts once the transaction is committed.

    `queue` is in the order of arrival. `starved` has the budgets at which this process has
    waited too long. A request without a verdict waits for a budget at which another one waits
    before it. `crossed` has the thresholds that were crossed in it, `periods` the periods as it
    left them.
    """

    owner: str
    now: datetime
    queue: Sequence[ReservationRequest]
    settlements: Sequence[Settlement]
    starved: Collection[BudgetKey] = ()
    verdicts: dict[ReservationRequest, Verdict] = field(default_factory=dict)
    crossed: list[tuple[BudgetState, float]] = field(default_factory=list)
    periods: Mapping[str, PeriodRow] = field(default_factory=dict)
    _runs: int = 0

    def serve(self, connection: Connection) -> None:
        """Settle, then answer the queue; a second run starts anew."""
        if self._runs:  # the first may have been committed, and its answer lost
            drop(connection, [each.id for each in self.queue])
        self._runs += 1
        current = self.states()
        wanted = {
            period_id(state): state
            # the budgets of the present queue last: an older reservation may know another limit
            for states in (
                *(each.reservation.states for each in self.settlements),
                current.values(),
            )
            for state in states
        }
        periods = self.periods = lock(connection, wanted)
        self._settle(connection, periods)
        self._let_in(connection, {key: periods[period_id(each)] for key, each in current.items()})
        self.crossed = [
            (replace(period.state), share)
            for period in periods.values()
            for share in period.state.crossed_thresholds()
        ]
        save(connection, periods.values())

    def states(self) -> dict[BudgetKey, BudgetState]:
        """Return an empty state for each budget of the queue in its present period."""
        budgets = {budget.key: budget for request in self.queue for budget in request.budgets}
        return {
            key: BudgetState(budget, *state_bounds(budget, self.now))
            for key, budget in budgets.items()
        }

    def waits_for(self, request: ReservationRequest) -> BudgetKey | None:
        """Return the budget that the request waits for, None where it is answered."""
        verdict = self.verdicts.get(request, request.full)
        return verdict.budget.key if isinstance(verdict, BudgetState) else None

    def moved(self) -> set[BudgetKey]:
        """Return the budgets at which a request was answered."""
        return {
            budget.key
            for request, verdict in self.verdicts.items()
            if not isinstance(verdict, BudgetState)
            for budget in request.budgets
        }

    def _settle(self, connection: Connection, periods: Mapping[str, PeriodRow]) -> None:
        # what is stored here is settled in the next batch, so that both may be repeated
        new = [each.reservation for each in self.settlements if not each.is_stored]
        store(connection, self.owner, new, self.now)
        stored = {each.reservation.id: each for each in self.settlements if each.is_stored}
        if stored:
            settle(connection, periods, stored)

    def _let_in(self, connection: Connection, here: Mapping[BudgetKey, PeriodRow]) -> None:
        has_leases = bool(self.starved) or any(each.lease_owner for each in here.values())
        at = database_now(connection) if has_leases else self.now
        blocked = {key for key, each in here.items() if each.is_leased_away_from(self.owner, at)}
        self.verdicts = {}
        for request in self.queue:
            if request.full is None or request.full.budget.key not in blocked:
                states = [here[budget.key].state for budget in request.budgets]
                self.verdicts[request] = decide(request, states, blocked)
        granted = [each for each in self.verdicts.values() if isinstance(each, Reservation)]
        store(connection, self.owner, granted, self.now)
        if has_leases:
            self._update_leases(here, at)

    def _update_leases(self, here: Mapping[BudgetKey, PeriodRow], at: datetime) -> None:
        waited_for = {self.waits_for(request) for request in self.queue}
        claimed = waited_for & {*self.starved} - self.moved()
        for key, period in here.items():
            if period.is_leased_away_from(self.owner, at):
                continue
            if key in claimed:
                period.lease_owner, period.lease_until = self.owner, at + LEASE
            elif period.lease_owner == self.owner:
                period.lease_owner = period.lease_until = None


_RESTORED = (
    *("spent_usd", "spent_tokens", "spent_calls", "overrun_usd", "alerted"),
    *("possible_usd", "possible_tokens", "possible_calls"),
)


def _ledger_is_away(state: BudgetState, request: ReservationRequest) -> BudgetExceededError:
    return BudgetExceededError(
        f"budget {state.budget.title}: the ledger's database is away, so nobody knows what is "
        "left; try again when it is back",
        budget=state.budget.name,
        value=state.budget.value,
        worst_case_usd=request.amount.usd,
        worst_case_tokens=request.amount.tokens,
        is_ledger_away=True,
    )
