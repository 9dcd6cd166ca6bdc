"""The models that a tenant may name, in OpenAI's form."""

from __future__ import annotations

from typing import Any

from orchestify.errors import ModelNotFoundError
from orchestify.providers.base import LLMProvider
from orchestify.providers.configured import ConfiguredProvider
from orchestify.providers.registry import ProviderRegistry
from orchestify.providers.route import Route
from orchestify.server.tenants.tenant_providers import AGENT

OWNER = "orchestify"
"""Whose an agent is; a model is its provider's."""


def listed_models(registry: ProviderRegistry) -> list[dict[str, Any]]:
    """Return a tenant's agents in their order, then the models that are named, by provider."""
    agents = [_model(f"{AGENT}{name}", OWNER) for name in registry.list_agents()]
    return agents + [
        _model(f"{provider}/{model}", provider)
        for provider, model in sorted(registry.named_models())
        if provider in registry
    ]


def model_named(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the one with an id.

    Raises:
        ModelNotFoundError: there is none.
    """
    for row in rows:
        if row["id"] == name:
            return row
    raise ModelNotFoundError("there is no such model; GET /v1/models lists them")


def speaks_openai(provider: LLMProvider) -> bool:
    """Whether every target of a provider takes the fields of OpenAI's protocol."""
    route = provider.route if isinstance(provider, ConfiguredProvider) else provider
    targets = route.targets if isinstance(route, Route) else ()
    return bool(targets) and all(each.provider.provider_type == "openai" for each in targets)


def _model(name: str, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": owner}
