"""OpenAI's Chat Completions and Responses, and every endpoint that speaks them."""

from __future__ import annotations

from orchestify.core.providers import ProviderConfig
from orchestify.lanes.lane import Lane
from orchestify.models.model_map import ModelMap
from orchestify.providers.configured import ConfiguredProvider


class OpenAIProvider(ConfiguredProvider):
    """A provider of `type: openai`, at OpenAI or at `base_url`; `api` says which protocol."""

    type = "openai"

    def _own_lane(self, config: ProviderConfig) -> Lane:
        # aiohttp takes 80 ms to import
        from orchestify.lanes.direct import OpenAILane  # noqa: PLC0415

        api, given = config.api, (self.provider_id, config, self._rule)
        if api in (None, "chat"):
            return OpenAILane(*given)
        from orchestify.lanes.responses.lane import AutoLane, ResponsesLane  # noqa: PLC0415

        if api == "responses":
            return ResponsesLane(*given)
        return AutoLane(OpenAILane(*given), ResponsesLane(*given), self._has_only_responses)

    def _has_only_responses(self, model: str) -> bool:
        models = ModelMap.load()
        entry = models.entry(model, models.provider_of(self.type, model, self.config.base_url))
        return entry is not None and entry.mode == "responses"
