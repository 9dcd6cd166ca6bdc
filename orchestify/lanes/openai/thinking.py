"""How a model behind Chat Completions is told how much to think, or not to think.

Which words `reasoning_effort` takes is data by model; which field says it, by endpoint. Sources:
OpenAI, "Reasoning models" and "API reference: reasoning_effort"; Google, "Gemini: OpenAI
compatibility, Thinking"; xAI, "Reasoning"; Groq, "Reasoning"; Mistral, "Reasoning"; DeepSeek,
"Thinking mode"; Z.ai, "Thinking mode"; Moonshot, "Kimi K2.5, disable thinking"; Alibaba, "Deep
thinking"; OpenRouter, "Reasoning tokens"; vLLM, "Reasoning outputs"; LiteLLM's model map.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from orchestify.lanes.fitting import nearest_effort
from orchestify.lanes.openai.dialects import Dialect
from orchestify.values import ThinkingConfig

NONE = "none"
_ALL = ("low", "medium", "high")
_ALL_AND_XHIGH = (*_ALL, "xhigh")
_OPENROUTERS = ("minimal", *_ALL_AND_XHIGH)

# The words that a model's `reasoning_effort` takes, in rising order; the first row that fits
# holds. `none` is among them where thinking can be switched off; without words there is no such
# field.
_EFFORTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"gpt-[1-4]|gpt-5-chat|chatgpt", ()),
    (r"gpt-5\.\d+-chat", ("medium",)),
    (r"gpt-5-pro", ("high",)),
    (r"gpt-5\.\d+-pro", ("medium", "high", "xhigh")),
    (r"gpt-5\.1-codex-max|gpt-5\.[2-9]-codex", _ALL_AND_XHIGH),
    (r"gpt-5(\.1)?-codex", _ALL),
    (r"gpt-5\.1(?!\d)", (NONE, *_ALL)),
    (r"gpt-5\.\d", (NONE, *_ALL_AND_XHIGH)),
    (r"gpt-5(?!\d)", ("minimal", *_ALL)),
    (r"gpt-6-astra|gpt-6\.\d", (*_ALL_AND_XHIGH, "max")),
    (r"gpt-[6-9]", (NONE, *_ALL_AND_XHIGH, "max")),
    (r"gpt-oss|(?:^|/)o[1-9](?![\w.])", _ALL),
    (r"gemini-2\.5-pro|gemini-[3-9][\d.]*-pro|gemini-pro", _ALL),
    (r"gemini-2\.5", (NONE, *_ALL)),
    (r"gemini-[12]\.", ()),
    (r"gemini-[3-9]|gemini-flash", ("minimal", *_ALL)),
    (r"grok-3-mini", ("low", "high")),
    (r"grok-4\.[3-9](?!\d)|grok-[5-9]|grok-latest", (NONE, *_ALL)),
    (r"grok-", ()),
    (r"mistral-(?:small|medium)-(?:latest|26\d\d|3[-.]5)", (NONE, "high")),
    (r"m[ai][gs]+tral|mixtral|codestral|devstral|voxtral", ()),
)
# Models that think, always: no word and no switch takes it from them.
_ALWAYS = re.compile(
    r"magistral|grok-4(?!\.[3-9](?!\d))(?!.*non-reasoning)|grok-code|-thinking|deepseek-r1|qwq|"
    r"minimax-m|sonar-(?:reasoning|deep)"
)
# Models of companies with a switch that do not think, and may not know it.
_NEVER = re.compile(
    r"moonshot-v1|kimi-latest|kimi-k2-(?:\d|turbo|instruct|preview)|glm-4(?:-|v|$)|qwen2|"
    r"qwen-(?:max|vl|long|mt|coder)|-(?:instruct|coder|chat)(?:$|[-:])"
)
_SWITCHED_OFF: Mapping[str, Mapping[str, Any]] = {
    "switch": {"thinking": {"type": "disabled"}},
    "enable_thinking": {"enable_thinking": False},
}
_DEEPSEEKS = re.compile(r"deepseek-v4")
_DEEPSEEK_EFFORTS = ("low", "high", "max")


def thinking_fields(thinking: ThinkingConfig, dialect: Dialect, model: str) -> dict[str, Any]:
    """Return the fields that make a model think.

    Where only a budget was given, the effort it stands for: from 4096 tokens high, from 2048
    medium (LiteLLM's steps).
    """
    effort, budget = thinking.effort, thinking.budget_tokens
    if dialect.thinking == "switch":
        switched: dict[str, Any] = {"thinking": {"type": "enabled"}}
        if effort and _DEEPSEEKS.search(model):
            switched["reasoning_effort"] = nearest_effort(_DEEPSEEK_EFFORTS, effort)
        return switched
    if dialect.thinking == "enable_thinking":
        limit = {} if budget is None else {"thinking_budget": budget}
        return {"enable_thinking": True, **limit}
    if dialect.thinking == "reasoning" and effort is None:
        return {"reasoning": {"max_tokens": budget} if budget else {"enabled": True}}
    words = effort_words(dialect, model)
    if not words:
        return {}
    by_budget = None
    if budget is not None:
        by_budget = "high" if budget >= 4096 else "medium" if budget >= 2048 else "low"
    return {"reasoning_effort": nearest_effort(words, effort or by_budget or "medium")}


def thinking_off_fields(dialect: Dialect, model: str) -> tuple[Mapping[str, Any], bool]:
    """Return the fields that tell a model not to think, and whether it does not think then.

    Where it thinks whatever is said, they ask for the least. Of what does not think, or what
    nobody knows, nothing is asked.
    """
    for pattern, fields in dialect.off:
        if re.search(pattern, model):
            return fields, True
    if dialect.thinking == "reasoning":
        return _reasoning_off(model)
    if _ALWAYS.search(model):
        return {}, False
    if dialect.thinking in _SWITCHED_OFF:
        return ({} if _NEVER.search(model) else _SWITCHED_OFF[dialect.thinking]), True
    words = efforts_of(model)
    if not words:
        return {}, True
    least = NONE if NONE in words else words[0]
    return {"reasoning_effort": least}, least == NONE


def _reasoning_off(model: str) -> tuple[Mapping[str, Any], bool]:
    """Return OpenRouter's object; it refuses to switch off what always thinks."""
    words = efforts_of(model) or (("low",) if _ALWAYS.search(model) else (NONE,))
    if NONE in words:
        return {"reasoning": {"enabled": False}}, True
    return {"reasoning": {"effort": words[0]}}, False


def thinks_unless_told(dialect: Dialect, model: str) -> bool:
    """Whether a model thinks where nothing is said of it, and does not where it is told."""
    if dialect.thinking not in ("switch", "enable_thinking") or _ALWAYS.search(model):
        return False
    return not _NEVER.search(model)


def effort_words(dialect: Dialect, model: str) -> tuple[str, ...]:
    """Return the efforts that a model is asked for at an endpoint, `none` left out."""
    for pattern, taken in dialect.efforts:
        if re.search(pattern, model):
            return taken
    if dialect.thinking == "reasoning":
        return _OPENROUTERS
    known = tuple(word for word in efforts_of(model) or () if word != NONE)
    return known or (() if dialect.thinking == "none" else _ALL)


@lru_cache(maxsize=1_000)
def efforts_of(model: str) -> tuple[str, ...] | None:
    """Return the words that a model's effort may have, None where nobody knows."""
    name = model.lower()
    return next((words for pattern, words in _EFFORTS if re.search(pattern, name)), None)
