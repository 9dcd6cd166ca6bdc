from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from orchestify.core.config import parse_config
from orchestify.providers.provider_check import try_configured, try_providers
from orchestify.providers.registry import ProviderRegistry
from orchestify.testing import Reply, StubServer

CONFIG = """\
providers:
  claude:
    {type: anthropic, base_url: "URL", api_key: made-up, default_model: claude-sonnet-4-5}
  gpt: {type: openai, base_url: "URL/v1", api_key: made-up, default_model: gpt-4.1-mini}
  locked: {type: openai, base_url: "URL/v1", api_key: wrong-key, default_model: gpt-4.1-mini}
agents: {}
"""


def registry_at(server: StubServer) -> ProviderRegistry:
    return ProviderRegistry.from_config(parse_config(CONFIG.replace("URL", server.url)))


async def test_what_works_passes_every_check() -> None:
    async with StubServer() as server, registry_at(server) as registry:
        claude, gpt = await try_providers(registry, ["claude", "gpt"])
    assert [(check.name, check.result) for check in claude.checks] == [
        ("connect", "ok"),
        ("complete", "ok"),
        ("stream", "ok"),
        ("tools", "ok"),
        ("structured", "ok"),
        ("wrong model", "ok"),
    ]
    assert (claude.ok, gpt.ok) == (True, True)
    assert claude.checks[0].message == "2 models listed"
    assert claude.checks[5].message == "refused: ModelNotFoundError"


async def test_a_provider_out_of_reach_is_asked_once() -> None:
    async with StubServer() as server, registry_at(server) as registry:
        (locked,) = await try_providers(registry, ["locked"])
        received = server.account.received
    assert received == 1
    assert [check.result for check in locked.checks] == ["failed", *["skipped"] * 5]
    assert locked.checks[0].message.startswith("AuthenticationError: ")
    assert locked.ok is False


async def test_an_answer_that_is_wrong_fails_its_check_only() -> None:
    async with StubServer() as server, registry_at(server) as registry:
        server.respond = lambda _: Reply(text="", tool_calls=())
        (gpt,) = await try_providers(registry, ["gpt"])
    assert [(check.name, check.message) for check in gpt.checks if check.result == "failed"] == [
        ("complete", "the answer is empty"),
        ("stream", "the stream holds no text"),
        ("tools", "the model did not call the tool that it had to call"),
        (
            "structured",
            "StructuredOutputError: gpt/gpt-4.1-mini: the answer is no JSON",
        ),
    ]


async def test_a_failed_check_is_not_tried_again() -> None:
    async with StubServer() as server, registry_at(server) as registry:
        server.respond = lambda _: Reply(status=500)
        (gpt,) = await try_providers(registry, ["gpt"])
        received = server.account.received
    assert received == 6
    assert gpt.checks[1].message.startswith("ServerError: gpt/gpt-4.1-mini: ")


BUDGETS = """\
budgets:
  - {name: day, limit_usd: 0.000001, period: day}
  - {name: gpt, match: {provider: gpt}, limit_usd: 0.000001, period: ever, on_unpriced: block}
ledger: {url: "sqlite:///usage.db"}
"""


async def test_a_trial_is_stopped_by_no_budget_of_the_configuration_and_spends_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with StubServer() as server:
        config = parse_config(CONFIG.replace("URL", server.url) + BUDGETS)
        (gpt,), total = await try_configured(config, ["gpt"])
        async with ProviderRegistry.from_config(config) as registry:
            booked = (await registry.usage("provider")).total
            spent = [each.spent_usd for each in registry.budgets()]
    assert gpt.ok is True
    assert total["cost_usd"] > 0
    assert (booked.attempts, float(booked.cost_usd)) == (total["attempts"], total["cost_usd"])
    assert spent == [0, 0]


async def test_a_trial_has_a_budget_of_its_own() -> None:
    async with StubServer() as server:
        config = parse_config(CONFIG.replace("URL", server.url))
        (gpt,), total = await try_configured(config, ["gpt"], Decimal("0.000001"))
    assert gpt.checks[1].result == "failed"
    assert gpt.checks[1].message.startswith("BudgetExceededError: budget providers test: ")
    assert total["cost_usd"] == 0
