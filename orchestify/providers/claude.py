"""Claude, by Anthropic's Messages."""

from __future__ import annotations

from orchestify.core.providers import ProviderConfig
from orchestify.lanes.lane import Lane
from orchestify.providers.configured import ConfiguredProvider


class ClaudeProvider(ConfiguredProvider):
    """A provider of `type: anthropic`."""

    type = "anthropic"

    def supports_code_execution(self) -> bool:
        """True: Anthropic runs code itself where its code execution tool is given."""
        return True

    def _own_lane(self, config: ProviderConfig) -> Lane:
        from orchestify.lanes.direct import AnthropicLane  # noqa: PLC0415 - brings aiohttp: 80 ms

        return AnthropicLane(self.provider_id, config, self._rule)
