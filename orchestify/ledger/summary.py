"""The usage summary: plain numbers, by provider, agent and model."""

from __future__ import annotations

from typing import Any

from orchestify.ledger.memory import Total, Totals
from orchestify.values import TokenUsage


def summary_of(totals: Totals, providers: list[str]) -> dict[str, Any]:
    """Return `total`, `by_provider`, `by_agent`, `by_model` and `unpriced_calls`.

    `by_provider` has a row for each of `providers`, used or not. Costs are in USD and leave out
    the calls whose price nobody knows; each row counts those as `unpriced_calls`. `possible_usd`
    is what attempts of unknown cost may have cost at most, beside it. `cached` counts the answers
    of the response cache, which are no calls, and `saved_usd` sums what they had cost.
    `latency_mean_s` is the mean time of an attempt, None where there was none.
    """
    by_provider = totals.by("provider")
    rows = {name: by_provider.get(name, Total()) for name in [*providers, *by_provider]}
    total = totals.total()
    return {
        "total": summary_row(total),
        "by_provider": {name: summary_row(row) for name, row in rows.items()},
        "by_agent": {name: summary_row(row) for name, row in totals.by("agent").items() if name},
        "by_model": {name: summary_row(row) for name, row in totals.by("model").items()},
        "unpriced_calls": total.unpriced_calls,
    }


def summary_row(total: Total) -> dict[str, Any]:
    """Return one total as plain numbers."""
    return {
        "input_tokens": total.input_tokens,
        "output_tokens": total.output_tokens,
        "total_tokens": total.total_tokens,
        "cost_usd": float(total.cost_usd),
        "possible_usd": float(total.possible_usd),
        "calls": total.calls,
        "attempts": total.attempts,
        "failed": total.failed,
        "unpriced_calls": total.unpriced_calls,
        "cached": total.cached,
        "saved_usd": float(total.saved_usd),
        "latency_mean_s": total.latency_s / total.attempts if total.attempts else None,
    }


def token_usage(total: Total) -> TokenUsage:
    """Return a total in the counts that a provider shows."""
    return TokenUsage(
        total_input=total.input_tokens,
        total_output=total.output_tokens,
        total_cost_usd=float(total.cost_usd),
        call_count=total.calls,
        unpriced_calls=total.unpriced_calls,
    )
