"""From the configuration to targets: defaults and policies, the nearest wins."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from orchestify.calls.request import Defaults
from orchestify.calls.runtime import Runtime
from orchestify.calls.target import Target
from orchestify.core.agents import AgentConfig
from orchestify.core.policies import Policies
from orchestify.core.providers import ProviderConfig
from orchestify.models.price_book import prices_of
from orchestify.models.pricing import Price
from orchestify.policy.breaker import BreakerSettings
from orchestify.policy.retry import RetryPolicy
from orchestify.providers import MockProvider
from orchestify.providers.targets import target_of
from orchestify.values import ThinkingConfig


def built(runtime: Runtime | None = None, **given: Any) -> Target:
    """A target of a scripted provider; `provider`, `agent` and `top` are configurations."""
    return target_of(
        runtime or Runtime(),
        MockProvider("one").lane,
        "one",
        "mock",
        ProviderConfig(type="mock", **given.get("provider", {})),
        model=given.get("model"),
        weight=given.get("weight"),
        agent_id=given.get("agent_id", "planner"),
        agent=AgentConfig(**given.get("agent", {})),
        top=Policies(**given.get("top", {})),
    )


def test_unwritten_the_defaults_hold() -> None:
    target = built()
    assert target.retry == RetryPolicy(5, 1.0, 8.0)
    assert target.breaker == BreakerSettings(5, 60.0, 30.0, 300.0)
    assert target.limiters == ()
    assert target.weight == 1.0
    assert target.defaults == Defaults(timeout_s=600, connect_timeout_s=10, idle_timeout_s=300)


def test_the_model_is_the_one_asked_for_then_the_providers_then_its_type() -> None:
    provider = {"default_model": "own"}
    assert built(provider=provider, model="asked").model == "asked"
    assert built(provider=provider).model == "own"
    assert built().model == "mock"


def test_the_agents_parameters_are_the_defaults() -> None:
    agent = {
        "temperature": 0.0,
        "top_p": 0.5,
        "stop": ["END"],
        "max_tokens": 10,
        "thinking": "low",
        "cache": True,
        "timeout_s": 5,
    }
    defaults = built(agent=agent).defaults
    assert (defaults.temperature, defaults.top_p, defaults.stop) == (0.0, 0.5, ("END",))
    assert (defaults.max_tokens, defaults.cache, defaults.timeout_s) == (10, True, 5)
    assert defaults.thinking == ThinkingConfig("low")


def test_max_tokens_is_the_agents_then_the_providers() -> None:
    provider = {"max_tokens": 20}
    assert built(provider=provider, agent={"max_tokens": 10}).defaults.max_tokens == 10
    assert built(provider=provider).defaults.max_tokens == 20


def test_thinking_may_be_a_budget_or_off() -> None:
    budget = built(agent={"thinking": {"budget_tokens": 2048}}).defaults.thinking
    assert budget == ThinkingConfig(budget_tokens=2048)
    assert built(agent={"thinking": False}).defaults.thinking is None


def test_the_nearest_policy_wins_whole() -> None:
    top = {"retry": {"max_attempts": 2}, "timeout_s": 1}
    provider = {"retry": {"max_attempts": 3}}
    agent = {"retry": {"first_delay_s": 0.5}}
    assert built(top=top).retry == RetryPolicy(2, 1.0, 8.0)
    assert built(top=top, provider=provider).retry == RetryPolicy(3, 1.0, 8.0)
    assert built(top=top, provider=provider, agent=agent).retry == RetryPolicy(5, 0.5, 8.0)
    assert built(top=top, provider=provider, agent=agent).defaults.timeout_s == 1


def test_the_breakers_settings() -> None:
    breaker = {"failures": 2, "window_s": 10, "open_s": 3, "max_open_s": 9}
    assert built(top={"circuit_breaker": breaker}).breaker == BreakerSettings(2, 10, 3, 9)


def test_a_limit_at_the_agent_stands_beside_its_providers() -> None:
    provider, agent = {"rate_limit": {"burst": 2}}, {"rate_limit": {"concurrency": 3}}
    first, second = built(provider=provider, agent=agent).limiters
    assert (first.burst, second.concurrency) == (2, 3)


def test_a_limit_at_the_top_is_each_providers() -> None:
    (limiter,) = built(top={"rate_limit": {"requests_per_minute": 7}}).limiters
    assert limiter.requests_per_minute == 7


def test_every_key_of_a_limit_is_read() -> None:
    limit = {
        "requests_per_minute": 1,
        "requests_per_day": 2,
        "tokens_per_minute": 3,
        "tokens_per_day": 4,
        "burst": 5,
        "concurrency": 6,
        "algorithm": "fixed_window",
    }
    (limiter,) = built(provider={"rate_limit": limit}).limiters
    assert {name: getattr(limiter, name) for name in limit} == limit


def test_a_providers_limit_is_shared_and_an_agents_is_its_own() -> None:
    runtime = Runtime()
    given: Any = {"provider": {"rate_limit": {"burst": 2}}, "agent": {"rate_limit": {"burst": 1}}}
    planner = built(runtime, agent_id="planner", **given)
    coder = built(runtime, agent_id="coder", **given)
    again = built(runtime, agent_id="planner", model="other", **given)
    assert planner.limiters[0] is coder.limiters[0]
    assert planner.limiters[1] is not coder.limiters[1]
    assert planner.limiters[1] is again.limiters[1]


def test_another_limit_under_the_same_name_is_another_limiter() -> None:
    runtime = Runtime()
    before = built(runtime, provider={"rate_limit": {"burst": 2}})
    after = built(runtime, provider={"rate_limit": {"burst": 3}})
    assert (before.limiters[0].burst, after.limiters[0].burst) == (2, 3)


def test_tokens_are_estimated_where_any_limit_counts_them() -> None:
    by_agent, by_nobody = Runtime(), Runtime()
    built(by_agent, agent={"rate_limit": {"tokens_per_minute": 1000}})
    built(by_nobody, agent={"rate_limit": {"requests_per_minute": 1000}})
    assert by_agent.estimates is True
    assert by_nobody.estimates is False


def test_the_endpoint_is_the_company_at_the_address() -> None:
    deepseek = ProviderConfig(
        type="openai", default_model="deepseek-chat", base_url="https://api.deepseek.com/v1"
    )
    unknown = ProviderConfig(type="openai", default_model="m", base_url="http://10.0.0.1/v1")
    assert (
        target_of(Runtime(), MockProvider("one").lane, "one", "mock", deepseek).endpoint
        == "deepseek"
    )
    assert target_of(Runtime(), MockProvider("one").lane, "one", "mock", unknown).endpoint is None


def test_prices_are_one_for_all_models_or_by_model() -> None:
    rates = {"input_usd_per_mtok": 1, "output_usd_per_mtok": 2}
    prices = prices_of(
        {
            "one": ProviderConfig(type="external", price=rates),
            "by_model": ProviderConfig(type="external", price={"m": rates}),
            "silent": ProviderConfig(type="external"),
        }
    )
    assert set(prices) == {"one", "by_model"}
    assert isinstance(prices["one"], Price)
    assert prices["one"].rates.output == Decimal(2)
    assert not isinstance(prices["by_model"], Price)
    assert prices["by_model"]["m"].rates.input == Decimal(1)


def test_a_scripted_provider_is_free_unless_it_says_a_price() -> None:
    free = prices_of({"one": ProviderConfig(type="mock")})["one"]
    told = prices_of({"one": ProviderConfig(type="mock", price={"input_usd_per_mtok": 3})})["one"]
    assert isinstance(free, Price)
    assert isinstance(told, Price)
    assert (free.rates.input, told.rates.input) == (0, 3)
