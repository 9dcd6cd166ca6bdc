"""One chat completion of OpenAI's protocol over HTTP."""

from __future__ import annotations

from typing import Any

from orchestify.calls.chat_completion import completion_of
from orchestify.providers.base import LLMProvider
from orchestify.server.gateway.chat.answer import ChunkWriter
from orchestify.server.gateway.chat.fields import passed_on
from orchestify.server.gateway.chat.request import ChatRequest, chat_request
from orchestify.server.gateway.errors import OPENAI
from orchestify.server.gateway.exchange import Exchange
from orchestify.server.gateway.targets import targets_of
from orchestify.server.tenants.tenant_providers import TenantProviders
from orchestify.values import LLMResponse


class ChatExchange(Exchange[ChatRequest]):
    """Answers one request; a stream ends with `[DONE]`."""

    error_form = OPENAI
    keep_alive = b": keep-alive\n\n"

    def _parsed(self, body: bytes) -> ChatRequest:
        return chat_request(body)

    def _arguments(
        self, asked: ChatRequest, provider: LLMProvider, registry: TenantProviders
    ) -> dict[str, Any]:
        if not asked.others:
            return asked.arguments
        targets = targets_of(provider)
        options, dropped = passed_on(
            asked.others,
            targets,
            has_own_key=all(registry.has_own_key(each.provider_id) for each in targets),
            allowed=self._service.settings.allowed_fields,
        )
        asked.warnings += dropped
        return {**asked.arguments, "options": options}

    def _body(self, response: LLMResponse, asked: ChatRequest) -> dict[str, Any]:
        return completion_of(response, asked.model)

    def _writer(self, call_id: str, asked: ChatRequest, *, names_provider: bool) -> ChunkWriter:
        include_usage = asked.include_usage
        return ChunkWriter(
            call_id, asked.model, include_usage=include_usage, names_provider=names_provider
        )
