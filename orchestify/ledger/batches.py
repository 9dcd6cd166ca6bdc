"""Batches left to a provider, as the ledger keeps them: values, and the store that has them.

Nothing of what was asked is kept: custom ids, models and sums are enough to settle a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal, NamedTuple, Protocol, TypeAlias

from orchestify.ledger.record import NO_LABELS, Record
from orchestify.policy.budget import Amount, Budget

BatchState: TypeAlias = Literal["submitting", "running", "ended", "fetched", "not_sent", "refused"]
"""`submitting` until the provider's answer is known, `running` and `ended` there, `fetched` once
all is booked; `not_sent` and `refused` where the provider has no such batch."""

OVER: frozenset[BatchState] = frozenset({"fetched", "not_sent", "refused"})
"""The states in which nothing is held any more."""

WINDOW = timedelta(hours=24)
"""How long a provider takes to do a batch, at most; then it expires."""

HELD_AFTER = timedelta(days=1)
"""How long a batch's worst case is held once it has expired or was cancelled."""


class BatchGroup(NamedTuple):
    """Requests of a batch that count against the same budgets: of one model, with the same labels.

    `periods` are the keys of the budgets' rows in which their worst case is held.
    """

    model: str
    labels: Mapping[str, str] = NO_LABELS
    periods: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One request: its number in the batch, from 0, its caller's id, and what it may take at most.

    `group` is the place of its group. `input_tokens` is an estimate, `output_tokens` a cap,
    `most_tokens` what a budget holds of both. `at_most_usd` is None where nobody knows a price.
    `outcome` is None until the request is booked.
    """

    number: int
    custom_id: str
    group: int
    input_tokens: int
    output_tokens: int
    most_tokens: int
    at_most_usd: Decimal | None
    outcome: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRow:
    """A batch as the ledger has it.

    `key` is the fingerprint of the key that it went out with, `digest` stands for what was asked,
    salted with the id. `sent_at` is when the provider was asked to make the batch, None before;
    `is_submitting` says that a process is at it. `remote_id` is the provider's id, "" while it is
    not known, and `remote_status` its word; `total`, `succeeded` and `failed` are its counts.
    `at_most_usd` is the sum of what the requests may cost, None where one has no price.
    """

    id: str
    provider: str
    agent: str
    model: str
    key: str
    digest: str
    total: int
    at_most_usd: Decimal | None
    submitted_at: datetime
    groups: tuple[BatchGroup, ...] = field(default=(), repr=False)
    state: BatchState = "submitting"
    is_submitting: bool = False
    sent_at: datetime | None = None
    file_id: str = ""
    remote_id: str = ""
    remote_status: str = ""
    succeeded: int = 0
    failed: int = 0
    expires_at: datetime | None = None


class Booking(NamedTuple):
    """What became of one request: its record, and what it took, or may have taken, of budgets."""

    number: int
    record: Record
    taken: Amount
    possible: Amount


class BatchStore(Protocol):
    """Keeps batches in a database, so that any process can go on with them; one tenant's.

    Everything it does raises LedgerError where the database cannot be used.
    """

    async def begin(
        self,
        batch: BatchRow,
        items: Sequence[BatchItem],
        budgets: Sequence[Sequence[Budget]],
    ) -> None:
        """Write a batch before anything of it is sent, and hold its worst case.

        `budgets` has those of each group, in order. What is held is the batch's own: it outlasts
        this process.

        Raises:
            BudgetExceededError: a hard budget has no room for the whole; nothing was written.
        """

    async def update(
        self, batch_id: str, *, held_until: datetime | None = None, **changes: object
    ) -> bool:
        """Change fields of a batch, if it is not over, and return whether it is not.

        `held_until` is how long its hold stands; `owner=None` says that no process submits it any
        more.
        """

    async def give_up(self, batch_id: str, state: BatchState) -> None:
        """End a batch that its provider does not have: nothing is held any more.

        One that another process has found there meanwhile stays.
        """

    async def get(self, batch_id: str) -> BatchRow | None:
        """Return a batch, None where there is none."""

    async def all(self, states: Sequence[BatchState] = ()) -> list[BatchRow]:
        """Return the batches, those in some states or all, the latest first."""

    async def items(self, batch_id: str) -> list[BatchItem]:
        """Return a batch's requests, in order."""

    async def book(
        self, batch: BatchRow, bookings: Sequence[Booking], budgets: Sequence[Budget]
    ) -> list[Booking]:
        """Book what became of requests, each once, and return the bookings that are new.

        Their records, the daily sums and the budgets change in one transaction. `budgets` are the
        configured ones as they are now.
        """

    async def finish(self, batch_id: str) -> bool:
        """Note that a batch is fetched, if all of it is booked; return whether it is."""
