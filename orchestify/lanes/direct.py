"""The direct lanes: one request over HTTP, by Anthropic's protocol or OpenAI's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from orchestify.core.addresses import AddressRule
from orchestify.core.providers import ProviderConfig
from orchestify.errors import APIError, InvalidParameterError
from orchestify.lanes.answers import Answer, kept_headers
from orchestify.lanes.anthropic import answer as anthropic_answer
from orchestify.lanes.anthropic.answer import MessageAnswer
from orchestify.lanes.anthropic.request import VERSION, betas, request_body as messages_body
from orchestify.lanes.classify import build_error
from orchestify.lanes.failures import (
    MISSHAPEN,
    MalformedError,
    RefusedError,
    bare,
)
from orchestify.lanes.http.endpoint import Endpoint, Sealed, check_base_url, read_body
from orchestify.lanes.http.transport import FAILURES, transport_error
from orchestify.lanes.lane import DEFAULT_URLS
from orchestify.lanes.openai import answer as openai_answer
from orchestify.lanes.openai.answer import ChatAnswer
from orchestify.lanes.openai.dialects import dialect_of
from orchestify.lanes.openai.request import request_body as chat_body
from orchestify.lanes.redaction import secrets_of
from orchestify.lanes.stream import StreamRun
from orchestify.values import NOTHING, CompletionRequest, LLMResponse, StreamEvent

MODELS_TIMEOUT_S = 30.0
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


class DirectLane:
    """What both protocols share: sending, reading, streaming, and what is raised.

    A subclass brings its protocol as functions: `_request_body(request, stream=...)`,
    `_answer(body, request, headers)` of an answer that came whole, `_growing(request)`, which
    a stream fills, and, where a request may need headers of its own, `_request_headers`.

    A `rule` holds for the configuration's own base_url, not for the vendor's that stands in.

    Raises:
        ConfigError: at construction, where the address cannot be used.
    """

    path: str
    models_path: str
    headers: Mapping[str, str] = NOTHING
    _request_body: Callable[..., dict[str, Any]]
    _request_headers: Callable[[CompletionRequest], Mapping[str, str] | None] | None = None
    _answer: Callable[[Any, CompletionRequest, Mapping[str, str]], LLMResponse]
    _growing: Callable[[CompletionRequest], Answer]

    def __init__(
        self,
        provider_id: str,
        config: ProviderConfig,
        base_url: str,
        key_header: str,
        rule: AddressRule | None,
    ) -> None:
        self._provider_id = provider_id
        self._config = config
        check_base_url(
            base_url, provider_id, sends_key=config.sends_key, allow_http=config.allow_http
        )
        self._endpoint = Endpoint(
            base_url,
            _sealed(config, key_header, self.headers),
            None if config.base_url is None else rule,
        )

    async def send(self, request: CompletionRequest) -> LLMResponse:
        """Send one request and return the whole answer."""
        try:
            return self._parsed(*await self._exchange(request), request)
        except asyncio.CancelledError as error:
            raise bare(error)  # noqa: B904
        except FAILURES as error:
            explained = self._explained(error, request)
        raise explained  # here, and with no local of the answer: it is raised without secrets

    def open_stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent, None]:
        """Send one request and yield its events; the last is `StreamEnd`."""
        return StreamRun(
            self._growing(request),
            open_response=lambda: self._post(request, stream=True),
            read_whole=lambda whole, headers: self._parsed(whole, headers, request),
            explain=lambda error: self._explained(error, request),
            idle_timeout_s=request.idle_timeout_s,
            output_timeout_s=request.timeout_s,
        ).events()

    async def list_models(self) -> list[str] | None:
        """Return the models the provider lists, None where it lists none to anybody."""
        try:
            return await self._models()
        except asyncio.CancelledError as error:
            raise bare(error)  # noqa: B904
        except FAILURES as error:
            explained = self._explained(error, None)
        raise explained

    async def aclose(self) -> None:
        """Close every connection; the lane opens new ones where it is used again."""
        await self._endpoint.aclose()

    async def _exchange(self, request: CompletionRequest) -> tuple[bytes, Mapping[str, str]]:
        """Send one request and return the answer's body and the headers it keeps."""
        response = await self._post(request, stream=False)
        return await read_body(response), kept_headers(response.headers)

    def _post(
        self, request: CompletionRequest, *, stream: bool
    ) -> Awaitable[aiohttp.ClientResponse]:
        own = None if self._request_headers is None else self._request_headers(request)
        return self._endpoint.post(
            self.path,
            self._encoded(request, stream=stream),
            connect_timeout_s=request.connect_timeout_s,
            headers=own,
        )

    def _encoded(self, request: CompletionRequest, *, stream: bool) -> bytes:
        """Return the body as JSON; an option that is None takes its field out.

        Nothing that raises here holds the body in its frame.

        Raises:
            InvalidParameterError: it holds what JSON has not.
        """
        body, text = self._request_body(request, stream=stream), None
        if self._config.options or request.options is not NOTHING:
            body = body | self._config.options | dict(request.options)
            body = {name: value for name, value in body.items() if value is not None}
        with contextlib.suppress(TypeError, ValueError, RecursionError):
            text = _ENCODER.encode(body)
        del body
        if text is None:
            raise InvalidParameterError("the options, tools or schema hold what is no JSON")
        return text.encode("utf-8", "replace")

    def _parsed(
        self, body: bytes, headers: Mapping[str, str], request: CompletionRequest
    ) -> LLMResponse:
        """Return the answer in a body. Raises MalformedError and RefusedError."""
        try:
            parsed = json.loads(body)
        except (ValueError, RecursionError):
            raise MalformedError(f"the answer is no JSON ({len(body)} bytes)") from None
        try:
            return self._answer(parsed, request, headers)
        except MISSHAPEN:
            raise MalformedError("the answer is of another shape than the protocol's") from None

    async def _models(self) -> list[str]:
        body = await self._endpoint.get(self.models_path, timeout_s=MODELS_TIMEOUT_S)
        try:
            listed = json.loads(body)
            rows = listed if isinstance(listed, list) else listed["data"]
            return [str(row["id"]) for row in rows]
        except MISSHAPEN:
            raise MalformedError("the list of models is not of the protocol") from None

    def _explained(self, error: BaseException, request: CompletionRequest | None) -> APIError:
        model = request.model if request else None
        if isinstance(error, RefusedError):
            return build_error(
                error.failure,
                provider=self._provider_id,
                model=model,
                keys=secrets_of(self._config),
                request=request,
            )
        explained = transport_error(error, request.connect_timeout_s if request else None)
        explained.provider = self._provider_id
        explained.model = model
        return explained


