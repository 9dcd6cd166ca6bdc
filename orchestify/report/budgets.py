"""How far budgets are spent: shares for bars, and words."""

from __future__ import annotations

from decimal import Decimal

from orchestify.policy.budget import BudgetState
from orchestify.report.formatting import write_usd


def budget_limits(state: BudgetState) -> list[tuple[list[Decimal], list[str]]]:
    """Each limit of a budget: the shares that are spent, possibly billed and held; in words."""
    budget = state.budget
    period = "" if budget.period == "ever" else f" a {budget.period}"
    usd = (state.spent_usd, state.possible_usd, state.held_usd)
    tokens = (state.spent_tokens, state.possible_tokens, state.held_tokens)
    calls = (state.spent_calls, state.possible_calls, state.held_calls)
    found: list[tuple[list[Decimal], list[str]]] = []
    for limit, amounts, unit in (
        (budget.limit_usd, usd, ""),
        (budget.limit_tokens, tokens, " tokens"),
        (budget.limit_calls, calls, " calls"),
    ):
        if limit is None:
            continue
        whole, spent, possible, held = (
            f"{each:,}{unit}" if unit else write_usd(Decimal(each)) for each in (limit, *amounts)
        )
        words = [f"{spent} of {whole}{period} spent"]
        words += [f"{possible} possibly billed"] if amounts[1] else []
        words += [f"{held} held by calls under way"] if amounts[2] else []
        found.append(([Decimal(each) / (Decimal(limit) or 1) for each in amounts], words))
    return found
