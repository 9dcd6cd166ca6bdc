"""What a call of an agent would do, and where each of its settings was written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel

from orchestify.calls.request import Call, lacking
from orchestify.calls.runtime import INPUT_TOKENS, most_tokens
from orchestify.calls.target import Target
from orchestify.core.agents import AgentConfig
from orchestify.core.aliases import exact_alias, open_alias
from orchestify.core.chains import ChainEntry, chain_of
from orchestify.core.config import Config, Origin
from orchestify.core.policies import (
    DEFAULT_TIMEOUT_S,
    FAIR_AT_LEAST_S,
    EffectivePolicies,
    ResponseCacheConfig,
    policies_for,
)
from orchestify.core.problems import KeyPath, did_you_mean
from orchestify.errors import AgentNotFoundError, ProviderNotFoundError
from orchestify.ledger.budgets.reservation import refusal
from orchestify.ledger.record import current_labels
from orchestify.models.sampling import changed, left_out
from orchestify.policy.budget import ZERO, Amount, Budget
from orchestify.providers.building import runtime_of
from orchestify.providers.lookup import ProviderLookup
from orchestify.providers.model_names import names_of
from orchestify.providers.shared import SharedParts
from orchestify.providers.targets import NO_AGENT
from orchestify.response_cache.caches import ResponseCaches
from orchestify.values import NOTHING

_OF_AGENT = (
    *("temperature", "top_p", "stop", "thinking", "cache", "tools", "strategy"),
    "fallback_on",
)
_OF_TARGET = (
    *("retry", "circuit_breaker", "first_output_timeout_s", "attempt_timeout_s"),
    *("connect_timeout_s", "idle_timeout_s", "stream_timeout_s", "response_cache"),
)


@dataclass(frozen=True, slots=True)
class Setting:
    """A value in force; `origin` is where it was written, None where a default holds.

    `this call` stands for a value that was given to the call itself.
    """

    name: str
    value: Any
    origin: Origin | Literal["this call"] | None = None


@dataclass(frozen=True, slots=True)
class TargetPlan:
    """One target of the chain.

    `left_out` names sampling parameters that its model refuses, `changed` what is sent otherwise
    than it is configured: by key, what is done. `skipped` says why nothing
    would be sent there now, None where something would. `attempt_usd` is what one attempt may
    cost, None where nobody knows the price; `price_source` says who does. `stays_s` is how long a
    call may stay there, retries included, where all before it failed at once; `attempt_s` and
    `first_output_s` are how long one attempt has for a whole answer, and for a stream's first
    output.
    """

    provider: str
    model: str
    settings: tuple[Setting, ...]
    left_out: tuple[str, ...] = ()
    changed: Mapping[str, str] = NOTHING
    skipped: str | None = None
    attempts_at_most: int = 0
    attempt_usd: Decimal | None = None
    price_source: str = "none"
    stays_s: float = 0.0
    attempt_s: float = 0.0
    first_output_s: float = 0.0

    @property
    def cost_at_most_usd(self) -> Decimal | None:
        """What all attempts at this target may cost together, None where nobody knows."""
        if not self.attempts_at_most:
            return Decimal(0)
        return None if self.attempt_usd is None else self.attempt_usd * self.attempts_at_most


@dataclass(frozen=True, slots=True)
class BudgetPlan:
    """A budget that a call counts against, as it stands in this process.

    `possible_usd` is what calls of unknown cost may have cost at most; `remaining_usd` is without.
    Limits that are None do not hold, and nothing remains of them. `per` is the key of the label
    whose every value has such a budget; what remains is then the present scope's, or all.
    """

    name: str
    limit_usd: Decimal | None
    period: str
    mode: str
    remaining_usd: Decimal | None
    possible_usd: Decimal
    origin: Origin | None
    per: str = ""
    limit_tokens: int | None = None
    limit_calls: int | None = None
    remaining_tokens: int | None = None
    remaining_calls: int | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one call of an agent, or where that is "", of the `model` asked for, may do at most.

    The call that is costed has `input_tokens`; `targets` are in the chain's order.
    """

    agent: str
    input_tokens: int
    settings: tuple[Setting, ...]
    budgets: tuple[BudgetPlan, ...]
    targets: tuple[TargetPlan, ...]
    model: str = ""

    @property
    def attempts_at_most(self) -> int:
        """How many requests one call can send, retries and fallbacks included."""
        return sum(target.attempts_at_most for target in self.targets)

    @property
    def cost_at_most_usd(self) -> Decimal | None:
        """What one call can cost, every attempt billed in full; None where a price is unknown."""
        costs = [target.cost_at_most_usd for target in self.targets]
        return sum((cost for cost in costs if cost), Decimal(0)) if None not in costs else None


