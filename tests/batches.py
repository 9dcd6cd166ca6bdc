"""What the tests of providers' batches share: a registry as each process opens it."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any

from orchestify import BatchResult, ProviderRegistry
from orchestify.core.config import parse_config
from tests.lanes import KEY

PRICE = {"input_usd_per_mtok": 2, "output_usd_per_mtok": 10}
BUDGET = {"name": "all", "limit_usd": 100, "period": "ever"}


def batch_registry(server: str, ledger: str, kind: str = "openai", **top: Any) -> ProviderRegistry:
    """A registry of `batch_config`."""
    return ProviderRegistry.from_config(
        parse_config(json.dumps(batch_config(server, ledger, kind, **top)))
    )


def batch_config(server: str, ledger: str, kind: str = "openai", **top: Any) -> dict[str, Any]:
    """A configuration of one provider at a stub server, priced, of one agent, with a ledger.

    A batch is priced at 1 USD a million tokens in, and 5 USD out.
    """
    main = {
        "type": kind,
        "base_url": f"{server}/v1" if kind == "openai" else server,
        "api_key": KEY,
        "default_model": "stub",
        "price": PRICE,
        "max_tokens": 100,
    }
    return {
        "providers": {"main": main},
        "agents": {"writer": {"provider": "main"}},
        "ledger": {"url": ledger},
        **({"budgets": [BUDGET]} | top),
    }


def prompts(count: int, **more: Any) -> list[dict[str, Any]]:
    """So many requests, `r0` and on, of two words each."""
    return [{"custom_id": f"r{n}", "prompt": f"hello {n}", **more} for n in range(count)]


async def fetched(on: ProviderRegistry, batch_id: str) -> list[BatchResult]:
    """The results of a batch, in the order of its requests."""
    async with aclosing(on.batches.fetch(batch_id)) as results:
        return sorted([each async for each in results], key=lambda each: each.index)
