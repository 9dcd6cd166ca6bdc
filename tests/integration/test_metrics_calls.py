"""Metrics of real calls to a stub server: what Prometheus's own parser reads."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from orchestify import ProviderRegistry, ServerError
from orchestify.errors import BudgetExceededError, LedgerError
from orchestify.metrics import Metrics
from orchestify.policy.budget import BudgetState
from orchestify.testing import Reply, StubServer
from orchestify.values import Usage
from tests.lanes import KEY
from tests.registries import registry_on

PRICE = {"input_usd_per_mtok": 1000, "output_usd_per_mtok": 1000}
ANSWER = Reply(text="forty two", usage=Usage(10, 5, cache_read=4, reasoning=2))
DAY = {"name": "day", "limit_usd": 5, "period": "day", "on_unpriced": "allow"}


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as running:
        yield running


def values(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Every count, by its name and its labels' values: model, outcome, provider, type."""
    return {
        (sample.name, *(label for _, label in sorted(sample.labels.items()) if label)): sample.value
        for family in text_string_to_metric_families(metrics.exposition()[0].decode())
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_sum"))
    }


async def test_a_call_that_falls_back_counts_every_attempt(server: StubServer) -> None:
    metrics = Metrics()
    server.script(Reply(status=500), Reply(status=500), model="one")
    server.script(ANSWER, model="two")
    providers = {"one": {"price": PRICE}, "two": {"price": PRICE}}
    agents = {"planner": {"provider": "one", "fallback": ["two"]}}
    async with registry_on(server, providers, agents, budgets=[DAY]) as registry:
        metrics.watch(registry)
        await registry.get_for_agent("planner").complete("hi", max_tokens=100)
        found = values(metrics)
    assert found["orchestify_requests_total", "one", "failed", "one"] == 2
    assert found["orchestify_requests_total", "two", "ok", "two"] == 1
    assert found["orchestify_request_duration_seconds_count", "one", "failed", "one"] == 2
    assert found["orchestify_request_duration_seconds_count", "two", "ok", "two"] == 1
    assert found["orchestify_tokens_total", "two", "two", "input"] == 10
    assert found["orchestify_tokens_total", "two", "two", "output"] == 5
    assert found["orchestify_tokens_total", "two", "two", "cache_read"] == 4
    assert found["orchestify_tokens_total", "two", "two", "reasoning"] == 2
    assert found["orchestify_tokens_total", "one", "one", "input"] == 0
    assert found["orchestify_cost_usd_total", "two", "two"] == pytest.approx(0.015)
    assert found["orchestify_unpriced_requests_total", "two", "two"] == 0
    assert found["orchestify_circuit_state", "one", "one"] == 0
    # a refusal is not billed
    assert found["orchestify_budget_spent_usd", "day"] == pytest.approx(0.015)
    assert found["orchestify_budget_held_usd", "day"] == 0
    assert found["orchestify_budget_limit_usd", "day"] == 5


async def test_a_stream_has_a_time_to_its_first_chunk(server: StubServer) -> None:
    metrics = Metrics()
    async with registry_on(server, {"one": {}}) as registry:
        metrics.watch(registry)
        async with registry.get("one").stream("hi") as stream:
            [text async for text in stream]
        found = values(metrics)
    assert found["orchestify_time_to_first_chunk_seconds_count", "one", "one"] == 1
    assert found["orchestify_requests_total", "one", "ok", "one"] == 1


async def test_a_stream_let_go_is_counted_as_cancelled(server: StubServer) -> None:
    metrics = Metrics()
    async with registry_on(server, {"one": {}}) as registry:
        metrics.watch(registry)
        server.script(Reply(chunks=50, chunk_delay_s=0.01))
        async with registry.get("one").stream("hi") as stream:
            await anext(stream)
        found = values(metrics)
    assert found["orchestify_requests_total", "one", "cancelled", "one"] == 1