def lookup_of(config: Config) -> ProviderLookup:
    """Return the targets of a configuration for reading: nothing is sent, litellm not imported."""
    providers = config.providers
    on = {name: each for name, each in providers.providers.items() if each.is_enabled}
    runtime = runtime_of(on, providers.settings, SharedParts(caches=ResponseCaches(is_shown=True)))
    return ProviderLookup(runtime, providers)


def explain(
    config: Config,
    agent_id: str,
    *,
    input_tokens: int = INPUT_TOKENS,
    max_tokens: int | None = None,
    lookup: ProviderLookup | None = None,
) -> Explanation:
    """Explain a call of `input_tokens` whose answer has at most `max_tokens`.

    `agent_id` is an agent, a task, whose agent is meant then, or the name of a model as
    `ProviderRegistry.get_for_model` takes it.

    `lookup` is a running registry's, whose circuits, limits and budgets then count; without
    it they are those of a new process. A circuit that is open now does not lower what a call
    may take at most, as it may close before.

    Raises:
        AgentNotFoundError: no such agent or model is configured, or the agent is off.
    """
    lookup = lookup or lookup_of(config)
    task = None if agent_id in config.agents.agents else config.tasks.get(agent_id)
    of_task = []
    if task is not None:
        at = config.origin(("tasks", agent_id))
        priority_at = config.origin(("tasks", agent_id, "priority"))
        of_task = [Setting("task", agent_id, at), Setting("priority", task.priority, priority_at)]
        agent_id = task.agent
    agent = config.agents.agents.get(agent_id)
    if agent is not None and not agent.enabled:
        raise AgentNotFoundError(f"agent {agent_id!r} is off")
    links = [_model_link(config, lookup, agent_id)] if agent is None else []
    planner = _Planner(
        config,
        "" if agent is None else agent_id,
        agent or NO_AGENT,
        lookup,
        input_tokens,
        max_tokens,
    )
    links = links or chain_of(config, agent_id, planner.agent)
    return Explanation(
        agent=planner.agent_id,
        model="" if planner.agent_id else agent_id,
        input_tokens=input_tokens,
        settings=(*of_task, *planner.agent_settings(links[0])),
        budgets=tuple(planner.budgets(links)),
        targets=tuple(
            planner.target(link, len(links) - number) for number, link in enumerate(links, 1)
        ),
    )


def _model_link(config: Config, lookup: ProviderLookup, name: str) -> ChainEntry:
    """Return the one target that a model's name leads to.

    Raises:
        AgentNotFoundError: it leads nowhere, and no agent has it.
    """
    place = names_of(config, lookup).place_of(name)
    if place is None:
        known = [*config.agents.agents, *config.tasks, *config.models]
        meant = did_you_mean(name, known)
        raise AgentNotFoundError(f"agent {name!r} is not configured, nor is it a model{meant}")
    aliased = exact_alias(config.models, name) or open_alias(config.models, name)
    if aliased is None or place != (
        aliased.provider,
        lookup.full_model(aliased.provider, aliased.model),
    ):
        return ChainEntry(*place, None, None)
    at = ("models", aliased.alias)
    return ChainEntry(*place, (*at, "provider"), (*at, "model"))


