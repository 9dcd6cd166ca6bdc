"""What is known of a provider's targets before a call: who they are, and what they speak."""

from __future__ import annotations

from orchestify.calls.target import Target
from orchestify.providers.base import LLMProvider
from orchestify.providers.configured import ConfiguredProvider
from orchestify.providers.routed import RoutedProvider


def targets_of(provider: LLMProvider) -> tuple[Target, ...]:
    """Return the targets of a provider, or of an agent's chain, in order.

    Of a host's own class there are none.
    """
    if isinstance(provider, (ConfiguredProvider, RoutedProvider)):
        return provider.route.targets
    return ()


def speaks_openai(provider: LLMProvider) -> bool:
    """Say whether every target of a provider takes the fields of OpenAI's protocols."""
    targets = targets_of(provider)
    return bool(targets) and all(each.provider_type == "openai" for each in targets)
