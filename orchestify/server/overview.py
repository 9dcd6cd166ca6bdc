"""What whoever starts the service is told about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import func, select

from orchestify.server.service import Service
from orchestify.server.storage.opening import shown_url
from orchestify.server.storage.tables import llm_providers, tenants


@dataclass(frozen=True, slots=True)
class Overview:
    """Where the service keeps what, how much there is, and who may come in; no password."""

    database: str
    redis: str
    tenants: int
    providers: int
    configured: int
    access: str
    notes: tuple[str, ...]


def overview(service: Service) -> Overview:
    """Look at a service that was just opened.

    Raises:
        StoreError: the database could not be read.
    """
    active = select(func.count()).where(llm_providers.c.is_active)
    counts = service.database.run(
        lambda connection: [
            connection.scalar(query) or 0
            for query in (select(func.count()).select_from(tenants), active)
        ],
        read_only=True,
    )
    settings, is_closed = service.settings, service.tokens.exist()
    return Overview(
        database=shown_url(settings.database, settings.base_dir),
        redis=_REDIS[service.redis_state()],
        tenants=counts[0],
        providers=counts[1],
        configured=len(service.base.providers.providers),
        access="with a token" if is_closed else _OPEN,
        notes=tuple(_notes(service)),
    )


_REDIS = {
    "not used": "not used",
    "shared": "rate limits are shared",
    "local": "away: rate limits hold for each process at its share",
}
_OPEN = (
    "open to everybody on this machine, for there is no token; "
    "`orchestify tokens create --tenant NAME --scope admin` makes the first"
)


def _notes(service: Service) -> Iterator[str]:
    configured = service.base.ledger
    if configured is not None and configured.url is not None:
        yield "the configuration's ledger.url is not used: the ledger is in the service's database"
    if not service.has_cipher:
        yield (
            "no encryption key is set, so no provider's key can be stored; "
            "`orchestify keys generate` makes one for ORCHESTIFY_ENCRYPTION_KEYS"
        )
