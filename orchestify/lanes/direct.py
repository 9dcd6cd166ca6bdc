"""The direct lanes: one request over HTTP, by Anthropic's protocol or OpenAI's."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from msgspec import DecodeError
from msgspec.json import decode

from orchestify.core.addresses import AddressRule
from orchestify.core.providers import ProviderConfig
from orchestify.errors import APIError, InvalidParameterError
from orchestify.lanes.answers import Answer
from orchestify.lanes.anthropic import answer as anthropic_answer
from orchestify.lanes.anthropic.batches import AnthropicBatches
from orchestify.lanes.anthropic.fitting import fitted as fitted_message
from orchestify.lanes.anthropic.native import BETA_HEADER, PROTOCOL, fitted_native, growing
from orchestify.lanes.anthropic.request import VERSION, betas, body_of as messages_body
from orchestify.lanes.batch_api import BatchApi, BatchingLane, EncodedRequest
from orchestify.lanes.classify import Failure, build_error
from orchestify.lanes.encoding import json_of
from orchestify.lanes.failures import (
    MISSHAPEN,
    MalformedError,
    RefusedError,
    UnusableError,
    bare,
)
from orchestify.lanes.fitting import Fitting
from orchestify.lanes.http.endpoint import Endpoint, Sealed, check_base_url, kept_headers, read_body
from orchestify.lanes.http.transport import FAILURES, transport_error
from orchestify.lanes.lane import DEFAULT_URLS
from orchestify.lanes.large_json import Body, OversizeError
from orchestify.lanes.openai import answer as openai_answer
from orchestify.lanes.openai.answer import ChatAnswer
from orchestify.lanes.openai.batches import OpenAIBatches
from orchestify.lanes.openai.dialects import dialect_of
from orchestify.lanes.openai.embeddings import (
    PATH as EMBEDDINGS_PATH,
    embeddings_body,
    embeddings_of,
)
from orchestify.lanes.openai.gemini_count import COUNT_KEY_HEADER, count_body, count_path
from orchestify.lanes.openai.learning import NOTHING_LEARNED, Learned
from orchestify.lanes.openai.request import body_of as chat_body, fitted as fitted_chat
from orchestify.lanes.parsing import (
    LARGE,
    MAX_DEPTH,
    parse_whole,
)
from orchestify.lanes.redaction import secrets_of, written_chars
from orchestify.lanes.stream import StreamRun
from orchestify.resources.bounded import bounded_setdefault
from orchestify.values import (
    NOTHING,
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    LLMResponse,
    StreamEnd,
    StreamEvent,
)

MODELS_TIMEOUT_S = 30.0
_NOT_OFFERED = frozenset({404, 405, 501})  # by servers of the protocol that do not count
_COUNTED = ("model", "messages", "system", "tools", "tool_choice", "thinking")
_NOT_COUNTED = {"max_tokens", "metadata", "temperature", "top_p", "top_k", "stop_sequences"}


class DirectLane:
    """What both protocols share: sending, reading, streaming, and what is raised.

    A subclass brings its protocol as functions: `_fitted(request)`, the last look at a request,
    `_request_body(request, stream=...)` of one that is fitted,
    `_answer(body, request, headers)` of an answer that came whole, `_growing(request)`, which
    a stream fills, and, where a request may need headers of its own, `_request_headers`.

    A `rule` holds for the configuration's own base_url, not for the vendor's that stands in.

    Raises:
        ConfigError: at construction, where the address cannot be used.
    """

    path: str
    models_path: str
    headers: Mapping[str, str] = NOTHING
    _fitted: Callable[[CompletionRequest], Fitting]
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
        self._bounds = bounds = config.answer_bounds
        self._provider_id = provider_id
        self._config = config
        check_base_url(
            base_url, provider_id, sends_key=config.sends_key, allow_http=config.allow_http
        )
        self._endpoint = Endpoint(
            base_url, _sealed(config, key_header, self.headers), rule, bounds.max_header_bytes
        )
        self._place = _place(type(self).__name__, base_url, self.path, self.headers, config)

    async def send(self, request: CompletionRequest) -> LLMResponse:
        """Send one request and return the whole answer."""
        fitting = self._fitted(request)
        request = fitting.request
        response: aiohttp.ClientResponse | None = None
        body: Body = b""
        try:
            response = await self._post(request, stream=False)
            body = await read_body(response, self._bounds.max_bytes)
            answer = await self._read(body, kept_headers(response.headers), request)
            return _warned(answer, fitting.warnings) if fitting.warnings else answer
        except asyncio.CancelledError as error:
            response, body = None, b""
            raise bare(error)  # noqa: B904
        except FAILURES as error:
            explained = await self._explained(error, request)
        response, body = None, b""
        raise explained  # here, and with no local of the answer: it is raised without secrets

    def open_stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent, None]:
        """Send one request and yield its events; the last is `StreamEnd`.

        Raises:
            InvalidParameterError: at once, where the provider would refuse the request.
        """
        fitting = self._fitted(request)
        request = fitting.request
        events = StreamRun(
            self._growing(request),
            open_response=lambda: self._post(request, stream=True),
            read_whole=lambda whole, headers: self._read(whole, headers, request),
            explain=lambda error: self._explained(error, request),
            off_loop=self._endpoint.off_loop,
            idle_timeout_s=request.idle_timeout_s,
            bounds=self._bounds,
        ).events()
        return _with_warnings(events, fitting.warnings) if fitting.warnings else events

    def wire_form(self, request: CompletionRequest, *, stream: bool) -> bytes | None:
        """Return the address, the headers without the key, and the body."""
        request = self._fitted(request).request
        own = None if self._request_headers is None else self._request_headers(request)
        headers = repr(sorted((own or NOTHING).items())).encode("utf-8", "replace")
        return b"\0".join((self._place, headers, self._encoded(request, stream=stream)))

    async def embed_inputs(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """Send one request and return a vector for each of its inputs, in order."""
        try:
            return await self._embedded(request)
        except asyncio.CancelledError as error:
            raise bare(error)  # noqa: B904
        except FAILURES as error:
            explained = await self._explained(error, request)
        raise explained

    async def list_models(self) -> list[str] | None:
        """Return the models the provider lists, None where it lists none to anybody."""
        try:
            return await self._models()
        except asyncio.CancelledError as error:
            raise bare(error)  # noqa: B904
        except FAILURES as error:
            explained = await self._explained(error, None)
        raise explained

    async def count_input(self, request: CompletionRequest) -> int | None:
        """Return the input tokens that the provider counts, None where it does not count."""
        request = self._fitted(request).request
        try:
            return await self._counted(request)
        except asyncio.CancelledError as error:
            raise bare(error)  # noqa: B904
        except FAILURES as error:
            explained = await self._explained(error, request)
        raise explained

    async def aclose(self) -> None:
        """Close every connection; the lane opens new ones where it is used again."""
        await self._endpoint.aclose()

    async def _counted(self, request: CompletionRequest) -> int | None:
        """Ask for a fitted request's input tokens."""
        return None

    async def _embedded(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """Ask for vectors."""
        error = InvalidParameterError(f"{self._provider_id}: this protocol has no embeddings")
        error.param = "model"
        raise error

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
        body = self._request_body(request, stream=stream)
        if self._config.options or request.options is not NOTHING:
            body = body | self._config.options | dict(request.options)
            body = {name: value for name, value in body.items() if value is not None}
        encoded = json_of(body)
        del body
        if encoded is None:
            raise InvalidParameterError("the options, tools or schema hold what is no JSON")
        return encoded

    async def _read(
        self, body: Body, headers: Mapping[str, str], request: CompletionRequest
    ) -> LLMResponse:
        """Return the answer in a body, read in a thread where it is large."""
        if len(body) >= LARGE:
            return await self._endpoint.off_loop(self._parsed, body, headers, request)  # type: ignore[no-any-return]
        if body.count(b"{") + body.count(b"[") <= min(MAX_DEPTH, self._bounds.max_json_objects):
            try:
                value = decode(body)
            except DecodeError:  # a half of a character, NaN, what is no UTF-8
                return self._parsed(body, headers, request)
            return self._answer(value, request, headers)
        return self._parsed(body, headers, request)

    def _parsed(
        self, body: Body, headers: Mapping[str, str], request: CompletionRequest
    ) -> LLMResponse:
        """Return the answer in a body. Raises MalformedError and RefusedError."""
        return self._answer(self._json_in(body), request, headers)

    def _json_in(self, body: Body) -> Any:
        try:
            return parse_whole(body, self._bounds)
        except OversizeError as error:
            raise MalformedError(str(error)) from None
        except ValueError:
            raise MalformedError(f"the answer is no JSON ({len(body)} bytes)") from None

    async def _models(self) -> list[str]:
        body = await self._endpoint.get(self.models_path, timeout_s=MODELS_TIMEOUT_S)
        return await self._endpoint.off_loop(self._listed, body)  # type: ignore[no-any-return]

    def _listed(self, body: Body) -> list[str]:
        try:
            listed = self._json_in(body)
            rows = listed if isinstance(listed, list) else listed["data"]
            return [str(row["id"]) for row in rows]
        except MISSHAPEN:
            raise MalformedError("the list of models is not of the protocol") from None

    def _batching(self) -> BatchingLane:
        """Return what a batch API does through this lane."""
        return BatchingLane(
            provider_id=self._provider_id,
            path=self.path,
            endpoint=self._endpoint,
            encoded=self._batched,
            json_in=self._json_in,
            answer_in=lambda body, request: self._answer(body, request, NOTHING),
            explained=self._explained,
        )

    def _batched(self, request: CompletionRequest) -> EncodedRequest:
        request = self._fitted(request).request
        own = None if self._request_headers is None else self._request_headers(request)
        return EncodedRequest(self._encoded(request, stream=False), own or NOTHING)

    async def _explained(self, error: BaseException, request: CompletionRequest | None) -> APIError:
        model = request.model if request else None
        if isinstance(error, RefusedError):
            explain = partial(
                build_error,
                error.failure,
                provider=self._provider_id,
                model=model,
                keys=secrets_of(self._config),
                request=request,
            )
            is_large = request is not None and written_chars(request) > LARGE
            explained: APIError = await self._endpoint.off_loop(explain) if is_large else explain()
        else:
            explained = transport_error(error, request.connect_timeout_s if request else None)
            explained.provider = self._provider_id
            explained.model = model
        if isinstance(error, UnusableError):
            explained.usage, explained.cost_usd = error.usage, error.cost_usd
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
        self._learned: dict[str, Learned] = {}
        dialect, bounds = self._dialect, config.answer_bounds
        self._answer = partial(openai_answer.answer, dialect=dialect, bounds=bounds)
        self._growing = partial(ChatAnswer, dialect=dialect, bounds=bounds)
        super().__init__(provider_id, config, base_url, self._dialect.key_header, rule)
        self._counting: Endpoint | None = None
        if self._dialect.counts_tokens:
            headers = _sealed(config, COUNT_KEY_HEADER, self.headers)
            self._counting = Endpoint(base_url.removesuffix("/openai"), headers, rule)

    @property
    def batch_api(self) -> BatchApi | None:
        """The endpoint's batch API; None where it is known to have none."""
        return OpenAIBatches(self._batching()) if self._dialect.has_batches else None

    async def list_models(self) -> list[str] | None:
        """Return the models the provider lists, None where it lists none."""
        return await super().list_models() if self._dialect.lists_models else None

    async def aclose(self) -> None:
        """Close every connection; the lane opens new ones where it is used again."""
        await super().aclose()
        if self._counting is not None:
            await self._counting.aclose()

    def _fitted(self, request: CompletionRequest) -> Fitting:
        learned = self._learned.get(request.model, NOTHING_LEARNED)
        return fitted_chat(request, self._dialect, learned.refused)

    def _request_body(self, request: CompletionRequest, *, stream: bool) -> dict[str, Any]:
        field = self._learned.get(request.model, NOTHING_LEARNED).max_tokens
        dialect = replace(self._dialect, max_tokens=field) if field else self._dialect
        return chat_body(request, dialect, stream=stream)

    async def _explained(self, error: BaseException, request: CompletionRequest | None) -> APIError:
        explained = await super()._explained(error, request)
        if request is not None and isinstance(error, RefusedError):
            explained.amended = self._learn(error.failure, request)
        return explained

    def _learn(self, failure: Failure, request: CompletionRequest) -> bool:
        """Learn from a refusal what a model takes; whether the request goes out otherwise now."""
        learned = self._learned.get(request.model, NOTHING_LEARNED).after(failure, request)
        if learned is None:
            return False
        bounded_setdefault(self._learned, request.model, learned)
        self._learned[request.model] = learned
        return True

    async def _embedded(self, request: EmbeddingRequest) -> EmbeddingResponse:
        body = json_of(embeddings_body(request, self._dialect))
        if body is None:
            raise InvalidParameterError("the options hold what is no JSON")
        response = await self._endpoint.post(
            EMBEDDINGS_PATH, body, connect_timeout_s=request.connect_timeout_s
        )
        headers = kept_headers(response.headers)
        answer = await read_body(response, self._bounds.max_bytes)
        return await self._endpoint.off_loop(self._vectors, answer, request, headers)  # type: ignore[no-any-return]

    def _vectors(
        self, body: Body, request: EmbeddingRequest, headers: Mapping[str, str]
    ) -> EmbeddingResponse:
        return embeddings_of(self._json_in(body), request, headers, self._dialect)

    async def _counted(self, request: CompletionRequest) -> int | None:
        body = count_body(request) if self._counting else None
        if self._counting is None or body is None:
            return None
        return await _count(self._counting, count_path(request.model), body, "totalTokens")


class AnthropicLane(DirectLane):
    """Anthropic's Messages."""

    path = "/v1/messages"
    models_path = "/v1/models?limit=1000"
    count_path = "/v1/messages/count_tokens"
    headers: Mapping[str, str] = MappingProxyType({"anthropic-version": VERSION})

    def __init__(
        self, provider_id: str, config: ProviderConfig, rule: AddressRule | None = None
    ) -> None:
        given = config.base_url or DEFAULT_URLS["anthropic"]
        base_url = re.sub(r"(/v1)*(/messages)?/*$", "", given)
        self._answer = partial(anthropic_answer.answer, bounds=config.answer_bounds)
        self._growing = partial(growing, bounds=config.answer_bounds)
        super().__init__(provider_id, config, base_url, "x-api-key", rule)
        own = {name.lower(): value for name, value in config.headers.items()}
        beta = own.get(BETA_HEADER)
        self._own_betas = [beta.get_secret_value()] if beta else []

    @property
    def batch_api(self) -> BatchApi:
        """Anthropic's batch API."""
        return AnthropicBatches(self._batching())

    def _fitted(self, request: CompletionRequest) -> Fitting:
        if request.native is not None and request.native.protocol == PROTOCOL:
            return fitted_native(request, request.native)
        return fitted_message(replace(request, native=None) if request.native else request)

    def _request_body(self, request: CompletionRequest, *, stream: bool) -> dict[str, Any]:
        if request.native is None:
            return messages_body(request, stream=stream)
        return {**request.native.body, **({"stream": True} if stream else {})}

    def _request_headers(self, request: CompletionRequest) -> Mapping[str, str] | None:
        native = NOTHING if request.native is None else request.native.headers
        needed = [*filter(None, [native.get(BETA_HEADER)]), *betas(request)]
        if not needed:
            return native or None
        return {**native, BETA_HEADER: ",".join(self._own_betas + needed)}

    async def _counted(self, request: CompletionRequest) -> int | None:
        whole = self._request_body(request, stream=False)
        counted = _COUNTED if request.native is None else whole.keys() - _NOT_COUNTED
        body = {name: whole[name] for name in counted if name in whole}
        headers = self._request_headers(request)
        return await _count(self._endpoint, self.count_path, body, "input_tokens", headers)


def _openai_url(base_url: str) -> str:
    """Return an address with the path where the API begins, exactly once."""
    base, _, query = base_url.partition("?")
    base = re.sub(r"(/chat/completions|/responses)?/*$", "", base)
    base = re.sub(r"(/v1)+$", "/v1", base)
    default = dialect_of(base).path
    path = urlsplit(base).path
    if path != default and (default + "/").startswith(path + "/"):
        base = base.removesuffix(path) + default
    elif not path:
        base += default
    return f"{base}?{query}" if query else base


def _warned(response: LLMResponse, warnings: tuple[str, ...]) -> LLMResponse:
    return replace(response, warnings=(*warnings, *response.warnings))


async def _with_warnings(
    events: AsyncGenerator[StreamEvent, None], warnings: tuple[str, ...]
) -> AsyncGenerator[StreamEvent, None]:
    async with contextlib.aclosing(events):
        async for event in events:
            if isinstance(event, StreamEnd):
                yield StreamEnd(_warned(event.response, warnings))
            else:
                yield event


async def _count(
    endpoint: Endpoint,
    path: str,
    body: Mapping[str, Any],
    field: str,
    headers: Mapping[str, str] | None = None,
) -> int | None:
    """Return the count in the answer to a counting request, None where there is none such.

    Raises: InvalidParameterError, RefusedError, MalformedError, and what the transport raises.
    """
    encoded = json_of(body)
    if encoded is None:
        raise InvalidParameterError("the tools or schema hold what is no JSON")
    try:
        response = await endpoint.post(path, encoded, headers=headers)
    except RefusedError as error:
        if error.failure.status in _NOT_OFFERED:
            return None
        raise
    try:
        return int(json.loads(await read_body(response))[field])
    except MISSHAPEN:
        raise MalformedError("the count is of another shape than the protocol's") from None


def _place(
    lane: str, base_url: str, path: str, headers: Mapping[str, str], config: ProviderConfig
) -> bytes:
    """Return a digest of where a lane's requests go and with which headers; without the key."""
    own = {name.lower(): value.get_secret_value() for name, value in config.headers.items()}
    sent = sorted({**headers, **own}.items())
    return hashlib.blake2b(repr((lane, base_url, path, sent)).encode("utf-8", "replace")).digest()


def _sealed(config: ProviderConfig, key_header: str, headers: Mapping[str, str]) -> Sealed:
    """Return all headers; the configured ones win."""
    sent = {
        "content-type": "application/json",
        "accept-encoding": "gzip, deflate",  # br and zstd are read as well, but not asked for
        "user-agent": "orchestify",
        **headers,
    }
    if config.api_key is not None:
        scheme = "Bearer " if key_header == "authorization" else ""
        sent[key_header] = scheme + config.api_key.get_secret_value()
    own = {name.lower(): value.get_secret_value() for name, value in config.headers.items()}
    return Sealed(sent | own)
