"""Tasks: an agent's by their name, each with its priority at rate limits."""

from __future__ import annotations

import pytest

from orchestify.core.config import Config, parse_config
from orchestify.errors import AgentNotFoundError, ConfigError, InvalidParameterError
from orchestify.policy.rate_limit import RANKS
from orchestify.providers import ProviderRegistry
from orchestify.providers.explain import explain
from tests.calls import Scripted

CONFIG = """
providers:
  one: {type: external, rate_limit: {concurrency: 1}}
agents:
  scout: {provider: one}
  analyst: {provider: one, max_tokens: 50}
tasks:
  quick_decision: scout
  deep_analysis: {agent: analyst, priority: high}
"""


def config(more: str = "") -> Config:
    return parse_config(CONFIG + more)


def registry() -> ProviderRegistry:
    made = ProviderRegistry.from_config(config())
    made.register("one", Scripted("one"))
    return made


class TestRegistry:
    async def test_a_task_is_its_agents(self) -> None:
        made = registry()
        await made.get_for_task("deep_analysis").complete("hi")
        assert made.get_usage_summary()["by_agent"]["analyst"]["calls"] == 1
        assert made.list_tasks() == ["quick_decision", "deep_analysis"]

    def test_an_agent_without_a_priority_of_its_own_is_the_same_object(self) -> None:
        made = registry()
        assert made.get_for_task("quick_decision") is made.get_for_agent("scout")
        assert made.get_for_task("deep_analysis") is made.get_for_task("deep_analysis")
        assert made.get_for_task("deep_analysis") is not made.get_for_agent("analyst")

    def test_one_that_is_not_configured_is_named(self) -> None:
        with pytest.raises(AgentNotFoundError, match="task 'other' is not configured; there are: "):
            registry().get_for_task("other")


class TestPriority:
    def test_medium_is_normal_and_critical_the_first(self) -> None:
        assert sorted(RANKS, key=lambda name: RANKS[name]) == [
            *("critical", "high", "medium", "normal", "low"),
        ]
        assert RANKS["medium"] == RANKS["normal"]

    @pytest.mark.parametrize("priority", ["critical", "medium"])
    async def test_a_call_takes_each(self, priority: str) -> None:
        response = await registry().get("one").complete("hi", priority=priority)  # type: ignore[arg-type]
        assert response.content == "yes"

    async def test_another_is_refused(self) -> None:
        with pytest.raises(InvalidParameterError, match="critical, high, medium, normal, low"):
            await registry().get("one").complete("hi", priority="urgent")  # type: ignore[arg-type]


class TestCheck:
    @pytest.mark.parametrize(
        ("more", "problem"),
        [
            ("  typo: skout\n", "tasks.typo.agent: no such agent; did you mean 'scout'?"),
            ("  off: {agent: scout, priority: urgent}\n", "tasks.off.priority: expected"),
            ("  none: {priority: high}\n", "tasks.none.agent: missing"),
        ],
    )
    def test_a_mistake_is_told_at_its_line(self, more: str, problem: str) -> None:
        with pytest.raises(ConfigError) as caught:
            config(more)
        assert str(caught.value).startswith("<text>:10:")
        assert problem in str(caught.value)

    def test_a_task_of_an_agent_that_is_off_is_a_problem(self) -> None:
        with pytest.raises(ConfigError, match=r"tasks\.quick_decision\.agent: this agent is off"):
            parse_config(CONFIG.replace("scout: {provider: one}", "scout: {enabled: false}"))


def test_explain_takes_a_tasks_name() -> None:
    plan = explain(config(), "deep_analysis")
    assert plan.agent == "analyst"
    told = {each.name: (each.value, each.origin and each.origin.line) for each in plan.settings}
    assert told["task"] == ("deep_analysis", 9)
    assert told["priority"] == ("high", 9)
