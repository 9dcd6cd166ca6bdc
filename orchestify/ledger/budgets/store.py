"""What every store of budgets does: the interface, a hold, and how a call is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Protocol, TypeAlias

from orchestify.errors import BudgetExceededError
from orchestify.policy.budget import Budget, BudgetState

OnThreshold: TypeAlias = Callable[[BudgetState, float], None]
"""Takes a budget's state and the share of its limit that has just been spent."""

_log = logging.getLogger("orchestify.policy.budget")


@dataclass(slots=True)
class Hold:
    """What one attempt holds: `amount_usd` in each state, until it is settled or released.

    The states are those of the periods it was reserved in, and there it is booked. `id` is its
    key in a database, "" where it stands in none.
    """

    amount_usd: Decimal
    states: tuple[BudgetState, ...]
    is_open: bool = True
    id: str = ""


class BudgetStore(Protocol):
    """Where budgets are kept: in memory (`BudgetBook`), or in a database (`SqlBudgetBook`)."""

    async def reserve(
        self,
        budgets: Sequence[Budget],
        amount_usd: Decimal | None,
        deadline: float | None = None,
        record_id: str = "",
    ) -> Hold:
        """Hold an attempt's worst case in all the budgets at once, or in none.

        A call that fits once other calls' holds settle waits for that, in order of arrival at
        each budget, until `deadline` (a time of the monotonic clock). A cancelled wait holds
        nothing. None, a price that nobody knows, holds nothing and goes by `on_unpriced`; zero
        always passes. `record_id` is the ledger's record that will be opened for the attempt.

        Raises:
            BudgetExceededError: what is spent and the amount pass a hard limit, or the room did
                not come before the deadline, or the price is unknown and `on_unpriced` blocks.
        """

    def settle(self, hold: Hold, actual_usd: Decimal) -> None:
        """Book what the attempt cost, in full, and drop its hold; a second end does nothing.

        Never waits; may be called while a task is cancelled, from any thread, in `__del__`.
        """

    def release(self, hold: Hold) -> None:
        """Drop the hold of an attempt that cost nothing; a second end does nothing."""

    def state(self, budget: Budget) -> BudgetState:
        """Return a copy of the budget's state in the present period."""


def utc_now() -> datetime:
    """Return the time of day, in UTC."""
    return datetime.now(UTC)


def check_unpriced(states: Sequence[BudgetState], warned: MutableMapping[str, datetime]) -> None:
    """Let a call without a known price pass, or not, as the budgets say.

    `warned` holds the start of the period in which a budget's last warning was logged.

    Raises:
        BudgetExceededError: a hard budget blocks such calls.
    """
    for state in states:
        if state.budget.on_unpriced == "block" and state.budget.mode == "hard":
            raise refusal(state, None)
    for state in states:
        budget = state.budget
        if budget.on_unpriced != "allow" and warned.get(budget.name) != state.start:
            warned[budget.name] = state.start
            _log.warning(
                "budget %s: calls without a known price pass and are not counted; "
                "give their model a price",
                budget.name,
            )


def refusal(
    state: BudgetState, worst_case_usd: Decimal | None, until: str = ""
) -> BudgetExceededError:
    """Return the error that says why a call has no room: what is left, needed, and until when."""
    budget, ends_at = state.budget, state.end
    ends = "" if ends_at is None else f"; its period ends at {ends_at:%Y-%m-%d %H:%M} UTC"
    if worst_case_usd is None or worst_case_usd > budget.limit_usd:  # no period has room for it
        ends, ends_at = ", more than the whole limit; lower max_tokens or raise the limit", None
    what = (
        "the call's price is unknown; give the model a price or set on_unpriced"
        if worst_case_usd is None
        else f"{_plain(state.remaining_usd)} of {_plain(budget.limit_usd)} USD left"
        f"{until and ' ' + until}, the call may cost {_plain(worst_case_usd)}{ends}"
    )
    return BudgetExceededError(
        f"budget {budget.name}: {what}",
        budget=budget.name,
        remaining_usd=state.remaining_usd,
        worst_case_usd=worst_case_usd,
        period_ends_at=ends_at,
    )


def _plain(usd: Decimal) -> str:
    return f"{usd.normalize():f}"