class OpenAILane(DirectLane):
    """OpenAI's Chat Completions, and every endpoint that speaks it."""

    path = "/chat/completions"
    models_path = "/models"
    _answer = staticmethod(openai_answer.answer)
    _growing = ChatAnswer

    def __init__(
        self, provider_id: str, config: ProviderConfig, rule: AddressRule | None = None
    ) -> None:
        base_url = _openai_url(config.base_url or DEFAULT_URLS["openai"])
        self._dialect = dialect_of(base_url)
        self._request_body = partial(chat_body, dialect=self._dialect)
        super().__init__(provider_id, config, base_url, self._dialect.key_header, rule)

    async def list_models(self) -> list[str] | None:
        """Return the models the provider lists, None where it lists none."""
        return await super().list_models() if self._dialect.lists_models else None


class AnthropicLane(DirectLane):
    """Anthropic's Messages."""

    path = "/v1/messages"
    models_path = "/v1/models?limit=1000"
    headers: Mapping[str, str] = MappingProxyType({"anthropic-version": VERSION})
    _request_body = staticmethod(messages_body)
    _answer = staticmethod(anthropic_answer.answer)
    _growing = MessageAnswer

    def __init__(
        self, provider_id: str, config: ProviderConfig, rule: AddressRule | None = None
    ) -> None:
        given = config.base_url or DEFAULT_URLS["anthropic"]
        base_url = re.sub(r"(/v1)*(/messages)?/*$", "", given)
        super().__init__(provider_id, config, base_url, "x-api-key", rule)
        own = {name.lower(): value for name, value in config.headers.items()}
        beta = own.get("anthropic-beta")
        self._own_betas = [beta.get_secret_value()] if beta else []

    def _request_headers(self, request: CompletionRequest) -> Mapping[str, str] | None:
        needed = betas(request)
        if not needed:
            return None
        return {"anthropic-beta": ",".join(self._own_betas + needed)}


def _openai_url(base_url: str) -> str:
    """Return an address with the path where the API begins, exactly once."""
    base, _, query = base_url.partition("?")
    base = re.sub(r"(/chat/completions)?/*$", "", base)
    base = re.sub(r"(/v1)+$", "/v1", base)
    default = dialect_of(base).path
    path = urlsplit(base).path
    if path != default and (default + "/").startswith(path + "/"):
        base = base.removesuffix(path) + default
    elif not path:
        base += default
    return f"{base}?{query}" if query else base


def _sealed(config: ProviderConfig, key_header: str, headers: Mapping[str, str]) -> Sealed:
    """Return all headers; the configured ones win."""
    sent = {"content-type": "application/json", "user-agent": "orchestify", **headers}
    if config.api_key is not None:
        scheme = "Bearer " if key_header == "authorization" else ""
        sent[key_header] = scheme + config.api_key.get_secret_value()
    own = {name.lower(): value.get_secret_value() for name, value in config.headers.items()}
    return Sealed(sent | own)
