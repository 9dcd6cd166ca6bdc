"""Providers: what sends requests, the path their calls take, and the registry over them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestify.errors import APIConnectionError, APIError, RateLimitError
    from orchestify.lanes.mock import MockAnswer
    from orchestify.providers.base import LLMProvider
    from orchestify.providers.claude import ClaudeProvider
    from orchestify.providers.litellm_provider import LiteLLMProvider
    from orchestify.providers.mock import MockProvider
    from orchestify.providers.openai_provider import OpenAIProvider
    from orchestify.providers.registry import ProviderRegistry
    from orchestify.values import LLMMessage, LLMResponse, TokenUsage

_HOMES = {
    "APIConnectionError": "orchestify.errors",
    "APIError": "orchestify.errors",
    "ClaudeProvider": "orchestify.providers.claude",
    "LLMMessage": "orchestify.values",
    "LLMProvider": "orchestify.providers.base",
    "LLMResponse": "orchestify.values",
    "LiteLLMProvider": "orchestify.providers.litellm_provider",
    "MockAnswer": "orchestify.lanes.mock",
    "MockProvider": "orchestify.providers.mock",
    "OpenAIProvider": "orchestify.providers.openai_provider",
    "ProviderRegistry": "orchestify.providers.registry",
    "RateLimitError": "orchestify.errors",
    "TokenUsage": "orchestify.values",
}

__all__ = [
    "APIConnectionError",
    "APIError",
    "ClaudeProvider",
    "LLMMessage",
    "LLMProvider",
    "LLMResponse",
    "LiteLLMProvider",
    "MockAnswer",
    "MockProvider",
    "OpenAIProvider",
    "ProviderRegistry",
    "RateLimitError",
    "TokenUsage",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
