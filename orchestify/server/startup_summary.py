"""What `orchestify serve` prints at startup: databases, counts, access, warnings."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from sqlalchemy import func, select

from orchestify.providers.environment import missing_from_env, variables_taken
from orchestify.server.service import Service
from orchestify.server.settings import OPEN_TENANT, ServiceSettings, is_loopback
from orchestify.server.storage.opening import shown_url
from orchestify.server.storage.tables import llm_providers, tenants
from orchestify.vault.cipher import VARIABLES


@dataclass(frozen=True, slots=True)
class StartupSummary:
    """Where the service keeps what, how much there is, and who may come in; no password.

    `environment` says which variables stand in a configuration's place, None where one is given.
    """

    database: str
    redis: str
    tenants: int
    providers: int
    configured: int
    environment: str | None
    imported: str | None
    access: str
    telemetry: str | None
    notes: tuple[str, ...]


def startup_summary(service: Service, environ: Mapping[str, str] = os.environ) -> StartupSummary:
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
    return StartupSummary(
        database=shown_url(settings.database, settings.base_dir),
        redis=_REDIS[service.redis_state()],
        tenants=counts[0],
        providers=counts[1],
        configured=len(service.base.providers.providers),
        environment=_environment(settings, environ),
        imported=_imported(service),
        access="with a token" if is_closed else _OPEN,
        telemetry=_telemetry(settings, environ),
        notes=(*_notes(service), *_incomplete(settings, environ), *_mistyped(environ)),
    )


_REDIS = {
    "not used": "not used",
    "shared": "rate limits are shared",
    "local": "away: rate limits hold for each process at its share",
}
_OPEN = (
    f"open to everybody on this machine as tenant {OPEN_TENANT!r}, for there is no token; "
    "`orchestify tokens create --tenant NAME --scope admin` makes the first; only a token of "
    f"{OPEN_TENANT!r} then reaches what was set up without one"
)


def _environment(settings: ServiceSettings, environ: Mapping[str, str]) -> str | None:
    """Say what was taken from which variables; of their values nothing."""
    if settings.config_path is not None:
        return None
    taken = variables_taken(environ, date.today())
    taken |= {"encryption": [name for name in VARIABLES if environ.get(name, "").strip()]}
    parts = [f"{name} ({', '.join(variables)})" for name, variables in taken.items() if variables]
    return f"from the environment, for want of CONFIG: {', '.join(parts)}" if parts else None


def _imported(service: Service) -> str | None:
    path = service.settings.import_path
    if path is None:
        return None
    added = sum(each.result == "added" for each in service.imported)
    return f"{added:,} of {len(service.imported):,} records of {path}; the others were there before"


def _incomplete(settings: ServiceSettings, environ: Mapping[str, str]) -> Iterator[str]:
    if settings.config_path is None:
        for name, variables in missing_from_env(environ).items():
            yield f"{name} is not served, for want of {' and '.join(variables)}"


def _telemetry(settings: ServiceSettings, environ: Mapping[str, str]) -> str | None:
    if not settings.telemetry:
        return None
    from orchestify.telemetry.export import destination  # noqa: PLC0415 - an extra

    return destination(environ)


def _notes(service: Service) -> Iterator[str]:
    if service.keys.unreadable:
        yield f"{service.keys}; set the encryption key they are under too, in {VARIABLES[0]}"
    configured = service.base.ledger
    if configured is not None and configured.url is not None:
        yield "the configuration's ledger.url is not used: the ledger is in the service's database"
    settings = service.settings
    if settings.machines > 1 and settings.redis_url is None:
        yield f"--machines {settings.machines} does nothing without --redis: limits are not shared"
    if not is_loopback(settings.host) and not settings.proxies:
        yield (
            f"--host {settings.host}: tokens and prompts come in without TLS; "
            "put a reverse proxy with TLS before it, and name it with --proxy"
        )
    if not service.has_cipher:
        yield (
            "no encryption key is set, so no provider's key can be stored; "
            "`orchestify keys generate` makes one for ORCHESTIFY_ENCRYPTION_KEYS"
        )


def _mistyped(names: Iterable[str]) -> Iterator[str]:
    """Tell of variables that look like ours and are not; a configuration may use others."""
    known = [name.removeprefix(_PREFIX) for name in _VARIABLES]
    for name in sorted(names):
        rest = name.removeprefix(_PREFIX)
        if rest == name or rest in known:
            continue
        for meant in difflib.get_close_matches(rest, known, n=1, cutoff=_ALIKE):
            yield f"{name} is not known; did you mean {_PREFIX}{meant}?"


_PREFIX = "ORCHESTIFY_"
_VARIABLES = (VARIABLES[0], "ORCHESTIFY_VAULT", "ORCHESTIFY_DATABASE", "ORCHESTIFY_REDIS")
_ALIKE = 0.7  # of 1; REDIS_URL and DATABSE are, DB_PASSWORD is not
