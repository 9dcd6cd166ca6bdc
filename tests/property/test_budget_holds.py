"""Budgets in a database: whatever calls and processes do, the sums are those of the calls."""

from __future__ import annotations

import asyncio
import tempfile
from decimal import Decimal
from pathlib import Path

from hypothesis import given, settings, strategies as st

from orchestify.database.sql import Database
from orchestify.ledger.budgets.reservation import Reservation, ReservationRequest, Settlement
from orchestify.ledger.budgets.sql_store import kept_usd, lapse, read
from orchestify.ledger.budgets.worker import Batch
from orchestify.ledger.record import new_id, utc_now
from orchestify.ledger.sql.upkeep import release, renew
from orchestify.policy.budget import Amount, Budget, BudgetState, period_bounds
from tests.ledgers import database

BUDGETS = (
    Budget("all", Decimal(12), period="ever"),
    Budget("some", Decimal(9), period="month"),
    Budget("soft", Decimal(3), period="ever", mode="warn"),
)
OWNERS = ("one", "two")
amounts = st.integers(1, 900).map(lambda cents: Decimal(cents) / 100)
steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("reserve"),
            st.sampled_from(OWNERS),
            st.lists(st.tuples(st.integers(1, 7), amounts), min_size=1, max_size=4),
        ),
        st.tuples(st.just("settle"), st.integers(0, 50), st.integers(0, 100)),
        st.tuples(st.just("again"), st.integers(0, 50), st.integers(0, 100)),
        st.tuples(st.just("die"), st.sampled_from(OWNERS), st.none()),
    ),
    max_size=15,
)


class Model:
    """What the database has to say: the calls' holds and costs, added up by hand."""

    def __init__(self, there: Database) -> None:
        self.there = there
        self.open: list[tuple[str, Reservation]] = []
        self.ended: list[Reservation] = []
        self.spent = {budget.name: Decimal(0) for budget in BUDGETS}

    def held(self, budget: Budget) -> Decimal:
        holds = [hold for _, hold in self.open if budget in budgets_of(hold)]
        return sum((hold.amount.usd for hold in holds), Decimal(0))

    def reserve(self, owner: str, wanted: list[tuple[int, Decimal]]) -> None:
        line = [
            ReservationRequest(
                new_id(),
                tuple(each for bit, each in enumerate(BUDGETS) if mask >> bit & 1),
                Amount(kept_usd(amount)),
            )
            for mask, amount in wanted
        ]
        batch = self.serve(owner, line, [])
        holds = [each for each in batch.verdicts.values() if isinstance(each, Reservation)]
        self.open += [(owner, hold) for hold in holds]

    def settle(self, number: int, share: int) -> None:
        if self.open:
            _, hold = self.open.pop(number % len(self.open))
            cost_usd = kept_usd(hold.amount.usd * share / 100)
            for budget in budgets_of(hold):
                self.spent[budget.name] += cost_usd
            self.ended.append(hold)
            self.serve("one", [], [Settlement(hold, Amount(cost_usd))])

    def again(self, number: int, share: int) -> None:
        if self.ended:
            hold = self.ended[number % len(self.ended)]
            self.serve("one", [], [Settlement(hold, Amount(Decimal(share)))])

    def die(self, owner: str, _: None) -> None:
        def lapse_all(connection) -> None:
            for each in OWNERS:
                renew(connection, each, 60.0)
            release(connection, owner)
            lapse(connection, 1000)

        self.there.run(lapse_all)
        self.open = [(each, hold) for each, hold in self.open if each != owner]

    def serve(
        self, owner: str, line: list[ReservationRequest], settlements: list[Settlement]
    ) -> Batch:
        batch = Batch(owner, utc_now(), line, settlements)
        self.there.run(batch.serve)
        return batch


def budgets_of(hold: Reservation) -> list[Budget]:
    return [state.budget for state in hold.states]


@settings(max_examples=40, deadline=None)
@given(steps)
def test_the_sums_are_those_of_the_calls_and_never_pass_a_hard_limit(played) -> None:
    async def scenario() -> None:
        with tempfile.TemporaryDirectory() as folder:
            model = Model(database("sqlite:///usage.db", Path(folder)))
            for action, first, second in played:
                getattr(model, action)(first, second)
                for budget in BUDGETS:
                    empty = BudgetState(budget, *period_bounds(budget.period, utc_now()))
                    state = model.there.run(lambda c, empty=empty: read(c, empty))
                    assert state.spent_usd == model.spent[budget.name]
                    assert state.held_usd == model.held(budget)
                    assert budget.mode == "warn" or (
                        state.spent_usd + state.held_usd <= budget.limit_usd
                    )
            model.there.dispose()

    asyncio.run(scenario())
