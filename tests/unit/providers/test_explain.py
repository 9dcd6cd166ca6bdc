from __future__ import annotations

from decimal import Decimal

import pytest

from orchestify.core.config import parse_config
from orchestify.errors import AgentNotFoundError, ServerError
from orchestify.providers.explain import Explanation, Setting, TargetPlan, explain, lookup_of

CONFIG = parse_config(
    """\
providers:
  first:
    type: openai
    api_key: sk-made-up-key
    default_model: gpt-4o
    price: {input_usd_per_mtok: 2, output_usd_per_mtok: 10}
    retry: {max_attempts: 3}
  second:
    type: mock
    price: {input_usd_per_mtok: 1, output_usd_per_mtok: 1}
  nobody: {type: openai, base_url: "http://127.0.0.1:9/v1", default_model: nobody-knows}
  off: {type: mock, enabled: false}
  hosts: {type: external}
  old: {type: anthropic, api_key: made-up, default_model: claude-3-haiku-20240307}
agents:
  one: {provider: first, max_tokens: 1000, temperature: 0.5}
  chain:
    {provider: first, max_tokens: 1000, fallback: [second, off, hosts], retry: {max_attempts: 2}}
  unpriced: {provider: nobody}
  thinker: {provider: old, thinking: true}
  poor: {provider: second, max_tokens: 1000}
  gone: {provider: first, enabled: false}
timeout_s: 30
budgets:
  - {name: day, limit_usd: 1000, period: day, on_unpriced: allow}
  - {name: small, match: {agent: poor}, limit_usd: 0.0001, period: day}
""",
    name="config.yaml",
)


def where(settings: tuple[Setting, ...], name: str) -> tuple[object, str]:
    found = {each.name: each for each in settings}[name]
    return found.value, str(found.origin)


def test_each_setting_tells_its_value_and_line() -> None:
    plan = explain(CONFIG, "one")
    target = plan.targets[0]
    assert where(plan.settings, "temperature") == (0.5, "config.yaml:16:44")
    assert where(plan.settings, "timeout_s") == (30.0, "config.yaml:23:1")
    assert where(target.settings, "model") == ("gpt-4o", "config.yaml:5:5")
    assert where(target.settings, "retry") == (
        {"max_attempts": 3, "first_delay_s": 1.0, "max_delay_s": 8.0},
        "config.yaml:7:5",
    )
    assert where(target.settings, "idle_timeout_s") == (300.0, "None")


def test_no_key_is_in_an_explanation() -> None:
    plan = explain(CONFIG, "one")
    assert where(plan.targets[0].settings, "api_key") == ("set", "config.yaml:4:5")
    assert "made-up" not in repr(plan)


def test_a_call_takes_at_most_all_attempts_each_billed_in_full() -> None:
    plan = explain(CONFIG, "one", input_tokens=1000)
    # 1,250 tokens of input (a quarter more than estimated) at 2, 1,000 of output at 10 USD/M
    assert plan.targets[0].attempt_usd == Decimal("0.0125")
    assert plan.attempts_at_most == 3
    assert plan.cost_at_most_usd == Decimal("0.0375")


def test_the_bounds_of_a_chain_are_the_sums_over_its_targets() -> None:
    plan = explain(CONFIG, "chain", input_tokens=1000)
    # the agent's two attempts win: 2 x 0.0125 and 2 x (1,250 + 1,000) / 1,000,000
    assert plan.attempts_at_most == 4
    assert plan.cost_at_most_usd == Decimal("0.0295")


def test_the_longest_answer_of_the_call_bounds_its_cost() -> None:
    plan = explain(CONFIG, "one", input_tokens=0, max_tokens=100)
    assert plan.targets[0].attempt_usd == Decimal("0.001")


def test_a_price_that_nobody_knows_makes_the_cost_unknown() -> None:
    plan = explain(CONFIG, "unpriced")
    assert plan.cost_at_most_usd is None
    assert plan.targets[0].price_source == "none"


