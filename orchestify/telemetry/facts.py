"""What is told of targets, requests, attempts and answers, as attributes by their names."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from typing import TypeAlias
from urllib.parse import urlsplit

from orchestify.calls.target import Target
from orchestify.calls.tracing import TracedAttempt, TracedCall
from orchestify.telemetry.names import PROVIDERS, Names
from orchestify.values import LLMResponse

Value: TypeAlias = str | int | float | bool | Sequence[str]
Facts: TypeAlias = dict[str, Value]

_PORTS = {"https": 443, "http": 80}


def of_target(target: Target) -> Facts:
    """Return who is asked, in the conventions' words, and where."""
    company = (target.endpoint or target.provider_type).partition("-")[0]
    return {Names.PROVIDER: PROVIDERS.get(company, company), **_server(target.base_url)}


def of_request(call: TracedCall) -> Facts:
    """Return what the call asks for, without its words."""
    request = call.request
    given: dict[str, Value | None] = {
        Names.CALL_ID: call.call_id,
        Names.AGENT: call.agent or None,
        Names.STREAM: call.is_stream or None,
        Names.TEMPERATURE: request.temperature,
        Names.TOP_P: request.top_p,
        Names.MAX_TOKENS: request.max_tokens,
        Names.STOP_SEQUENCES: request.stop or None,
        Names.SEED: request.seed,
        Names.OUTPUT_TYPE: "json" if request.response_format is not None else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def of_attempt(attempt: TracedAttempt) -> Facts:
    """Return what became of one attempt."""
    facts: Facts = {
        Names.OWN_PROVIDER: attempt.target.provider_id,
        Names.REQUEST_MODEL: attempt.target.model,
        Names.OUTCOME: attempt.outcome,
        Names.LATENCY: attempt.latency_s,
    }
    return {**facts, Names.ERROR: attempt.error} if attempt.error else facts


def of_attempts(attempts: Sequence[TracedAttempt]) -> Facts:
    """Return what a call's attempts used and cost together, and who was the last."""
    if not attempts:
        return {}
    last = attempts[-1]
    facts: Facts = {
        Names.OWN_PROVIDER: last.target.provider_id,
        Names.OUTCOME: last.outcome,
    }
    if last.first_chunk_s is not None:
        facts[Names.FIRST_CHUNK] = last.first_chunk_s
    usages = [each.usage for each in attempts if each.usage.source != "unknown"]
    if usages:
        facts[Names.INPUT_TOKENS] = sum(usage.input_tokens for usage in usages)
        facts[Names.OUTPUT_TOKENS] = sum(usage.output_tokens for usage in usages)
    parts = {
        Names.CACHE_READ: sum(usage.cache_read for usage in usages),
        Names.CACHE_WRITE: sum(usage.cache_write for usage in usages),
        Names.REASONING: sum(usage.reasoning for usage in usages),
    }
    facts |= {name: count for name, count in parts.items() if count}
    costs = [each.cost_usd for each in attempts if each.cost_usd is not None]
    if costs:
        facts[Names.COST] = float(sum(costs, Decimal(0)))
    return facts


def of_response(response: LLMResponse) -> Facts:
    """Return what the answer tells beside its words."""
    return {
        Names.RESPONSE_MODEL: response.model,
        Names.FINISH_REASONS: (response.finish_reason,),
    }


@lru_cache(maxsize=1000)
def _server(url: str | None) -> Facts:
    parts = urlsplit(url or "")
    if not parts.hostname:
        return {}
    port = parts.port or _PORTS.get(parts.scheme, 443)
    return {Names.SERVER_ADDRESS: parts.hostname, Names.SERVER_PORT: port}
