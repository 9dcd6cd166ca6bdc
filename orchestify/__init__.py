"""The provider layer of a host orchestrator: YAML in, accountable LLM providers out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestify.calls.stream import (
        CompletionStream,
    )
    from orchestify.core.config import (
        AgentConfig,
        AgentsConfig,
        Config,
        ProviderConfig,
        ProvidersConfig,
        load_config,
    )
    from orchestify.errors import (
        AccessError,
        AgentNotFoundError,
        AllTargetsFailedError,
        APIConnectionError,
        APIError,
        AuthenticationError,
        BudgetExceededError,
        CircuitOpenError,
        ConfigError,
        ConflictError,
        ContentFilterError,
        ContextWindowError,
        EndpointRefusedError,
        InvalidParameterError,
        InvalidRequestError,
        InvalidResponseError,
        LedgerError,
        MissingExtraError,
        ModelNotFoundError,
        NotFoundError,
        OrchestifyError,
        PermissionDeniedError,
        ProviderNotFoundError,
        RateLimitError,
        RequestTimeoutError,
        ServerError,
        StoreError,
        StreamInterruptedError,
        StructuredOutputError,
        VaultError,
    )
    from orchestify.events.events import (
        BudgetThreshold,
        CircuitClosed,
        CircuitHalfOpened,
        CircuitOpened,
        ErrorRateHigh,
        EventsDropped,
        FallbackTaken,
        ProviderUnavailable,
        SlowCall,
        TargetSkipped,
    )
    from orchestify.health.health import (
        ProviderHealth,
    )
    from orchestify.lanes.mock import MockAnswer
    from orchestify.ledger.base import (
        UsageReport,
    )
    from orchestify.ledger.record import scope
    from orchestify.models.pricing import (
        CostRange,
    )
    from orchestify.providers.base import LLMProvider
    from orchestify.providers.claude import ClaudeProvider
    from orchestify.providers.litellm_provider import LiteLLMProvider
    from orchestify.providers.mock import MockProvider
    from orchestify.providers.openai_provider import OpenAIProvider
    from orchestify.providers.registry import ProviderRegistry
    from orchestify.values import (
        Attempt,
        CompletionRequest,
        ImagePart,
        LLMMessage,
        LLMResponse,
        ResponseFormat,
        StreamEnd,
        StreamEvent,
        TextDelta,
        TextPart,
        Thinking,
        ThinkingConfig,
        ThinkingDelta,
        TokenUsage,
        Tool,
        ToolCall,
        ToolCallDelta,
        ToolChoice,
        Usage,
        UsageUpdate,
    )

_HOMES = {
    "APIConnectionError": "orchestify.errors",
    "APIError": "orchestify.errors",
    "AccessError": "orchestify.errors",
    "AgentConfig": "orchestify.core.config",
    "AgentNotFoundError": "orchestify.errors",
    "AgentsConfig": "orchestify.core.config",
    "AllTargetsFailedError": "orchestify.errors",
    "Attempt": "orchestify.values",
    "AuthenticationError": "orchestify.errors",
    "BudgetExceededError": "orchestify.errors",
    "BudgetThreshold": "orchestify.events.events",
    "CircuitClosed": "orchestify.events.events",
    "CircuitHalfOpened": "orchestify.events.events",
    "CircuitOpenError": "orchestify.errors",
    "CircuitOpened": "orchestify.events.events",
    "ClaudeProvider": "orchestify.providers.claude",
    "CompletionRequest": "orchestify.values",
    "CompletionStream": "orchestify.calls.stream",
    "Config": "orchestify.core.config",
    "ConfigError": "orchestify.errors",
    "ContentFilterError": "orchestify.errors",
    "ContextWindowError": "orchestify.errors",
    "ConflictError": "orchestify.errors",
    "EndpointRefusedError": "orchestify.errors",
    "CostRange": "orchestify.models.pricing",
    "ErrorRateHigh": "orchestify.events.events",
    "EventsDropped": "orchestify.events.events",
    "FallbackTaken": "orchestify.events.events",
    "ImagePart": "orchestify.values",
    "InvalidParameterError": "orchestify.errors",
    "InvalidRequestError": "orchestify.errors",
    "InvalidResponseError": "orchestify.errors",
    "LLMMessage": "orchestify.values",
    "LLMProvider": "orchestify.providers.base",
    "LLMResponse": "orchestify.values",
    "LedgerError": "orchestify.errors",
    "LiteLLMProvider": "orchestify.providers.litellm_provider",
    "MissingExtraError": "orchestify.errors",
    "MockAnswer": "orchestify.lanes.mock",
    "MockProvider": "orchestify.providers.mock",
    "ModelNotFoundError": "orchestify.errors",
    "NotFoundError": "orchestify.errors",
    "OpenAIProvider": "orchestify.providers.openai_provider",
    "OrchestifyError": "orchestify.errors",
    "PermissionDeniedError": "orchestify.errors",
    "ProviderConfig": "orchestify.core.config",
    "ProviderHealth": "orchestify.health.health",
    "ProviderNotFoundError": "orchestify.errors",
    "ProviderRegistry": "orchestify.providers.registry",
    "ProviderUnavailable": "orchestify.events.events",
    "ProvidersConfig": "orchestify.core.config",
    "RateLimitError": "orchestify.errors",
    "RequestTimeoutError": "orchestify.errors",
    "ResponseFormat": "orchestify.values",
    "ServerError": "orchestify.errors",
    "StoreError": "orchestify.errors",
    "SlowCall": "orchestify.events.events",
    "StreamEnd": "orchestify.values",
    "StreamEvent": "orchestify.values",
    "StreamInterruptedError": "orchestify.errors",
    "StructuredOutputError": "orchestify.errors",
    "TargetSkipped": "orchestify.events.events",
    "TextDelta": "orchestify.values",
    "TextPart": "orchestify.values",
    "Thinking": "orchestify.values",
    "ThinkingConfig": "orchestify.values",
    "ThinkingDelta": "orchestify.values",
    "TokenUsage": "orchestify.values",
    "Tool": "orchestify.values",
    "ToolCall": "orchestify.values",
    "ToolCallDelta": "orchestify.values",
    "ToolChoice": "orchestify.values",
    "Usage": "orchestify.values",
    "UsageReport": "orchestify.ledger.base",
    "UsageUpdate": "orchestify.values",
    "VaultError": "orchestify.errors",
    "load_config": "orchestify.core.config",
    "scope": "orchestify.ledger.record",
}

__all__ = [
    "APIConnectionError",
    "APIError",
    "AccessError",
    "AgentConfig",
    "AgentNotFoundError",
    "AgentsConfig",
    "AllTargetsFailedError",
    "Attempt",
    "AuthenticationError",
    "BudgetExceededError",
    "BudgetThreshold",
    "CircuitClosed",
    "CircuitHalfOpened",
    "CircuitOpenError",
    "CircuitOpened",
    "ClaudeProvider",
    "CompletionRequest",
    "CompletionStream",
    "Config",
    "ConfigError",
    "ConflictError",
    "ContentFilterError",
    "ContextWindowError",
    "CostRange",
    "EndpointRefusedError",
    "ErrorRateHigh",
    "EventsDropped",
    "FallbackTaken",
    "ImagePart",
    "InvalidParameterError",
    "InvalidRequestError",
    "InvalidResponseError",
    "LLMMessage",
    "LLMProvider",
    "LLMResponse",
    "LedgerError",
    "LiteLLMProvider",
    "MissingExtraError",
    "MockAnswer",
    "MockProvider",
    "ModelNotFoundError",
    "NotFoundError",
    "OpenAIProvider",
    "OrchestifyError",
    "PermissionDeniedError",
    "ProviderConfig",
    "ProviderHealth",
    "ProviderNotFoundError",
    "ProviderRegistry",
    "ProviderUnavailable",
    "ProvidersConfig",
    "RateLimitError",
    "RequestTimeoutError",
    "ResponseFormat",
    "ServerError",
    "SlowCall",
    "StoreError",
    "StreamEnd",
    "StreamEvent",
    "StreamInterruptedError",
    "StructuredOutputError",
    "TargetSkipped",
    "TextDelta",
    "TextPart",
    "Thinking",
    "ThinkingConfig",
    "ThinkingDelta",
    "TokenUsage",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "ToolChoice",
    "Usage",
    "UsageReport",
    "UsageUpdate",
    "VaultError",
    "__version__",
    "load_config",
    "scope",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    """Return the installed version; a checkout that was never installed has none."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - slow to import

    try:
        return version("orchestify")
    except PackageNotFoundError:
        return "0+unknown"
