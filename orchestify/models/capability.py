"""What a request needs and a model is known to lack; what nobody knows is tried."""

from __future__ import annotations

import re

from orchestify.models.model_map import ModelEntry
from orchestify.values import CompletionRequest

CHARS_PER_TOKEN_AT_MOST = 8  # prose has 4 to 5; a prompt of more is surely too long


# Extended thinking came with Claude 3.7. Source: Anthropic, "Building with extended thinking".
_CLAUDE_WITHOUT_THINKING = re.compile(r"claude-(instant|[12]\b|3-(opus|sonnet|haiku)|3-5-)")
# Companies whose entries in LiteLLM's map flag every model that thinks.
_FLAG_THINKING = frozenset({"anthropic", "openai"})


def has_tools(entry: ModelEntry | None) -> bool:
    """Whether a model can call tools; True where nobody knows."""
    return entry is None or entry.tools is not False


def has_thinking(model: str, entry: ModelEntry | None) -> bool:
    """Whether a model has extended thinking; True where nobody knows."""
    if _CLAUDE_WITHOUT_THINKING.search(model):
        return False
    if entry is None:
        return True
    if entry.thinking is None:
        return entry.provider not in _FLAG_THINKING
    return entry.thinking


def lacking(request: CompletionRequest, entry: ModelEntry | None) -> str | None:
    """Return what the model is known to lack for the request, in words; None where nothing."""
    if request.thinking is not None and not has_thinking(request.model, entry):
        return "has no extended thinking"
    if entry is None:
        return None
    lack = None
    characters, limit = 0, entry.max_input_tokens
    for message in request.messages:
        characters += len(message.text)
    if request.tools and entry.tools is False:
        lack = "cannot call tools"
    elif entry.images is False and any(message.has_images for message in request.messages):
        lack = "takes no images"
    elif request.response_format is not None and entry.structured_output is False:
        lack = "has no structured output"
    elif limit is not None and characters > limit * CHARS_PER_TOKEN_AT_MOST:
        lack = f"takes at most {limit} tokens of input"
    return lack
