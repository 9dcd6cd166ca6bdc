"""What a registry tells those who watch it: attempts, circuits, budgets, the models it names."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from orchestify import (
    InvalidParameterError,
    MockAnswer,
    MockProvider,
    OpenAIProvider,
    ProviderRegistry,
    load_config,
)
from orchestify.core.config import parse_config
from orchestify.errors import OrchestifyError
from orchestify.ledger.record import Record
from tests.calls import Scripted

CONFIG = """
default_provider: main
providers:
  main:
    type: mock
    default_model: small
    price: {small: {input_usd_per_mtok: 1}, large: {input_usd_per_mtok: 2}}
  spare: {type: mock, default_model: tiny}
agents:
  planner: {model: medium, fallback: [{provider: spare, model: huge}, spare]}
budgets:
  - {name: day, limit_usd: 5, period: day}
"""


@pytest.fixture
def registry() -> ProviderRegistry:
    return ProviderRegistry.from_config(parse_config(CONFIG))


async def test_an_observer_is_told_of_each_attempt_until_it_ends(
    registry: ProviderRegistry,
) -> None:
    told: list[Record] = []
    stop = registry.observe(told.append)
    await registry.get("main").complete("hi", max_tokens=10)
    stop()
    await registry.get("main").complete("hi", max_tokens=10)
    (record,) = told
    assert (record.provider, record.model, record.outcome) == ("main", "small", "ok")


async def test_an_observer_given_twice_is_told_once(registry: ProviderRegistry) -> None:
    told: list[Record] = []
    observer = told.append
    registry.observe(observer)
    registry.observe(observer)
    await registry.get("main").complete("hi", max_tokens=10)
    assert len(told) == 1


async def test_an_observer_that_fails_harms_no_call(
    registry: ProviderRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(record: Record) -> None:
        raise RuntimeError(f"with {record.id}")

    registry.observe(fail)
    response = await registry.get("main").complete("hi", max_tokens=10)
    assert response.finish_reason == "stop"
    assert caplog.messages == ["an observer of attempts raised RuntimeError"]


@pytest.mark.parametrize(
    "use",
    [
        lambda registry: registry.register("more", Scripted()),
        lambda registry: registry.register_tool("look", lambda: None),
        lambda registry: registry.get_for_agent("planner"),
        lambda registry: registry.watch("."),
        lambda registry: registry.on(print),
        lambda registry: registry.observe(print),
        lambda registry: registry.monitor(),
    ],
    ids=["register", "register_tool", "get_for_agent", "watch", "on", "observe", "monitor"],
)
async def test_a_closed_registry_says_so_at_once(
    registry: ProviderRegistry, use: Callable[[ProviderRegistry], object]
) -> None:
    await registry.aclose()
    with pytest.raises(OrchestifyError, match="the registry is closed; call inside its"):
        use(registry)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda it: it.watch(".", interval_s="x"), "watch: interval_s: expected seconds above 0"),
        (lambda it: it.watch(5), "watch: a path is expected, not a int"),
        (lambda it: it.monitor(interval_s="x"), "monitor: interval_s: expected seconds above 0"),
        (lambda it: it.monitor(timeout_s=None), "monitor: timeout_s: expected seconds above 0"),
        (lambda it: it.monitor(intervals_s=[5]), "monitor: intervals_s maps providers to seconds"),
        (lambda it: it.get_for_agent("planner", {}), "the agents are a configuration's `agents`"),
        (lambda it: it.register(None, Scripted()), "a provider is registered by a name"),
        (lambda it: it.register("", Scripted()), "a provider is registered by a name"),
        (lambda it: it.on(5), "a handler is a function, not a int"),
        (lambda it: it.on(print, int), "'int' is no class of orchestify's events"),
        (lambda it: it.on(print, "CircuitOpened"), "'CircuitOpened' is no class"),
        (lambda it: it.observe(5), "a handler is a function, not a int"),
        (lambda it: load_config(5), "load_config takes a path or a mapping, not a int"),
        (lambda it: OpenAIProvider("x", None), "OpenAIProvider takes a configuration or a mapping"),
        (lambda it: MockProvider(answers=[5]), "answers is a list of texts and MockAnswers"),
        (lambda it: MockProvider(answers="x"), "answers is a list of texts and MockAnswers"),
        (lambda it: MockAnswer(error="Nope"), "error is the name of an APIError"),
        (lambda it: MockAnswer(error="ConfigError"), "error is the name of an APIError"),
        (lambda it: MockAnswer(text=5), "text of a MockAnswer is a text"),
    ],
)
async def test_what_cannot_be_used_is_said_in_words(
    registry: ProviderRegistry, use: Callable[[Any], object], message: str
) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        use(registry)


async def test_a_closed_registry_is_not_opened_again(registry: ProviderRegistry) -> None:
    await registry.get("main").complete("hi", max_tokens=10)
    await registry.aclose()
    with pytest.raises(OrchestifyError, match="the registry is closed"):
        async with registry:
            pass
    assert registry.get("main").get_usage().call_count == 1


async def test_circuits_are_those_of_the_targets_that_were_called(
    registry: ProviderRegistry,
) -> None:
    assert registry.circuits() == {}
    await registry.get("main").complete("hi", max_tokens=10)
    assert registry.circuits() == {("main", "small"): "closed"}


async def test_budgets_tell_what_is_spent_and_held(registry: ProviderRegistry) -> None:
    (state,) = registry.budgets()
    assert (state.budget.name, state.spent_usd, state.held_usd) == ("day", 0, 0)
    response = await registry.get("main").complete("hi", max_tokens=10)
    (state,) = registry.budgets()
    assert state.spent_usd == response.cost_usd
    assert state.budget.limit_usd == Decimal(5)


def test_named_models_are_those_of_the_configuration(registry: ProviderRegistry) -> None:
    assert registry.named_models() == {
        ("main", "small"),
        ("main", "large"),
        ("main", "medium"),
        ("spare", "tiny"),
        ("spare", "huge"),
    }


def test_named_models_hold_what_is_registered_in_code(registry: ProviderRegistry) -> None:
    registry.register("own", Scripted("own"))
    assert ("own", "external") in registry.named_models()
