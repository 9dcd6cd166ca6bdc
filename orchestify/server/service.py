"""The service as a whole: database, tenants, ledger, tokens, limits, metrics."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Self, TypeVar

from sqlalchemy import text

from orchestify.core.addresses import AddressRule
from orchestify.core.chains import configured_models
from orchestify.core.config import Config, load_config
from orchestify.database.sql import Database
from orchestify.errors import ConfigError, LedgerError, StoreError, VaultError
from orchestify.events.events import ConfigRefused, ConfigReloaded, Events
from orchestify.ledger.sql.ledger import SqlLedger
from orchestify.metrics import Metrics
from orchestify.providers.building import providers_of
from orchestify.providers.environment import config_from_env
from orchestify.providers.registry import ProviderRegistry
from orchestify.providers.reloading import check_ledger, difference
from orchestify.resources.thread_pools import ThreadPools
from orchestify.response_cache.caches import ResponseCaches
from orchestify.response_cache.memory_store import MemoryStore
from orchestify.server.access.authentication import OUTAGE_S, Authenticator
from orchestify.server.access.denied_requests import DeniedRequests
from orchestify.server.access.limits import CallSlots
from orchestify.server.access.tokens import Tokens
from orchestify.server.access.turns import Turns
from orchestify.server.conversations import RESPONSES, KeptConversations
from orchestify.server.live.failures import RecentFailures
from orchestify.server.rows.provider_records import read_records
from orchestify.server.settings import ServiceSettings
from orchestify.server.storage.audit import SYSTEM
from orchestify.server.storage.importing import ImportedProvider, import_providers
from orchestify.server.storage.opening import open_database, open_service_ledger
from orchestify.server.storage.row_keys import KeyCheck
from orchestify.server.storage.store import Store
from orchestify.server.tenants.change_notices import ChangeNotices, LocalNotices
from orchestify.server.tenants.registry import MakeCaches, TenantRegistry, Watch
from orchestify.server.tenants.tenant_providers import TenantProviders
from orchestify.vault.cipher import VARIABLES, Cipher

if TYPE_CHECKING:
    from orchestify.shared_limits import RedisLimits
    from orchestify.telemetry import Telemetry

P = ParamSpec("P")
T = TypeVar("T")

STREAM_S = 3_600.0
"""How long a stream may take where the operator's configuration says nothing."""

CACHED_TENANT_BYTES, CACHED_BYTES = 16 << 20, 256 << 20
"""How many characters of answers are kept in memory: of a tenant, and of all."""

_FRESH_S = 1.0
_ANSWER_S = 0.7  # so that /readyz answers within a second, Redis's state included
_KEYS_FRESH_S = 30.0
_DATABASE_AWAY = (
    "the database is away: calls of tenants in use go on, with tokens that were good "
    f"{OUTAGE_S / 60:.0f} minutes ago at most; nothing can be changed"
)


