"""One transaction of the budgets' desk: costs are settled, then calls are let in."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from orchestify.errors import BudgetExceededError
from orchestify.ledger.budgets.requests import Order, Settlement
from orchestify.ledger.budgets.reservations import (
    Period,
    drop,
    lock,
    period_id,
    save,
    settle,
    store,
)
from orchestify.ledger.budgets.store import Hold, refusal
from orchestify.ledger.sql.lease import database_now
from orchestify.policy.budget import BudgetState, period_bounds

Verdict = Hold | BudgetState | BudgetExceededError
"""An order's hold; or the first budget that it has to wait for; or why it is refused."""

Key = tuple[str, str]
"""A budget's key: tenant and name."""

TURN = timedelta(seconds=2)
"""How long a turn lasts that its owner does not renew."""


@dataclass(slots=True)
class Sitting:
    """What is decided together; it counts once the transaction is committed.

    Budgets go by their `key`, for each tenant has its own of a name.

    `line` is in the order of arrival. `stuck` has the budgets at which this process has waited
    too long: it takes their turn, and other processes let nobody in until it has moved on. An
    order without a verdict waits for a budget at which another one waits before it. `told` has
    the shares of limits that were spent in it.
    """

    owner: str
    now: datetime
    line: Sequence[Order]
    settlements: Sequence[Settlement]
    stuck: Collection[Key] = ()
    verdicts: dict[Order, Verdict] = field(default_factory=dict)
    told: list[tuple[BudgetState, float]] = field(default_factory=list)
    _runs: int = 0

    def serve(self, connection: Connection) -> None:
        """Do it all; a second run starts anew."""
        if self._runs:  # the first may have been committed, and its answer lost
            drop(connection, [order.id for order in self.line])
        self._runs += 1
        current = self.states()
        wanted = {
            period_id(state): state
            # the budgets of today's line last: an older hold may know another limit
            for states in (*(each.hold.states for each in self.settlements), current.values())
            for state in states
        }
        periods = lock(connection, wanted)
        self._settle(connection, periods)
        here = {key: periods[period_id(state)] for key, state in current.items()}
        self._let_in(connection, here)
        self.told = [
            (replace(period.state), share)
            for period in periods.values()
            for share in period.state.new_shares()
        ]
        save(connection, periods.values())

    def states(self) -> dict[Key, BudgetState]:
        """Return an empty state for each budget in line in its present period."""
        budgets = {budget.key: budget for order in self.line for budget in order.budgets}
        return {
            key: BudgetState(budget, *period_bounds(budget.period, self.now))
            for key, budget in budgets.items()
        }

    def waits_for(self, order: Order) -> Key | None:
        """Return the budget that the order waits for, None where it has ended."""
        verdict = self.verdicts.get(order, order.full)
        return verdict.budget.key if isinstance(verdict, BudgetState) else None

    def moved(self) -> set[Key]:
        """Return the budgets at which an order came to its end."""
        return {
            budget.key
            for order, verdict in self.verdicts.items()
            if not isinstance(verdict, BudgetState)
            for budget in order.budgets
        }

    def _settle(self, connection: Connection, periods: Mapping[str, Period]) -> None:
        # what is stored here is settled in the next sitting, so that both may be repeated
        new = [each.hold for each in self.settlements if not each.is_stored]
        store(connection, self.owner, new, self.now)
        costs = {each.hold.id: each.cost_usd for each in self.settlements if each.is_stored}
        if costs:
            settle(connection, periods, costs)

    def _let_in(self, connection: Connection, here: Mapping[Key, Period]) -> None:
        has_turns = bool(self.stuck) or any(each.turn_owner for each in here.values())
        at = database_now(connection) if has_turns else self.now
        closed = {key for key, each in here.items() if each.is_closed_to(self.owner, at)}
        self.verdicts = {}
        for order in self.line:
            if order.full is None or order.full.budget.key not in closed:
                states = [here[budget.key].state for budget in order.budgets]
                self.verdicts[order] = decide(order, states, closed)
        holds = [each for each in self.verdicts.values() if isinstance(each, Hold)]
        store(connection, self.owner, holds, self.now)
        if has_turns:
            self._take_turns(here, at)

    def _take_turns(self, here: Mapping[Key, Period], at: datetime) -> None:
        claimed = {self.waits_for(order) for order in self.line} & {*self.stuck} - self.moved()
        for key, period in here.items():
            if period.is_closed_to(self.owner, at):
                continue
            if key in claimed:
                period.turn_owner, period.turn_until = self.owner, at + TURN
            elif period.turn_owner == self.owner:
                period.turn_owner = period.turn_until = None


def decide(order: Order, states: Sequence[BudgetState], closed: set[Key]) -> Verdict:
    """Hold the order's amount in all the states, or say what is in the way.

    `closed` has the budgets at which somebody else comes first; one that the order has to
    wait for is added.
    """
    full: BudgetState | None = None
    for state in states:
        decision = state.decide(order.amount_usd)
        if decision == "refuse":
            return refusal(state, order.amount_usd)
        if full is None and (decision == "wait" or state.budget.key in closed):
            full = state
    if full is not None:
        closed.add(full.budget.key)
        return full
    for state in states:
        state.hold(order.amount_usd)
    return Hold(order.amount_usd, tuple(states), id=order.id)
