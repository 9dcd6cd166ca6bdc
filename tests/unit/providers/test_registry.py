"""The registry: its methods and what stands beside them."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from orchestify.core.agents import AgentConfig, AgentsConfig
from orchestify.core.config import Config, parse_config
from orchestify.errors import (
    AgentNotFoundError,
    APIConnectionError,
    BudgetExceededError,
    ConfigError,
    InvalidParameterError,
    ProviderNotFoundError,
    ServerError,
)
from orchestify.events.events import FallbackTaken
from orchestify.ledger.record import scope
from orchestify.providers import MockAnswer, MockProvider, ProviderRegistry
from orchestify.providers.base import LLMProvider
from orchestify.values import CompletionRequest, LLMResponse, TokenUsage
from tests.calls import HANG, Scripted, answer

HOST = """
providers:
  one: {type: mock, default_model: m1, options: {answer: from one}}
  two: {type: mock, default_model: m2, options: {answer: from two}, max_tokens: 50}
  mine: {type: external, retry: {first_delay_s: 0}}
  idle: {type: mock, enabled: false}
agents:
  planner: {provider: one, temperature: 0.5, fallback: [two, idle]}
  coder: {provider: two, model: special, max_tokens: 7}
  own: {provider: mine}
  lost: {provider: one, enabled: false}
