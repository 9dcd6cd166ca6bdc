"""Every name that OpenTelemetry is told, and its conventions' other constants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final


class Names:
    """The names of attributes, metrics and events.

    Those that begin with `gen_ai.` are of OpenTelemetry's semantic conventions 1.41, the last
    numbered release that has them: since 1.42 they live in a repository of their own
    (open-telemetry/semantic-conventions-genai), which has released nothing yet. `error.type`
    and `server.*` are stable conventions. Ours begin with `orchestify.`.
    """

    OPERATION: Final = "gen_ai.operation.name"
    PROVIDER: Final = "gen_ai.provider.name"
    REQUEST_MODEL: Final = "gen_ai.request.model"
    TEMPERATURE: Final = "gen_ai.request.temperature"
    TOP_P: Final = "gen_ai.request.top_p"
    MAX_TOKENS: Final = "gen_ai.request.max_tokens"
    STOP_SEQUENCES: Final = "gen_ai.request.stop_sequences"
    SEED: Final = "gen_ai.request.seed"
    STREAM: Final = "gen_ai.request.stream"
    OUTPUT_TYPE: Final = "gen_ai.output.type"
    RESPONSE_MODEL: Final = "gen_ai.response.model"
    FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
    FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
    INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
    OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
    CACHE_READ: Final = "gen_ai.usage.cache_read.input_tokens"
    CACHE_WRITE: Final = "gen_ai.usage.cache_creation.input_tokens"
    REASONING: Final = "gen_ai.usage.reasoning.output_tokens"
    INPUT_MESSAGES: Final = "gen_ai.input.messages"
    OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
    TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105 - no secret
    ERROR: Final = "error.type"
    SERVER_ADDRESS: Final = "server.address"
    SERVER_PORT: Final = "server.port"

    OPERATION_DURATION: Final = "gen_ai.client.operation.duration"
    TIME_TO_FIRST_CHUNK: Final = "gen_ai.client.operation.time_to_first_chunk"
    TOKEN_USAGE: Final = "gen_ai.client.token.usage"  # noqa: S105 - no secret

    ATTEMPT: Final = "orchestify.attempt"
    TENANT: Final = "orchestify.tenant"
    AGENT: Final = "orchestify.agent"
    CALL_ID: Final = "orchestify.call_id"
    OWN_PROVIDER: Final = "orchestify.provider"
    OUTCOME: Final = "orchestify.outcome"
    LATENCY: Final = "orchestify.latency_s"
    COST: Final = "orchestify.cost_usd"


CHAT = "chat"
"""The one operation there is here, as the conventions call it."""

SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS = tuple(4**power for power in range(14))  # 1 to 67,108,864
"""The buckets that the conventions advise."""

PROVIDERS: Mapping[str, str] = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "cohere_chat": "cohere",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
"""LiteLLM's names of companies, where the conventions have another."""

FINISH_REASONS: Mapping[str, str] = {"tool_calls": "tool_call", "refusal": "content_filter"}
"""Our finish reasons, where the conventions' messages have another word."""
