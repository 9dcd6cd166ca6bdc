from __future__ import annotations

from decimal import Decimal

import pytest

from orchestify.lanes.litellm.usage import (
    answered_usage,
    streamed_cost_usd,
    streamed_usage,
)
from orchestify.values import UNKNOWN_USAGE, Usage

MADE_UP = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}


def test_openais_own_usage_is_read_rather_than_litellms() -> None:
    body = {"usage": {"prompt_tokens": 20, "completion_tokens": 4, "num_cached_tokens": 16}}
    assert answered_usage(MADE_UP, body, "mistral") == Usage(20, 4, cache_read=16)


def test_anthropics_own_usage_is_read_inclusively() -> None:
    own = {"input_tokens": 5, "cache_read_input_tokens": 7, "output_tokens": 2}
    body = {"type": "message", "usage": own}
    assert answered_usage(MADE_UP, body, "anthropic") == Usage(12, 2, cache_read=7)


@pytest.mark.parametrize("body", [{}, {"usage": None}, {"choices": []}])
def test_a_usage_that_the_body_lacks_was_made_up(body: dict[str, object]) -> None:
    assert answered_usage(MADE_UP, body, "openai") is UNKNOWN_USAGE


def test_without_a_body_a_count_may_be_an_estimate() -> None:
    assert answered_usage(MADE_UP, None, "replicate") == Usage(10, 3, source="estimated")


def test_coheres_cached_tokens_are_read_from_its_body() -> None:
    body = {"usage": {"tokens": {"input_tokens": 10, "output_tokens": 3}, "cached_tokens": 8}}
    assert answered_usage(MADE_UP, body, "cohere_chat") == Usage(10, 3, cache_read=8)


def test_a_cost_that_litellm_writes_into_a_stream_is_not_the_providers() -> None:
    bridge = type("Bridge", (), {"__module__": "litellm.completion_extras.x_responses_y"})()
    assert streamed_cost_usd({"cost": 0.5}, object()) == Decimal("0.5")
    assert streamed_cost_usd({"cost": 0.5}, bridge) is None
    assert streamed_cost_usd({"cost": 0.5, "cost_in_usd_ticks": 10**9}, bridge) == Decimal("0.1")
    assert streamed_cost_usd({"cost": 0.5, "cost_details": {}}, bridge) == Decimal("0.5")


def test_bedrock_may_report_in_its_headers() -> None:
    headers = {"x-amzn-bedrock-output-token-count": "3"}
    assert answered_usage(MADE_UP, {"outputs": []}, "bedrock", headers) == Usage(10, 3)
    assert answered_usage(MADE_UP, {"outputs": []}, "bedrock") is UNKNOWN_USAGE


def test_zeros_are_unknown() -> None:
    nothing = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert answered_usage(nothing, {"usage": {}}, "gemini") is UNKNOWN_USAGE


def test_geminis_tool_prompt_is_input() -> None:
    shown = MADE_UP | {"total_tokens": 18}
    assert answered_usage(shown, {"usageMetadata": {}}, "gemini") == Usage(15, 3)
    assert streamed_usage(shown, None, "vertex_ai") == Usage(15, 3)
    assert streamed_usage(shown, None, "ollama") == Usage(10, 3)


def test_ollama_without_a_prompt_count_reported_none() -> None:
    assert answered_usage(MADE_UP, {"eval_count": 3}, "ollama_chat") is UNKNOWN_USAGE


def test_reasoning_that_litellm_counts_itself_is_left_out() -> None:
    shown = MADE_UP | {"completion_tokens_details": {"reasoning_tokens": 2}}
    assert streamed_usage(shown, None, "bedrock") == Usage(10, 3)
    assert streamed_usage(shown, None, "gemini") == Usage(10, 3, reasoning=2)


def test_an_hours_cache_write_is_told_apart() -> None:
    kept = {"ephemeral_1h_input_tokens": 4}
    shown = MADE_UP | {
        "prompt_tokens_details": {"cache_write_tokens": 6, "cache_creation_token_details": kept}
    }
    assert streamed_usage(shown, None, "vertex_ai") == Usage(10, 3, cache_write=6, cache_write_1h=4)


def test_a_chunk_of_zeros_reports_nothing() -> None:
    assert streamed_usage({"prompt_tokens": 0, "completion_tokens": 0}, None, "ollama") is None
