"""OpenAI's Chat Completions, and every endpoint that speaks them."""

from __future__ import annotations

from orchestify.core.providers import ProviderConfig
from orchestify.lanes.lane import Lane
from orchestify.providers.configured import ConfiguredProvider


class OpenAIProvider(ConfiguredProvider):
    """A provider of `type: openai`, at OpenAI or at `base_url`."""

    type = "openai"

    def _own_lane(self, config: ProviderConfig) -> Lane:
        from orchestify.lanes.direct import OpenAILane  # noqa: PLC0415 - brings aiohttp: 80 ms

        return OpenAILane(self.provider_id, config, self._rule)
