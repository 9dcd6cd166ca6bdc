"""The interface of every ledger, and the report that it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from orchestify.errors import InvalidParameterError
from orchestify.ledger.budgets.reservation import OnThreshold
from orchestify.ledger.budgets.store import BudgetBook
from orchestify.ledger.record import Record

# SQLAlchemy is slow to import; the ledger in memory, and so its sums, stands on this module
if TYPE_CHECKING:
    from orchestify.database.sql import Database
    from orchestify.ledger.batches import BatchStore
    from orchestify.ledger.memory import Total, Totals


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One row of a report: a value for each axis asked for, and the sums over it."""

    key: tuple[str, ...]
    total: Total


@dataclass(frozen=True, slots=True)
class UsageReport:
    """Usage by one or more axes.

    `rows` are in the order of their keys. `unpriced` names the models whose price nobody knew
    ("provider/model"), with the number of their unpriced calls. `behind` counts records that
    have not reached the database yet (0 in memory), `open` those still under way. `rows_left`
    counts rows that were left out of a shortened report; its `total` is still the whole.
    """

    by: tuple[str, ...]
    rows: tuple[UsageRow, ...]
    total: Total
    since: datetime | None = None
    until: datetime | None = None
    where: Mapping[str, str] = field(default_factory=dict)
    unpriced: Mapping[str, int] = field(default_factory=dict)
    behind: int = 0
    open: int = 0
    rows_left: int = 0


class Ledger(Protocol):
    """Where every attempt is recorded, exactly once.

    `totals` are this object's own, in memory, since it was made or last reset.
    """

    totals: Totals

    @property
    def is_behind(self) -> bool:
        """Whether the database is away, or records have yet to reach it: sums may be too low."""

    @property
    def database(self) -> Database | None:
        """The SQL database that it is kept in; None in memory."""

    @property
    def tenant(self) -> str:
        """Whose ledger it is: "" where it has no tenants, or is of all of them."""

    async def open(self, record: Record) -> None:
        """Record an attempt before anything of it is sent.

        An attempt whose task is cancelled while it waits here is recorded as cancelled, at no
        cost. Where this raises, `complete` is not called.

        Raises:
            LedgerError: it could not be recorded anywhere.
        """

    def complete(self, record: Record) -> None:
        """Complete an opened attempt, once; it never waits and never raises.

        It may be called while a task is cancelled, from any thread, in `__del__`, and after the
        event loop or the ledger has closed.
        """

    def book(self, record: Record) -> None:
        """Record what was answered without an attempt: it was never open. It does not wait.

        Raises:
            LedgerError: the ledger is closed.
        """

    async def usage(
        self,
        by: str | Sequence[str] = "provider",
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        where: Mapping[str, str] | None = None,
    ) -> UsageReport:
        """Return the usage of records that started in [since, until) and match `where`.

        `by` is one or more axes (see `orchestify.ledger.axes`), `where` maps axes to one value
        each. Times without a zone are UTC.

        Raises:
            InvalidParameterError: an axis that does not exist or that this ledger cannot report
                by, or times it cannot cut.
            LedgerError: the database could not be read.
        """

    def budget_book(self, on_threshold: OnThreshold | None = None) -> BudgetBook:
        """Return the budgets, kept as far as this ledger's database reaches, and as long.

        `on_threshold` is called once a period for each threshold that is crossed, in any
        thread; it must not raise.
        """

    def batch_store(self) -> BatchStore | None:
        """Return what keeps the batches that are left to providers; None where nothing lasts."""

    def keep_health(self, take: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        """Write the providers' present health, as `take` returns it, from time to time.

        Each is ready for JSON and has its `provider` and `status`. In memory nothing is kept:
        `Health` itself remembers a day.
        """

    async def health_history(
        self, provider: str | None = None, since: datetime | None = None
    ) -> list[Mapping[str, Any]]:
        """Return the health that was written since then, of one provider or of all, oldest first.

        Raises:
            LedgerError: the database could not be read.
        """

    async def claim(self, name: str, period: str) -> bool:
        """Return whether nobody claimed this period of a name before, and claim it.

        So that of many processes one tells what is told once a period. Of each name the latest
        claim is kept.

        Raises:
            LedgerError: the database could not be written.
        """

    async def aclose(self) -> None:
        """Write all pending records and close."""


def as_utc(moment: datetime) -> datetime:
    """Return `moment` in UTC; without a zone it is taken as UTC.

    Raises:
        InvalidParameterError: it is none, or in UTC it lies outside the years 1 to 9999.
    """
    if not isinstance(moment, datetime):
        raise InvalidParameterError(
            f"a time is a datetime, not a {type(moment).__name__}; a week ago is "
            "datetime.now(UTC) - timedelta(days=7)"
        )
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise InvalidParameterError(
            f"the time {moment.isoformat()} lies outside the years 1 to 9999 in UTC"
        ) from None
