"""Batches in the ledger's database: see `BatchStore`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection

from orchestify.ledger.batches import BatchItem, BatchRow, BatchState, Booking
from orchestify.ledger.memory import Totals
from orchestify.ledger.sql.backend import Backend
from orchestify.ledger.sql.batch_rows import (
    book_results,
    change_batch,
    held_amounts,
    hold,
    insert_batch,
    is_booked,
    keep_held,
    let_go,
    read_batch,
    read_batches,
    read_items,
)
from orchestify.policy.budget import Budget

T = TypeVar("T")


class SqlBatches:
    """One tenant's batches; `totals` are told what is booked here."""

    def __init__(self, backend: Backend, tenant: str, totals: Totals) -> None:
        self._backend = backend
        self._tenant = tenant
        self._totals = totals

    async def begin(
        self, batch: BatchRow, items: Sequence[BatchItem], budgets: Sequence[Sequence[Budget]]
    ) -> None:
        """Write a batch before it is sent, and hold its worst case; see `BatchStore.begin`."""
        backend = self._backend
        backend.start()
        groups = [[self._own(each) for each in own] for own in budgets]
        periods, wanted = held_amounts(groups, items, batch.submitted_at)
        held = [
            each._replace(periods=keys) for each, keys in zip(batch.groups, periods, strict=True)
        ]
        whole = replace(batch, groups=tuple(held))

        def write(connection: Connection) -> None:
            if read_batch(connection, self._tenant, batch.id) is not None:
                return  # the first try came through, and its answer was lost
            backend.journal.renew(connection)
            hold(connection, whole, wanted)
            insert_batch(connection, whole, backend.journal.owner, self._tenant, items)

        await self._run(write)

    async def update(
        self, batch_id: str, *, held_until: datetime | None = None, **changes: object
    ) -> bool:
        """Change fields of a batch, if it is not over; see `BatchStore.update`."""

        def write(connection: Connection) -> bool:
            is_open = change_batch(connection, batch_id, changes)
            if is_open and held_until is not None:
                keep_held(connection, batch_id, held_until)
            return is_open

        return await self._run(write)

    async def give_up(self, batch_id: str, state: BatchState) -> None:
        """End a batch that its provider does not have; see `BatchStore.give_up`."""
        changes = {"state": state, "owner": None}

        def write(connection: Connection) -> None:
            if change_batch(connection, batch_id, changes, only_in="submitting"):
                let_go(connection, batch_id)

        await self._run(write)

    async def get(self, batch_id: str) -> BatchRow | None:
        """Return a batch, None where the tenant has none of this id."""
        return await self._read(lambda connection: read_batch(connection, self._tenant, batch_id))

    async def all(self, states: Sequence[BatchState] = ()) -> list[BatchRow]:
        """Return the batches, those in some states or all, the latest first."""
        return await self._read(lambda connection: read_batches(connection, self._tenant, states))

    async def items(self, batch_id: str) -> list[BatchItem]:
        """Return a batch's requests, in order."""
        return await self._read(lambda connection: read_items(connection, batch_id))

    async def book(
        self, batch: BatchRow, bookings: Sequence[Booking], budgets: Sequence[Budget]
    ) -> list[Booking]:
        """Book what became of requests, each once; see `BatchStore.book`."""
        for each in bookings:
            each.record.tenant = self._tenant
        own = [self._own(each) for each in budgets]
        new, crossed = await self._run(
            lambda connection: book_results(connection, batch, bookings, own)
        )
        for each in new:
            self._totals.add(each.record)
        self._backend.reservations.tell(crossed)
        return new

    async def finish(self, batch_id: str) -> bool:
        """Note that a batch is fetched, if all of it is booked; return whether it is."""

        def write(connection: Connection) -> bool:
            if not is_booked(connection, batch_id):
                return False
            if change_batch(connection, batch_id, {"state": "fetched", "owner": None}):
                let_go(connection, batch_id)
            return True

        return await self._run(write)

    async def _run(self, work: Callable[[Connection], T]) -> T:
        return await asyncio.to_thread(self._backend.write, work)

    async def _read(self, work: Callable[[Connection], T]) -> T:
        return await asyncio.to_thread(self._backend.read, work)

    def _own(self, budget: Budget) -> Budget:
        return budget if budget.tenant == self._tenant else replace(budget, tenant=self._tenant)
