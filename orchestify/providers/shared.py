"""What a host of many registries gives each of them, in place of what it would make itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestify.calls.runtime import MakeLimiter
from orchestify.calls.tracing import Tracer
from orchestify.core.addresses import AddressRule
from orchestify.events.events import Events
from orchestify.health.forecast_alert import ForecastAlert
from orchestify.health.health import Health
from orchestify.lanes.lane import Lane
from orchestify.ledger.base import Ledger
from orchestify.ledger.budgets.store import BudgetBook
from orchestify.ledger.record import Record
from orchestify.response_cache.caches import ResponseCaches

if TYPE_CHECKING:
    from orchestify.core.providers import ProviderConfig
    from orchestify.testing.recordings import Recordings


@dataclass(frozen=True, slots=True)
class SharedParts:
    """The parts that outlive a registry, or that several share; None where it makes its own.

    `ledger` stands in place of the configured one. `make_limiter` is asked once a registry for
    each limit. `observers` are told of every attempt that has ended, on the loop or thread
    where it ended; they must be quick and raise nothing. `guarded` names the providers whose
    configuration strangers wrote: they reach what `addresses` allows (public addresses where it
    is None), and no credentials of this process. `tracer` follows every call. A registry that
    takes another's place goes on with its `events`, `health` and `forecast_alert`. Unless it
    `fetches`, no image is fetched by this process from the URL that a caller gives, as LiteLLM does
    for most backends. Unless it `takes_unbounded`, no call goes out whose answer nothing bounds:
    some of LiteLLM's backends are of that kind. `book` keeps the budgets in place of the ledger,
    and `caches` the answers that are kept. `recordings` answers in place of the lanes, or records
    what they answer.
    """

    ledger: Ledger | None = None
    make_limiter: MakeLimiter | None = None
    observers: tuple[Callable[[Record], None], ...] = ()
    addresses: AddressRule | None = None
    guarded: frozenset[str] = frozenset()
    tracer: Tracer | None = None
    events: Events | None = None
    health: Health | None = None
    fetches: bool = True
    takes_unbounded: bool = True
    book: BudgetBook | None = None
    recordings: Recordings | None = None
    forecast_alert: ForecastAlert | None = None
    caches: ResponseCaches | None = None

    def rule_for(self, provider_id: str) -> AddressRule | None:
        """Return the rule that a provider's connections obey, None where they are free."""
        return (self.addresses or AddressRule()) if provider_id in self.guarded else None

    def lane(self, provider_id: str, lane: Lane, config: ProviderConfig | None) -> Lane:
        """Return what sends in a lane's place: the lane, or a recording that stands before it."""
        if self.recordings is None:
            return lane
        # a part for tests
        from orchestify.testing.recordings.lane import RecordedLane  # noqa: PLC0415

        if config is not None:
            self.recordings.learn_secrets(config)
        return RecordedLane(self.recordings, provider_id, lane)

    @property
    def sends(self) -> bool:
        """Whether requests leave the process."""
        return self.recordings is None or not self.recordings.replays


NOTHING_SHARED = SharedParts()
