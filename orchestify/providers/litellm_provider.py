"""Every backend that LiteLLM reaches."""

from __future__ import annotations

from orchestify.lanes.lane import Lane
from orchestify.lanes.litellm import LiteLLMLane
from orchestify.providers.configured import ConfiguredProvider


class LiteLLMProvider(ConfiguredProvider):
    """A provider of `type: litellm`; its models have LiteLLM's names, as `azure/gpt-4o`."""

    type = "litellm"

    def _own_lane(self) -> Lane:
        return LiteLLMLane(self.provider_id, self.config, self._rule, fetches=self._fetches)