async def test_an_open_circuit_is_two(server: StubServer) -> None:
    metrics = Metrics()
    server.script(Reply(status=500))
    breaker = {"failures": 1, "window_s": 60, "open_s": 60, "max_open_s": 60}
    async with registry_on(server, {"one": {}}, circuit_breaker=breaker) as registry:
        metrics.watch(registry)
        with pytest.raises(ServerError):
            await registry.get("one").complete("hi", max_attempts=1)
        assert registry.circuits() == {("one", "one"): "open"}
        assert values(metrics)["orchestify_circuit_state", "one", "one"] == 2


async def test_a_thousand_models_of_a_caller_do_not_make_a_thousand_series(
    server: StubServer,
) -> None:
    metrics = Metrics()
    agents = {"planner": {"provider": "one", "model": "planned"}}
    async with registry_on(server, {"one": {}}, agents) as registry:
        metrics.watch(registry)
        names = [f"made-up-{number}" for number in range(1000)]
        for start in range(0, 1000, 50):
            batch = names[start : start + 50]
            await asyncio.gather(*(registry.get("one").complete("hi", model=m) for m in batch))
        await registry.get_for_agent("planner").complete("hi")
        found = values(metrics)
    requests = [key for key in found if key[0] == "orchestify_requests_total"]
    circuits = [key for key in found if key[0] == "orchestify_circuit_state"]
    assert len(requests) == 202
    assert len(circuits) <= 202
    assert found["orchestify_requests_total", "other", "ok", "one"] == 800
    assert found["orchestify_requests_total", "planned", "ok", "one"] == 1


async def test_the_exposition_holds_no_key_prompt_answer_or_id(server: StubServer) -> None:
    metrics = Metrics()
    async with registry_on(server, {"one": {}}) as registry:
        metrics.watch(registry)
        server.script(Reply(text="the-answer"))
        response = await registry.get("one").complete("the-prompt")
    text = metrics.exposition()[0].decode()
    for secret in (KEY, "the-prompt", "the-answer", response.call_id):
        assert secret not in text


async def test_openmetrics_own_parser_reads_it(server: StubServer) -> None:
    metrics = Metrics()
    async with registry_on(server, {"one": {}}, budgets=[DAY]) as registry:
        metrics.watch(registry)
        await registry.get("one").complete("hi")
        text = metrics.exposition(accept="application/openmetrics-text; version=1.0.0")[0]
    names = {family.name for family in openmetrics_families(text.decode())}
    assert names == {
        "orchestify_requests",
        "orchestify_tokens",
        "orchestify_cost_usd",
        "orchestify_unpriced_requests",
        "orchestify_cached_answers",
        "orchestify_saved_usd",
        "orchestify_request_duration_seconds",
        "orchestify_time_to_first_chunk_seconds",
        "orchestify_circuit_state",
        "orchestify_budget_spent_usd",
        "orchestify_budget_held_usd",
        "orchestify_budget_limit_usd",
        "orchestify_budget_spent_tokens",
        "orchestify_budget_held_tokens",
        "orchestify_budget_limit_tokens",
        "orchestify_budget_spent_calls",
        "orchestify_budget_held_calls",
        "orchestify_budget_limit_calls",
    }


async def test_a_tenant_sees_its_own_circuits_and_budgets_alone(server: StubServer) -> None:
    metrics = Metrics()
    mine, theirs = {**DAY, "name": "mine"}, {**DAY, "name": "theirs"}
    async with (
        registry_on(server, {"one": {}}, budgets=[mine]) as acme,
        registry_on(server, {"two": {}}, budgets=[theirs]) as globex,
    ):
        metrics.watch(acme, "acme")
        metrics.watch(globex, "globex")
        await globex.get("two").complete("hi")
        found = metrics.exposition("acme")[0].decode()
        everything = metrics.exposition()[0].decode()
    assert 'budget="mine"' in found
    assert "theirs" not in found
    assert "globex" not in found
    assert 'orchestify_circuit_state{model="two",provider="two",tenant="globex"}' in everything


