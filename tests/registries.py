"""A registry whose providers all lead to one stub server."""

from __future__ import annotations

import json
from typing import Any

from orchestify import ProviderRegistry
from orchestify.core.config import parse_config
from orchestify.testing import StubServer
from tests.lanes import KEY


def registry_on(
    server: StubServer,
    providers: dict[str, dict[str, Any]],
    agents: dict[str, dict[str, Any]] | None = None,
    **top: Any,
) -> ProviderRegistry:
    """Return a registry of `openai` providers (or of their own type); retries do not wait.

    A provider's model is its name where it says none, so that scripts can tell them apart.
    """
    filled: dict[str, dict[str, Any]] = {}
    for name, provider in providers.items():
        kind = provider.get("type", "openai")
        url = server.anthropic_url if kind == "anthropic" else server.openai_url
        reached = {} if kind == "mock" else {"base_url": url, "api_key": KEY}
        filled[name] = {"type": kind, "default_model": name, **reached, **provider}
    retry = {"max_attempts": 2, "first_delay_s": 0.001, "max_delay_s": 0.002}
    config = {"providers": filled, "agents": agents or {}, "retry": retry, **top}
    return ProviderRegistry.from_config(parse_config(json.dumps(config)))
