"""The models that a tenant may name, in OpenAI's form."""

from __future__ import annotations

from typing import Any

from orchestify.providers.base import LLMProvider
from orchestify.providers.configured import ConfiguredProvider
from orchestify.providers.routed import RoutedProvider
from orchestify.server.tenants.tenant_providers import AGENT, TenantProviders

OWNER = "orchestify"
"""Whose an agent is; a model is its provider's."""


def listed_models(registry: TenantProviders) -> dict[str, Any]:
    """Return the list of a tenant's agents in their order, then its models, by provider."""
    agents = [_model(f"{AGENT}{name}", OWNER) for name in registry.list_agents()]
    models = registry.listed_models()
    rows = agents + [_model(f"{provider}/{model}", provider) for provider, model in models]
    return {"object": "list", "data": rows}


def model_named(name: str, registry: TenantProviders) -> dict[str, Any]:
    """Return what a call finds by a name.

    Raises:
        ModelNotFoundError: there is none.
    """
    found = registry.find(name)
    return _model(name, OWNER if name.startswith(AGENT) else found.provider_id)


def speaks_openai(provider: LLMProvider) -> bool:
    """Whether every target of a provider takes the fields of OpenAI's protocol."""
    if not isinstance(provider, (ConfiguredProvider, RoutedProvider)):
        return False
    return all(each.provider_type == "openai" for each in provider.route.targets)


def _model(name: str, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": owner}
