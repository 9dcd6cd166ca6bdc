"""Every backend that LiteLLM reaches."""

from __future__ import annotations

from orchestify.core.providers import ProviderConfig
from orchestify.lanes.lane import Lane
from orchestify.providers.configured import ConfiguredProvider


class LiteLLMProvider(ConfiguredProvider):
    """A provider of `type: litellm`; its models have LiteLLM's names, as `azure/gpt-4o`."""

    type = "litellm"

    def _own_lane(self, config: ProviderConfig) -> Lane:
        return self._litellm_lane(config)