@dataclass(slots=True)
class Service:
    """What runs behind the REST endpoints and the gateway; made by `Service.open`.

    `base` is the operator's configuration, beneath the tenants' rows. All is kept in one
    `database`, the ledger too. `models_of` are the models that the operator's configuration names,
    by provider; `failures` are the tenants' last; `imported` is what was imported at the start;
    `events` are the operator's. Whoever opens a service closes it.
    What a tenant `reads` and `writes` there is done in threads of its own.
    """

    settings: ServiceSettings
    base: Config
    database: Database
    store: Store
    ledger: SqlLedger
    tenants: TenantRegistry
    metrics: Metrics
    tokens: Tokens
    denied_requests: DeniedRequests
    authenticator: Authenticator
    limits: RedisLimits | None
    conversations: KeptConversations
    responses: KeptConversations
    failures: RecentFailures
    has_cipher: bool
    keys: KeyCheck
    imported: tuple[ImportedProvider, ...]
    events: Events
    _environ: Mapping[str, str] = field(repr=False)
    _opened: AsyncExitStack = field(repr=False)
    reads: ThreadPools = field(
        default_factory=lambda: ThreadPools(2, "reads"), init=False, repr=False
    )
    call_slots: CallSlots = field(init=False, repr=False)
    turns: Turns = field(default_factory=Turns, init=False, repr=False)
    models_of: dict[str, list[str]] = field(init=False, repr=False)
    writes: ThreadPools = field(
        default_factory=lambda: ThreadPools(1, "writes"), init=False, repr=False
    )
    _reloading: asyncio.Lock = field(default_factory=asyncio.Lock, init=False, repr=False)
    _question: asyncio.Task[None] | None = field(default=None, init=False, repr=False)
    _answered_at: float = field(default=float("-inf"), init=False, repr=False)
    _keys_at: float = field(default_factory=time.monotonic, init=False, repr=False)

    def __post_init__(self) -> None:
        self.models_of = _models_of(self.base)
        self.call_slots = CallSlots(self.settings.calls_per_tenant)

    @classmethod
    async def open(cls, settings: ServiceSettings, environ: Mapping[str, str] = os.environ) -> Self:
        """Open all that the settings name; encryption keys come from `environ`.

        So do the operator's providers, where the settings name no configuration.

        Raises:
            ConfigError: the configuration or the file to import cannot be used; with all that is
                wrong with it.
            InvalidParameterError: the URL of Redis is none.
            StoreError: the database cannot be used.
            VaultError: an encryption key is set that is none, or none opens what is stored.
            MissingExtraError: PostgreSQL or Redis is named, and its driver is not installed.
        """
        base, cipher = await asyncio.to_thread(_config, settings, environ), Cipher.if_set(environ)
        async with AsyncExitStack() as opened:
            database = open_database(settings.database, settings.base_dir)
            opened.callback(database.dispose)
            ledger = open_service_ledger(settings.database, settings.base_dir, base.ledger)
            opened.push_async_callback(ledger.aclose)
            await asyncio.to_thread(database.run, lambda _: None)  # its tables are made now
            ledger.start()  # what dead processes left is closed without waiting for a call
            limits, notices = _shared(settings)
            opened.push_async_callback(notices.aclose)
            if limits is not None:
                opened.push_async_callback(limits.aclose)
                await limits.check()
                await limits.check()  # two failures say that it is away, from the start on
            rule = AddressRule(settings.allowed_endpoints, settings.is_loopback)
            store = Store(database, base, cipher, rule, are_lost=settings.are_keys_lost)
            keys = await asyncio.to_thread(_checked_keys, store, settings, cipher)
            metrics, failures = Metrics(), RecentFailures()
            tenants = TenantRegistry(
                store,
                ledger,
                make_limits=None if limits is None else limits.for_tenant,
                make_caches=_caches(limits, cipher),
                notices=notices,
                watch=_watch(metrics, failures, _telemetry(settings, environ, opened)),
                allows_unbounded=settings.allows_unbounded,
            )
            opened.push_async_callback(tenants.aclose)
            events = Events()
            opened.callback(events.close)
            imported = await _imported(settings, store, tenants)
            tokens, denied_requests = Tokens(database), DeniedRequests(database)
            opened.push_async_callback(denied_requests.aclose)
            authenticator = Authenticator(tokens, denied_requests, settings)
            opened.push_async_callback(authenticator.aclose)
            shared = None if limits is None else limits.connection
            return cls(
                settings,
                base,
                database,
                store,
                ledger,
                tenants,
                metrics,
                tokens,
                denied_requests,
                authenticator,
                limits,
                KeptConversations(cipher, shared),
                KeptConversations(cipher, shared, RESPONSES),
                failures,
                cipher is not None,
                keys,
                imported,
                events,
                environ,
                opened.pop_all(),
            )

    async def reload(self) -> ConfigReloaded | None:
        """Read the operator's configuration anew, and put it in force, all of it or nothing.

        Return what it changes, or None where it cannot be used: the event `ConfigRefused` says
        why. Tenants see it from their next call on; calls under way are not touched.
        """
        async with self._reloading:
            try:
                base = await asyncio.to_thread(_config, self.settings, self._environ)
                check_ledger(self.base, base)
                await asyncio.to_thread(providers_of, base)
            except ConfigError as error:
                self.events.emit(ConfigRefused(error.problems))
                return None
            change = difference(self.base, base)
            if change != ConfigReloaded():
                self.base, self.models_of = base, _models_of(base)
                await self.tenants.take(base)
                self.events.emit(change)
            return change

    async def readiness(self) -> list[str]:
        """Return what does not work as it should although requests are served.

        Raises:
            StoreError: the database does not answer, and no token is believed any more.
            LedgerError: nothing can be booked; a thread that has died is replaced.
        """
        if self.ledger.is_failing:
            problem = self.ledger.problem
            self.ledger.start()
            raise LedgerError(problem)
        reasons = []
        try:
            await self._ask_database()
        except StoreError:
            if not self.authenticator.trusts_known_tokens():
                raise
            reasons.append(_DATABASE_AWAY)
        if self.limits is not None and await self.limits.check() != "shared":
            reasons.append("redis is away: rate limits hold for each process at its share")
        if self.keys.unreadable:
            reasons.append(str(self.keys))
        if self.ledger.problem:
            reasons.append(self.ledger.problem)
        return reasons

    async def _ask_database(self) -> None:
        """Ask the database anything, unless it was asked within a second.

        Raises:
            StoreError: it did not answer, or not within 0.7 s; it is asked once at a time.
        """
        if time.monotonic() - self._answered_at < _FRESH_S:
            return
        if self._question is None or self._question.done():
            self._question = asyncio.create_task(self._read_database())
            self._question.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.wait({self._question}, timeout=_ANSWER_S)
        if not self._question.done():
            raise StoreError(f"the database did not answer within {_ANSWER_S:g} s")
        self._question.result()

    async def _read_database(self) -> None:
        now = time.monotonic()
        await asyncio.to_thread(
            self.database.run, lambda each: each.execute(text("SELECT 1")), read_only=True
        )
        self._answered_at = now
        if now - self._keys_at >= _KEYS_FRESH_S:
            self.keys = await asyncio.to_thread(self.store.check_keys)
            self._keys_at = now

    async def look_up(
        self,
        tenant: str,
        work: Callable[Concatenate[str, P], T],
        /,
        *arguments: P.args,
        **named: P.kwargs,
    ) -> T:
        """Read a tenant's rows by a method of the store, in a thread of the tenant's reads."""
        return await self.reads.run(tenant, work, tenant, *arguments, **named)

    async def change(
        self,
        tenant: str,
        work: Callable[Concatenate[str, P], T],
        /,
        *arguments: P.args,
        **named: P.kwargs,
    ) -> T:
        """Change a tenant's rows by a method of the store, and put the change in force."""
        result = await self.writes.run(tenant, work, tenant, *arguments, **named)
        await self.tenants.changed(tenant)
        return result

    @asynccontextmanager
    async def calling(self, tenant: str) -> AsyncIterator[TenantProviders]:
        """Lease a tenant's registry for one of the calls that it may have under way, in its turn.

        Raises:
            AccessError: 429, as many are. And what `TenantRegistry.use` raises.
        """
        with self.call_slots.slot_of(tenant):
            await self.turns.take(tenant)
            async with self.tenants.use(tenant) as registry:
                yield registry

    async def exposition(self, tenant: str, accept: str) -> tuple[bytes, str]:
        """Return a tenant's metrics as Prometheus reads them, and their media type."""
        return await self.reads.run(tenant, self.metrics.exposition, tenant, accept)

    def redis_state(self) -> str:
        """Return whether rate limits are shared over Redis: `not used`, `shared`, `local`."""
        return "not used" if self.limits is None else self.limits.state

    async def aclose(self) -> None:
        """Close it all, the latest first: registries, ledger, Redis, database.

        Raises:
            LedgerError: completed records could not be written; the database has them as open.
        """
        if self._question is not None:
            self._question.cancel()
        await self._opened.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


