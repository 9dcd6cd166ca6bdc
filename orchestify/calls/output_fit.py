"""A call's output lowered to what a budget has left, where it says `fit_output`."""

from __future__ import annotations

from dataclasses import replace

from orchestify.calls.runtime import Runtime, most_tokens
from orchestify.calls.target import Target
from orchestify.errors import BudgetExceededError
from orchestify.values import CompletionRequest

FIT_AT_LEAST = 16
"""Tokens of output below which a call is refused: the least that OpenAI's Responses take."""

LOWERED = "max_tokens_lowered"
"""The word among a response's warnings."""


def fitted_output(
    runtime: Runtime, target: Target, request: CompletionRequest, error: BudgetExceededError
) -> CompletionRequest | None:
    """Return the request with as much output as the full budget has left; None: too little.

    Thinking with a budget of its own keeps that, and needs room for an answer behind it.
    """
    if error.is_ledger_away or error.worst_case_usd is None or error.remaining_calls == 0:
        return None
    given = runtime.tokens(target, request)[0]

    def fits(output: int) -> bool:
        tokens = (given, output)
        usd = runtime.worst_case_usd(target, tokens, request.options)
        left_usd, left = error.remaining_usd, error.remaining_tokens
        has_money = left_usd is None or usd is None or usd <= left_usd
        return has_money and (left is None or most_tokens(tokens) <= left)

    thinks = request.thinking.budget_tokens if request.thinking is not None else None
    least, above = (thinks or 0) + FIT_AT_LEAST, runtime.output_cap(target, request)
    if least >= above or not fits(least):
        return None
    while above - least > 1:  # `least` fits, `above` does not
        middle = (least + above) // 2
        least, above = (middle, above) if fits(middle) else (least, middle)
    native = request.native
    if native is not None:
        native = replace(native, body={**native.body, "max_tokens": least})
    return replace(request, max_tokens=least, native=native)
