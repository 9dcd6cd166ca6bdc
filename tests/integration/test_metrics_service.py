"""The service's `/metrics`: each tenant sees its own calls, circuits and budgets."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchestify.errors import ServerError
from orchestify.testing import Reply, StubServer
from tests.servers import PROVIDERS, Served, serving

CONFIG = """
providers: {house: {type: mock, default_model: m, price: {input_usd_per_mtok: 1}}}
budgets: [{name: day, limit_usd: 5, period: day}]
"""


async def scraped(served: Served, tenant: str) -> dict[str, set[str]]:
    """The tenants that each family with samples names, as Prometheus's parser reads them."""
    answer = await served.ask("GET", "/metrics", served.token(tenant, "read"))
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.text)
    found = {each.name: {sample.labels["tenant"] for sample in each.samples} for each in families}
    return {name: tenants for name, tenants in found.items() if tenants}


async def test_a_provider_that_was_changed_shows_the_circuit_it_has_now(tmp_path: Path) -> None:
    async with StubServer() as stub, serving(tmp_path) as served:
        token = served.token("acme")
        stub.script(Reply(status=500))
        broken = {"base_url": stub.openai_url, "default_model": "m"}
        own = {"circuit_breaker": {"failures": 1}, "retry": {"max_attempts": 1}}
        row = {"provider_type": "openai", "api_key": "sk-made-up", "config": broken | own}
        added = await served.ask("POST", PROVIDERS, token, json=row)
        older = await served.service.tenants.get("acme")
        with pytest.raises(ServerError):
            await older.get("openai").complete("hi")
        opened = await states(served, token)
        mended = {"config": broken | own | {"base_url": f"{stub.openai_url}/"}}
        await served.ask("PUT", added.headers["location"], token, json=mended)
        await (await served.service.tenants.get("acme")).get("openai").complete("hi")
        closed = await states(served, token)
        assert older.circuits() == {("openai", "m"): "open"}
    assert (opened, closed) == ([2.0], [0.0])


async def states(served: Served, token: str) -> list[float]:
    """What a tenant's scrape says of its circuits."""
    answer = await served.ask("GET", "/metrics", token)
    families = text_string_to_metric_families(answer.text)
    found = [each.samples for each in families if each.name == "orchestify_circuit_state"]
    return [sample.value for samples in found for sample in samples]


async def test_a_tenants_scrape_names_that_tenant_alone(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    async with serving(tmp_path, config_path=Path("config.yaml")) as served:
        for tenant in ("acme", "globex"):
            async with served.service.tenants.use(tenant) as registry:
                await registry.get("house").complete("hi", max_tokens=10)
        acme, nobody = await asyncio.gather(scraped(served, "acme"), scraped(served, "initech"))
    assert acme == {
        "orchestify_requests": {"acme"},
        "orchestify_tokens": {"acme"},
        "orchestify_cost_usd": {"acme"},
        "orchestify_unpriced_requests": {"acme"},
        "orchestify_request_duration_seconds": {"acme"},
        "orchestify_circuit_state": {"acme"},
        "orchestify_budget_spent_usd": {"acme"},
        "orchestify_budget_held_usd": {"acme"},
        "orchestify_budget_limit_usd": {"acme"},
    }
    assert nobody == {}
