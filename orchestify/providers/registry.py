"""The registry: from a configuration to the provider of each agent, and the account of all."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from orchestify.calls.route import CLOSED
from orchestify.calls.runtime import INPUT_TOKENS, LimiterKey, Runtime
from orchestify.calls.tracing import Tracer
from orchestify.core.agents import AgentConfig, AgentsConfig
from orchestify.core.config import Config, load_config
from orchestify.core.policies import Settings
from orchestify.core.providers import ProvidersConfig
from orchestify.errors import (
    AgentNotFoundError,
    ConfigError,
    InvalidParameterError,
    ModelNotFoundError,
    OrchestifyError,
    ProviderNotFoundError,
)
from orchestify.events.events import ConfigRefused, ConfigReloaded
from orchestify.health.monitor import (
    CHECK_TIMEOUT_S,
    DEFAULT_INTERVAL_S,
    Check,
    CheckCall,
    Monitor,
    check_all,
)
from orchestify.health.report import HealthReport
from orchestify.ledger.base import UsageReport
from orchestify.ledger.record import SCOPE, Record
from orchestify.ledger.summary import summary_of, token_usage
from orchestify.policy.budget import BudgetState
from orchestify.policy.rate_limit import RateLimitState
from orchestify.providers import catalogue
from orchestify.providers.base import LLMProvider
from orchestify.providers.building import (
    change_alerts,
    configured_budgets,
    open_caches,
    runtime_of,
)
from orchestify.providers.catalogue import ModelInfo
from orchestify.providers.configured import ConfiguredProvider
from orchestify.providers.lookup import ProviderLookup
from orchestify.providers.model_names import ModelNames, names_of
from orchestify.providers.own_methods import check_own
from orchestify.providers.reloading import (
    WATCH_INTERVAL_S,
    check_interval,
    check_ledger,
    difference,
    watch_files,
)
from orchestify.providers.routed import RoutedProvider
from orchestify.providers.shared import NOTHING_SHARED, SharedParts
from orchestify.providers.targets import limiter_keys
from orchestify.values import CircuitState, Priority, TokenUsage

if TYPE_CHECKING:
    from orchestify.batches.provider_batches import ProviderBatches
    from orchestify.providers.explain import Explanation
    from orchestify.testing.recordings import Recordings

_Bound: TypeAlias = dict[tuple[str, Priority], tuple[AgentConfig, RoutedProvider]]

CLOSE_LOOK_S = 0.1  # between two looks at the calls under way at providers that are no more
CLOSE_WAIT_S = 10.0
"""How long a registry that closes waits for the calls under way."""


class ProviderRegistry:
    """Providers by name, an agent-bound provider for each agent, and one account of all calls.

    All calls made through a registry share its ledger, limits, breakers and budgets.
    """

    _config: Config
    _runtime: Runtime
    _lookup: ProviderLookup
    _agents: _Bound
    _earlier: _Bound  # before a reload; those that stay as they were are taken up again
    _over: list[ConfiguredProvider]  # that are no more, and not yet closed
    _tasks: set[asyncio.Task[None]]
    _closing: asyncio.Task[None] | None

    def __init__(self, settings: Settings | None = None) -> None:
        """Make an empty registry, for providers that are registered in code."""
        self._start(_whole(ProvidersConfig(settings=settings or Settings())))

    @classmethod
    def from_config(
        cls,
        providers_config: ProvidersConfig | Config | Mapping[str, Any],
        validate_connectivity: bool = False,
        *,
        recordings: str | Path | Recordings | None = None,
    ) -> Self:
        """Build the registry of a configuration: its providers, or the whole with its agents.

        A mapping is read as `load_config` reads it.

        With `recordings`, for tests, calls are answered from a file, or recorded into it: a file
        that ends in .yaml, a folder in which each test of pytest's has one, or `Recordings`.

        With `validate_connectivity` each provider is asked for its models, a free request, in
        a thread, so that this works under a running event loop; one that has no free request
        passes.

        Raises:
            ConfigError: a mapping is wrong, a provider cannot be built, or, all of them at once,
                did not answer.
            InvalidParameterError: it is no configuration, but a path, say; or `recordings` is a
                folder, and no test runs.
            RecordingError: the recording cannot be read, or is none.
        """
        registry = cls.__new__(cls)
        registry._start(_whole(providers_config), _recorded(recordings))
        if validate_connectivity:
            problems = _check_in_thread(registry._lookup.providers)
            if problems:
                raise ConfigError(problems)
        return registry

    @classmethod
    def assemble(cls, config: Config, shared: SharedParts) -> Self:
        """Build the registry of a configuration with parts that a host of many gives it.

        Raises:
            ConfigError: a provider cannot be built.
        """
        registry = cls.__new__(cls)
        registry._start(config, shared)
        return registry

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Build a registry with no file from the keys and addresses that the environment holds.

        Raises:
            ConfigError: one of them cannot be used.
        """
        from orchestify.providers.environment import config_from_env  # noqa: PLC0415 - for few

        given = os.environ if environ is None else environ
        return cls.from_config(config_from_env(given, date.today()))

    def register(self, provider_id: str, provider: LLMProvider) -> None:
        """Register a provider; its calls are booked here from now on. A name's last one counts.

        Raises:
            InvalidParameterError: it is no provider, or defines none of the methods it needs; or it
                is registered already: in another registry that is open, or, one of ours, here by
                another name.
            OrchestifyError: the registry is closed.
        """
        self._require_open()
        self._lookup.register(provider_id, provider)
        self._agents.clear()

    def register_tool(self, name: str, function: Callable[..., Any]) -> None:
        """Register a function that `run` calls by this name. A name's last one counts.

        Raises:
            InvalidParameterError: providers take no such name, or a parameter has no JSON Schema.
            OrchestifyError: the registry is closed.
        """
        from orchestify.tools.functions import FunctionTool  # noqa: PLC0415 - few hosts run

        self._require_open()
        self._lookup.functions[name] = FunctionTool(function, name)

    def get(self, provider_id: str) -> LLMProvider:
        """Return a provider by name.

        Raises:
            ProviderNotFoundError: there is none, or it is off; the message says why.
        """
        return self._lookup.provider(provider_id)

    def get_for_agent(
        self, agent_id: str, agents_config: AgentsConfig | None = None
    ) -> LLMProvider:
        """Return a provider bound to the agent's model, parameters and chain of fallbacks.

        Raises:
            AgentNotFoundError: no such agent is configured, or it is off.
            ProviderNotFoundError: its provider is not registered, or is off.
            OrchestifyError: the registry is closed.
        """
        return self._bound(agent_id, agents_config, "normal")

    def get_for_task(self, task: str, agents_config: AgentsConfig | None = None) -> LLMProvider:
        """Return what `get_for_agent` returns for the task's agent, with the task's priority.

        Raises:
            AgentNotFoundError: no such task or no such agent is configured, or the agent is off.
            ProviderNotFoundError: its provider is not registered, or is off.
        """
        found = self._config.tasks.get(task)
        if found is None:
            known = ", ".join(self._config.tasks) or "none"
            raise AgentNotFoundError(f"task {task!r} is not configured; there are: {known}")
        return self._bound(found.agent, agents_config, found.priority)

    def get_for_model(self, model: str) -> LLMProvider:
        """Return the provider that has a model, bound to it.

        The name is an alias (`models:` in the configuration), `provider/model`, a model that the
        configuration names, one that a provider listed when it was last asked (`list_models`, a
        health check), or one that LiteLLM's map has of the company that a provider leads to: the
        first of these that has it. The default provider goes before the others, in their order.

        Raises:
            ModelNotFoundError: no provider that is on has it; the message says what there is.
        """
        names = self.model_names()
        place = names.place_of(model)
        if place is None:
            raise ModelNotFoundError(names.unknown(model))
        return self._lookup.routed([self._lookup.target(*place)])

    def model_names(self) -> ModelNames:
        """Return what finds the provider of a model's name, as things stand."""
        return names_of(self._config, self._lookup)

    async def reload(self, config: ProvidersConfig | Config) -> ConfigReloaded:
        """Put another configuration in force, all of it or nothing; return what it changes.

        Agents and providers that it leaves as they are keep their objects and connections; of
        the others `get_for_agent` gives new ones, and older ones that callers hold go on as they
        were. Calls under way are not touched; the connections of providers that are no more
        close after them. Usage, the rest of circuits and limits, and what budgets of the same
        name have spent stay. What was registered in code stays.

        Raises:
            ConfigError: a provider cannot be built, or another ledger is named; nothing changed.
            OrchestifyError: the registry is closed.
        """
        whole = _whole(config)
        async with self._reloading:
            self._require_open()
            before = self._config
            try:
                check_ledger(before, whole)
                open_caches(whole, self._runtime.caches)
                made = await asyncio.to_thread(self._lookup.made, whole)
            except ConfigError as error:
                self._runtime.events.emit(ConfigRefused(error.problems))
                raise
            change, gone = await asyncio.to_thread(_compared, before, whole)
            self._config = whole
            self._put_in_force(made, gone)
            kept = whole.agents.agents.keys() - set(change.agents)
            bound = (self._earlier | self._agents).items()
            self._earlier = {at: each for at, each in bound if at[0] in kept}
            self._agents = {}
            if "alerts" in change.settings:
                runtime = self._runtime
                await change_alerts(whole.alerts, runtime.events, runtime.health, runtime.forecast)
        if change != ConfigReloaded():
            self._runtime.events.emit(change)
        return change

    def watch(
        self, path: str | Path, *, interval_s: float = WATCH_INTERVAL_S
    ) -> Callable[[], None]:
        """Reload the configuration at a path whenever it changes; return what ends that.

        The files, the environment and the vault's file are looked at every `interval_s` seconds,
        on the event loop that runs now, until the registry closes. What cannot be used changes
        nothing: the event `ConfigRefused` says why, at its lines.

        Raises:
            InvalidParameterError: the interval is no time, or no event loop is running.
            OrchestifyError: the registry is closed.
        """
        self._require_open()
        check_interval(interval_s)
        if not isinstance(path, str | Path):
            raise InvalidParameterError(f"watch: a path is expected, not a {type(path).__name__}")

        async def changed() -> None:
            try:
                config = await asyncio.to_thread(load_config, path)
            except ConfigError as error:
                self._runtime.events.emit(ConfigRefused(error.problems))
                return
            with contextlib.suppress(ConfigError):  # told as an event
                await self.reload(config)

        watching = watch_files(Path(path), changed, interval_s)
        try:
            task = asyncio.get_running_loop().create_task(watching, name="orchestify-watch")
        except RuntimeError:
            watching.close()
            raise InvalidParameterError("watch: no event loop is running") from None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

        def stop() -> None:
            task.cancel()

        return stop

    def list_providers(self) -> list[str]:
        """Return the names of the registered providers, in order of registration."""
        return list(self._lookup.providers)

    def list_tasks(self) -> list[str]:
        """Return the names of the configured tasks, in order."""
        return list(self._config.tasks)

    def list_agents(self) -> list[str]:
        """Return the names of the configured agents that are on, in order."""
        return [name for name, each in self._config.agents.agents.items() if each.enabled]

    def get_default(self, preferred: str | None = None) -> LLMProvider:
        """Return the default chain: `preferred`, then the configured default or the usual order.

        The usual order is Azure, OpenAI, Anthropic, DeepSeek, Ollama, those that are registered,
        and then all others.

        Raises:
            ProviderNotFoundError: `preferred` is not registered, or nothing is.
        """
        return self._lookup.default_provider(preferred)

    def get_best_provider(self, capability: str) -> LLMProvider:
        """Return the best provider for `tools`, `images`, `thinking`, `structured_output`...

        One that is known to be capable goes before one of which nobody knows; among equals the
        healthier one does.

        Raises:
            InvalidParameterError: no such capability is known here.
            ProviderNotFoundError: no registered provider has it.
        """
        ranked = [
            (catalogue.capable(capability, target, self._runtime), target)
            for target in map(self._lookup.target, self._lookup.providers)
        ]
        able = [(known, target) for known, target in ranked if known is not False]
        if not able:
            raise ProviderNotFoundError(f"no registered provider has {capability}")
        best = max(able, key=lambda each: (each[0] is True, self._lookup.score(each[1])))
        return self.get(best[1].provider_id)

    def list_models(self, provider_id: str) -> list[str]:
        """Return the models that are known for a provider, without a request."""
        return catalogue.models_of(self._lookup.target(provider_id), self._runtime)

    def named_models(self) -> set[tuple[str, str]]:
        """Return the providers and models of the configuration and of what was registered."""
        targets = map(self._lookup.target, self._lookup.providers)
        own = {(target.provider_id, target.model) for target in targets}
        return own.union(catalogue.written_models(self._config))

    def get_model_info(self, provider_id: str, model: str) -> ModelInfo:
        """Return a model's context window, price and capabilities, as far as is known."""
        return catalogue.model_info(self._lookup.target(provider_id, model), self._runtime)

    def calculate_cost(
        self, provider_id: str, model: str, input_tokens: int, output_tokens: int
    ) -> Decimal | None:
        """Return what so many tokens cost in USD; None where nobody knows the price."""
        target = self._lookup.target(provider_id, model)
        return catalogue.cost_of_tokens(target, self._runtime, input_tokens, output_tokens)

    def get_total_usage(self) -> dict[str, TokenUsage]:
        """Return the usage of each provider since the last reset."""
        totals = self._runtime.ledger.totals
        return {name: token_usage(totals.total(provider=name)) for name in self._lookup.providers}

    def get_usage_summary(self) -> dict[str, Any]:
        """Return usage as plain numbers: `total`, `by_provider`, `by_agent`, `by_model`."""
        return summary_of(self._runtime.ledger.totals, list(self._lookup.providers))

    def reset_all_usage(self) -> None:
        """Start a new period for all; calls under way are counted in it."""
        self._runtime.ledger.totals.reset()

    async def usage(
        self,
        by: str | Sequence[str] = "provider",
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        where: Mapping[str, str] | None = None,
    ) -> UsageReport:
        """Return the ledger's usage by one or more axes.

        They are listed in `orchestify.ledger.axes`. It is that of attempts that began in [since,
        until), each without a zone in UTC; `where` maps axes to one value each.

        Raises:
            InvalidParameterError: an axis that does not exist, or what is no time or no mapping.
            LedgerError: the database could not be read.
        """
        return await self._runtime.ledger.usage(by, since=since, until=until, where=where)

    @property
    def batches(self) -> ProviderBatches:
        """The batches that were left to providers, of all processes with this ledger.

        `agent.batch(requests)` submits one; here they are listed, followed, fetched and cancelled.
        """
        # the lanes' batch APIs bring aiohttp: 80 ms
        from orchestify.batches.provider_batches import ProviderBatches  # noqa: PLC0415

        return ProviderBatches(self._runtime, self._lookup.batch_target)

    async def clear_response_cache(self) -> int:
        """Drop the answers that are kept, also those that other processes share; return how many.

        In a ledger's database and in Redis they are those of all that share it there.

        Raises:
            OrchestifyError: the database or Redis is away.
        """
        open_caches(self._config, self._runtime.caches)
        return await self._runtime.caches.clear()

    def explain(
        self, agent_id: str, *, input_tokens: int = INPUT_TOKENS, max_tokens: int | None = None
    ) -> Explanation:
        """Explain what a call of the agent does, and may cost at most, as things stand here.

        Raises:
            AgentNotFoundError: no such agent is configured, or it is off.
        """
        from orchestify.providers.explain import explain  # noqa: PLC0415 - few hosts explain

        return explain(
            self._config,
            agent_id,
            input_tokens=input_tokens,
            max_tokens=max_tokens,
            lookup=self._lookup,
        )

    def on(self, handler: Callable[[Any], object], *kinds: type[Any]) -> Callable[[], None]:
        """Call `handler` for each event of these classes, or of all; return what ends that.

        A handler runs in a thread of its own, a coroutine function on the loop that runs now;
        one that fails or is slow harms nobody.

        Raises:
            InvalidParameterError: a coroutine function, and no event loop is running; or no
                function, or no class of events.
            OrchestifyError: the registry is closed.
        """
        self._require_open()
        return self._runtime.events.on(handler, *kinds)

    def observe(self, handler: Callable[[Record], None]) -> Callable[[], None]:
        """Call `handler` with the record of each attempt that ends; return what ends that.

        It is called where the attempt ended: on an event loop, in a thread, in a `__del__`. It
        must be quick, wait for nothing and raise nothing. Who is told already is not told twice.

        Raises:
            InvalidParameterError: it is no function.
            OrchestifyError: the registry is closed.
        """
        self._require_open()
        if not callable(handler):
            raise InvalidParameterError(f"a handler is a function, not a {type(handler).__name__}")
        runtime = self._runtime
        if handler not in runtime.observers:
            runtime.observers = (*runtime.observers, handler)

        def stop() -> None:
            runtime.observers = tuple(each for each in runtime.observers if each != handler)

        return stop

    def trace(self, tracer: Tracer | None) -> None:
        """Let a tracer follow each call that begins from now on; None ends that."""
        self._runtime.tracer = tracer

    def circuits(self) -> dict[tuple[str, str], CircuitState]:
        """Return the circuits' states by provider and model, of those that were called."""
        return {target: each.state for target, each in self._runtime.breakers().items()}

    def budgets(self) -> list[BudgetState]:
        """Return the budgets' states in the present period, in the order configured.

        Of a budget that is per label it is the one of the scope in force; without such a scope
        it is left out. The budgets of scopes come last. Those in a database are read here and
        now; on an event loop use `asyncio.to_thread`.

        Raises:
            LedgerError: the database could not be read.
        """
        labels, own = SCOPE.get()
        present = [each.in_scope(labels) for each in self._runtime.budgets]
        known = (*(each for each in present if each is not None), *own)
        return [self._runtime.book.state(budget) for budget in known]

    def rate_limits(
        self, of: Literal["provider", "agent"] = "provider"
    ) -> dict[str, RateLimitState]:
        """Return how far the rate limits of providers are used, or those of agents.

        By name, those that have one; an agent's is there once the agent was asked for. A pause
        after a 429 is the key's, and not in it.
        """
        for name in self._lookup.providers:
            self._lookup.target(name)  # makes its limiter
        return self._runtime.limiter_states(of)

    def get_health(self) -> HealthReport:
        """Return how each provider has been doing, from real calls and from checks.

        By name; `overall_status` sums them up.
        """
        stats = self._runtime.health.stats
        return HealthReport({name: stats(name) for name in self._lookup.providers})

    def export_health(self) -> str:
        """Return health as JSON: `overall_status`, `providers`, `rate_limits` and `history`.

        `history` is a day of each provider's past, at most one state for five minutes, and now.
        """
        limits = {name: each.as_dict() for name, each in self.rate_limits().items()}
        history = self._runtime.health.export()
        found = {**self.get_health().as_dict(), "rate_limits": limits, "history": history}
        return json.dumps(found, indent=2)

    async def health_history(
        self, provider_id: str | None = None, since: datetime | None = None
    ) -> list[Mapping[str, Any]]:
        """Return what the ledger's database keeps of providers' health; empty in memory.

        Raises:
            LedgerError: the database could not be read.
        """
        return await self._runtime.ledger.health_history(provider_id, since)

    async def check_health(self, timeout_s: float = CHECK_TIMEOUT_S) -> HealthReport:
        """Ask all providers at once, by free requests, each for at most `timeout_s` seconds."""
        return await self.monitor(timeout_s=timeout_s).check_now()

    def monitor(
        self,
        interval_s: float | None = None,
        timeout_s: float = CHECK_TIMEOUT_S,
        intervals_s: Mapping[str, float] | None = None,
    ) -> Monitor:
        """Return a background check: `async with registry.monitor(interval_s=30): ...`.

        `intervals_s` holds the seconds of single providers. What is not given is the
        configuration's `health_check_interval_s`, at the provider or the top, else 30.

        Raises:
            InvalidParameterError: an interval is no time, or of a provider that is not there.
            OrchestifyError: the registry is closed.
        """
        self._require_open()
        providers, given = self._lookup.providers, intervals_s or {}
        if not isinstance(given, Mapping):
            raise InvalidParameterError("monitor: intervals_s maps providers to seconds")
        for name in given.keys() - providers.keys():
            raise InvalidParameterError(f"monitor: no provider {name!r} is registered")
        configured = {
            name: each.health_check_interval_s
            for name, each in self._config.providers.providers.items()
            if name in providers and each.health_check_interval_s is not None
        }
        if interval_s is None:
            interval_s = self._config.health_check_interval_s or DEFAULT_INTERVAL_S
        return Monitor(
            _Checks(self._lookup),
            self._runtime.health,
            interval_s=interval_s,
            timeout_s=timeout_s,
            intervals_s={**configured, **given},
        )

    async def aclose(self, wait_s: float = CLOSE_WAIT_S) -> None:
        """Let no call begin any more, and close once those under way have ended.

        What has not ended within `wait_s` seconds is ended, and booked: a call that waits for its
        answer raises a `RequestTimeoutError`. The ledger writes what is pending.
        """
        for task in tuple(self._tasks):
            task.cancel()
        try:
            await self._runtime.drain(wait_s)
            await self._lookup.aclose()
            for provider in self._over:
                await provider.aclose()
        finally:
            if self._runtime.forecast is not None:
                await self._runtime.forecast.aclose()
            try:
                await self._runtime.caches.aclose()
            finally:
                await self._runtime.ledger.aclose()
                await asyncio.to_thread(self._runtime.events.close)

    async def __aenter__(self) -> Self:
        self._require_open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        is_cancelled = kind is not None and not issubclass(kind, Exception)
        await self.aclose(0.0 if is_cancelled else CLOSE_WAIT_S)

    def __len__(self) -> int:
        return len(self._lookup.providers)

    def __contains__(self, provider_id: object) -> bool:
        return provider_id in self._lookup.providers

    def __iter__(self) -> Iterator[str]:
        return iter(self._lookup.providers)

    def __repr__(self) -> str:
        return f"<ProviderRegistry: {', '.join(self._lookup.providers) or 'empty'}>"

    def _require_open(self) -> None:
        if self._runtime.is_closed:
            raise OrchestifyError(CLOSED)

    def _bound(
        self, agent_id: str, agents_config: AgentsConfig | None, priority: Priority
    ) -> LLMProvider:
        self._require_open()
        agents = self._config.agents if agents_config is None else agents_config
        if not isinstance(agents, AgentsConfig):
            kind = type(agents).__name__
            raise InvalidParameterError(f"the agents are a configuration's `agents`, not a {kind}")
        agent = agents.agents.get(agent_id)
        if agent is None or not agent.enabled:
            state = "is off" if agent else "is not configured"
            known = ", ".join(name for name, each in agents.agents.items() if each.enabled)
            raise AgentNotFoundError(f"agent {agent_id!r} {state}; there are: {known or 'none'}")
        bound = self._agents.get((agent_id, priority))
        if bound is None or bound[0] is not agent:
            made = self._lookup.agent_provider(agent_id, agent, priority)
            earlier = self._earlier.pop((agent_id, priority), None)
            if earlier is not None and earlier[0] == agent and earlier[1].is_same_as(made):
                made = earlier[1]
            bound = self._agents[agent_id, priority] = (agent, made)
        return bound[1]

    def _put_in_force(
        self, made: Mapping[str, ConfiguredProvider], gone: Collection[LimiterKey]
    ) -> None:
        changed, over = self._lookup.change(self._config, made)
        self._runtime.change(configured_budgets(self._config), changed, gone)
        self._import_litellm()
        self._over += over
        if over and (self._closing is None or self._closing.done()):
            self._closing = asyncio.create_task(self._close_over(), name="orchestify-reload")
            self._tasks.add(self._closing)
            self._closing.add_done_callback(self._tasks.discard)

    async def _close_over(self) -> None:
        """Close the providers that are no more, each once no call is under way there."""
        while self._over:
            in_use = self._runtime.lanes_in_use()
            for provider in [each for each in self._over if in_use.isdisjoint(each.lanes)]:
                await provider.aclose()
                self._over.remove(provider)
            await asyncio.sleep(CLOSE_LOOK_S)

    def _start(self, config: Config, shared: SharedParts = NOTHING_SHARED) -> None:
        self._config, providers = config, config.providers
        self._runtime = runtime_of(providers.enabled, providers.settings, shared)
        self._lookup = ProviderLookup(self._runtime, providers, shared, config.agents.agents)
        self._agents, self._earlier = {}, {}
        self._over, self._tasks, self._closing = [], set(), None
        self._reloading = asyncio.Lock()
        self._import_litellm()

    def _import_litellm(self) -> None:
        if not self._lookup.sends:
            return
        on = self._config.providers.enabled.values()
        if any(each.type == "litellm" or each.engine == "litellm" for each in on):
            from orchestify.lanes.litellm import begin_import  # noqa: PLC0415 - brings aiohttp: 80 ms

            begin_import()