"""


def host(text: str = HOST) -> Config:
    return parse_config(text, name="host.yaml", environ={})


def registry_of(text: str = HOST) -> ProviderRegistry:
    return ProviderRegistry.from_config(host(text))


class TestSeed:
    def test_register_get_and_list(self) -> None:
        registry, mock = ProviderRegistry(), MockProvider("m")
        registry.register("m", mock)
        assert registry.get("m") is mock
        assert registry.list_providers() == ["m"]

    def test_from_config_takes_the_providers_or_the_whole(self) -> None:
        config = host()
        assert ProviderRegistry.from_config(config.providers).list_providers() == ["one", "two"]
        assert ProviderRegistry.from_config(config).list_providers() == ["one", "two"]

    def test_list_agents_leaves_out_those_that_are_off(self) -> None:
        assert registry_of().list_agents() == ["planner", "coder", "own"]

    def test_get_for_agent_with_the_agents_or_without(self) -> None:
        config = host()
        by_providers = ProviderRegistry.from_config(config.providers)
        assert repr(by_providers.get_for_agent("coder", config.agents)) == (
            "<Route coder: two/special>"
        )
        assert repr(registry_of().get_for_agent("coder")) == "<Route coder: two/special>"

    def test_the_agents_provider_is_a_provider(self) -> None:
        agent = registry_of().get_for_agent("planner")
        assert isinstance(agent, LLMProvider)
        assert agent.provider_type == "mock"
        assert agent.provider_id == "one"

    async def test_usage_of_each_and_of_all(self) -> None:
        registry = registry_of()
        await registry.get("one").complete("one two three")
        assert registry.get_total_usage() == {
            "one": TokenUsage(3, 2, 0.0, 1),
            "two": TokenUsage(),
        }
        registry.reset_all_usage()
        assert registry.get_total_usage()["one"] == TokenUsage()

    async def test_the_summary(self) -> None:
        registry = registry_of()
        await registry.get_for_agent("planner").complete("one two three")
        row = {
            "input_tokens": 3,
            "output_tokens": 2,
            "total_tokens": 5,
            "cost_usd": 0.0,
            "possible_usd": 0.0,
            "calls": 1,
            "attempts": 1,
            "failed": 0,
            "unpriced_calls": 0,
            "cached": 0,
            "saved_usd": 0.0,
            "latency_mean_s": pytest.approx(0, abs=60),
        }
        nothing = {**dict.fromkeys(row, 0), "latency_mean_s": None}
        assert registry.get_usage_summary() == {
            "total": row,
            "by_provider": {"one": row, "two": nothing},
            "by_agent": {"planner": row},
            "by_model": {"m1": row},
            "unpriced_calls": 0,
        }

    async def test_calls_without_a_known_price_are_counted(self) -> None:
        registry = ProviderRegistry()
        registry.register("own", Scripted("own"))
        await registry.get("own").complete("hi")
        summary = registry.get_usage_summary()
        assert summary["unpriced_calls"] == 1
        assert summary["by_provider"]["own"]["unpriced_calls"] == 1
        assert summary["total"]["cost_usd"] == 0.0

    def test_len_in_iteration_and_repr(self) -> None:
        registry = registry_of()
        assert len(registry) == 2
        assert "one" in registry
        assert "idle" not in registry
        assert list(registry) == ["one", "two"]
        assert repr(registry) == "<ProviderRegistry: one, two>"
        assert repr(ProviderRegistry()) == "<ProviderRegistry: empty>"


class TestMissing:
    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("three", "provider 'three' is not registered; there are: one, two"),
            ("idle", "provider 'idle' is off: enabled: false; there are: one, two"),
            ("mine", "provider 'mine' is external; register it in code first; there are: one, two"),
        ],
    )
    def test_a_provider_that_is_not_there_says_why(self, name: str, message: str) -> None:
        with pytest.raises(KeyError) as caught:
            registry_of().get(name)
        assert isinstance(caught.value, ProviderNotFoundError)
        assert str(caught.value) == message

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            (
                "nobody",
                "agent 'nobody' is not configured; there are: planner, coder, own",
            ),
            ("lost", "agent 'lost' is off; there are: planner, coder, own"),
        ],
    )
    def test_an_agent_that_is_not_there_says_why(self, name: str, message: str) -> None:
        with pytest.raises(KeyError) as caught:
            registry_of().get_for_agent(name)
        assert isinstance(caught.value, AgentNotFoundError)
        assert str(caught.value) == message

    def test_an_agent_whose_provider_is_not_registered_says_so(self) -> None:
        with pytest.raises(ProviderNotFoundError, match="'mine' is external"):
            registry_of().get_for_agent("own")

    def test_a_fallback_that_is_off_is_left_out(self) -> None:
        assert repr(registry_of().get_for_agent("planner")) == "<Route planner: one/m1, two/m2>"

    def test_an_agent_without_a_provider_takes_the_default_one(self) -> None:
        text = "default_provider: b\nproviders: {a: {type: mock}, b: {type: mock}}\nagents: {x: {}}"
        assert registry_of(text).get_for_agent("x").provider_id == "b"

    def test_an_agent_without_any_provider_is_told(self) -> None:
        agents = AgentsConfig(agents={"x": {}})  # type: ignore[dict-item]
        with pytest.raises(ProviderNotFoundError, match="agent 'x' names no provider"):
            ProviderRegistry().get_for_agent("x", agents)


class TestAgents:
    async def test_it_is_bound_to_its_parameters(self) -> None:
        registry, mock = registry_of(), MockProvider()
        registry.register("two", mock)
        await registry.get_for_agent("coder").complete("hi")
        assert (mock.requests[0].model, mock.requests[0].max_tokens) == ("special", 7)

    async def test_the_caller_still_wins(self) -> None:
        registry, mock = registry_of(), MockProvider()
        registry.register("two", mock)
        await registry.get_for_agent("coder").complete("hi", model="x", max_tokens=9)
        assert (mock.requests[0].model, mock.requests[0].max_tokens) == ("x", 9)

    async def test_its_calls_are_its_own_and_its_providers(self) -> None:
        registry = registry_of()
        agent = registry.get_for_agent("planner")
        await agent.complete("hi")
        await registry.get("one").complete("hi")
        assert agent.get_usage().call_count == 1
        assert registry.get("one").get_usage().call_count == 2

    async def test_it_falls_back_and_tells(self) -> None:
        registry = registry_of()
        registry.register("one", MockProvider(answers=[MockAnswer(error="AuthenticationError")]))
        seen: list[Any] = []
        registry.on(seen.append, FallbackTaken)
        response = await registry.get_for_agent("planner").complete("hi")
        await registry.aclose()
        assert response.content == "from two"
        assert seen == [FallbackTaken("planner", "one", "mock", "two", "m2", "AuthenticationError")]

    async def test_a_caller_may_name_any_provider_of_the_registry(self) -> None:
        registry = registry_of()
        registry.register("one", MockProvider(answers=[MockAnswer(error="AuthenticationError")]))
        response = await registry.get("one").complete("hi", fallback=["two"])
        assert response.provider == "two"

    def test_the_same_agent_is_the_same_object_so_that_turns_are_taken(self) -> None:
        registry = registry_of()
        assert registry.get_for_agent("coder") is registry.get_for_agent("coder")

    def test_another_configuration_is_another_agent(self) -> None:
        registry = registry_of()
        other = host(HOST.replace("special", "other"))
        assert repr(registry.get_for_agent("coder", other.agents)) == "<Route coder: two/other>"

    async def test_round_robin_through_the_registry(self) -> None:
        text = HOST.replace("fallback: [two, idle]", "fallback: [two], strategy: round_robin")
        agent = registry_of(text).get_for_agent("planner")
        answered = [(await agent.complete("hi")).provider for _ in range(3)]
        assert answered == ["one", "two", "one"]

    async def test_least_recently_used_counts_fallbacks(self) -> None:
        text = """
        providers:
          a: {type: mock, options: {answer: {error: AuthenticationError}}}
          b: {type: mock}
          c: {type: mock}
        agents: {x: {provider: a, fallback: [b, c], strategy: least_recently_used}}
        """
        agent = registry_of(text).get_for_agent("x")
        answered = [(await agent.complete("hi")).provider for _ in range(2)]
        assert answered == ["b", "c"]

    async def test_fallback_on_lets_more_errors_fall_back(self) -> None:
        text = HOST.replace("fallback: [two, idle]", "fallback: [two], fallback_on: content_filter")
        with pytest.raises(ConfigError):
            host(text)
        text = text.replace("on: content_filter", "on: [content_filter]")
        registry = registry_of(text)
        registry.register("one", MockProvider(answers=[MockAnswer(error="ContentFilterError")]))
        assert (await registry.get_for_agent("planner").complete("hi")).provider == "two"


class TestOwnKey:
    TEXT = """
    providers:
      a: {type: openai, api_key: key-of-a, default_model: m, base_url: "http://127.0.0.1:1"}
      b: {type: openai, api_key: key-of-b, default_model: m, base_url: "http://127.0.0.1:1"}
      mine: {type: external}
    agents:
      x: {provider: a, api_key: key-of-x, fallback: [b]}
      y: {api_key: key-of-y, fallback: [b]}
      z: {provider: mine, api_key: key-of-z}
    default_provider: a
    """

    def keys(self, agent: str, **call: Any) -> list[str]:
        route: Any = registry_of(self.TEXT).get_for_agent(agent)
        return [each.lane._config.api_key.get_secret_value() for each in route.route.targets]

    def test_an_agents_own_key_goes_to_its_own_provider_only(self) -> None:
        assert self.keys("x") == ["key-of-x", "key-of-b"]

    def test_also_where_its_provider_is_the_default_one(self) -> None:
        assert self.keys("y") == ["key-of-y", "key-of-b"]

    def test_the_registrys_own_provider_keeps_its_key(self) -> None:
        registry = registry_of(self.TEXT)
        registry.get_for_agent("x")
        provider: Any = registry.get("a")
        assert provider.config.api_key.get_secret_value() == "key-of-a"

    def test_another_model_does_not_make_another_connection_pool(self) -> None:
        registry = registry_of(self.TEXT)
        route: Any = registry.get_for_agent("x")
        assert route.route.found("a", "other").lane is route.route.targets[0].lane

    def test_an_external_provider_takes_none(self) -> None:
        registry = registry_of(self.TEXT)
        registry.register("mine", Scripted("mine"))
        with pytest.raises(ConfigError, match=r"agents\.z\.api_key: mine is external"):
            registry.get_for_agent("z")


class TestRegister:
    async def test_a_hosts_own_provider_is_called_through_the_path(self) -> None:
        registry, own = registry_of(), Scripted("own", ServerError(), "yes")
        registry.register("mine", own)
        response = await registry.get_for_agent("own").complete("hi", timeout_s=5)
        assert response.content == "yes"
        assert [each.outcome for each in response.attempts] == ["failed", "ok"]
        assert registry.get("mine").get_usage().call_count == 1

    async def test_the_last_of_a_name_counts(self) -> None:
        registry = ProviderRegistry()
        registry.register("m", MockProvider(answers=["first"]))
        registry.register("m", MockProvider(answers=["second"]))
        assert (await registry.get("m").complete("hi")).content == "second"
        assert len(registry) == 1
        assert registry.get("m").get_usage().call_count == 1

    async def test_ours_may_take_the_place_of_a_hosts_own(self) -> None:
        registry = ProviderRegistry()
        registry.register("m", Scripted("m", "own"))
        registry.register("m", MockProvider(answers=["ours"]))
        assert (await registry.get("m").complete("hi")).content == "ours"

    async def test_a_hosts_own_may_take_the_place_of_ours(self) -> None:
        registry = registry_of()
        registry.register("one", Scripted("x", "own"))
        assert (await registry.get("one").complete("hi")).content == "own"
        assert (await registry.get_for_agent("planner").complete("hi")).content == "own"
        assert registry.get_total_usage()["one"].call_count == 2

    async def test_an_agent_asked_for_afterwards_takes_the_new_one(self) -> None:
        registry = registry_of()
        before = registry.get_for_agent("coder")
        registry.register("two", MockProvider(answers=["new"]))
        assert (await registry.get_for_agent("coder").complete("hi")).content == "new"
        assert (await before.complete("hi")).content == "from two"

    def test_what_is_registered_is_no_longer_off(self) -> None:
        registry = registry_of()
        registry.register("idle", MockProvider())
        assert "idle" in registry

    def test_what_is_no_provider_is_refused(self) -> None:
        with pytest.raises(InvalidParameterError, match="str is no LLMProvider"):
            ProviderRegistry().register("x", "provider")  # type: ignore[arg-type]

    async def test_a_provider_of_ours_joins_the_registrys_account(self) -> None:
        registry, mock = ProviderRegistry(), MockProvider("before")
        await mock.complete("hi")
        registry.register("m", mock)
        await mock.complete("hi")
        assert registry.get_total_usage()["m"].call_count == 1
        assert mock.provider_id == "m"

    async def test_its_price_counts(self) -> None:
        registry = ProviderRegistry()
        price = {"input_usd_per_mtok": 10, "output_usd_per_mtok": 0}
        registry.register("m", MockProvider(config={"price": price}))
        assert (await registry.get("m").complete("one two")).cost_usd == Decimal("0.00002")


class TestRegisteredTwice:
    @pytest.mark.parametrize("kind", [MockProvider, Scripted])
    async def test_another_open_registry_refuses_it(self, kind: type[LLMProvider]) -> None:
        one, two, provider = ProviderRegistry(), ProviderRegistry(), kind("m")
        one.register("m", provider)
        with pytest.raises(InvalidParameterError) as no:
            two.register("x", provider)
        assert str(no.value) == (
            f"the {kind.__name__} for 'x' is registered in another registry, which would book its "
            "calls no more; make one for each registry, or close the other first"
        )
        await one.get("m").complete("hi")
        assert one.get_total_usage()["m"].call_count == 1
        assert two.list_providers() == []
        await one.aclose()
        two.register("x", provider)
        await two.get("x").complete("hi")
        assert two.get_total_usage()["x"].call_count == 1

    def test_a_configured_one_of_another_registry_is_refused(self) -> None:
        owner = registry_of()
        with pytest.raises(InvalidParameterError, match="is registered in another registry"):
            ProviderRegistry().register("x", owner.get("one"))

    def test_one_that_another_has_taken_the_place_of_is_free(self) -> None:
        one, two, provider = ProviderRegistry(), ProviderRegistry(), MockProvider("m")
        one.register("m", provider)
        one.register("m", MockProvider("m"))
        two.register("m", provider)
        assert two.get("m") is provider

    def test_the_same_again_is_harmless(self) -> None:
        registry, provider = ProviderRegistry(), MockProvider("m")
        registry.register("m", provider)
        registry.register("m", provider)
        assert registry.list_providers() == ["m"]

    def test_one_of_ours_has_one_name(self) -> None:
        registry, provider = ProviderRegistry(), MockProvider("m")
        registry.register("m", provider)
        with pytest.raises(InvalidParameterError, match="is registered as 'm', which would lose"):
            registry.register("n", provider)

    async def test_a_hosts_own_may_have_several(self) -> None:
        registry, provider = ProviderRegistry(), Scripted("own")
        for name in ("m", "n"):
            registry.register(name, provider)
            await registry.get(name).complete("hi")
        await registry.get("m").complete("hi")
        counts = {name: each.call_count for name, each in registry.get_total_usage().items()}
        assert counts == {"m": 2, "n": 1}

    @pytest.mark.parametrize("agent", ["planner", "own"])
    def test_what_a_registry_returned_is_refused(self, agent: str) -> None:
        owner = registry_of()
        owner.register("mine", Scripted("mine"))
        with pytest.raises(InvalidParameterError, match="is what a registry returned"):
            ProviderRegistry().register("x", owner.get_for_agent(agent))


class Replaced(MockProvider):
    """A built-in provider whose `send` a host has replaced."""

    async def send(self, request: CompletionRequest) -> LLMResponse:  # type: ignore[override]
        return answer("from the host")


class TestReplaced:
    async def test_a_hosts_send_of_a_built_in_provider_is_the_one_called(self) -> None:
        registry = ProviderRegistry()
        registry.register("it", Replaced())
        agents = AgentsConfig(agents={"planner": AgentConfig(provider="it")})
        for provider in (registry.get("it"), registry.get_for_agent("planner", agents)):
            assert (await provider.complete("hi")).content == "from the host"
        assert registry.get_usage_summary()["by_agent"]["planner"]["calls"] == 1

    async def test_also_where_no_registry_has_it(self) -> None:
        own = Replaced()
        assert (await own.complete("hi")).content == "from the host"
        assert own.get_usage().call_count == 1


class TestReset:
    async def test_a_call_under_way_is_counted_in_the_new_period(self) -> None:
        registry, own = ProviderRegistry(), Scripted("own", HANG)
        registry.register("own", own)
        call = asyncio.create_task(registry.get("own").complete("hi"))
        await own.is_hanging.wait()
        registry.reset_all_usage()
        call.cancel()
        await asyncio.wait([call])
        assert registry.get_usage_summary()["total"]["attempts"] == 1

    async def test_a_stream_under_way_is_counted_in_the_new_period(self) -> None:
        registry = ProviderRegistry()
        registry.register("m", MockProvider(answers=["a b"]))
        stream = registry.get("m").stream("hi")
        await anext(stream)
        registry.get("m").reset_usage()
        assert [text async for text in stream] == ["b"]
        assert registry.get("m").get_usage().call_count == 1

    async def test_an_agents_reset_leaves_the_others(self) -> None:
        registry = registry_of()
        await registry.get_for_agent("planner").complete("hi")
        await registry.get_for_agent("coder").complete("hi")
        registry.get_for_agent("planner").reset_usage()
        assert list(registry.get_usage_summary()["by_agent"]) == ["coder"]


class TestChoosing:
    def providers(self, *names: str) -> ProviderRegistry:
        registry = ProviderRegistry()
        for name in names:
            registry.register(name, MockProvider(config={"default_model": name}))
        return registry

    def test_the_default_is_seed_001s_chain(self) -> None:
        registry = self.providers("other", "ollama", "deepseek", "anthropic", "openai", "azure")
        route: Any = registry.get_default()
        assert [each.provider_id for each in route.route.targets] == [
            "azure",
            "openai",
            "anthropic",
            "deepseek",
            "ollama",
            "other",
        ]

    def test_the_preferred_one_comes_first(self) -> None:
        route: Any = self.providers("openai", "ollama").get_default("ollama")
        assert [each.provider_id for each in route.route.targets] == ["ollama", "openai"]

    def test_the_configured_default_comes_first(self) -> None:
        registry = registry_of("default_provider: b\nproviders: {a: {type: mock}, b: {type: mock}}")
        assert registry.get_default().provider_id == "b"

    def test_a_provider_is_known_by_its_address_too(self) -> None:
        registry = registry_of(
            "providers:\n"
            "  x: {type: mock}\n"
            "  y: {type: openai, default_model: deepseek-chat, engine: mock,"
            " base_url: 'https://api.deepseek.com/v1'}\n"
        )
        route: Any = registry.get_default()
        assert [each.provider_id for each in route.route.targets] == ["y", "x"]

    def test_a_preferred_one_that_is_not_there_is_told(self) -> None:
        with pytest.raises(ProviderNotFoundError, match="'gone' is not registered"):
            self.providers("openai").get_default("gone")

    def test_nothing_at_all_is_told(self) -> None:
        with pytest.raises(ProviderNotFoundError, match="no provider is registered"):
            ProviderRegistry().get_default()

    async def test_the_default_answers_and_falls_back(self) -> None:
        registry = self.providers("ollama")
        registry.register("azure", MockProvider(answers=[MockAnswer(error="AuthenticationError")]))
        assert (await registry.get_default().complete("hi")).provider == "ollama"

    @pytest.mark.data_of("litellm")
    def test_who_is_known_to_be_able_is_best(self) -> None:
        registry = registry_of(
            "providers:\n"
            "  old: {type: anthropic, engine: mock, default_model: claude-3-opus-20240229}\n"
            "  new: {type: mock, default_model: nobody-knows}\n"
            "  best: {type: anthropic, engine: mock, default_model: claude-sonnet-4-5}\n"
        )
        assert registry.get_best_provider("thinking").provider_id == "best"
        assert registry.get_best_provider("streaming").provider_id == "old"

    def test_who_is_known_to_be_unable_is_never_best(self) -> None:
        registry = registry_of(
            "providers:\n"
            "  old: {type: anthropic, engine: mock, default_model: claude-3-opus-20240229}\n"
        )
        with pytest.raises(ProviderNotFoundError, match="no registered provider has thinking"):
            registry.get_best_provider("thinking")

    async def test_among_equals_the_healthier_one_is_best(self) -> None:
        registry = self.providers("a", "b")
        registry.register("a", MockProvider(answers=[MockAnswer(error="ServerError")]))
        with pytest.raises(ServerError):
            await registry.get("a").complete("hi", max_attempts=1)
        assert registry.get_best_provider("tools").provider_id == "b"

    def test_another_capability_is_refused(self) -> None:
        with pytest.raises(InvalidParameterError, match="capability is one of"):
            self.providers("a").get_best_provider("flying")


class TestModels:
    CLAUDE = "providers: {c: {type: anthropic, engine: mock, default_model: claude-sonnet-4-5}}"

    def test_the_models_known_of_a_provider(self) -> None:
        models = registry_of(self.CLAUDE).list_models("c")
        assert "claude-sonnet-4-5" in models
        assert models == sorted(models)

    @pytest.mark.data_of("litellm")
    def test_what_is_known_of_one(self) -> None:
        known = registry_of(self.CLAUDE).get_model_info("c", "claude-sonnet-4-5")
        assert known.tools is True
        assert known.thinking is True
        assert known.input_usd_per_mtok == Decimal(3)

    @pytest.mark.data_of("litellm")
    def test_what_tokens_cost(self) -> None:
        registry = registry_of(self.CLAUDE)
        cost = registry.calculate_cost("c", "claude-sonnet-4-5", 1000, 1000)
        assert cost == Decimal("0.018")
        assert registry.calculate_cost("c", "nobody-knows-this", 1000, 1000) is None


class Reachable(Scripted):
    def __init__(self, provider_id: str, *answers: Any) -> None:
        super().__init__(provider_id)
        self.answers = answers
        self.is_closed = False

    async def list_models(self) -> list[str] | None:
        for each in self.answers:
            if isinstance(each, BaseException):
                raise each
        return None if self.answers == (None,) else ["m"]

    async def aclose(self) -> None:
        self.is_closed = True


class TestConnectivity:
    async def test_it_is_validated_under_a_running_loop(self) -> None:
        registry = ProviderRegistry.from_config(host(), validate_connectivity=True)
        assert len(registry) == 2

    def test_it_is_validated_where_no_loop_runs(self) -> None:
        assert len(ProviderRegistry.from_config(host(), validate_connectivity=True)) == 2

    def test_all_that_fail_are_told_at_once(self) -> None:
        text = """
        providers:
          a: {type: openai, default_model: m, base_url: "http://127.0.0.1:1/v1"}
          b: {type: openai, default_model: m, base_url: "http://127.0.0.1:1/v1"}
          c: {type: mock}
        """
        with pytest.raises(ConfigError) as caught:
            ProviderRegistry.from_config(host(text), validate_connectivity=True)
        assert [line.split(": ")[0] for line in caught.value.problems] == [
            "providers.a",
            "providers.b",
        ]

    async def test_a_health_check_asks_all_for_free(self) -> None:
        registry = ProviderRegistry()
        registry.register("up", Reachable("up"))
        registry.register("down", Reachable("down", APIConnectionError()))
        registry.register("mute", Reachable("mute", None))
        found = await registry.check_health()
        assert {name: each.status for name, each in found.items()} == {
            "up": "healthy",
            "down": "unavailable",
            "mute": "unknown",
        }
        assert {name: each.status for name, each in registry.get_health().items()} == {
            "up": "healthy",
            "down": "unavailable",
            "mute": "unknown",
        }

    async def test_closing_closes_all(self) -> None:
        async with ProviderRegistry() as registry:
            own = Reachable("own")
            registry.register("own", own)
        assert own.is_closed

    async def test_one_that_cannot_be_closed_keeps_nothing_open(self) -> None:
        class Stuck(Reachable):
            async def aclose(self) -> None:
                raise RuntimeError("stuck")

        registry = ProviderRegistry()
        registry.register("own", Stuck("own"))
        with pytest.raises(RuntimeError, match="stuck"):
            await registry.aclose()


class TestAccount:
    async def test_the_ledger_by_label(self) -> None:
        registry = registry_of()
        with scope(run="r1"):
            await registry.get("one").complete("hi")
        await registry.get("one").complete("hi")
        report = await registry.usage(by="label:run")
        assert [(row.key, row.total.calls) for row in report.rows] == [(("r1",), 1)]

    async def test_the_ledger_by_agent_and_model(self) -> None:
        registry = registry_of()
        await registry.get_for_agent("coder").complete("hi")
        report = await registry.usage(by=["agent", "model"])
        assert [row.key for row in report.rows] == [("coder", "special")]

    async def test_a_budget_of_the_configuration_holds(self) -> None:
        text = """
        providers:
          one: {type: mock, default_model: m, max_tokens: 10, price: {output_usd_per_mtok: 1000}}
        budgets: [{name: day, limit_usd: 0.015, period: day}]
        """
        registry = registry_of(text)
        first = await registry.get("one").complete("hi")
        assert first.cost_usd == Decimal("0.005")
        await registry.get("one").complete("hi")
        with pytest.raises(BudgetExceededError, match="budget day: "):
            await registry.get("one").complete("hi")

    def test_two_registries_have_nothing_in_common(self) -> None:
        one, two = registry_of(), registry_of()
        one.get("one").complete_sync("hi")
        assert two.get_usage_summary()["total"]["calls"] == 0

    async def test_an_unregistered_provider_keeps_its_own_account(self) -> None:
        mock = MockProvider()
        response: LLMResponse = await mock.complete("hi")
        assert response.attempts[0].outcome == "ok"
        assert mock.get_usage().call_count == 1
