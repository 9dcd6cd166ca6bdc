"""What is known of models, from LiteLLM's map and the configuration, without a request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from orchestify.calls.runtime import Runtime
from orchestify.calls.target import Target
from orchestify.core.aliases import ANY
from orchestify.core.config import Config
from orchestify.errors import InvalidParameterError
from orchestify.models.model_map import has_thinking
from orchestify.models.pricing import cost_usd
from orchestify.values import Usage

CAPABILITIES = {
    "tools": "tools",
    "function_calling": "tools",
    "images": "images",
    "vision": "images",
    "thinking": "thinking",
    "structured_output": "structured_output",
    "json_mode": "structured_output",
    "streaming": "streaming",
}
"""Words for a capability, ours and other layers', and what each stands for."""

_THOUSAND = Decimal(1000)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is known of one model; None where nobody knows. Sizes are in tokens."""

    provider: str
    model: str
    context_window: int | None = None
    max_output_tokens: int | None = None
    input_usd_per_mtok: Decimal | None = None
    output_usd_per_mtok: Decimal | None = None
    price_source: str = "none"
    price_assumed: bool = False
    tools: bool | None = None
    images: bool | None = None
    thinking: bool | None = None
    structured_output: bool | None = None
    deprecated_on: date | None = None

    @property
    def cost_per_1k_input_tokens(self) -> Decimal | None:
        """The price of input in USD per thousand tokens."""
        rate = self.input_usd_per_mtok
        return None if rate is None else rate / _THOUSAND

    @property
    def cost_per_1k_output_tokens(self) -> Decimal | None:
        """The price of output in USD per thousand tokens."""
        rate = self.output_usd_per_mtok
        return None if rate is None else rate / _THOUSAND


def model_info(target: Target, runtime: Runtime) -> ModelInfo:
    """Return what is known of a target's model."""
    entry, price = runtime.entry(target), runtime.price(target)
    return ModelInfo(
        provider=target.provider_id,
        model=target.model,
        context_window=entry.max_input_tokens if entry else None,
        max_output_tokens=entry.max_output_tokens if entry else None,
        input_usd_per_mtok=price.rates.input if price else None,
        output_usd_per_mtok=price.rates.output if price else None,
        price_source=price.source if price else "none",
        price_assumed=price is not None and price.assumed,
        tools=entry.tools if entry else None,
        images=entry.images if entry else None,
        thinking=_thinking(target, runtime),
        structured_output=entry.structured_output if entry else None,
        deprecated_on=entry.deprecated_on if entry else None,
    )


def capable(capability: str, target: Target, runtime: Runtime) -> bool | None:
    """Return whether a target's model has a capability; None where nobody knows.

    Raises:
        InvalidParameterError: it is not one of `CAPABILITIES`.
    """
    name = CAPABILITIES.get(capability)
    if name is None:
        raise InvalidParameterError(
            f"capability is one of {', '.join(CAPABILITIES)}, not {capability!r}"
        )
    if name == "streaming":
        return True
    known: bool | None = getattr(model_info(target, runtime), name)
    return known


def models_of(target: Target, runtime: Runtime) -> list[str]:
    """Return the target's own model, and those LiteLLM's map lists for its company."""
    listed = runtime.prices.model_map.models(target.endpoint) if target.endpoint else []
    return sorted({target.model, *listed} - {""})


def written_models(config: Config) -> Iterator[tuple[str, str]]:
    """Iterate over the providers and models that a configuration names, some of them twice."""
    for name, provider in config.providers.providers.items():
        if isinstance(provider.price, dict):
            yield from ((name, model) for model in provider.price)
        if provider.default_model:
            yield name, provider.default_model
    for alias in config.models.values():
        if ANY not in alias.model:
            yield alias.provider, alias.model
    for agent in config.agents.agents.values():
        own = agent.provider or config.default_provider
        if own and agent.model:
            yield own, agent.model
        yield from ((each.provider, each.model) for each in agent.fallback if each.model)


def cost_of_tokens(
    target: Target, runtime: Runtime, input_tokens: int, output_tokens: int
) -> Decimal | None:
    """Return what so many tokens cost at a target in USD; None where nobody knows."""
    price = runtime.price(target)
    return None if price is None else cost_usd(price, Usage(input_tokens, output_tokens))


def _thinking(target: Target, runtime: Runtime) -> bool | None:
    entry = runtime.entry(target)
    if entry is None and has_thinking(target.model, None):
        return None
    return has_thinking(target.model, entry)
