"""How the endpoints that speak Chat Completions differ, as rows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What one endpoint takes.

    `path` is where its API begins, if the address does not say. `max_tokens` is the field's name,
    or `by_model`: `max_completion_tokens` for OpenAI's reasoning models. `thinking`: `effort`
    (`reasoning_effort`), `switch` (`thinking: {type: enabled}`), `reasoning` (OpenRouter's
    object) or `none` (the model's name decides). `reply` is how a model's thinking is sent back:
    a field of the message, `content` parts, or not at all. `tool_images`: images may stand in a
    tool's result.
    """

    path: str = "/v1"
    key_header: Literal["authorization", "api-key"] = "authorization"
    max_tokens: Literal["max_tokens", "by_model"] = "max_tokens"
    seed: str = "seed"
    required: str = "required"
    stream_options: bool = True
    thinking: Literal["effort", "switch", "reasoning", "none"] = "effort"
    reply: Literal["reasoning_content", "reasoning_details", "content", "extra_content", ""] = ""
    lists_models: bool = True
    tool_images: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)


_AZURE = Dialect(path="/openai/v1", key_header="api-key", max_tokens="by_model")
_REPLIES = Dialect(reply="reasoning_content")
_SWITCHES = Dialect(thinking="switch", reply="reasoning_content")

# Of api.openai.com, and of hosts that nobody knows: self-hosted servers, proxies.
OPENAI = Dialect(max_tokens="by_model")
UNKNOWN = Dialect(max_tokens="by_model", reply="reasoning_content")

# By the end of the host's name. Sources: each provider's "Chat completions" reference.
DIALECTS: Mapping[str, Dialect] = {
    "api.openai.com": OPENAI,
    "openai.azure.com": _AZURE,
    "services.ai.azure.com": _AZURE,
    "cognitiveservices.azure.com": _AZURE,
    "api.deepseek.com": _SWITCHES,
    "api.z.ai": replace(_SWITCHES, path="/api/paas/v4"),
    "open.bigmodel.cn": replace(_SWITCHES, path="/api/paas/v4"),
    "api.moonshot.ai": _SWITCHES,
    "api.moonshot.cn": _SWITCHES,
    "dashscope.aliyuncs.com": replace(_REPLIES, path="/compatible-mode/v1"),
    "dashscope-intl.aliyuncs.com": replace(_REPLIES, path="/compatible-mode/v1"),
    "api.groq.com": Dialect(path="/openai/v1"),
    "api.cerebras.ai": Dialect(),
    "api.together.xyz": _REPLIES,
    "api.together.ai": _REPLIES,
    "router.huggingface.co": Dialect(),
    "api.x.ai": Dialect(thinking="none", reply="reasoning_content"),
    "api.mistral.ai": Dialect(
        seed="random_seed", required="any", stream_options=False, thinking="none", reply="content"
    ),
    "openrouter.ai": Dialect(
        path="/api/v1",
        thinking="reasoning",
        reply="reasoning_details",
        extra={"usage": {"include": True}},
    ),
    "api.perplexity.ai": Dialect(path="", stream_options=False, lists_models=False),
    "generativelanguage.googleapis.com": Dialect(path="/v1beta/openai", reply="extra_content"),
    "aiplatform.googleapis.com": Dialect(reply="extra_content"),
}

_SERIES = re.compile(r"(?:^|/)(?:(o[1-9])(?![\w.])|gpt-(\d+)(?:\.(\d+))?(?!o)(-chat\b)?)")
_GROK_THINKS = re.compile(r"grok-(?:4|code|3-mini)")


def dialect_of(base_url: str) -> Dialect:
    """Return the row of an address's host."""
    host = "." + (urlsplit(base_url).hostname or "")
    return next((row for end, row in DIALECTS.items() if host.endswith("." + end)), UNKNOWN)


def max_tokens_field(dialect: Dialect, model: str) -> str:
    """Return the name of the field that limits the answer."""
    by_model = dialect.max_tokens == "by_model" and _always_thinks(model)
    return "max_completion_tokens" if by_model else "max_tokens"


@lru_cache(maxsize=1_000)
def refused_by_openai(model: str, *, thinking: bool) -> frozenset[str]:
    """Return the sampling parameters that a model refuses; a temperature of 1 always goes.

    Source: OpenAI, "Reasoning models: parameter compatibility"; xAI, "Reasoning".
    """
    if _GROK_THINKS.search(model):
        return frozenset({"stop"})
    found = _SERIES.search(model)
    if found is None or not _always_thinks(model):
        return frozenset()
    if found[1]:
        return frozenset({"temperature", "top_p"})
    if found[3] and not found[4] and not thinking:  # from 5.1 on, thinking is off unless asked for
        return frozenset({"stop"})
    return frozenset({"temperature", "top_p", "stop"})


@lru_cache(maxsize=1_000)
def _always_thinks(model: str) -> bool:
    """Whether a model is one of OpenAI's reasoning models (`gpt-5-chat` is none)."""
    found = _SERIES.search(model)
    if found is None:
        return False
    return bool(found[1]) or (int(found[2]) >= 5 and not (found[4] and not found[3]))
