"""The provider layer of a host orchestrator: YAML in, accountable LLM providers out.

The public names are those imported below; each is imported when it is first used. Begin with
`load_config` and `ProviderRegistry`; how a call goes is drawn in `orchestify.calls`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestify.host_package import with_hosts_folders
from orchestify.lazy_names import lazy_names
from orchestify.version import version

__path__ = with_hosts_folders(__name__, __path__)

if TYPE_CHECKING:
    from orchestify.batches.many import (
        BatchResult as BatchResult,
    )
    from orchestify.batches.provider_batches import (
        ProviderBatch as ProviderBatch,
        ProviderBatches as ProviderBatches,
    )
    from orchestify.batches.requests import (
        BatchRequest as BatchRequest,
    )
    from orchestify.calls.stream import (
        CompletionStream as CompletionStream,
    )
    from orchestify.core.config import (
        AgentConfig as AgentConfig,
        AgentsConfig as AgentsConfig,
        Config as Config,
        ProviderConfig as ProviderConfig,
        ProvidersConfig as ProvidersConfig,
        load_config as load_config,
    )
    from orchestify.errors import (
        AccessError as AccessError,
        AgentNotFoundError as AgentNotFoundError,
        AllTargetsFailedError as AllTargetsFailedError,
        APIConnectionError as APIConnectionError,
        APIError as APIError,
        AuthenticationError as AuthenticationError,
        BatchFileError as BatchFileError,
        BatchStateError as BatchStateError,
        BudgetExceededError as BudgetExceededError,
        CircuitOpenError as CircuitOpenError,
        ConfigError as ConfigError,
        ConflictError as ConflictError,
        ContentFilterError as ContentFilterError,
        ContextWindowError as ContextWindowError,
        EndpointRefusedError as EndpointRefusedError,
        InvalidParameterError as InvalidParameterError,
        InvalidRequestError as InvalidRequestError,
        InvalidResponseError as InvalidResponseError,
        LedgerError as LedgerError,
        MissingExtraError as MissingExtraError,
        ModelNotFoundError as ModelNotFoundError,
        NotFoundError as NotFoundError,
        OrchestifyError as OrchestifyError,
        PermissionDeniedError as PermissionDeniedError,
        ProviderNotFoundError as ProviderNotFoundError,
        RateLimitError as RateLimitError,
        RecordingError as RecordingError,
        RequestTimeoutError as RequestTimeoutError,
        RunLimitError as RunLimitError,
        ServerError as ServerError,
        StoreError as StoreError,
        StreamInterruptedError as StreamInterruptedError,
        StructuredOutputError as StructuredOutputError,
        VaultError as VaultError,
    )
    from orchestify.events.events import (
        BudgetSteppedDown as BudgetSteppedDown,
        BudgetThreshold as BudgetThreshold,
        CircuitClosed as CircuitClosed,
        CircuitHalfOpened as CircuitHalfOpened,
        CircuitOpened as CircuitOpened,
        ConfigRefused as ConfigRefused,
        ConfigReloaded as ConfigReloaded,
        ErrorRateHigh as ErrorRateHigh,
        EventsDropped as EventsDropped,
        FallbackTaken as FallbackTaken,
        ForecastHigh as ForecastHigh,
        ProviderUnavailable as ProviderUnavailable,
        SlowCall as SlowCall,
        TargetSkipped as TargetSkipped,
    )
    from orchestify.health.health import (
        ProviderHealth as ProviderHealth,
    )
    from orchestify.health.report import (
        HealthReport as HealthReport,
    )
    from orchestify.lanes.mock import (
        MockAnswer as MockAnswer,
    )
    from orchestify.ledger.base import (
        UsageReport as UsageReport,
    )
    from orchestify.ledger.record import (
        scope as scope,
    )
    from orchestify.models.pricing import (
        CostRange as CostRange,
    )
    from orchestify.policy.budget import (
        RunBudget as RunBudget,
        StepDown as StepDown,
    )
    from orchestify.providers.base import (
        LLMProvider as LLMProvider,
    )
    from orchestify.providers.claude import (
        ClaudeProvider as ClaudeProvider,
    )
    from orchestify.providers.litellm_provider import (
        LiteLLMProvider as LiteLLMProvider,
    )
    from orchestify.providers.mock import (
        MockProvider as MockProvider,
    )
    from orchestify.providers.openai_provider import (
        OpenAIProvider as OpenAIProvider,
    )
    from orchestify.providers.registry import (
        ProviderRegistry as ProviderRegistry,
    )
    from orchestify.tools.loop import (
        RunStream as RunStream,
    )
    from orchestify.tools.results import (
        AnswerEnd as AnswerEnd,
        RunEnd as RunEnd,
        RunResult as RunResult,
        ToolEnd as ToolEnd,
        ToolResult as ToolResult,
        ToolStart as ToolStart,
        Turn as Turn,
    )
    from orchestify.values import (
        Attempt as Attempt,
        CompletionRequest as CompletionRequest,
        EmbeddingRequest as EmbeddingRequest,
        EmbeddingResponse as EmbeddingResponse,
        FilePart as FilePart,
        ImagePart as ImagePart,
        LLMMessage as LLMMessage,
        LLMResponse as LLMResponse,
        ResponseFormat as ResponseFormat,
        StreamEnd as StreamEnd,
        StreamEvent as StreamEvent,
        TextDelta as TextDelta,
        TextPart as TextPart,
        Thinking as Thinking,
        ThinkingConfig as ThinkingConfig,
        ThinkingDelta as ThinkingDelta,
        TokenCount as TokenCount,
        TokenUsage as TokenUsage,
        Tool as Tool,
        ToolCall as ToolCall,
        ToolCallDelta as ToolCallDelta,
        ToolChoice as ToolChoice,
        Usage as Usage,
        UsageUpdate as UsageUpdate,
    )

    __version__: str


if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __version__=version)