async def test_a_registry_watched_twice_is_counted_once(server: StubServer) -> None:
    metrics = Metrics()
    async with registry_on(server, {"one": {}}) as registry:
        registry.observe(metrics.observe)
        metrics.watch(registry)
        metrics.watch(registry)
        await registry.get("one").complete("hi")
    assert values(metrics)["orchestify_requests_total", "one", "ok", "one"] == 1


async def test_what_ended_is_watched_no_more_and_its_counts_stay(server: StubServer) -> None:
    metrics = Metrics()
    async with registry_on(server, {"one": {}}, budgets=[DAY]) as registry:
        stop = metrics.watch(registry)
        await registry.get("one").complete("hi")
        stop()
        await registry.get("one").complete("hi")
        found = values(metrics)
    assert found["orchestify_requests_total", "one", "ok", "one"] == 1
    assert ("orchestify_circuit_state", "one", "one") not in found
    assert ("orchestify_budget_spent_usd", "day") not in found


async def test_a_registry_that_nobody_holds_is_forgotten(server: StubServer) -> None:
    metrics = Metrics()
    registry = registry_on(server, {"one": {}}, budgets=[DAY])
    metrics.watch(registry)
    await registry.aclose()
    assert ("orchestify_budget_spent_usd", "day") in values(metrics)
    del registry
    gc.collect()
    assert ("orchestify_budget_spent_usd", "day") not in values(metrics)


async def test_budgets_of_a_database_are_read_at_the_scrape(
    server: StubServer, tmp_path: Path
) -> None:
    metrics = Metrics()
    ledger = {"url": f"sqlite:///{tmp_path}/usage.db"}
    server.script(ANSWER)
    async with registry_on(
        server, {"one": {"price": PRICE}}, budgets=[DAY], ledger=ledger
    ) as registry:
        metrics.watch(registry)
        await registry.get("one").complete("hi", max_tokens=100)
        with pytest.raises(BudgetExceededError):  # by now the settlement is written
            await registry.get("one").complete("hi", max_tokens=1_000_000)
        found = await asyncio.to_thread(values, metrics)
    assert found["orchestify_budget_spent_usd", "day"] == pytest.approx(0.015)


async def test_budgets_whose_database_is_away_are_left_out(
    server: StubServer, tmp_path: Path
) -> None:
    metrics = Metrics()
    ledger = {"url": f"sqlite:///{tmp_path}/usage.db"}
    async with registry_on(server, {"one": {}}, budgets=[DAY], ledger=ledger) as registry:
        (tmp_path / "usage.db").mkdir()
        with pytest.raises(LedgerError):
            registry.budgets()
        metrics.watch(registry)
        found = values(metrics)
    assert ("orchestify_budget_spent_usd", "day") not in found


class Slow(ProviderRegistry):
    """A registry whose budgets' database does not answer until it is let."""

    answers = threading.Event()

    def budgets(self) -> list[BudgetState]:
        self.answers.wait(30)
        return super().budgets()


def test_a_database_that_hangs_does_not_hold_up_a_scrape() -> None:
    metrics, registry = Metrics(budgets_within_s=0.05), Slow()
    metrics.watch(registry)
    assert b"orchestify_requests_total" in metrics.exposition()[0]
    Slow.answers.set()


async def test_it_registers_with_the_hosts_own_collectors(server: StubServer) -> None:
    hosts, metrics = CollectorRegistry(auto_describe=True), Metrics()
    hosts.register(metrics)
    async with registry_on(server, {"one": {}}) as registry:
        metrics.watch(registry)
        await registry.get("one").complete("hi")
    labels = {"tenant": "", "provider": "one", "model": "one", "outcome": "ok"}
    assert hosts.get_sample_value("orchestify_requests_total", labels) == 1
