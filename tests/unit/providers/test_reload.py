"""Another configuration for a registry that runs: what stays, what changes, what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

import orchestify
from orchestify import (
    AgentNotFoundError,
    BudgetExceededError,
    ConfigError,
    ConfigRefused,
    ConfigReloaded,
    InvalidParameterError,
    OrchestifyError,
    ProviderNotFoundError,
    ProviderRegistry,
    RateLimitError,
)
from orchestify.core.config import Config, load_config, parse_config
from orchestify.providers import MockProvider
from orchestify.providers.routed import RoutedProvider
from tests.calls import Scripted
from tests.ledgers import until

CONFIG = """
default_provider: main
providers:
  main: {type: mock, default_model: m, price: {output_usd_per_mtok: 1000000}}
  spare: {type: mock, default_model: s}
agents:
  planner: {temperature: 0.5, fallback: [spare]}
  scout: {provider: spare}
"""
BUDGET = "budgets: [{name: all, limit_usd: 5, period: day}]\n"


def config(text: str = CONFIG, **environ: str) -> Config:
    return parse_config(text, environ=environ)


@pytest.fixture
def registry() -> ProviderRegistry:
    return ProviderRegistry.from_config(config())


def write(path: Path, text: str) -> None:
    path.write_text(text)


def told(registry: ProviderRegistry) -> list[object]:
    events: list[object] = []
    registry.on(events.append, ConfigReloaded, ConfigRefused)
    return events


async def test_the_same_configuration_changes_nothing_and_tells_nothing(
    registry: ProviderRegistry,
) -> None:
    events = told(registry)
    planner, main = registry.get_for_agent("planner"), registry.get("main")
    assert await registry.reload(config()) == ConfigReloaded()
    assert registry.get_for_agent("planner") is planner
    assert registry.get("main") is main
    await registry.aclose()
    assert events == []


async def test_what_has_changed_is_returned_and_told(registry: ProviderRegistry) -> None:
    events = told(registry)
    text = CONFIG.replace("default_model: s", "default_model: t").replace("0.5", "0.6")
    change = await registry.reload(config("timeout_s: 7\n" + text))
    assert change == ConfigReloaded(("spare",), ("planner",), ("timeout_s",))
    await registry.aclose()
    assert events == [change]


async def test_a_changed_agent_is_another_object_and_others_stay(
    registry: ProviderRegistry,
) -> None:
    planner, scout = registry.get_for_agent("planner"), registry.get_for_agent("scout")
    await registry.reload(config(CONFIG.replace("0.5", "0.6")))
    assert registry.get_for_agent("planner") is not planner
    assert registry.get_for_agent("scout") is scout


async def test_an_agent_of_a_changed_provider_is_another_object(
    registry: ProviderRegistry,
) -> None:
    planner, scout = registry.get_for_agent("planner"), registry.get_for_agent("scout")
    await registry.reload(config(CONFIG.replace("default_model: m", "default_model: n")))
    assert registry.get_for_agent("planner") is not planner
    assert registry.get_for_agent("scout") is scout


async def test_an_agent_stays_over_several_reloads_in_which_nobody_asks_for_it(
    registry: ProviderRegistry,
) -> None:
    scout = registry.get_for_agent("scout")
    for temperature in ("0.6", "0.7", "0.8"):
        await registry.reload(config(CONFIG.replace("0.5", temperature)))
    assert registry.get_for_agent("scout") is scout


async def test_a_changed_policy_at_the_top_reaches_all(registry: ProviderRegistry) -> None:
    planner, main = registry.get_for_agent("planner"), registry.get("main")
    await registry.reload(config("rate_limit: {requests_per_day: 1}\n" + CONFIG))
    assert registry.get_for_agent("planner") is not planner
    assert registry.get("main") is main
    await main.complete("hi")
    with pytest.raises(RateLimitError):
        await main.complete("hi", timeout_s=0.01)


async def test_agents_and_providers_come_and_go(registry: ProviderRegistry) -> None:
    await registry.reload(
        config(
            "providers: {other: {type: mock, default_model: o}}\nagents: {new: {provider: other}}"
        )
    )
    assert registry.list_providers() == ["other"]
    assert (await registry.get_for_agent("new").complete("hi")).provider == "other"
    with pytest.raises(ProviderNotFoundError, match="'main' is not registered"):
        registry.get("main")
    with pytest.raises(AgentNotFoundError):
        registry.get_for_agent("planner")


async def test_a_kept_agent_finds_what_is_in_force_now(registry: ProviderRegistry) -> None:
    scout = registry.get_for_agent("scout")
    added = CONFIG.replace("agents:", "  late: {type: mock, default_model: l}\nagents:")
    await registry.reload(config(added))
    assert registry.get_for_agent("scout") is scout
    asked = scout.complete("hi", model="other", fallback=["late"])
    assert (await asked).provider == "spare"


async def test_a_target_that_a_caller_names_is_made_once_and_anew_after_a_change(
    registry: ProviderRegistry,
) -> None:
    scout = registry.get_for_agent("scout")
    assert isinstance(scout, RoutedProvider)
    named = scout.route.found("main", "x")
    assert scout.route.found("main", "x") is named
    assert scout.route.found("main", "y").model == "y"
    registry.register("later", MockProvider("later"))
    assert scout.route.found("later", None).provider_id == "later"
    await registry.reload(
        config(CONFIG.replace("default_model: m", "default_model: m, timeout_s: 7"))
    )
    assert scout.route.found("main", "x").defaults.provider_timeout_s == 7
    assert named.defaults.provider_timeout_s is None


async def test_usage_stays(registry: ProviderRegistry) -> None:
    await registry.get_for_agent("planner").complete("hi")
    before = registry.get_usage_summary()["total"]
    await registry.reload(config(CONFIG.replace("default_model: m", "default_model: n")))
    assert registry.get_usage_summary()["total"] == before
    assert before["calls"] == 1


async def test_a_price_that_changes_is_in_force_at_once(registry: ProviderRegistry) -> None:
    assert registry.calculate_cost("main", "m", 0, 1) == 1
    await registry.reload(config(CONFIG.replace("1000000", "2000000")))
    assert registry.calculate_cost("main", "m", 0, 1) == 2


async def test_another_key_in_a_variable_is_a_change() -> None:
    text = CONFIG.replace("default_model: s", "default_model: s, api_key: '${KEY}'")
    registry = ProviderRegistry.from_config(config(text, KEY="sk-first"))
    spare, scout = registry.get("spare"), registry.get_for_agent("scout")
    same = await registry.reload(config(text, KEY="sk-first"))
    assert (same.providers, registry.get("spare") is spare) == ((), True)
    rotated = await registry.reload(config(text, KEY="sk-second"))
    assert rotated.providers == ("spare",)
    assert registry.get_for_agent("scout") is not scout
    assert "sk-" not in repr(rotated)


async def test_an_agents_own_key_that_changes_makes_another_provider_for_it() -> None:
    text = CONFIG.replace("{provider: spare}", "{provider: spare, api_key: '${KEY}'}")
    registry = ProviderRegistry.from_config(config(text, KEY="sk-first"))
    scout, spare = registry.get_for_agent("scout"), registry.get("spare")
    await registry.reload(config(text, KEY="sk-first"))
    assert registry.get_for_agent("scout") is scout
    await registry.reload(config(text, KEY="sk-second"))
    assert registry.get_for_agent("scout") is not scout
    assert registry.get("spare") is spare


class TestBudgets:
    async def test_one_that_is_unchanged_keeps_what_is_spent(self) -> None:
        registry = ProviderRegistry.from_config(config(BUDGET + CONFIG))
        await registry.get("main").complete("hi", max_tokens=3)
        spent = registry.budgets()[0].spent_usd
        await registry.reload(config(BUDGET + CONFIG.replace("0.5", "0.6")))
        assert spent > 0
        assert registry.budgets()[0].spent_usd == spent

    async def test_another_limit_holds_at_once_for_what_is_spent(self) -> None:
        registry = ProviderRegistry.from_config(config(BUDGET + CONFIG))
        await registry.get("main").complete("hi", max_tokens=3)
        await registry.reload(config(BUDGET.replace("5", "0.5") + CONFIG))
        with pytest.raises(BudgetExceededError):
            await registry.get("main").complete("hi", max_tokens=3)
        await registry.reload(config(BUDGET.replace("5", "50") + CONFIG))
        await registry.get("main").complete("hi", max_tokens=3)
        assert registry.budgets()[0].budget.limit_usd == Decimal(50)

    async def test_one_that_is_new_holds_and_one_that_is_gone_does_not(
        self, registry: ProviderRegistry
    ) -> None:
        await registry.get("main").complete("hi", max_tokens=3)
        await registry.reload(config(BUDGET.replace("5", "1") + CONFIG))
        with pytest.raises(BudgetExceededError):
            await registry.get("main").complete("hi", max_tokens=3)
        await registry.reload(config())
        assert registry.budgets() == []
        await registry.get("main").complete("hi", max_tokens=3)

    async def test_those_of_a_labels_values_follow_too(self) -> None:
        text = "budgets: [{name: run, per: label:run, limit_calls: 1}]\n" + CONFIG
        registry = ProviderRegistry.from_config(config(text))
        with orchestify.scope(run="r1"):
            await registry.get("main").complete("hi")
            with pytest.raises(BudgetExceededError):
                await registry.get("main").complete("hi")
            await registry.reload(config(text.replace("limit_calls: 1", "limit_calls: 2")))
            await registry.get("main").complete("hi")
            with pytest.raises(BudgetExceededError):
                await registry.get("main").complete("hi")


async def test_a_limit_that_is_unchanged_is_as_far_used_as_it_was() -> None:
    text = "rate_limit: {requests_per_day: 1}\n" + CONFIG
    registry = ProviderRegistry.from_config(config(text))
    await registry.get("main").complete("hi")
    await registry.reload(config(text.replace("default_model: m", "default_model: n")))
    with pytest.raises(RateLimitError):
        await registry.get("main").complete("hi", timeout_s=0.01)
    await registry.reload(config(text.replace("requests_per_day: 1", "requests_per_day: 2")))
    await registry.get("main").complete("hi")


async def test_what_was_registered_in_code_stays(registry: ProviderRegistry) -> None:
    own, spare = Scripted(), Scripted()
    registry.register("own", own)
    registry.register("spare", spare)
    await registry.reload(config(CONFIG.replace("default_model: s", "default_model: t")))
    assert registry.list_providers() == ["main", "spare", "own"]
    await registry.get("own").complete("hi")
    await registry.get_for_agent("scout").complete("hi")
    assert (len(own.sent), len(spare.sent)) == (1, 1)


class TestRefused:
    async def test_another_ledger_is_refused_at_its_line_and_nothing_changes(
        self, registry: ProviderRegistry
    ) -> None:
        events, main = told(registry), registry.get("main")
        other = config(
            CONFIG.replace("default_model: m", "default_model: n") + "ledger: {keep_days: 3}"
        )
        with pytest.raises(ConfigError) as caught:
            await registry.reload(other)
        line = "<text>:9:1: ledger: cannot be changed while calls are booked there; restart"
        assert caught.value.problems == (line,)
        assert registry.get("main") is main
        await registry.aclose()
        assert events == [ConfigRefused((line,))]

    async def test_a_lane_that_cannot_be_built_is_told_at_its_provider_and_nothing_changes(
        self, registry: ProviderRegistry
    ) -> None:
        bad = CONFIG.replace("default_model: m", "default_model: n").replace(
            "spare: {type: mock", "spare: {type: mock, options: {answers: 5}"
        )
        main = registry.get("main")
        with pytest.raises(ConfigError) as caught:
            await registry.reload(config(bad))
        assert caught.value.problems[0].startswith("<text>:5:3: ")
        assert registry.get("main") is main

    async def test_a_registry_that_is_closed_reloads_no_more(
        self, registry: ProviderRegistry
    ) -> None:
        await registry.aclose()
        with pytest.raises(OrchestifyError, match="the registry is closed"):
            await registry.reload(config())


class TestWatch:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "orchestify.yaml"
        path.write_text(CONFIG)
        return path

    @pytest.fixture
    def watched(self, path: Path) -> Iterator[ProviderRegistry]:
        return ProviderRegistry.from_config(load_config(path))

    async def test_a_change_is_taken_up(self, path: Path, watched: ProviderRegistry) -> None:
        async with watched:
            watched.watch(path, interval_s=0.01)
            write(path, CONFIG.replace("scout", "finder"))
            await until(lambda: watched.list_agents() == ["planner", "finder"])

    async def test_a_change_before_it_began_is_taken_up(
        self, path: Path, watched: ProviderRegistry
    ) -> None:
        write(path, CONFIG.replace("scout", "finder"))
        async with watched:
            watched.watch(path, interval_s=0.01)
            await until(lambda: watched.list_agents() == ["planner", "finder"])

    async def test_a_bad_file_keeps_the_old_one_and_is_told_at_its_line(
        self, path: Path, watched: ProviderRegistry
    ) -> None:
        events = told(watched)
        async with watched:
            watched.watch(path, interval_s=0.01)
            write(path, CONFIG.replace("temperature", "temperatur"))
            await until(lambda: len(events) == 1)
            assert watched.list_agents() == ["planner", "scout"]
            write(path, CONFIG.replace("scout", "finder"))
            await until(lambda: watched.list_agents() == ["planner", "finder"])
        refused = events[0]
        assert isinstance(refused, ConfigRefused)
        assert refused.problems == (
            f"{path}:7:13: agents.planner.temperatur: unknown key; did you mean 'temperature'?",
        )

    async def test_a_folder_is_watched_and_a_file_that_comes_later(self, tmp_path: Path) -> None:
        write(tmp_path / "providers.yaml", CONFIG.partition("agents:")[0])
        registry = ProviderRegistry.from_config(load_config(tmp_path))
        async with registry:
            registry.watch(tmp_path, interval_s=0.01)
            write(tmp_path / "agents.yaml", "agents: {late: {}}")
            await until(lambda: registry.list_agents() == ["late"])

    async def test_a_variable_that_changes_is_a_change(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RELOAD_MODEL", "first")
        path = tmp_path / "one.yaml"
        write(path, "providers: {it: {type: mock, default_model: '${RELOAD_MODEL}'}}")
        async with ProviderRegistry.from_config(load_config(path)) as registry:
            registry.watch(path, interval_s=0.01)
            monkeypatch.setenv("RELOAD_MODEL", "second")
            await until(lambda: registry.named_models() == {("it", "second")})

    async def test_who_ended_it_sees_no_change(self, path: Path, watched: ProviderRegistry) -> None:
        async with watched:
            stop = watched.watch(path, interval_s=0.01)
            stop()
            write(path, CONFIG.replace("scout", "finder"))
            await asyncio.sleep(0.2)
            assert watched.list_agents() == ["planner", "scout"]

    @pytest.mark.parametrize("interval_s", [0, -1, float("inf"), float("nan")])
    async def test_what_is_no_interval_is_refused(
        self, path: Path, watched: ProviderRegistry, interval_s: float
    ) -> None:
        with pytest.raises(InvalidParameterError, match="watch: interval_s"):
            watched.watch(path, interval_s=interval_s)

    def test_without_an_event_loop_it_is_refused(
        self, path: Path, watched: ProviderRegistry
    ) -> None:
        with pytest.raises(InvalidParameterError, match="no event loop is running"):
            watched.watch(path)