def _config(settings: ServiceSettings, environ: Mapping[str, str]) -> Config:
    path = settings.config_path
    if path is None:
        config = config_from_env(environ, date.today())
    else:
        config = load_config(settings.base_dir / path)
    if config.stream_timeout_s is not None:
        return config
    return config.model_copy(update={"stream_timeout_s": STREAM_S})


def _models_of(base: Config) -> dict[str, list[str]]:
    models: dict[str, list[str]] = {name: [] for name in base.providers.providers}
    for name, model in sorted(set(configured_models(base))):
        models.setdefault(name, []).append(model)
    return models


async def _imported(
    settings: ServiceSettings, store: Store, tenants: TenantRegistry
) -> tuple[ImportedProvider, ...]:
    """Import the file that the settings name, and tell other machines of whose rows changed."""
    if settings.import_path is None:
        return ()
    records = await asyncio.to_thread(read_records, settings.base_dir / settings.import_path)
    imported = await asyncio.to_thread(import_providers, store, records, SYSTEM)
    for tenant in sorted({each.tenant for each in imported if each.result == "added"}):
        await tenants.changed(tenant)
    return tuple(imported)


def _checked_keys(store: Store, settings: ServiceSettings, cipher: Cipher | None) -> KeyCheck:
    keys = store.check_keys()
    if keys.none_readable and not settings.are_keys_lost:
        marks = ", ".join(cipher.fingerprints()) if cipher is not None else "none"
        raise VaultError(
            f"the encryption keys that are set ({marks}) open none of the providers' keys in the "
            f"database ({keys.checked:,} were tried); set the one that they are under in "
            f"{VARIABLES[0]}; if it is lost, --keys-lost starts without them"
        )
    return keys


