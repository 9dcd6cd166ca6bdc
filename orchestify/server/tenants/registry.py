"""The tenants' registries: made from their rows, kept, renewed when a row changes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias, TypeVar, TypeVarTuple

from orchestify.calls.runtime import MakeLimiter
from orchestify.core.config import Config
from orchestify.errors import ConfigError, LedgerError, StoreError
from orchestify.ledger.sql.ledger import SqlLedger
from orchestify.providers.base import LLMProvider
from orchestify.providers.building import (
    change_alerts,
    events_of,
    forecast_alert_of,
    health_of,
)
from orchestify.providers.registry import ProviderRegistry
from orchestify.providers.shared import NOTHING_SHARED, SharedParts
from orchestify.resources.thread_pools import ThreadPools
from orchestify.response_cache.caches import ResponseCaches
from orchestify.server.rows.stored_rows import TenantRows
from orchestify.server.rows.tenant_config import config_of
from orchestify.server.storage.queries import check_tenant
from orchestify.server.storage.store import Store
from orchestify.server.tenants.change_notices import ChangeNotices, LocalNotices
from orchestify.server.tenants.tenant_providers import TenantProviders
from orchestify.server.tenants.tenant_state import Generation, Limits, TenantState

log = logging.getLogger("orchestify.tenants")

MakeLimits: TypeAlias = Callable[[str], MakeLimiter]
"""From a tenant to what makes its limiters."""

MakeCaches: TypeAlias = Callable[[SqlLedger], ResponseCaches]
"""From a tenant's ledger to what keeps its answers."""

Watch: TypeAlias = Callable[[ProviderRegistry, str], object]
"""Takes a registry and its tenant, and may look on; `Metrics.watch` is one."""

strangers_caches: MakeCaches = partial(ResponseCaches, for_strangers=True)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

CLOSED = "the tenants' registries are closed"
LIMITS_KEPT_S = 86_400.0  # the longest window of a limit: what is older is whole again