def test_targets_that_cannot_be_reached_say_why_and_cost_nothing() -> None:
    off, hosts = explain(CONFIG, "chain").targets[2:]
    assert (off.skipped, off.attempts_at_most) == ("the provider is off: enabled: false", 0)
    assert hosts.skipped == "the host has not registered the provider"


def test_a_model_that_lacks_what_the_agent_asks_for_is_skipped() -> None:
    target = explain(CONFIG, "thinker").targets[0]
    assert (target.skipped, target.attempts_at_most) == ("the model has no extended thinking", 0)


def test_a_budget_without_room_is_told() -> None:
    plan = explain(CONFIG, "poor", input_tokens=1000)
    assert [(budget.name, str(budget.origin)) for budget in plan.budgets] == [
        ("day", "config.yaml:25:5"),
        ("small", "config.yaml:26:5"),
    ]
    assert plan.targets[0].skipped == (
        "budget small: 0.0001 of 0.0001 USD left, the call may cost 0.00225, more than the whole "
        "limit; lower max_tokens or raise the limit"
    )


def test_an_open_circuit_of_a_running_registry_is_told_and_lowers_no_bound() -> None:
    lookup = lookup_of(CONFIG)
    breaker = lookup.runtime.breaker(
        lookup.target("first", agent_id="one", agent=CONFIG.agents.agents["one"])
    )
    for permit in [breaker.admit() for _ in range(5)]:
        assert permit is not None
        permit.failed()
    plan = explain(CONFIG, "one", lookup=lookup)
    assert plan.targets[0].skipped == "its circuit is open for 30 s more"
    assert plan.attempts_at_most == 3


@pytest.mark.parametrize(
    ("agent", "state"), [("nobody", "not configured"), ("gone", "off")], ids=["unknown", "off"]
)
def test_an_agent_that_is_not_there_is_an_error(agent: str, state: str) -> None:
    with pytest.raises(AgentNotFoundError, match=f"agent '{agent}' is {state}"):
        explain(CONFIG, agent)


async def test_a_call_makes_as_many_attempts_as_promised_and_no_more() -> None:
    config = parse_config(
        """\
providers:
  down: {type: mock, options: {answer: {error: ServerError}}}
agents:
  asked: {provider: down, retry: {max_attempts: 4, first_delay_s: 0, max_delay_s: 0}}
"""
    )
    lookup = lookup_of(config)
    plan = explain(config, "asked", lookup=lookup)
    with pytest.raises(ServerError):
        await lookup.agent_provider("asked", config.agents.agents["asked"]).complete("hello")
    assert plan.attempts_at_most == 4
    assert lookup.runtime.ledger.totals.total().attempts == 4


def test_an_explanation_without_targets_costs_nothing() -> None:
    empty = Explanation("a", 0, (), (), (TargetPlan("p", "m", ()),))
    assert (empty.attempts_at_most, empty.cost_at_most_usd) == (0, Decimal(0))


def test_a_response_cache_is_told_without_its_url() -> None:
    config = parse_config(
        "response_cache: {ttl_s: 60}\n"
        "providers: {p: {type: mock, default_model: m}}\n"
        "agents:\n"
        "  top: {provider: p}\n"
        "  off: {provider: p, response_cache: false}\n"
        "  own: {provider: p, response_cache: {at: redis, url: 'redis://:secret@127.0.0.1/9'}}\n"
    )
    told = {
        name: next(
            each.value
            for each in explain(config, name).targets[0].settings
            if each.name == "response_cache"
        )
        for name in ("top", "off", "own")
    }
    assert told == {
        "top": {"ttl_s": 60.0, "max_entries": 100_000, "at": "memory"},
        "off": False,
        "own": {"ttl_s": 3600.0, "max_entries": 100_000, "at": "redis", "url": "set"},
    }
