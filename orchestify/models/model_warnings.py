"""Warnings about configured models: a budget that blocks them, a wrong address, prefix or name."""

from __future__ import annotations

import re
from collections.abc import Iterator

from orchestify.core.chains import ModelUse, model_uses
from orchestify.core.config import BudgetConfig, Config, ProviderConfig
from orchestify.core.error_messages import Finding
from orchestify.core.problems import in_file_order
from orchestify.core.warnings import warning_at
from orchestify.models.model_map import ModelMap, provider_at
from orchestify.models.price_book import PriceBook

_COMPANIES = {"openai": "OpenAI"}  # a model that is not Claude's is no warning but a problem
_TYPE_OF_COMPANY = {"openai": "openai", "anthropic": "anthropic", "gemini": "gemini"}
_SHOWN = 3


def model_warnings(config: Config) -> tuple[str, ...]:
    """Return one line for each thing about models that is allowed but likely wrong, in file order.

    Reads the model map, and genai-prices for models that it lacks; sends nothing.
    """
    uses = list(model_uses(config))
    by_model = {(use.provider, use.model): use.at for use in reversed(uses)}
    found = list(_unpriced(config, uses))
    for (name, model), at in by_model.items():
        what = _model_warning(config.providers.providers[name], model)
        found += [(at, what)] if what else []
    return tuple(in_file_order((warning_at(config, *each) for each in found), config.files))


def _unpriced(config: Config, uses: list[ModelUse]) -> Iterator[Finding]:
    """Iterate the budgets that refuse every call of a model because nobody knows its price."""
    blocking = [
        (index, budget)
        for index, budget in enumerate(config.budgets)
        if budget.mode == "hard" and budget.on_unpriced == "block"
    ]
    if not blocking:
        return
    providers = config.providers.providers
    book = PriceBook.of(providers)
    unpriced = [use for use in uses if not _has_price(book, providers[use.provider], use)]
    for index, budget in blocking:
        models = [f"{use.provider}/{use.model}" for use in unpriced if _counts(budget, use)]
        names = list(dict.fromkeys(models))
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            yield (
                ("budgets", index),
                f"no price is known of {', '.join(names[:_SHOWN])}{more}, so this budget refuses "
                "every call; write a price at the provider, or on_unpriced: warn here",
            )


def _has_price(book: PriceBook, provider: ProviderConfig, use: ModelUse) -> bool:
    endpoint = book.model_map.provider_of(provider.type, use.model, provider.base_url)
    return book.price(use.provider, use.model, endpoint) is not None


def _counts(budget: BudgetConfig, use: ModelUse) -> bool:
    match = budget.match
    return (
        match.provider in (None, use.provider)
        and match.agent in (None, use.agent)
        and match.model in (None, use.model)
    )


def _model_warning(provider: ProviderConfig, model: str) -> str | None:
    if provider.engine == "mock" or provider.type in {"mock", "external"}:
        return None
    models = ModelMap.load()
    if provider.type == "litellm" and "/" not in model:
        return _prefix_warning(models, provider, model)
    endpoint = models.provider_of(provider.type, model, provider.base_url)
    if endpoint is None or models.entry(model, endpoint) is not None:
        return None
    return _company_warning(models, endpoint, model) or _spelling_warning(models, endpoint, model)


def _prefix_warning(models: ModelMap, provider: ProviderConfig, model: str) -> str | None:
    at = provider_at(provider.base_url) if provider.base_url else None
    entry = models.entry(model)
    if entry is not None and at in (None, entry.provider):
        return None
    return f"LiteLLM finds a backend by the model's prefix; write it, as in {at or 'azure'}/..."


def _company_warning(models: ModelMap, endpoint: str, model: str) -> str | None:
    """Say that a company's model is asked for at another's own address."""
    entry = models.entry(model)
    company = "anthropic" if model.startswith("claude") else entry.provider if entry else ""
    if endpoint not in _COMPANIES or company not in _TYPE_OF_COMPANY or company == endpoint:
        return None
    type_ = _TYPE_OF_COMPANY[company]
    return f"no model of {_COMPANIES[endpoint]}'s, where it goes; its own provider is type: {type_}"


def _spelling_warning(models: ModelMap, endpoint: str, model: str) -> str | None:
    bare = model.removeprefix(f"{endpoint}/")
    near = next((each for each in models.models(endpoint) if _is_one_letter_off(bare, each)), None)
    return None if near is None else f"no such model is known; did you mean '{near}'?"


def _is_one_letter_off(word: str, known: str) -> bool:
    """Say whether one letter is wrong, missing, too many or swapped with its neighbour.

    Digits must agree: another number is another version, which the map may not know yet.
    """
    if abs(len(word) - len(known)) > 1 or _digits(word) != _digits(known):
        return False
    start = 0
    while start < min(len(word), len(known)) and word[start] == known[start]:
        start += 1
    here, there = word[start:], known[start:]
    swapped = here[:2] == there[1::-1] and here[2:] == there[2:]
    return swapped or here[1:] == there[1:] or here[1:] == there or here == there[1:]


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)
