"""Calls by OpenAI's Responses, and the choice between them and Chat Completions by model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from functools import partial
from typing import Any

from orchestify.core.addresses import AddressRule
from orchestify.core.providers import ProviderConfig
from orchestify.lanes.direct import OpenAILane
from orchestify.lanes.fitting import Fitting
from orchestify.lanes.lane import Lane
from orchestify.lanes.openai.learning import NOTHING_LEARNED
from orchestify.lanes.openai.request import fitted
from orchestify.lanes.responses.answer import answer
from orchestify.lanes.responses.native import PROTOCOL, fitted_native, growing
from orchestify.lanes.responses.request import body_of, fit_to_responses
from orchestify.values import (
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    LLMResponse,
    StreamEvent,
)


class ResponsesLane(OpenAILane):
    """OpenAI's Responses, and every endpoint that speaks them."""

    path = "/responses"

    def __init__(
        self, provider_id: str, config: ProviderConfig, rule: AddressRule | None = None
    ) -> None:
        super().__init__(provider_id, config, rule)
        row = self._dialect  # the field that says how much to think is the protocol's own
        thinking = row.thinking if row.thinking == "none" else "effort"
        self._dialect = replace(row, thinking=thinking, off=(), tool_images=True)
        self._answer = partial(answer, dialect=self._dialect)
        self._growing = partial(growing, dialect=self._dialect)

    def _fitted(self, request: CompletionRequest) -> Fitting:
        native, refused = request.native, self._learned.get(request.model, NOTHING_LEARNED).refused
        if native is not None and native.protocol == PROTOCOL:
            return fitted_native(request, native, self._dialect, refused)
        fitting = fitted(replace(request, native=None), self._dialect, refused)
        fit_to_responses(fitting)
        return fitting

    def _request_body(self, request: CompletionRequest, *, stream: bool) -> dict[str, Any]:
        if request.native is None:
            return body_of(request, self._dialect, stream=stream)
        return {**request.native.body, **({"stream": True} if stream else {})}


class AutoLane:
    """Chat Completions, but Responses for models of which it is known that they have only these."""

    def __init__(
        self, chat: OpenAILane, responses: ResponsesLane, has_only_responses: Callable[[str], bool]
    ) -> None:
        self._chat = chat
        self._responses = responses
        self._has_only_responses = has_only_responses

    def lane_of(self, model: str) -> OpenAILane:
        """Return the lane of a model."""
        return self._responses if self._has_only_responses(model) else self._chat

    async def send(self, request: CompletionRequest) -> LLMResponse:
        """Send one request and return the whole answer."""
        return await self.lane_of(request.model).send(request)

    def open_stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent, None]:
        """Send one request and yield its events; the last is `StreamEnd`."""
        return self.lane_of(request.model).open_stream(request)

    def wire_form(self, request: CompletionRequest, *, stream: bool) -> bytes | None:
        """Return what decides the answer to a request, as the model's lane does."""
        return self.lane_of(request.model).wire_form(request, stream=stream)

    async def embed_inputs(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """Send one request and return a vector for each of its inputs, in order."""
        return await self._chat.embed_inputs(request)

    async def list_models(self) -> list[str] | None:
        """Return the models the provider lists, None where it lists none."""
        return await self._chat.list_models()

    async def count_input(self, request: CompletionRequest) -> int | None:
        """Return the input tokens that the provider counts, None where it does not count."""
        return await self.lane_of(request.model).count_input(request)

    async def aclose(self) -> None:
        """Close every connection; the lanes open new ones where they are used again."""
        await self._chat.aclose()
        await self._responses.aclose()


def lane_at(lane: Lane, model: str) -> Lane:
    """Return what sends requests for a model: of a choice between protocols, the one it is."""
    return lane.lane_of(model) if isinstance(lane, AutoLane) else lane


def speaks_responses(lane: Lane, model: str) -> bool:
    """Whether requests for a model go out as Responses."""
    return isinstance(lane_at(lane, model), ResponsesLane)
