"""One request of Anthropic's Messages over HTTP: an answer, or a count of tokens."""

from __future__ import annotations

import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from orchestify.errors import OrchestifyError
from orchestify.lanes.direct import AnthropicLane
from orchestify.providers.base import LLMProvider
from orchestify.server.access.authentication import require
from orchestify.server.gateway.errors import ANTHROPIC, error_response
from orchestify.server.gateway.exchange import Exchange
from orchestify.server.gateway.json_fields import wrong
from orchestify.server.gateway.messages.answer import MessageWriter, answer_body, has_cut_calls
from orchestify.server.gateway.messages.native import permitted_request, whole_request
from orchestify.server.gateway.messages.request import (
    MessagesRequest,
    counted_request,
    messages_request,
)
from orchestify.server.gateway.targets import targets_of
from orchestify.server.service import Service
from orchestify.server.tenants.tenant_providers import TenantProviders
from orchestify.values import LLMResponse, NativeRequest


class MessagesExchange(Exchange[MessagesRequest]):
    """Answers one request; what only the same protocol can be told goes to targets that speak it.

    A stream ends with `message_stop`.
    """

    error_form = ANTHROPIC
    keep_alive = b'event: ping\ndata: {"type": "ping"}\n\n'

    def _parsed(self, body: bytes) -> MessagesRequest:
        return messages_request(body)

    def _arguments(
        self, asked: MessagesRequest, provider: LLMProvider, registry: TenantProviders
    ) -> dict[str, Any]:
        native = native_request(asked, self._request, self._service, provider, registry)
        if asked.thinks_if_it_can and not provider.supports_thinking():
            del asked.arguments["thinking"]
            asked.warnings += ("thinking_dropped",)
        self.keeps_thinking = not speaks_messages(provider)  # where it does, so do its clients
        return {**asked.arguments, "native": native}

    def _body(self, response: LLMResponse, asked: MessagesRequest) -> dict[str, Any]:
        if has_cut_calls(response):
            asked.warnings += ("tool_calls_dropped",)
        return answer_body(response, asked.model)

    def _writer(
        self, call_id: str, asked: MessagesRequest, *, names_provider: bool
    ) -> MessageWriter:
        return MessageWriter(call_id, asked.model)


async def count_tokens(request: Request, service: Service) -> Response:
    """Return the input tokens of a request, as its provider counts them or as we estimate."""
    try:
        tenant = (await require(request, "call")).tenant_id
        asked = counted_request(await request.body())
        async with service.calling(tenant) as registry:
            provider = registry.find(asked.model)
            native = native_request(asked, request, service, provider, registry)
            count = await provider.count_tokens_exact(**asked.arguments, native=native)
    except (OrchestifyError, HTTPException) as error:
        return error_response(error, ANTHROPIC)
    source = {"x-orchestify-count": count.source}
    body = json.dumps({"input_tokens": count.tokens})
    return Response(body, media_type="application/json", headers=source)


def native_request(
    asked: MessagesRequest,
    request: Request,
    service: Service,
    provider: LLMProvider,
    registry: TenantProviders,
) -> NativeRequest | None:
    """Return what targets of the same protocol get, None where there is none.

    Raises:
        InvalidParameterError: it has what a target of another protocol cannot be told, or what
            does not go with the operator's key.
    """
    targets = targets_of(provider)
    speaking = [each for each in targets if isinstance(each.lane, AnthropicLane)]
    if not speaks_messages(provider):
        if asked.untold:
            raise wrong(asked.untold[0], "is not supported by the provider of this model")
        asked.warnings += tuple(f"{name}_dropped" for name in asked.unread)
    if not speaking:
        return None
    if all(registry.has_own_key(each.provider_id) for each in speaking):
        return whole_request(asked, request.headers)
    return permitted_request(asked, request.headers, service.settings)


def speaks_messages(provider: LLMProvider) -> bool:
    """Say whether every target of a provider takes requests in the words of this protocol."""
    targets = targets_of(provider)
    return bool(targets) and all(isinstance(each.lane, AnthropicLane) for each in targets)
