from __future__ import annotations

import subprocess
import sys

import pytest

import orchestify
from orchestify import errors

NAMES = [
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


def test_the_public_names_are_these() -> None:
    assert orchestify.__all__ == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_resolves_and_is_listed(name: str) -> None:
    assert getattr(orchestify, name) is not None
    assert name in dir(orchestify)


def test_every_error_is_public() -> None:
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.OrchestifyError)
    }
    assert defined - set(NAMES) == set()


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'orchestify' has no attribute 'Manager'"):
        orchestify.Manager  # noqa: B018 - the access is what is tested


def test_importing_orchestify_imports_nothing_slow() -> None:
    code = (
        "import sys, orchestify; "
        "print([name for name in ('litellm', 'aiohttp', 'pydantic', 'yaml', 'sqlalchemy', 'rich', "
        "'click', 'importlib.metadata') if name in sys.modules])"
    )
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