def _shared(settings: ServiceSettings) -> tuple[RedisLimits | None, ChangeNotices]:
    """Return what machines share over Redis; without it, limits of one's own and local notices."""
    if settings.redis_url is None:
        return None, LocalNotices()
    from orchestify.server.tenants.change_notices import RedisNotices  # noqa: PLC0415 - an extra
    from orchestify.shared_limits import RedisLimits  # noqa: PLC0415 - as above

    url, machines = settings.redis_url, settings.machines
    return RedisLimits(url, machines=machines), RedisNotices(url)


def _caches(limits: RedisLimits | None, cipher: Cipher | None) -> MakeCaches:
    """Return what makes the response caches of tenants, who share this process's memory."""
    return partial(
        ResponseCaches,
        redis=None if limits is None else limits.connection,
        cipher=lambda: cipher,
        memory=MemoryStore(CACHED_TENANT_BYTES, CACHED_BYTES),
        for_strangers=True,
    )


def _telemetry(
    settings: ServiceSettings, environ: Mapping[str, str], opened: AsyncExitStack
) -> Telemetry | None:
    """Return what tells of calls over OpenTelemetry; what is left is sent when `opened` closes."""
    if not settings.telemetry:
        return None
    from orchestify.telemetry import exporting  # noqa: PLC0415 - an extra

    telemetry, close = exporting(environ)
    opened.push_async_callback(asyncio.to_thread, close)
    return telemetry


def _watch(metrics: Metrics, failures: RecentFailures, telemetry: Telemetry | None) -> Watch:
    def watch(registry: ProviderRegistry, tenant: str) -> None:
        metrics.watch(registry, tenant)
        failures.watch(registry, tenant)
        if telemetry is not None:
            telemetry.watch(registry, tenant)

    return watch
