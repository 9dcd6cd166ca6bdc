"""`/api/v1/llm-providers`: a tenant's providers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field
from starlette.requests import Request

from orchestify.providers.base import LLMProvider
from orchestify.server.api.fields import (
    Moment,
    Name,
    RequestBody,
    ResponseBody,
    Secret,
    Settings,
    Text,
    unwritten,
)
from orchestify.server.api.routing import CurrentPrincipal, CurrentService, actor_of, needs_body
from orchestify.server.api.rows import RowResource, TestAgentRequest, row_router
from orchestify.server.api.usage import ProviderUsageResponse
from orchestify.server.rows.provider_records import ProviderRecord
from orchestify.server.rows.stored_rows import NewProvider, ProviderRow
from orchestify.server.service import Service
from orchestify.server.storage.importing import ImportedProvider, Outcome, import_providers
from orchestify.server.storage.row_kinds import PROVIDERS
from orchestify.server.tenants.tenant_providers import TenantProviders

_CONFIG = (
    "What the YAML's provider holds: base_url, default_model, max_tokens, price, rate_limit..."
)


class AddProviderRequest(RequestBody):
    """A provider to add; without `name` it is called like its type."""

    provider_type: Name = Field(
        description="openai, anthropic, google, azure, ollama, deepseek, groq, mistral, xai...",
        examples=["anthropic"],
    )
    api_key: Secret | None = Field(
        default=None, description="It goes in and never comes out", examples=["sk-ant-..."]
    )
    config: Settings = Field(
        default={}, description=_CONFIG, examples=[{"default_model": "claude-sonnet-4-6"}]
    )
    name: Name | None = Field(default=None, description="Unique among the tenant's active ones")
    is_default: bool = False


class UpdateProviderRequest(RequestBody):
    """What is to change; what is not written stays. `config` is replaced as a whole."""

    provider_type: Name = unwritten(examples=["anthropic"])
    api_key: Secret | None = unwritten(description="null takes the key away")
    config: Settings = unwritten(examples=[{"default_model": "claude-opus-4-6"}])
    name: Name = unwritten(examples=["claude_main"])
    is_active: bool = unwritten(description="false switches it off and keeps its key")
    is_default: bool = unwritten()


class ProviderResponse(ResponseBody):
    """A provider, without its key; the fingerprint tells keys apart and nothing else."""

    id: str = Field(examples=["4c0d2f0e-7d5f-4d0b-9d5e-0f6f1c1f5a11"])
    name: str = Field(examples=["anthropic"])
    provider_type: str = Field(examples=["anthropic"])
    config: dict[str, Any] = Field(examples=[{"default_model": "claude-sonnet-4-6"}])
    has_key: bool
    key_fingerprint: str | None = Field(examples=["9f2c4e1ab07d"])
    is_active: bool
    is_default: bool
    created_at: Moment
    updated_at: Moment
    removed_at: Moment | None = Field(description="Since when it is removed, and its key gone")


class InheritedProvider(ResponseBody):
    """A provider of the operator's configuration, which this tenant may call, too."""

    name: str = Field(examples=["house"])
    type: str = Field(examples=["openai"])
    default_model: str | None
    models: list[str] = Field(description="Those that the configuration names")


class ProviderPage(ResponseBody):
    """Providers in the order they were added; `next` is the `after` of the following page.

    `inherited`, the same on every page, are the operator's.
    """

    items: list[ProviderResponse]
    next: str | None
    inherited: list[InheritedProvider]


class ImportProvidersRequest(RequestBody):
    """Records of providers, as of a table `llm_providers`."""

    records: list[ProviderRecord] = Field(
        max_length=PROVIDERS.max_rows,
        examples=[[{"provider_type": "openai", "api_key": "sk-...", "config": {}}]],
    )


class ImportResult(ResponseBody):
    """What became of a record: `kept` where a provider of its name was there before."""

    name: str = Field(examples=["openai"])
    result: Outcome


class ImportProvidersResponse(ResponseBody):
    """What became of each record, in their order."""

    items: list[ImportResult]


class TestProviderRequest(TestAgentRequest):
    """How to test: by a free request, or with a short call that costs what it costs."""

    model: Text | None = Field(default=None, description="Of that call; unwritten: the default")


async def _inherited(service: Service, tenant: str) -> Mapping[str, list[InheritedProvider]]:
    """Return the operator's providers that the tenant may call, too."""
    theirs = await service.look_up(tenant, service.store.inherited)
    inherited = [
        InheritedProvider(
            name=name,
            type=config.type,
            default_model=config.default_model,
            models=service.models_of[name],
        )
        for name, config in theirs.items()
    ]
    return {"inherited": inherited}


def _provider_of(
    registry: TenantProviders, row: ProviderRow, asked: TestProviderRequest
) -> LLMProvider:
    if asked.model is None:
        return registry.get(row.name)
    return registry.find(f"{row.name}/{asked.model}")


_PROVIDERS = RowResource(
    kind=PROVIDERS,
    path="/api/v1/llm-providers",
    descriptions={
        "add": "Add a provider; its key is stored encrypted and never shown again.",
        "list": (
            "List the tenant's providers in the order they were added, and the operator's that "
            "it has.\n\nA provider of the tenant's own takes the place of the operator's of the "
            "same name."
        ),
        "get": "Return one provider.",
        "update": "Change what is written in the request, and leave the rest.",
        "remove": (
            "Deactivate a provider for good and destroy its key; what it used stays in the reports."
        ),
        "test": (
            "Ask a provider for its models, a free request, or make one short call that is booked."
        ),
        "usage": "Return what one provider used; by day and model where nothing else is asked for.",
    },
    add_body=AddProviderRequest,
    update_body=UpdateProviderRequest,
    test_body=TestProviderRequest,
    response=ProviderResponse,
    page=ProviderPage,
    usage=ProviderUsageResponse,
    rows=lambda store: store.providers,
    new_row=NewProvider,
    provider_of=_provider_of,
    page_fields=_inherited,
)
router = row_router(_PROVIDERS)


@router.post(":import", name="import_providers", **needs_body("write"))
async def import_(
    body: ImportProvidersRequest,
    request: Request,
    principal: CurrentPrincipal,
    service: CurrentService,
) -> ImportProvidersResponse:
    """Store providers as another service kept them, all or none; what is there stays as it is.

    A second import changes nothing. Keys come in clear; encrypted ones are the operator's to
    import. A record of a name that the tenant has, or removed, is `kept`.
    """
    actor = actor_of(request, principal)

    def work(tenant: str) -> list[ImportedProvider]:
        return import_providers(service.store, body.records, actor, tenant=tenant)

    found = await service.change(principal.tenant_id, work)
    items = [ImportResult(name=each.name, result=each.result) for each in found]
    return ImportProvidersResponse(items=items)
