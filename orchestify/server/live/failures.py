"""The last failures of each tenant, as this process has seen them."""

from __future__ import annotations

from collections import OrderedDict, deque
from functools import partial
from typing import NamedTuple

from orchestify.ledger.record import Record
from orchestify.providers.registry import ProviderRegistry

KEPT = 12
TENANTS_KEPT = 1_000


class Failure(NamedTuple):
    """An attempt that was not ok: when it began (ISO 8601), where, for whom, the error's class."""

    at: str
    provider: str
    model: str
    agent: str
    error: str


class RecentFailures:
    """The last failures of at most `TENANTS_KEPT` tenants, those kept whose were latest."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, deque[Failure]] = OrderedDict()

    def watch(self, registry: ProviderRegistry, tenant: str) -> None:
        """Take note of what fails in a registry from now on."""
        registry.observe(partial(self._note, tenant))

    def of(self, tenant: str) -> list[Failure]:
        """Return a tenant's, the latest first."""
        return list(reversed(self._of.get(tenant, ())))

    def _note(self, tenant: str, record: Record) -> None:
        if record.outcome in ("failed", "interrupted"):
            known = self._of.setdefault(tenant, deque(maxlen=KEPT))
            known.append(failure_of(record))
            self._of.move_to_end(tenant)
            if len(self._of) > TENANTS_KEPT:
                self._of.popitem(last=False)


def failure_of(record: Record) -> Failure:
    """Return what is shown of an attempt that was not ok."""
    at = record.started_at.isoformat(timespec="seconds")
    return Failure(at, record.provider, record.model, record.agent, record.error or record.outcome)
