"""What an attempt used where its provider does not say, or says what cannot be true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestify.models.estimate import count_tokens, estimate_output_tokens
from orchestify.values import UNKNOWN_USAGE, CompletionRequest, LLMResponse, Usage


def answered_usage(request: CompletionRequest, response: LLMResponse) -> Usage:
    """Return the usage of an answer that came without it, estimated from its words."""
    calls = (call.name + (call.raw_arguments or "") for call in response.tool_calls)
    written = (response.content, str(response.thinking or ""), *calls)
    return _estimated(request, response.usage or UNKNOWN_USAGE, written)


def used_so_far(request: CompletionRequest, usage: Usage, pieces: Sequence[str]) -> Usage:
    """Return what was used when an attempt ended early, as far as can be known.

    `usage` is what was reported, `pieces` are what has come.
    """
    if not any(pieces) and not lacks_counts(usage):
        return usage
    return _estimated(request, usage, pieces, may_go_on=True)


def lacks_counts(usage: Usage) -> bool:
    """Whether a count that was reported cannot be true, and is missing."""
    return bool(usage.invalid) and not (usage.input_tokens and usage.output_tokens)


def _estimated(
    request: CompletionRequest, known: Usage, texts: Sequence[str], *, may_go_on: bool = False
) -> Usage:
    """Return a usage with what is missing counted; an output `may_go_on` behind its count."""
    output = known.output_tokens
    if may_go_on or not output:
        output = max(output, estimate_output_tokens(texts, request.model))
    given = known.input_tokens or count_tokens(request.messages, request.tools, request.model)
    if known.source != "unknown" and (given, output) == (known.input_tokens, known.output_tokens):
        return known
    return replace(known, input_tokens=given, output_tokens=output, source="estimated")
