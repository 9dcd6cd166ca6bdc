"""What `litellm.acompletion` is given for a request.

LiteLLM takes OpenAI's form and translates it; what OpenAI has no form for has LiteLLM's.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from orchestify.lanes.anthropic.claude_models import (
    MAX_TOKENS,
    refused_by_claude,
    thinking_fields,
)
from orchestify.lanes.anthropic.fitting import fitted as fitted_claude
from orchestify.lanes.anthropic.request import asking_for_json
from orchestify.lanes.fitting import Fitting
from orchestify.lanes.openai.dialects import litellm_dialect
from orchestify.lanes.openai.request import body_of, fitted as fitted_chat
from orchestify.values import CompletionRequest, LLMMessage

_CACHED = {"type": "ephemeral"}

# Where LiteLLM gives a Claude 64,000 tokens unless a limit is written.
_LIMITED = re.compile(r"(anthropic|bedrock|vertex_ai|azure_ai)/")
# Whose models refuse their own tool calls when they come back without the thinking.
# Sources: DeepSeek, "Thinking mode: tool calls"; Moonshot, "Kimi K2 thinking".
_WANT_THINKING_BACK = ("deepseek/", "moonshot/")


def completion_fields(
    request: CompletionRequest, supported: Collection[str], *, stream: bool
) -> dict[str, Any]:
    """Return the body's fields, `model` and `messages` among them.

    `request.model` has LiteLLM's prefix. `supported` are the fields that LiteLLM says the model
    takes. What a model refuses is left out only where it is a sampling parameter or the seed; all
    else is passed on, and LiteLLM or the provider refuses it.
    """
    request = fitted(request).request
    if is_claude(request.model):
        request = asking_for_json(request)
    fields = body_of(request, litellm_dialect(request.model), stream=stream)
    for message, form in zip(request.messages, fields["messages"], strict=True):
        _send_back(message, form, request.model)
    if "thinking" in supported:
        _spell_thinking(request, fields)
    if is_claude(request.model):
        _fit_claude(request, fields)
    return fields


def fitted(request: CompletionRequest) -> Fitting:
    """Return a request as the model behind LiteLLM takes it, with words for what was changed.

    Raises:
        InvalidParameterError: it has what the provider refuses and cannot be left out.
    """
    if is_claude(request.model):
        return fitted_claude(request)
    return fitted_chat(request, litellm_dialect(request.model))


def is_claude(model: str) -> bool:
    """Whether a model is Claude, wherever it is served."""
    return "claude" in model.lower() or model.startswith("anthropic/")


def _send_back(message: LLMMessage, form: dict[str, Any], model: str) -> None:
    """Put an assistant's thinking into its message, as LiteLLM takes it.

    Beside a Claude's tool calls empty text is none: LiteLLM would put a sentence of its own there.
    """
    if message.tool_calls and not message.content and is_claude(model):
        form["content"] = None
    thinking = message.thinking
    if thinking is None:
        return
    kinds = [(str(block.get("type", "")), dict(block)) for block in thinking.blocks]
    signed = [block for kind, block in kinds if kind in {"thinking", "redacted_thinking"}]
    details = [block for kind, block in kinds if kind.startswith("reasoning.")]
    if signed:
        form["thinking_blocks"] = signed
    if details:
        form["reasoning_details"] = details
    if thinking.text and model.startswith(_WANT_THINKING_BACK):
        form["reasoning_content"] = thinking.text


def _spell_thinking(request: CompletionRequest, fields: dict[str, Any]) -> None:
    """Say a budget, or a Claude's own measure, as it is rather than by the nearest effort."""
    thinking = request.thinking
    if thinking is None or thinking.effort is not None:
        return
    if is_claude(request.model):
        spelled = thinking_fields(thinking, request.model)
        if "output_config" in spelled:  # no budget is taken, but an effort
            fields["reasoning_effort"] = spelled["output_config"]["effort"]
            return
        fields["thinking"] = spelled["thinking"]
    elif thinking.budget_tokens is not None:
        fields["thinking"] = {"type": "enabled", "budget_tokens": thinking.budget_tokens}
    if "thinking" in fields:
        fields.pop("reasoning_effort", None)


def _fit_claude(request: CompletionRequest, fields: dict[str, Any]) -> None:
    fields.pop("seed", None)  # Anthropic has none, and LiteLLM would refuse the call
    if request.response_format is not None and request.response_format.schema is None:
        del fields["response_format"]  # nor this: the words for it stand in the messages
    for name in refused_by_claude(request.model, thinking=request.thinking is not None):
        if name != "temperature" or request.temperature != 1:
            fields.pop(name, None)
    if _LIMITED.match(request.model):
        fields["max_tokens"] = request.max_tokens or MAX_TOKENS
    budget = fields.get("thinking", {}).get("budget_tokens", 0)
    if 0 < fields.get("max_tokens", 0) <= budget:  # it counts the thinking too
        fields["max_tokens"] += budget
    if request.cache:
        _mark_cached(fields)


def _mark_cached(fields: dict[str, Any]) -> None:
    """Mark the ends of the system prompt and of the tools; all before a mark is cached."""
    system = [form for form in fields["messages"] if form["role"] == "system"]
    if system and system[-1]["content"]:
        content = system[-1]["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        system[-1]["content"] = [*parts[:-1], {**parts[-1], "cache_control": _CACHED}]
    if fields.get("tools"):
        *others, last = fields["tools"]
        fields["tools"] = [*others, {**last, "cache_control": _CACHED}]
