"""The direct lanes: one request over HTTP, by Anthropic's protocol or OpenAI's."""

from __future__ import annotations

import asyncio
import json
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar
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

_T = TypeVar("_T")


class DirectLane(ABC):
    """What both protocols share: sending, reading, streaming, and what is raised.

    A `rule` holds for the configuration's own base_url, not for the vendor's that stands in.

    Raises:
        ConfigError: at construction, where the address cannot be used.
    """

    path: str
    models_path: str
    headers: Mapping[str, str] = NOTHING

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
        outcome = await self._outcome(self._exchange(request), request)
        if isinstance(outcome, APIError):
            raise outcome
        return outcome

    async def open_stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent, None]:
        """Send one request and yield its events; the last is `StreamEnd`."""
        run = StreamRun(
            self._growing(request),
            open_response=lambda: self._post(request, stream=True),
            read_whole=lambda whole, headers: self._parsed(whole, request, headers),
            explain=lambda error: self._explained(error, request),
            idle_timeout_s=request.idle_timeout_s,
        )
        events = run.events()
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()
        if run.error is not None:
            raise run.error

    async def list_models(self) -> list[str] | None:
        """Return the models the provider lists, None where it lists none to anybody."""
        outcome = await self._outcome(self._models(), None)
        if isinstance(outcome, APIError):
            raise outcome
        return outcome

    async def aclose(self) -> None:
        """Close every connection; the lane opens new ones where it is used again."""
        await self._endpoint.aclose()

    @abstractmethod
    def _body(self, request: CompletionRequest, *, stream: bool) -> dict[str, Any]:
        """Return the request's body."""

    @abstractmethod
    def _extra_headers(self, request: CompletionRequest) -> Mapping[str, str] | None:
        """Return the headers that only this request needs."""

    @abstractmethod
    def _answer(
        self, body: Any, request: CompletionRequest, headers: Mapping[str, str]
    ) -> LLMResponse:
        """Return the answer that came whole."""

    @abstractmethod
    def _growing(self, request: CompletionRequest) -> Answer:
        """Return the answer that a stream fills."""

    def _encoded(self, request: CompletionRequest, *, stream: bool) -> bytes:
        """Return the body as JSON; an option that is None takes its field out.

        Nothing that raises here holds the body in its frame.

        Raises:
            InvalidParameterError: it holds what JSON has not.
        """
        encoded = _as_json(self._whole_body(request, stream=stream))
        if encoded is None:
            raise InvalidParameterError("the options, tools or schema hold what is no JSON")
        return encoded

    def _whole_body(self, request: CompletionRequest, *, stream: bool) -> dict[str, Any]:
        body = self._body(request, stream=stream)
        if not self._config.options and not request.options:
            return body
        whole = body | self._config.options | dict(request.options)
        return {name: value for name, value in whole.items() if value is not None}

    def _post(
        self, request: CompletionRequest, *, stream: bool
    ) -> Awaitable[aiohttp.ClientResponse]:
        return self._endpoint.post(
            self.path,
            self._encoded(request, stream=stream),
            connect_timeout_s=request.connect_timeout_s,
            headers=self._extra_headers(request),
        )

    async def _exchange(self, request: CompletionRequest) -> LLMResponse:
        response = await self._post(request, stream=False)
        return self._parsed(await read_body(response), request, kept_headers(response.headers))

    def _parsed(
        self, body: bytes, request: CompletionRequest, headers: Mapping[str, str]
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

    async def _outcome(
        self, work: Awaitable[_T], request: CompletionRequest | None
    ) -> _T | APIError:
        """Return what came or what to raise, so that no error holds the library's frames."""
        try:
            return await work
        except asyncio.CancelledError as error:
            raise bare(error)  # noqa: B904
        except FAILURES as error:
            return self._explained(error, request)

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

    def __init__(
        self, provider_id: str, config: ProviderConfig, rule: AddressRule | None = None
    ) -> None:
        base_url = _openai_url(config.base_url or DEFAULT_URLS["openai"])
        self._dialect = dialect_of(base_url)
        super().__init__(provider_id, config, base_url, self._dialect.key_header, rule)

    async def list_models(self) -> list[str] | None:
        """Return the models the provider lists, None where it lists none."""
        return await super().list_models() if self._dialect.lists_models else None

    def _body(self, request: CompletionRequest, *, stream: bool) -> dict[str, Any]:
        return chat_body(request, self._dialect, stream=stream)

    def _extra_headers(self, request: CompletionRequest) -> None:
        return None

    def _answer(
        self, body: Any, request: CompletionRequest, headers: Mapping[str, str]
    ) -> LLMResponse:
        return openai_answer.answer(body, request, headers)

    def _growing(self, request: CompletionRequest) -> Answer:
        return ChatAnswer(request)


class AnthropicLane(DirectLane):
    """Anthropic's Messages."""

    path = "/v1/messages"
    models_path = "/v1/models?limit=1000"
    headers: Mapping[str, str] = MappingProxyType({"anthropic-version": VERSION})

    def __init__(
        self, provider_id: str, config: ProviderConfig, rule: AddressRule | None = None
    ) -> None:
        given = config.base_url or DEFAULT_URLS["anthropic"]
        base_url = re.sub(r"(/v1)*(/messages)?/*$", "", given)
        super().__init__(provider_id, config, base_url, "x-api-key", rule)
        own = {name.lower(): value for name, value in config.headers.items()}
        beta = own.get("anthropic-beta")
        self._own_betas = [beta.get_secret_value()] if beta else []

    def _body(self, request: CompletionRequest, *, stream: bool) -> dict[str, Any]:
        return messages_body(request, stream=stream)

    def _extra_headers(self, request: CompletionRequest) -> Mapping[str, str] | None:
        needed = betas(request)
        if not needed:
            return None
        return {"anthropic-beta": ",".join(self._own_betas + needed)}

    def _answer(
        self, body: Any, request: CompletionRequest, headers: Mapping[str, str]
    ) -> LLMResponse:
        return anthropic_answer.answer(body, request, headers)

    def _growing(self, request: CompletionRequest) -> Answer:
        return MessageAnswer(request)


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


def _as_json(body: Mapping[str, Any]) -> bytes | None:
    try:
        text = _ENCODER.encode(body)
    except (TypeError, ValueError, RecursionError):
        return None
    return text.encode("utf-8", "replace")


def _sealed(config: ProviderConfig, key_header: str, headers: Mapping[str, str]) -> Sealed:
    """Return all headers; the configured ones win."""
    sent = {"content-type": "application/json", "user-agent": "orchestify", **headers}
    if config.api_key is not None:
        scheme = "Bearer " if key_header == "authorization" else ""
        sent[key_header] = scheme + config.api_key.get_secret_value()
    own = {name.lower(): value.get_secret_value() for name, value in config.headers.items()}
    return Sealed(sent | own)
