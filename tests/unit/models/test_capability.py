"""What a request needs and a model is known to lack."""

from __future__ import annotations

from typing import Any

import pytest

from orchestify.calls.request import lacking
from orchestify.models.model_map import ModelEntry, ModelMap, has_thinking, has_tools
from orchestify.values import (
    CompletionRequest,
    ImagePart,
    LLMMessage,
    ResponseFormat,
    TextPart,
    ThinkingConfig,
    Tool,
)


def entry(provider: str = "openai", **flags: Any) -> ModelEntry:
    """What a map of one model says of it."""
    found = ModelMap({"m": {"litellm_provider": provider, "mode": "chat", **flags}}).entry("m")
    assert found is not None
    return found


def asking(*content: Any, **needs: Any) -> CompletionRequest:
    message = LLMMessage("user", content or "hi")
    return CompletionRequest(messages=(message,), model="m", **needs)


IMAGE = ImagePart("https://h/i")
THINKING = ThinkingConfig()


@pytest.mark.parametrize(
    "request_",
    [
        asking(tools=(Tool("t"),)),
        asking(IMAGE),
        asking(thinking=THINKING),
        asking(response_format=ResponseFormat()),
        asking(TextPart("x" * 10_000_000)),
    ],
)
def test_what_nobody_knows_is_tried(request_: CompletionRequest) -> None:
    assert lacking(request_, None) is None
    assert lacking(request_, entry("groq")) is None


@pytest.mark.parametrize(
    ("request_", "flags", "words"),
    [
        (asking(tools=(Tool("t"),)), {"supports_function_calling": False}, "cannot call tools"),
        (asking(IMAGE), {"supports_vision": False}, "takes no images"),
        (
            asking(thinking=THINKING),
            {"supports_reasoning": False},
            "has no extended thinking",
        ),
        (
            asking(response_format=ResponseFormat()),
            {"supports_response_schema": False},
            "has no structured output",
        ),
        (asking(TextPart("x" * 801)), {"max_input_tokens": 100}, "takes at most 100 tokens of"),
    ],
)
def test_what_is_known_to_be_missing_is_said(
    request_: CompletionRequest, flags: dict[str, Any], words: str
) -> None:
    assert str(lacking(request_, entry(**flags))).startswith(words)


@pytest.mark.parametrize(
    "flags",
    [
        {"supports_function_calling": False},
        {"supports_vision": False},
        {"supports_reasoning": False},
        {"supports_response_schema": False},
        {"max_input_tokens": 100},
    ],
)
def test_what_is_not_needed_may_be_missing(flags: dict[str, Any]) -> None:
    assert lacking(asking(TextPart("x" * 800)), entry(**flags)) is None


@pytest.mark.parametrize(
    ("model", "thinks"),
    [
        ("claude-instant-1.2", False),
        ("claude-2.1", False),
        ("claude-3-opus-20240229", False),
        ("claude-3-5-sonnet-20241022", False),
        ("claude-3-5-haiku-latest", False),
        ("anthropic/claude-3-5-sonnet", False),
        ("claude-3-7-sonnet-20250219", True),
        ("claude-sonnet-4-5", True),
        ("claude-opus-4-6", True),
        ("something-new", True),
    ],
)
def test_the_first_claudes_do_not_think_whatever_the_map_says(model: str, thinks: bool) -> None:
    assert has_thinking(model, None) is thinks


def test_companies_that_flag_all_thinkers_are_believed_where_the_flag_is_missing() -> None:
    assert has_thinking("m", entry("openai")) is False
    assert has_thinking("m", entry("anthropic")) is False
    assert has_thinking("m", entry("deepseek")) is True


@pytest.mark.data_of("litellm")
@pytest.mark.parametrize(
    ("model", "provider", "thinks"),
    [
        ("gpt-4o", "openai", False),
        ("gpt-5.1", "openai", True),
        ("o3-mini", "openai", True),
        ("claude-sonnet-4-5", "anthropic", True),
        ("claude-3-haiku-20240307", "anthropic", False),
    ],
)
def test_the_installed_map_knows_who_thinks(model: str, provider: str, thinks: bool) -> None:
    assert has_thinking(model, ModelMap.load().entry(model, provider)) is thinks


def test_tools_are_there_unless_the_map_denies_it() -> None:
    assert has_tools(None) is True
    assert has_tools(entry()) is True
    assert has_tools(entry(supports_function_calling=False)) is False
