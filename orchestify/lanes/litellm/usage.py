"""Which tokens a provider itself reported, and which LiteLLM made up where it had not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from orchestify.lanes.answers import (
    anthropic_usage,
    checked_usage,
    openai_usage,
    reported_cost_usd,
)
from orchestify.values import NOTHING, UNKNOWN_USAGE, Usage

# Google's total also holds what its own tools put into the prompt; LiteLLM may leave that out.
# Source: Google, "GenerateContentResponse: UsageMetadata" (`toolUsePromptTokenCount`).
_GOOGLES = frozenset({"gemini", "vertex_ai", "vertex_ai_beta"})
# Where the count of reasoning tokens is LiteLLM's own, made from the text of the thinking.
_GUESS_REASONING = frozenset({"anthropic", "bedrock", "bedrock_converse"})

# Where the others report: Gemini, Ollama, Cohere v1, Titan, Llama and others on Bedrock.
_MARKS = ("usage", "usageMetadata", "prompt_eval_count", "meta", "inputTextTokenCount")
_MARKS_ON_BEDROCK = ("prompt_token_count", "amazon-bedrock-invocationMetrics")
_HEADER_ON_BEDROCK = "x-amzn-bedrock-output-token-count"


def answered_usage(
    shown: Any, body: Any, backend: str, headers: Mapping[str, str] = NOTHING
) -> Usage:
    """Return the usage of a whole answer.

    `shown` is LiteLLM's own reading, `body` and `headers` the provider's answer. Where LiteLLM
    keeps the body to itself, nobody can tell a count from an estimate: it is `estimated`.
    """
    if not isinstance(body, Mapping):
        usage = _reported(as_dict(shown), backend)
        return usage if usage is UNKNOWN_USAGE else replace(usage, source="estimated")
    own = body.get("usage")
    if isinstance(own, Mapping) and "prompt_tokens" in own:
        return openai_usage(own, body.get("service_tier"))
    if isinstance(own, Mapping) and "input_tokens" in own and body.get("type") == "message":
        return anthropic_usage(own)
    is_marked = any(body.get(mark) is not None for mark in (*_MARKS, *_MARKS_ON_BEDROCK))
    if not is_marked and _HEADER_ON_BEDROCK not in headers:
        return UNKNOWN_USAGE
    usage = _reported(as_dict(shown), backend)
    cached = as_dict(own).get("cached_tokens")  # Cohere's
    return checked_usage(replace(usage, cache_read=cached)) if cached else usage


def streamed_usage(shown: Any, own: Any, backend: str) -> Usage | None:
    """Return what one chunk of a stream reports, None where it reports nothing.

    `own` is the provider's object, where it is of Anthropic's protocol and known.
    """
    if own:
        return anthropic_usage(dict(own))
    shown = as_dict(shown)
    usage = _reported(shown, backend)
    if usage is UNKNOWN_USAGE:
        return None
    details = as_dict(shown.get("prompt_tokens_details"))
    kept_1h = as_dict(details.get("cache_creation_token_details")).get("ephemeral_1h_input_tokens")
    return replace(usage, cache_write_1h=min(int(kept_1h or 0), usage.cache_write))


def streamed_cost_usd(shown: Mapping[str, Any], source: Any) -> Decimal | None:
    """Return what the provider says that a stream cost; `source` is what LiteLLM reads it with.

    Into the usage of OpenAI's Responses LiteLLM writes a cost of its own, where there is none;
    OpenRouter's comes with its details.
    """
    bridged = "responses" in type(source).__module__ and "cost_details" not in shown
    return reported_cost_usd({k: v for k, v in shown.items() if not (bridged and k == "cost")})


def as_dict(value: Any) -> dict[str, Any]:
    """Return a pydantic model or a mapping as a dict; anything else as an empty one."""
    if isinstance(value, Mapping):
        return dict(value)
    dump = getattr(value, "model_dump", None)
    return dump(exclude_none=True, warnings=False) if callable(dump) else {}


def _reported(shown: dict[str, Any], backend: str) -> Usage:
    """Read LiteLLM's usage; its zeros stand for what it does not know."""
    usage = openai_usage(shown, unseen="input" if backend in _GOOGLES else None)
    if not usage.total_tokens:
        return UNKNOWN_USAGE
    return replace(usage, reasoning=0) if backend in _GUESS_REASONING else usage