class TenantRegistry:
    """Each tenant's `ProviderRegistry`, over the operator's configuration; for one event loop.

    A tenant that changed, here or on another machine, is rebuilt at its next use: its rows'
    revision is asked for every `poll_s` seconds, one question for all, and notices come faster.
    Ledger, limits, events, health and the breakers of providers that stay as they were outlive a
    rebuild. Who is not used for `idle_s` is closed. `shared` is what all registries are given
    beside what is their own: observers, tracer. `make_limits` makes limits that several machines
    share, `make_caches` what keeps a tenant's answers. `watch` is told of each registry that is
    built, and whose it is. Unless it `allows_unbounded`, LiteLLM's backends whose answers nothing
    bounds are refused.
    """

    def __init__(
        self,
        store: Store,
        ledger: SqlLedger,
        *,
        shared: SharedParts = NOTHING_SHARED,
        make_limits: MakeLimits | None = None,
        make_caches: MakeCaches = strangers_caches,
        notices: ChangeNotices | None = None,
        watch: Watch | None = None,
        allows_unbounded: bool = False,
        idle_s: float = 600.0,
        poll_s: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._shared = replace(
            shared, addresses=store.rule, fetches=False, takes_unbounded=allows_unbounded
        )
        self._make_limits = make_limits
        self._make_caches = make_caches
        self._notices = notices or LocalNotices()
        self._on_built = watch
        self._idle_s = idle_s
        self._poll_s = poll_s
        self._clock = clock
        self._known: dict[str, TenantState] = {}
        self._limits: dict[str, Limits] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._jobs: set[asyncio.Task[Any]] = set()
        self._crew = ThreadPools(1, "tenants")
        self._is_away = False
        self._is_closed = False

    async def get(self, tenant_id: str) -> TenantProviders:
        """Return a tenant's registry as its rows are now.

        Ask again for each piece of work: what is held longer does not follow the rows, and its
        ledger is closed once the tenant was idle. Within a task, `use` is the better way.

        Raises:
            InvalidParameterError: no name of a tenant.
            ConfigError: the tenant's rows make no registry; all that is wrong with them.
            StoreError: the database is away, and the tenant is not in use here.
        """
        generation = await self._current(tenant_id)
        generation.is_handed_out = True
        return generation.registry

    @asynccontextmanager
    async def use(self, tenant_id: str) -> AsyncIterator[TenantProviders]:
        """Lease a tenant's registry: it stays open until the block ends, whatever changes.

        Raises what `get` does.
        """
        generation = await self._current(tenant_id)
        generation.leases += 1
        try:
            yield generation.registry
        finally:
            generation.leases -= 1
            state = self._known.get(tenant_id)
            if state is not None:
                state.used_at = self._clock()

    async def get_provider(self, tenant_id: str, model: str) -> LLMProvider:
        """Return what answers to a model's name for a tenant; see `TenantProviders.find`.

        Raises what `get` does, and:

        Raises:
            ModelNotFoundError: nothing of the tenant's answers to it.
        """
        return (await self.get(tenant_id)).find(model)

    def in_use(self) -> Mapping[str, TenantProviders]:
        """Return the registries that are open now, by tenant."""
        known = self._known.items()
        return {name: each.generation.registry for name, each in known if each.generation}

    async def changed(self, tenant_id: str) -> None:
        """Take note that a tenant's rows were changed here, and tell the other machines."""
        self._mark(tenant_id)
        await self._notices.publish(tenant_id)

    async def take(self, base: Config) -> None:
        """Go on over another configuration of the operator's, each tenant from its next use on.

        What outlives a change of rows outlives this.
        """
        before = self._store.base.alerts
        self._store.take(base)
        self._mark("*")
        if base.alerts != before:
            for state in list(self._known.values()):
                await change_alerts(
                    base.alerts, state.events, state.health, state.forecast, state.tenant_id
                )

    async def aclose(self) -> None:
        """Close every registry; the ledger and the store stay open."""
        self._is_closed = True
        building = [each.building for each in self._known.values() if each.building is not None]
        for task in (*self._tasks, *building):
            task.cancel()
        await asyncio.gather(*self._tasks, *building, return_exceptions=True)
        await asyncio.gather(*self._jobs, return_exceptions=True)
        known, self._known = list(self._known.values()), {}
        for state in known:
            await self._close(state, at_once=True)

    async def _current(self, tenant_id: str) -> Generation:
        state = self._known.get(tenant_id) or self._begin(tenant_id)
        state.waiting += 1
        try:
            wanted = state.told
            while state.built < wanted:
                if state.building is None:
                    state.building = asyncio.create_task(self._renew(state))
                    state.building.add_done_callback(_retrieve)
                await asyncio.shield(state.building)
        finally:
            state.waiting -= 1
            state.used_at = self._clock()
        if state.generation is not None:
            return state.generation
        raise ConfigError(state.problems) if state.problems else StoreError(CLOSED)

    def _begin(self, tenant_id: str) -> TenantState:
        """Start to bounded_setdefault a tenant, and to look after those that are kept."""
        check_tenant(tenant_id)
        if self._is_closed:
            raise StoreError(CLOSED)
        self._ensure_tasks()
        limits = self._limits.get(tenant_id)
        if limits is None:
            make = self._make_limits(tenant_id) if self._make_limits is not None else None
            limits = self._limits[tenant_id] = Limits(make)
        alerts = self._store.base.alerts
        events = events_of(alerts, tenant_id)
        health = health_of(alerts, events)
        ledger = self._ledger.for_tenant(tenant_id)
        forecast = forecast_alert_of(alerts, events, ledger)
        caches = self._make_caches(ledger)
        state = TenantState(
            tenant_id, ledger, limits, events, health, forecast, caches, self._clock()
        )
        self._known[tenant_id] = state
        return state

    async def _renew(self, state: TenantState) -> None:
        """Build a tenant's registry, unless its rows are as they were."""
        wanted, base = state.told, self._store.base
        try:
            rows = await self._in_thread(state.tenant_id, self._store.snapshot, state.tenant_id)
            if rows.revision != state.revision or base is not state.base:
                try:
                    made = await self._in_thread(
                        state.tenant_id, self._generation, state, rows, base
                    )
                    state.take(made, base)
                except ConfigError as error:
                    state.refuse(error.problems, rows.revision, base)
        except StoreError as error:
            if state.revision < 0:
                raise
            self._log_away(error)
        finally:
            state.building = None
        state.built = wanted

    def _generation(self, state: TenantState, rows: TenantRows, base: Config) -> Generation:
        made = config_of(base, rows, self._store.rule, self._store.open_key)
        shared = replace(
            self._shared,
            addresses=replace(self._store.rule, party=state.tenant_id),
            ledger=state.ledger,
            make_limiter=state.limits.of,
            events=state.events,
            health=state.health,
            forecast_alert=state.forecast,
            caches=state.caches,
        )
        older = state.generation.registry if state.generation is not None else None
        registry = TenantProviders.build(made, shared, older)
        if self._on_built is not None:
            self._on_built(registry, state.tenant_id)
        return Generation(registry, rows.revision)

    def _mark(self, tenant_id: str) -> None:
        for known_as, state in self._known.items():
            if tenant_id in {known_as, "*"}:
                state.told += 1

    def _ensure_tasks(self) -> None:
        if not self._tasks or any(each.done() for each in self._tasks):
            for task in self._tasks:
                task.cancel()
            self._tasks = [
                asyncio.create_task(self._watch()),
                asyncio.create_task(self._notices.listen(self._mark)),
            ]

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            if self._known:
                await self._look()
            await self._sweep()

    async def _look(self) -> None:
        """Ask which of the tenants in use have changed."""
        try:
            found = await self._in_thread("", self._store.revisions, list(self._known))
        except StoreError as error:
            self._log_away(error)
            return
        if self._is_away:
            self._is_away = False
            log.warning("the service's database is back; changed tenants are taken up again")
        for state in self._known.values():
            is_settled = state.building is None and state.built == state.told
            is_present = state.base is self._store.base
            if is_settled and (found.get(state.tenant_id, 0) != state.revision or not is_present):
                state.told += 1

    async def _sweep(self) -> None:
        """Close what nobody uses any more."""
        idle_since = self._clock() - self._idle_s
        for state in list(self._known.values()):
            await state.close_retired()
            if state.used_at < idle_since and not state.is_in_use:
                self._known.pop(state.tenant_id, None)
                state.limits.used_at = self._clock()
                await self._close(state)
        old = self._clock() - LIMITS_KEPT_S
        for tenant_id, limits in list(self._limits.items()):
            if tenant_id not in self._known and (not limits or limits.used_at < old):
                del self._limits[tenant_id]

    async def _close(self, state: TenantState, *, at_once: bool = False) -> None:
        try:
            await state.aclose(at_once=at_once)
        except LedgerError as error:  # its thread goes on trying
            log.warning("closing the tenant %s: %s", state.tenant_id, error)

    async def _in_thread(self, whose: str, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """Do `work` in a tenant's thread, which nobody can stop: `aclose` waits for its end."""
        job = asyncio.create_task(self._crew.run(whose, work, *arguments))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        job.add_done_callback(_retrieve)
        return await asyncio.shield(job)

    def _log_away(self, error: StoreError) -> None:
        if not self._is_away:
            self._is_away = True
            log.warning("%s; tenants in use go on as they were", error)


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Look at what a task raised: all who waited for it may be gone."""
    if not task.cancelled():
        task.exception()
