"""Anthropic's Messages: the last look at a request, before its body is made.

Sources: Anthropic, "API reference: Create a message", "Extended thinking", "Tool use: tool results
must come first", "Prefill Claude's response", and what its errors say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestify.lanes.anthropic.claude_models import (
    MAX_TOKENS,
    Claude,
    budget_of,
    claude_of,
    effort_of,
    refused_by_claude,
)
from orchestify.lanes.fitting import Fitting, drop_blanks, drop_names, parts_of, wrap_arguments
from orchestify.lanes.tool_calls import paired, word_id
from orchestify.values import CompletionRequest, ImagePart, LLMMessage, ThinkingConfig

MOST_CACHE_MARKS = 4  # "A maximum of 4 blocks with cache_control may be provided"

_MIN_BUDGET = 1024
# Anthropic's own blocks that go back as they came, beside `thinking` and the tools' results.
_OWN_BLOCKS = frozenset({"redacted_thinking", "server_tool_use", "mcp_tool_use", "compaction"})
_OPEN_ENDS = frozenset({"server_tool_use", "mcp_tool_use"})


def fitted(request: CompletionRequest) -> Fitting:
    """Return a request as Anthropic takes it, with words for what was changed.

    Raises:
        InvalidParameterError: it has what Anthropic refuses and cannot be left out: an answer
            begun by the caller where the model takes none, a call without a result, a tool that
            must be called by a model that cannot be forced, or while it thinks as the caller asks.
    """
    fitting = Fitting(request)
    claude = claude_of(request.model)
    messages = paired(request.messages, word_id, complete=True)
    if messages is not request.messages:
        fitting.change(messages=messages)
    wrap_arguments(fitting)
    drop_names(fitting)
    drop_blanks(fitting)
    _check_prefill(fitting, claude)
    _fit_forced_tools(fitting, claude)
    _fit_thinking(fitting, claude)
    _fit_output(fitting, claude)
    _fit_sampling(fitting, claude)
    _fit_rest(fitting)
    return fitting


def has_prefill(request: CompletionRequest) -> bool:
    """Whether the caller began the answer; a turn that the provider paused only goes on."""
    last = request.messages[-1]
    if last.role != "assistant" or last.tool_calls:
        return False
    blocks = last.thinking.blocks if last.thinking else ()
    return not any(block.get("type") in _OPEN_ENDS for block in blocks)


def is_anthropics(block: Mapping[str, Any], model: str) -> bool:
    """Whether a block of thinking is Anthropic's; a Claude refuses one without a signature."""
    kind = str(block.get("type", ""))
    if kind == "thinking":
        signature = block.get("signature")
        is_signed = bool(signature) or (signature is not None and "claude" not in model)
        return isinstance(block.get("thinking"), str) and is_signed
    return kind in _OWN_BLOCKS or kind.endswith("_tool_result")


def _check_prefill(fitting: Fitting, claude: Claude) -> None:
    if not claude.prefill and has_prefill(fitting.request):
        raise fitting.refuse(
            "takes no answer that the caller began: the last message is the user's"
        )


def _fit_forced_tools(fitting: Fitting, claude: Claude) -> None:
    """Let thinking give way to a tool that must be called, unless the caller asked for both."""
    request = fitting.request
    if not fitting.forces_tool:
        return
    if not claude.forced_tools:
        raise fitting.refuse("cannot be made to call a tool: tool_choice is auto or none")
    if request.thinking is not None and not request.thinking_configured:
        raise fitting.refuse("thinks, or is made to call a tool, but not both")
    if request.thinking is not None:
        _stop_thinking(fitting)


def _fit_thinking(fitting: Fitting, claude: Claude) -> None:
    request = fitting.request
    thinking = request.thinking
    if thinking is None:
        if request.thinking_off and claude.off == "":
            fitting.warn("thinking_not_off")
        return
    budget = budget_of(thinking, request.model)
    if budget is None:
        if thinking.effort and effort_of(thinking, request.model) != thinking.effort:
            fitting.warn("thinking_effort_changed")
    elif has_prefill(request):
        if not request.thinking_configured:
            raise fitting.refuse("thinks, or goes on with an answer begun, but not both")
        _stop_thinking(fitting)
    elif _goes_on_without_thinking(request):
        _stop_thinking(fitting)


def _stop_thinking(fitting: Fitting) -> None:
    fitting.change("thinking_dropped", thinking=None, thinking_off=True)


def _goes_on_without_thinking(request: CompletionRequest) -> bool:
    """Whether a turn is under way that did not begin with thinking of the model's.

    With a budget, "a final `assistant` message must start with a thinking block" where results
    follow it. Another provider's model, or one that did not think, began that turn.
    """
    turn: LLMMessage | None = None
    for message in reversed(request.messages):
        if message.role == "assistant":
            if turn is None and not message.tool_calls:
                return False
            turn = message
        elif message.role != "tool" and turn is not None:
            break
    if turn is None:
        return False
    blocks = turn.thinking.blocks if turn.thinking else ()
    kinds = {block.get("type") for block in blocks if is_anthropics(block, request.model)}
    return not kinds & {"thinking", "redacted_thinking"}


def _fit_output(fitting: Fitting, claude: Claude) -> None:
    """Make room for the thinking, which `max_tokens` counts, within what the model can write."""
    request = fitting.request
    most = claude.output_tokens
    answer = request.max_tokens or MAX_TOKENS
    budget = budget_of(request.thinking, request.model) if request.thinking else None
    wanted = answer + budget if budget is not None and budget >= answer else answer
    limit = wanted if most is None else min(wanted, most)
    if request.max_tokens is not None and request.max_tokens > limit:
        fitting.warn("max_tokens_reduced")
    if limit != answer:
        fitting.change(max_tokens=limit)
    if budget is not None and budget >= limit:
        budget = max(_MIN_BUDGET, limit - min(answer, limit // 2))
        fitting.change("thinking_budget_reduced", thinking=ThinkingConfig(budget_tokens=budget))


def _fit_sampling(fitting: Fitting, claude: Claude) -> None:
    request = fitting.request
    refused = refused_by_claude(request.model, thinking=request.thinking is not None)
    if "temperature" in refused and request.temperature not in (None, 1):
        fitting.change("temperature_dropped", temperature=None)
    elif request.temperature is not None and request.temperature > 1:
        fitting.change("temperature_reduced", temperature=1.0)
    if request.top_p is None:
        return
    beside = request.temperature is not None and not claude.both
    if "top_p" in refused or beside:
        fitting.change("top_p_dropped", top_p=None)


def _fit_rest(fitting: Fitting) -> None:
    request = fitting.request
    if request.stop and not all(map(str.strip, request.stop)):
        stop = tuple(sequence for sequence in request.stop if sequence.strip())
        fitting.change("stop_dropped", stop=stop)
    if request.seed is not None:
        fitting.change("seed_dropped", seed=None)
    parts = parts_of(request.messages)
    if not parts and not request.tools:
        return
    if any(isinstance(part, ImagePart) and part.detail for part in parts):
        fitting.warn("image_detail_dropped")
    if any(tool.strict for tool in request.tools) and not claude_of(request.model).json_schema:
        fitting.warn("strict_dropped")
    if sum(bool(each.cache_control) for each in (*parts, *request.tools)) > MOST_CACHE_MARKS:
        fitting.warn("cache_control_dropped")