@dataclass(frozen=True, slots=True)
class _Planner:
    """Plans the targets of one agent."""

    config: Config
    agent_id: str
    agent: AgentConfig
    lookup: ProviderLookup
    input_tokens: int
    max_tokens: int | None

    def agent_settings(self, own: ChainEntry) -> Iterable[Setting]:
        """What holds for the whole call."""
        here: KeyPath = ("agents", self.agent_id)
        for name in _OF_AGENT:
            yield self._setting(name, getattr(self.agent, name), (*here, name))
        yield self._policy("timeout_s", self._policies(own.provider), own.provider)

    def target(self, link: ChainEntry, following: int) -> TargetPlan:
        """Plan one target; what is off, or the host has yet to register, is skipped for good."""
        settings = tuple(self._target_settings(link))
        try:
            target = self.lookup.target(
                link.provider, link.model, agent_id=self.agent_id, agent=self.agent
            )
        except ProviderNotFoundError:
            return TargetPlan(link.provider, link.model, settings, skipped=self._absence(link))
        call = Call(messages=(), max_tokens=self.max_tokens)
        request = call.request(target.defaults, model=target.model)
        runtime = self.lookup.runtime
        tokens = (self.input_tokens, runtime.tokens(target, request)[1])
        attempt_usd, price = runtime.worst_case_usd(target, tokens), runtime.price(target)
        own, call_s = target.defaults, target.defaults.timeout_s or DEFAULT_TIMEOUT_S
        stays_s = min(call_s, own.provider_timeout_s or call_s)
        attempt_s = min(stays_s, own.attempt_timeout_s or stays_s)
        fair_s = max(FAIR_AT_LEAST_S, call_s / (following + 1))
        first_output_s = min(attempt_s, own.first_output_timeout_s or fair_s)
        lack = lacking(request, runtime.entry(target))
        provider = self.config.providers.providers[link.provider]
        return TargetPlan(
            provider=link.provider,
            model=target.model,
            settings=settings,
            left_out=left_out(provider, link.model, self.agent),
            changed=changed(provider, link.model, self.agent),
            skipped=f"the model {lack}" if lack else self._blocked(target, attempt_usd, tokens),
            attempts_at_most=0 if lack else target.retry.max_attempts,
            attempt_usd=attempt_usd,
            price_source=price.source if price else "none",
            stays_s=stays_s,
            attempt_s=attempt_s,
            first_output_s=first_output_s,
        )

    def budgets(self, links: Sequence[ChainEntry]) -> Iterable[BudgetPlan]:
        """The budgets that a call at any of the targets counts against."""
        labels, runtime = current_labels(), self.lookup.runtime
        written: dict[str, KeyPath] = {
            each.name: ("budgets", index) for index, each in enumerate(self.config.budgets)
        }
        for each in runtime.budgets:
            if any(each.matches(at.provider, self.agent_id, at.model, labels) for at in links):
                path = written.get(each.name, tuple(each.name.split(".")))
                state = runtime.book.state(each.in_scope(labels) or each)
                yield BudgetPlan(
                    name=each.name,
                    limit_usd=each.limit_usd,
                    period=each.period,
                    mode=each.mode,
                    remaining_usd=state.remaining_usd,
                    possible_usd=state.possible_usd,
                    origin=self.config.origin(path),
                    per=each.per,
                    limit_tokens=each.limit_tokens,
                    limit_calls=each.limit_calls,
                    remaining_tokens=state.remaining_tokens,
                    remaining_calls=state.remaining_calls,
                )

    def _absence(self, link: ChainEntry) -> str:
        why = self.lookup.off.get(link.provider)
        return f"the provider is off: {why}" if why else "the host has not registered the provider"

    def _target_settings(self, link: ChainEntry) -> Iterable[Setting]:
        provider = self.config.providers.providers.get(link.provider)
        at: KeyPath = ("providers", link.provider)
        yield self._setting("provider", link.provider, link.provider_at)
        yield self._setting("model", link.model, link.model_at)
        if provider is None:
            return
        for name in ("type", "engine", "base_url"):
            yield self._setting(name, getattr(provider, name), (*at, name))
        own_key = self.agent.api_key is not None and self.agent.provider in {None, link.provider}
        key = self.agent.api_key if own_key else provider.api_key
        keys_at = ("agents", self.agent_id) if own_key else at
        yield self._setting("api_key", "set" if key else None, (*keys_at, "api_key"))
        if self.max_tokens is not None:
            yield Setting("max_tokens", self.max_tokens, "this call")
        elif self.agent.max_tokens is not None:
            tokens_at = ("agents", self.agent_id, "max_tokens")
            yield self._setting("max_tokens", self.agent.max_tokens, tokens_at)
        else:
            yield self._setting("max_tokens", provider.max_tokens, (*at, "max_tokens"))
        policies = self._policies(link.provider)
        for name in _OF_TARGET:
            yield self._policy(name, policies, link.provider)
        shared = policies_for(self.config, provider)
        yield self._policy("rate_limit", shared, link.provider)
        if provider.timeout_s is not None:
            yield self._setting("timeout_s", provider.timeout_s, (*at, "timeout_s"))
        if self.agent.rate_limit is not None:
            limit_at = ("agents", self.agent_id, "rate_limit")
            yield self._setting("agent's rate_limit", self.agent.rate_limit, limit_at)

    def _policies(self, provider_id: str) -> EffectivePolicies:
        provider = self.config.providers.providers.get(provider_id)
        return policies_for(self.config, provider, self.agent)

    def _policy(self, name: str, policies: EffectivePolicies, provider_id: str) -> Setting:
        paths: dict[str, KeyPath | None] = {
            "agent": ("agents", self.agent_id, name),
            "provider": ("providers", provider_id, name),
            "top": (name,),
            "default": None,
        }
        return self._setting(name, getattr(policies, name), paths[policies.levels[name]])

    def _setting(self, name: str, value: Any, path: KeyPath | None) -> Setting:
        return Setting(name, _plain(value), self.config.origin(path) if path else None)

    def _blocked(
        self, target: Target, attempt_usd: Decimal | None, tokens: tuple[int, int]
    ) -> str | None:
        """Why the target's policies would send nothing now."""
        runtime = self.lookup.runtime
        for_s = runtime.breaker(target).open_for_s
        if for_s > 0:
            return f"its circuit is open for {for_s:.0f} s more"
        limiters = runtime.limiters_of(target)
        wait_s = max((each.wait_s(sum(tokens)) for each in limiters), default=0.0)
        if target.defaults.timeout_s is not None and wait_s > target.defaults.timeout_s:
            return f"its rate limit has no turn for {wait_s:.0f} s"
        matching = runtime.budgets_of(target, self.agent_id, current_labels())
        amount = Amount(attempt_usd or ZERO, most_tokens(tokens), 1)
        for each in matching:
            if attempt_usd is None and _blocks_unpriced(each):
                return f"budget {each.name} refuses calls without a known price"
            state = runtime.book.state(each)
            if state.decide(amount) == "refuse" and not each.fit_output:
                return str(refusal(state, amount))
        return None


def _plain(value: Any) -> Any:
    """Return a policy as plain values; False for one that is off, no secret."""
    if isinstance(value, ResponseCacheConfig):
        url = {"url": "set"} if value.url is not None else {}
        return value.enabled and value.model_dump(exclude={"enabled", "url"}) | url
    return value.model_dump(exclude_none=True) if isinstance(value, BaseModel) else value


def _blocks_unpriced(budget: Budget) -> bool:
    is_of_money = budget.limit_usd is not None
    return is_of_money and budget.mode == "hard" and budget.on_unpriced == "block"
