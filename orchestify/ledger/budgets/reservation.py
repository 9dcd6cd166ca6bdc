"""Reservations of a call in its budgets: the request, the grant, and the refusal."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TypeAlias

from orchestify.errors import BudgetExceededError, OrchestifyError
from orchestify.policy.budget import (
    NO_AMOUNT,
    WINDOW,
    ZERO,
    Amount,
    Budget,
    BudgetKey,
    BudgetState,
)
from orchestify.policy.wait_queue import Waiter

OnThreshold: TypeAlias = Callable[[BudgetState, float], None]
"""Takes a budget's state and the threshold, a share of its limit, that was just crossed."""

_log = logging.getLogger("orchestify.policy.budget")


@dataclass(slots=True)
class Reservation:
    """The `amount` set aside in each state for one attempt, until settled or released.

    The states are those of the periods it was made in, and there it is booked. `id` is its key
    in the store, "" where nothing is stored because nothing was set aside.
    """

    amount: Amount
    states: tuple[BudgetState, ...]
    is_open: bool = True
    id: str = ""


class ReservationRequest(Waiter):
    """A call that wants a reservation; made by the coroutine that waits for the answer.

    A store sets `reservation` or `error` and wakes the caller. It wakes it once, too, when the
    call has to wait: `full` is then the budget it waits for, as last seen. The caller may leave
    at any moment. `arrival` is the place in arrival order.
    """

    __slots__ = (
        "_handing_over",
        "amount",
        "budgets",
        "error",
        "full",
        "has_left",
        "id",
        "reservation",
    )

    def __init__(
        self, request_id: str, budgets: tuple[Budget, ...], amount: Amount, arrival: int = 0
    ) -> None:
        super().__init__((0, arrival))
        self.id = request_id
        self.budgets = budgets
        self.amount = amount
        self.reservation: Reservation | None = None
        self.error: OrchestifyError | None = None
        self.full: BudgetState | None = None
        self.has_left = False
        self._handing_over = threading.Lock()

    def grant(self, reservation: Reservation) -> bool:
        """Hand the reservation over; False where the caller has left: it is to be released."""
        with self._handing_over:
            if self.has_left:
                return False
            self.reservation = reservation
        self.wake()
        return True

    def refuse(self, error: OrchestifyError) -> None:
        """Let the caller raise `error`."""
        self.error = error
        self.wake()

    def postpone(self, full: BudgetState) -> None:
        """Let the caller know which budget it waits for."""
        is_news, self.full = self.full is None, full
        if is_news:
            self.wake()

    def leave(self) -> Reservation | None:
        """Give up; return the reservation that was handed over meanwhile, None where none was."""
        with self._handing_over:
            self.has_left = True
            return self.reservation


@dataclass(slots=True)
class Settlement:
    """What a reservation's attempt took; `is_stored` where the store has the reservation.

    `possible` is what it may have taken at most where nobody knows. One that `was_refused` took
    nothing, and is in the store only where the answer to its transaction was lost.
    """

    reservation: Reservation
    taken: Amount
    is_stored: bool = True
    possible: Amount = NO_AMOUNT
    was_refused: bool = False


Verdict: TypeAlias = Reservation | BudgetState | BudgetExceededError
"""A request's reservation; or the first budget it has to wait for; or why it is refused."""


def decide(
    request: ReservationRequest, states: Sequence[BudgetState], blocked: set[BudgetKey]
) -> Verdict:
    """Reserve the request's amount in all the states, or say what is in the way.

    `blocked` has the keys of budgets at which an earlier request goes first; one that this
    request has to wait for is added.
    """
    full: BudgetState | None = None
    for state in states:
        decision = state.decide(request.amount)
        if decision == "refuse":
            return refusal(state, request.amount)
        if full is None and (decision == "wait" or (blocked and state.budget.key in blocked)):
            full = state
    if full is not None:
        blocked.add(full.budget.key)
        return full
    for state in states:
        state.reserve(request.amount)
    return Reservation(request.amount, tuple(states), id=request.id)


def check_unpriced(states: Sequence[BudgetState], warned: MutableMapping[str, datetime]) -> None:
    """Let a call without a known price pass, or not, as the budgets that limit money say.

    `warned` maps a budget's name to the start of the period in which a warning was last logged.

    Raises:
        BudgetExceededError: a hard budget blocks such calls.
    """
    of_money = [state for state in states if state.budget.limit_usd is not None]
    for state in of_money:
        if state.budget.on_unpriced == "block" and state.budget.mode == "hard":
            raise refusal(state, None)
    for state in of_money:
        budget = state.budget
        if budget.on_unpriced != "allow" and warned.get(budget.name) != state.start:
            warned[budget.name] = state.start
            _log.warning(
                "budget %s: calls without a known price pass and are not counted; "
                "give their model a price",
                budget.name,
            )


def refusal(
    state: BudgetState, amount: Amount | None, until: str = "", *, what: str = "call"
) -> BudgetExceededError:
    """Return the error that says why a call has no room: what is left, needed, and until when.

    `amount` is None for a call whose price is unknown; `what` is the word for what has no room.
    """
    budget, ends_at = state.budget, state.end
    if budget.period == "rolling_24h" and ends_at is not None:
        ends_at += WINDOW
    why = "the call's price is unknown; give the model a price or set on_unpriced"
    if amount is not None:
        why, is_too_large = _shortage(state, amount, until, what)
        if is_too_large:  # no period has room for it
            why += ", more than the whole limit; lower max_tokens or raise the limit"
            ends_at = None
        elif ends_at is not None:
            why += f"; {_renewal(budget, ends_at)}"
    return BudgetExceededError(
        f"budget {budget.title}: {why}",
        budget=budget.name,
        value=budget.value,
        remaining_usd=state.remaining_usd,
        worst_case_usd=amount and amount.usd,
        remaining_tokens=state.remaining_tokens,
        worst_case_tokens=amount and amount.tokens,
        remaining_calls=state.remaining_calls,
        period_ends_at=None if amount is None else ends_at,
    )


def _shortage(state: BudgetState, amount: Amount, until: str, what: str) -> tuple[str, bool]:
    """Say of which limit too little is left, and whether all of it would be too little."""
    budget = state.budget
    left = f"left{until and ' ' + until}, the {what} may"
    if budget.limit_usd is not None and amount.usd > (state.remaining_usd or 0):
        usd, limit_usd = _plain(state.remaining_usd or ZERO), _plain(budget.limit_usd)
        short = f"{usd} of {limit_usd} USD {left} cost {_plain(amount.usd)}"
        return short, amount.usd > budget.limit_usd
    if budget.limit_tokens is not None and amount.tokens > (state.remaining_tokens or 0):
        tokens = f"{state.remaining_tokens:,} of {budget.limit_tokens:,} tokens"
        return f"{tokens} {left} use {amount.tokens:,}", amount.tokens > budget.limit_tokens
    left = f"left{until and ' ' + until}"
    calls = f"{state.remaining_calls or 0:,} of {budget.limit_calls or 0:,} calls"
    if what != "call":
        left += f", the {what} has {amount.calls:,}"
    return f"{calls} {left}", amount.calls > (budget.limit_calls or 0)


def _renewal(budget: Budget, ends_at: datetime) -> str:
    if budget.period == "rolling_24h":
        return "it counts the last 24 hours"
    if budget.period == "ever":
        return f"it ends at {ends_at:%Y-%m-%d %H:%M} UTC if nothing more uses it"
    return f"its period ends at {ends_at:%Y-%m-%d %H:%M} UTC"


def _plain(usd: Decimal) -> str:
    return f"{usd.normalize():f}"
