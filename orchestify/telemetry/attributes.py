"""What OpenTelemetry is told: every name, and the attributes of targets, requests and answers.

Prompts and answers are written in the conventions' form, only for those who ask for them.
Source: semantic-conventions-genai, gen-ai-input-messages.json, gen-ai-output-messages.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from orchestify.calls.target import Target
from orchestify.calls.tracing import TracedAttempt, TracedCall
from orchestify.values import (
    EmbeddingRequest,
    EmbeddingResponse,
    FilePart,
    ImagePart,
    LLMMessage,
    LLMResponse,
    TextPart,
)


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
    DIMENSIONS: Final = "gen_ai.embeddings.dimension.count"
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
    SAVED: Final = "orchestify.saved_usd"


CHAT, EMBEDDINGS = "chat", "embeddings"
"""The operations there are here, as the conventions call them."""

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


Value: TypeAlias = str | int | float | bool | Sequence[str]
Attributes: TypeAlias = dict[str, Value]

_PORTS = {"https": 443, "http": 80}


def target_attributes(target: Target) -> Attributes:
    """Return who is asked, in the conventions' words, and where."""
    company = (target.endpoint or target.provider_type).partition("-")[0]
    return {Names.PROVIDER: PROVIDERS.get(company, company), **_server(target.base_url)}


def request_attributes(call: TracedCall) -> Attributes:
    """Return what the call asks for, without its words."""
    request = call.request
    who: dict[str, Value | None] = {Names.CALL_ID: call.call_id, Names.AGENT: call.agent or None}
    if isinstance(request, EmbeddingRequest):
        return _said({**who, Names.DIMENSIONS: request.dimensions})
    given: dict[str, Value | None] = {
        **who,
        Names.STREAM: call.is_stream or None,
        Names.TEMPERATURE: request.temperature,
        Names.TOP_P: request.top_p,
        Names.MAX_TOKENS: request.max_tokens,
        Names.STOP_SEQUENCES: request.stop or None,
        Names.SEED: request.seed,
        Names.OUTPUT_TYPE: "json" if request.response_format is not None else None,
    }
    return _said(given)


def attempt_attributes(attempt: TracedAttempt) -> Attributes:
    """Return what became of one attempt."""
    found: Attributes = {
        Names.OWN_PROVIDER: attempt.target.provider_id,
        Names.REQUEST_MODEL: attempt.target.model,
        Names.OUTCOME: attempt.outcome,
        Names.LATENCY: attempt.latency_s,
    }
    return {**found, Names.ERROR: attempt.error} if attempt.error else found


def total_attributes(attempts: Sequence[TracedAttempt]) -> Attributes:
    """Return what a call's attempts used and cost together, and who was the last."""
    if not attempts:
        return {}
    last = attempts[-1]
    found: Attributes = {
        Names.OWN_PROVIDER: last.target.provider_id,
        Names.OUTCOME: last.outcome,
    }
    if last.first_chunk_s is not None:
        found[Names.FIRST_CHUNK] = last.first_chunk_s
    usages = [each.usage for each in attempts if each.usage.source != "unknown"]
    if usages:
        found[Names.INPUT_TOKENS] = sum(usage.input_tokens for usage in usages)
        found[Names.OUTPUT_TOKENS] = sum(usage.output_tokens for usage in usages)
    parts = {
        Names.CACHE_READ: sum(usage.cache_read for usage in usages),
        Names.CACHE_WRITE: sum(usage.cache_write for usage in usages),
        Names.REASONING: sum(usage.reasoning for usage in usages),
    }
    found |= {name: count for name, count in parts.items() if count}
    costs = [each.cost_usd for each in attempts if each.cost_usd is not None]
    if costs:
        found[Names.COST] = float(sum(costs, Decimal(0)))
    return found


def response_attributes(response: LLMResponse | EmbeddingResponse) -> Attributes:
    """Return what the answer tells beside its words."""
    if isinstance(response, EmbeddingResponse):
        return {Names.RESPONSE_MODEL: response.model}
    found: Attributes = {
        Names.RESPONSE_MODEL: response.model,
        Names.FINISH_REASONS: (response.finish_reason,),
    }
    if response.saved_usd is not None:
        found[Names.SAVED] = float(response.saved_usd)
    return found


def _said(given: Mapping[str, Value | None]) -> Attributes:
    return {name: value for name, value in given.items() if value is not None}


@lru_cache(maxsize=1000)
def _server(url: str | None) -> Attributes:
    parts = urlsplit(url or "")
    if not parts.hostname:
        return {}
    port = parts.port or _PORTS.get(parts.scheme, 443)
    return {Names.SERVER_ADDRESS: parts.hostname, Names.SERVER_PORT: port}


def input_messages(messages: Sequence[LLMMessage]) -> str:
    """Return a conversation as `gen_ai.input.messages`, JSON in a text."""
    return _json([{"role": each.role, "parts": [*_parts(each)]} for each in messages])


def output_messages(response: LLMResponse) -> str:
    """Return an answer as `gen_ai.output.messages`, JSON in a text."""
    message = response.to_message()
    reason = FINISH_REASONS.get(response.finish_reason, response.finish_reason)
    return _json([{"role": "assistant", "parts": [*_parts(message)], "finish_reason": reason}])


def _parts(message: LLMMessage) -> Iterator[dict[str, Any]]:
    if message.role == "tool":
        yield {
            "type": "tool_call_response",
            "id": message.tool_call_id,
            "response": message.text,
        }
        return
    if message.thinking is not None and message.thinking.text:
        yield {"type": "reasoning", "content": message.thinking.text}
    if not isinstance(message.content, str):
        for part in message.content:
            yield _text(part.text) if isinstance(part, TextPart) else _media(part)
    elif message.content:
        yield _text(message.content)
    for call in message.tool_calls:
        arguments = dict(call.arguments) if call.valid else call.raw_arguments
        yield {"type": "tool_call", "id": call.id, "name": call.name, "arguments": arguments}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "content": text}


def _media(part: ImagePart | FilePart) -> dict[str, Any]:
    modality = "image" if isinstance(part, ImagePart) else "document"
    if isinstance(part, ImagePart) and part.url is not None:
        return {"type": "uri", "modality": modality, "uri": part.url}
    return {
        "type": "blob",
        "modality": modality,
        "mime_type": part.media_type,
        "content": part.data,
    }


def _json(messages: list[dict[str, Any]]) -> str:
    return json.dumps(messages, ensure_ascii=False, default=str)
