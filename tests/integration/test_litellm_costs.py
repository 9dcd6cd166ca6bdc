"""The cost that a provider reports in a stream through LiteLLM."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from orchestify import ProviderRegistry
from orchestify.core.config import parse_config
from tests.any_path import AnyPathServer
from tests.lanes import KEY, LITELLMS_OWN_WARNINGS

pytestmark = LITELLMS_OWN_WARNINGS

SSE = {"content-type": "text/event-stream"}
COUNTS = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


def chunk(text: str, finish: str | None, cost: float) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    body: dict[str, Any] = {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "sonar",
        "choices": [choice],
        "usage": {**COUNTS, "cost": {"total_cost": cost}},
    }
    return b"data: " + json.dumps(body).encode() + b"\n\n"


async def test_a_cost_that_comes_after_equal_counts_is_kept() -> None:
    pieces = [chunk("one", None, 0), chunk(" two", "stop", 0.00501), b"data: [DONE]\n\n"]
    config = {
        "providers": {"p": {"type": "litellm", "default_model": "perplexity/sonar", "api_key": KEY}}
    }
    async with AnyPathServer(pieces, headers=SSE) as server:
        config["providers"]["p"]["base_url"] = server.url
        async with ProviderRegistry.from_config(parse_config(json.dumps(config))) as registry:
            stream = registry.get("p").stream("hi")
            text = "".join([piece async for piece in stream])
    assert text == "one two"
    assert stream.response.cost_usd == Decimal("0.00501")
    assert stream.response.cost_source == "provider"