@dataclass(frozen=True, slots=True)
class _Checks(Mapping[str, CheckCall]):
    """A check of each provider that is registered at the time."""

    lookup: ProviderLookup

    def __getitem__(self, name: str) -> CheckCall:
        return partial(check_own, self.lookup.providers[name])

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self.lookup.providers))

    def __len__(self) -> int:
        return len(self.lookup.providers)


def _recorded(recordings: str | Path | Recordings | None) -> SharedParts:
    """Return the parts of a registry that is recorded."""
    if recordings is None:
        return NOTHING_SHARED
    from orchestify.testing.recordings import opened  # noqa: PLC0415 - for tests

    return SharedParts(recordings=opened(recordings))


def _whole(config: ProvidersConfig | Config | Mapping[str, Any]) -> Config:
    """Return a whole configuration; that of providers alone has no agents."""
    if isinstance(config, Config):
        return config
    if isinstance(config, Mapping):
        return load_config(config)
    if not isinstance(config, ProvidersConfig):
        raise InvalidParameterError(
            f"a registry is made from a configuration, not from a {type(config).__name__}; "
            "load_config reads a folder, a file or a mapping into one"
        )
    settings = config.settings
    written = {name: getattr(settings, name) for name in settings.model_fields_set}
    return Config(**written, providers=config)


def _compared(before: Config, after: Config) -> tuple[ConfigReloaded, set[LimiterKey]]:
    """Return what another configuration changes, and the limiters that it has no more."""
    return difference(before, after), limiter_keys(before) - limiter_keys(after)


def _check_in_thread(providers: Mapping[str, LLMProvider]) -> list[str]:
    """Ask all providers at once, in a thread with a loop of its own; return what failed."""
    found: dict[str, Check] = {}

    async def ask() -> None:
        checks = {name: partial(check_own, provider) for name, provider in providers.items()}
        try:
            found.update(await check_all(checks, CHECK_TIMEOUT_S))
        finally:
            for provider in providers.values():
                await provider.aclose()

    thread = threading.Thread(target=lambda: asyncio.run(ask()), name="orchestify-check")
    thread.start()
    thread.join()
    return [f"providers.{name}: {each.message}" for name, each in found.items() if each.ok is False]
