"""Agents that can never be answered: every target of theirs refuses, or is refused, every call."""

from __future__ import annotations

from collections.abc import Iterator

from orchestify.core.agents import AgentConfig
from orchestify.core.chains import ChainEntry, chain_of
from orchestify.core.config import BudgetConfig, Config
from orchestify.core.problems import in_file_order
from orchestify.core.providers import ProviderConfig
from orchestify.core.warnings import lacks_key, warning_at
from orchestify.models.model_map import has_thinking
from orchestify.models.price_book import PriceBook
from orchestify.models.pricing import highest_cost_usd


def unanswerable(config: Config) -> tuple[str, ...]:
    """Return one line for each agent that is on and can never be answered, in file order.

    Only what no call and no waiting can change counts. A provider that the host registers in code
    may answer.
    """
    chains = _Chains(config)
    found = []
    for name, agent in config.agents.agents.items():
        if not agent.enabled:
            continue
        links = chain_of(config, name, agent)
        reasons = [chains.reason(name, agent, link, link is links[0]) for link in links]
        if all(reasons):
            told = "; ".join(
                f"{link.provider}: {reason}" for link, reason in zip(links, reasons, strict=True)
            )
            found.append(warning_at(config, ("agents", name), f"no call can be answered: {told}"))
    return tuple(in_file_order(found, config.files))


class _Chains:
    """Says why a target never answers, with what is known of models and prices."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._book = PriceBook.of(config.providers.providers)

    def reason(
        self, agent_id: str, agent: AgentConfig, link: ChainEntry, is_own: bool
    ) -> str | None:
        """Return why no call of the agent is answered there, None where one may be."""
        provider = self._config.providers.providers.get(link.provider)
        if provider is None:
            return None
        if provider.off_reason is not None:
            return f"it is off ({provider.off_reason})"
        if "mock" in {provider.type, provider.engine} or provider.type == "external":
            return None
        if lacks_key(provider) and not (is_own and agent.api_key is not None):
            return "it has no api_key"
        endpoint = self._endpoint(provider, link.model)
        entry = self._book.model_map.entry(link.model, endpoint)
        if agent.thinking not in {None, False, "none"} and not has_thinking(link.model, entry):
            return f"{link.model} has no extended thinking"
        return next(self._refusals(agent_id, link, endpoint), None)

    def _refusals(self, agent_id: str, link: ChainEntry, endpoint: str | None) -> Iterator[str]:
        """Iterate the budgets that refuse even the smallest call."""
        price = self._book.price(link.provider, link.model, endpoint)
        for budget in self._config.budgets:
            limit_usd = None if budget.per or budget.step_down else budget.limit_usd
            if limit_usd is None or budget.mode != "hard" or not _counts(budget, agent_id, link):
                continue
            if price is None and budget.on_unpriced == "block":
                yield f"budget {budget.name} blocks {link.model}, whose price nobody knows"
            elif price is not None and highest_cost_usd(price, 1, 1, {}) > limit_usd:
                yield f"budget {budget.name} is smaller than any call of {link.model}"

    def _endpoint(self, provider: ProviderConfig, model: str) -> str | None:
        return self._book.model_map.provider_of(provider.type, model, provider.base_url)


def _counts(budget: BudgetConfig, agent_id: str, link: ChainEntry) -> bool:
    """Whether a budget counts every call of the agent there, whatever its labels."""
    match = budget.match
    return (
        not match.label
        and match.provider in (None, link.provider)
        and match.agent in (None, agent_id)
        and match.model in (None, link.model)
    )
