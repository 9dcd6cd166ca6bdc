"""What the endpoints of providers take and give."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from orchestify.server.api.fields import (
    Answer,
    Moment,
    Name,
    Request,
    Secret,
    Settings,
    Text,
    unwritten,
)

_CONFIG = (
    "What the YAML's provider holds: base_url, default_model, max_tokens, price, rate_limit..."
)


class AddProviderRequest(Request):
    """A provider to add; without `name` it is called like its type."""

    provider_type: Name = Field(
        description="openai, anthropic, google, azure, ollama, deepseek, groq, mistral, xai...",
        examples=["anthropic"],
    )
    api_key: Secret | None = Field(
        default=None, description="It goes in and never comes out", examples=["sk-ant-..."]
    )
    config: Settings = Field(
        default={}, description=_CONFIG, examples=[{"default_model": "claude-sonnet-4-5"}]
    )
    name: Name | None = Field(default=None, description="Unique among the tenant's active ones")
    is_default: bool = False


class UpdateProviderRequest(Request):
    """What is to change; what is not written stays. `config` is replaced as a whole."""

    provider_type: Name = unwritten(examples=["anthropic"])
    api_key: Secret | None = unwritten(description="null takes the key away")
    config: Settings = unwritten(examples=[{"default_model": "claude-opus-4-6"}])
    name: Name = unwritten(examples=["claude_main"])
    is_active: bool = unwritten(description="false switches it off and keeps its key")
    is_default: bool = unwritten()


class ProviderResponse(Answer):
    """A provider, without its key; the fingerprint tells keys apart and nothing else."""

    id: str = Field(examples=["4c0d2f0e-7d5f-4d0b-9d5e-0f6f1c1f5a11"])
    name: str = Field(examples=["anthropic"])
    provider_type: str = Field(examples=["anthropic"])
    config: dict[str, Any] = Field(examples=[{"default_model": "claude-sonnet-4-5"}])
    has_key: bool
    key_fingerprint: str | None = Field(examples=["9f2c4e1ab07d"])
    is_active: bool
    is_default: bool
    created_at: Moment
    updated_at: Moment
    removed_at: Moment | None = Field(description="Since when it is removed, and its key gone")


class InheritedProvider(Answer):
    """A provider of the operator's configuration, which this tenant may call, too."""

    name: str = Field(examples=["house"])
    type: str = Field(examples=["openai"])
    default_model: str | None
    models: list[str] = Field(description="Those that the configuration names")


class ProviderPage(Answer):
    """Providers in the order they were added; `next` is the `after` of the following page.

    `inherited`, the same on every page, are the operator's.
    """

    items: list[ProviderResponse]
    next: str | None
    inherited: list[InheritedProvider]


class TestAgentRequest(Request):
    """How to test: by a free request, or with a short call that costs what it costs."""

    __test__ = False  # no test case, though it is called like one

    prompt: bool = Field(
        default=False,
        description="Make one real, short call; it is booked, and needs the scope `call` too",
    )


class TestProviderRequest(TestAgentRequest):
    """How to test: by a free request, or with a short call that costs what it costs."""

    model: Text | None = Field(default=None, description="Of that call; unwritten: the default")


class TestProviderResponse(Answer):
    """What a test found: `skipped` where there is no free request to test with."""

    __test__ = False  # as above

    result: Literal["ok", "failed", "skipped"]
    message: str = Field(examples=["12 models listed"])
    latency_s: float = Field(examples=[0.21])
