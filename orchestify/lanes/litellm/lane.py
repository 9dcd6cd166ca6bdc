"""Calls through LiteLLM; see `orchestify.lanes.lane.Lane`.

What LiteLLM and its clients log during our calls is dropped on every level, since it holds
prompts and may hold keys. A failure reaches the caller as an error.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from typing import Any, TypeVar

from orchestify.core.addresses import AddressRule
from orchestify.core.providers import ProviderConfig
from orchestify.errors import (
    APIError,
    EndpointRefusedError,
    InvalidResponseError,
    OrchestifyError,
    RequestTimeoutError,
)
from orchestify.lanes.anthropic import answer as anthropic_answer
from orchestify.lanes.classify import build_error
from orchestify.lanes.failures import MalformedError, RefusedError
from orchestify.lanes.litellm.access import (
    api_base_of,
    api_key_of,
    list_models,
    litellm_model,
)
from orchestify.lanes.litellm.answer import response_of
from orchestify.lanes.litellm.backends import client_kind, is_bridged
from orchestify.lanes.litellm.bounds import bounds_of
from orchestify.lanes.litellm.embeddings import (
    EMBEDDING_CLIENTS,
    embedding_fields,
    embeddings_in,
)
from orchestify.lanes.litellm.errors import bare, our_error
from orchestify.lanes.litellm.exchange import EXCHANGE, Exchange, note
from orchestify.lanes.litellm.guard import LiteLLMGuard, refuse_to_fetch
from orchestify.lanes.litellm.loading import load, load_clients
from orchestify.lanes.litellm.request import completion_fields
from orchestify.lanes.litellm.stream import StreamedAnswer
from orchestify.lanes.openai import answer as openai_answer
from orchestify.lanes.redaction import secrets_of
from orchestify.lanes.wire_form import request_form
from orchestify.resources.bounded import MODELS_KEPT, bounded_setdefault
from orchestify.values import (
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    LLMResponse,
    StreamEnd,
    StreamEvent,
)

_T = TypeVar("_T")
_HEARD: Mapping[str, Any] = {"logger_fn": note}  # in the place of a client of ours
_entered: deque[str] = deque()  # our own entries in LiteLLM's map, oldest first


class LiteLLMLane:
    """One configured provider, through LiteLLM; see `orchestify.lanes.lane.Lane`."""

    def __init__(
        self,
        provider_id: str,
        config: ProviderConfig,
        rule: AddressRule | None = None,
        *,
        fetches: bool = True,
        takes_unbounded: bool = True,
    ) -> None:
        self._provider_id = provider_id
        self._config = config
        self._bounds = bounds_of(config)
        self._rule = rule
        self._fetches = fetches
        self._takes_unbounded = takes_unbounded
        self._guard = None if rule is None else LiteLLMGuard.of(provider_id, config, rule)
        self._supported: dict[str, frozenset[str]] = {}
        self._found: dict[str, tuple[str, str, str | None, str | None]] = {}
        self._clients: Any = None

    async def send(self, request: CompletionRequest) -> LLMResponse:
        """Send one request and return the whole answer."""
        exchange = self._exchange(request, stream=False)
        try:
            return await self._explaining(self._answered(request, exchange), request, exchange)
        finally:
            exchange.forget()

    async def open_stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent, None]:
        """Send one request and yield its events; the last is `StreamEnd`."""
        exchange = self._exchange(request, stream=True)
        stream = await self._explaining(self._call(request, exchange), request, exchange)
        answer = StreamedAnswer(stream, self._bounds)
        try:
            while (events := await self._events(stream, answer, request, exchange)) is not None:
                for event in events:
                    yield event
            for event in answer.end():
                yield event
            yield StreamEnd(await self._explaining(_whole(answer), request, exchange))
        finally:
            await self._explaining(_close(stream, exchange), request, exchange)

    def wire_form(self, request: CompletionRequest, *, stream: bool) -> bytes | None:
        """Return what LiteLLM makes its body of, and its release."""
        config = self._config
        headers = {name: value.get_secret_value() for name, value in config.headers.items()}
        asked = replace(request, model=litellm_model(request.model, config))
        where = (api_base_of(config), headers, config.options)
        return request_form(asked, "litellm", _release(), *where, stream)

    async def embed_inputs(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """Send one request and return a vector for each of its inputs, in order."""
        exchange = self._exchange(request, stream=False)
        try:
            return await self._explaining(self._embedded(request, exchange), request, exchange)
        finally:
            exchange.forget()

    async def list_models(self) -> list[str] | None:
        """Return the models the provider lists, by their LiteLLM names; None where none are."""
        return await list_models(self._provider_id, self._config, self._rule)

    async def count_input(self, request: CompletionRequest) -> int | None:
        """Return None: nothing is counted through LiteLLM."""
        return None

    async def aclose(self) -> None:
        """Close every connection of ours; where LiteLLM took no client, they are the process's."""
        if self._clients is not None:
            await self._clients.aclose()

    def _exchange(self, request: CompletionRequest, *, stream: bool) -> Exchange:
        return Exchange(stream, request.timeout_s, request.connect_timeout_s)

    async def _answered(self, request: CompletionRequest, exchange: Exchange) -> LLMResponse:
        try:
            answer = await self._call(request, exchange)
        except Exception:
            # It was answered and will be billed; some answers LiteLLM cannot read (Groq's).
            if (exchange.body or {}).get("choices"):
                return openai_answer.answer(exchange.body, request)
            if (exchange.body or {}).get("type") == "message":
                return anthropic_answer.answer(exchange.body, request)
            raise
        return response_of(answer, exchange.body, exchange.headers)

    async def _call(self, request: CompletionRequest, exchange: Exchange) -> Any:
        if self._guard is not None:
            self._guard.check(request)
        if not self._fetches:
            refuse_to_fetch(request, litellm_model(request.model, self._config))
        litellm = await load()
        asked = replace(request, model=litellm_model(request.model, self._config))
        supported = self._meet(litellm, asked.model)
        fields = completion_fields(asked, supported, stream=exchange.stream)
        # A copy: LiteLLM writes into what it is given, `metadata` above all.
        options = deepcopy({**self._config.options, **request.options})
        fields |= options
        fields["allowed_openai_params"] = [name for name in options if name not in supported]
        kept = {name: value for name, value in fields.items() if value is not None}
        client = self._client(litellm, asked.model, options)
        if client:
            exchange.sent = False
        else:
            self._check_unbounded()
        return await litellm.acompletion(**{**kept, **self._terms(request), **(client or _HEARD)})

    async def _embedded(self, request: EmbeddingRequest, exchange: Exchange) -> EmbeddingResponse:
        if self._guard is not None:
            self._guard.check(request)
        litellm = await load()
        model = litellm_model(request.model, self._config)
        backend = self._resolve(litellm, model)[0]
        fields = embedding_fields(request, model, backend, self._config.options)
        client = self._client(litellm, model, fields) if backend in EMBEDDING_CLIENTS else {}
        if client:
            exchange.sent = False
        else:
            self._check_unbounded()
        answer = await litellm.aembedding(
            **{**fields, **self._terms(request), **(client or _HEARD)}
        )
        return embeddings_in(answer, exchange.body, request)

    def _client(self, litellm: Any, model: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments that hand a client of ours over; none where LiteLLM takes none."""
        backend, mode, key, base_url = self._resolve(litellm, model)
        kind = client_kind(backend, options, mode)
        clients = None if kind is None else load_clients()
        if kind is None or clients is None:
            return {}
        if self._clients is None:
            self._clients = clients.Clients(
                clients.Transport(self._guard, self._rule, self._bounds)
            )
        settings = clients.ClientSettings(None, None)
        if kind != "handler":
            version = options.get("api_version") if kind == "azure" else None
            settings = clients.ClientSettings(key, base_url, options.get("organization"), version)
        return dict(self._clients.arguments(kind, settings, litellm))

    def _resolve(self, litellm: Any, model: str) -> tuple[str, str, str | None, str | None]:
        """Return a model's backend and mode, and the key and address that LiteLLM has for it."""
        known = self._found.get(model)
        if known is not None:
            return known
        terms = self._terms(None)
        name, backend, key, base_url = litellm.get_llm_provider(
            model=model, api_base=terms.get("api_base"), api_key=terms.get("api_key")
        )
        entry = litellm.model_cost.get(model) or litellm.model_cost.get(name) or {}
        mode = "responses" if is_bridged(name) else str(entry.get("mode"))
        key, base_url = key or terms.get("api_key"), base_url or terms.get("api_base")
        return bounded_setdefault(self._found, model, (backend, mode, key, base_url))

    def _check_unbounded(self) -> None:
        """Refuse a call whose answer nothing would bound, where that is not allowed.

        Raises:
            EndpointRefusedError: it is not.
        """
        if self._guard is not None:
            raise EndpointRefusedError("LiteLLM takes no client of ours for this call")
        if not self._takes_unbounded:
            raise EndpointRefusedError(
                "through LiteLLM nothing bounds this backend's answers; the operator can allow it "
                "with --allow-unbounded-answers"
            )

    def _terms(self, request: CompletionRequest | None) -> dict[str, Any]:
        """Return what is said to LiteLLM itself: where, as whom, how long; no retries, no cache."""
        config, guard = self._config, self._guard
        headers = {name: value.get_secret_value() for name, value in config.headers.items()}
        if guard is not None:
            headers |= guard.headers
        terms: dict[str, Any] = {
            "api_key": guard.key if guard else api_key_of(config),
            "api_base": guard.base_for_litellm if guard else api_base_of(config),
            "extra_headers": headers or None,
            "timeout": None if request is None else _timeout(request),
            "max_retries": 0,
            "caching": False,
            "no-log": True,
        }
        return {name: value for name, value in terms.items() if value is not None}

    def _meet(self, litellm: Any, model: str) -> frozenset[str]:
        """Return the fields that LiteLLM says a model takes; empty where it says nothing."""
        _enter_ollama(litellm, model)
        known = self._supported.get(model)
        if known is None:
            said = litellm.get_supported_openai_params(model=model)
            known = bounded_setdefault(self._supported, model, frozenset(said or ()))
        return known

    async def _events(
        self, stream: Any, answer: StreamedAnswer, request: CompletionRequest, exchange: Exchange
    ) -> list[StreamEvent] | None:
        """Return the events of the next chunk, None at the end.

        Raises:
            StreamInterruptedError: it broke off, after output.
            APIError: another subclass, before any output.
        """
        idle_s = request.idle_timeout_s if answer.has_output else None
        try:
            return await self._explaining(_fed(stream, answer, idle_s), request, exchange)
        except APIError as error:
            broken = answer.broken(error)
        raise broken

    async def _explaining(
        self, work: Awaitable[_T], request: CompletionRequest, exchange: Exchange
    ) -> _T:
        """Do a part of the call; what it raises holds no frame of LiteLLM's, which hold the key.

        Raises:
            OrchestifyError: what became of LiteLLM's exception.
        """
        token = EXCHANGE.set(exchange)
        try:
            return await work
        except asyncio.CancelledError as cancelled:
            failure: BaseException = bare(cancelled)
        except Exception as error:
            failure = self._explained(exchange.failure or error, request, exchange)
        finally:
            EXCHANGE.reset(token)
        raise failure

    def _explained(
        self, error: Exception, request: CompletionRequest, exchange: Exchange
    ) -> OrchestifyError:
        keys = secrets_of(self._config)
        if isinstance(error, RefusedError):
            explained: OrchestifyError = build_error(error.failure, keys=keys, request=request)
        elif isinstance(error, MalformedError):
            explained = InvalidResponseError(str(error))
        else:
            explained = our_error(
                error, request=request, keys=keys, sent=exchange.sent, body=exchange.body
            )
        if isinstance(explained, APIError):
            explained.provider, explained.model = self._provider_id, request.model
        return explained


@cache
def _release() -> str:
    """LiteLLM's release, without importing it: another one may write another body."""
    return version("litellm")


def _enter_ollama(litellm: Any, model: str) -> None:
    """Enter an Ollama model into LiteLLM's map, where that lacks it.

    LiteLLM would ask the server for it, on the event loop and in the middle of a call.
    """
    prefix, _, name = model.partition("/")
    entry = f"ollama/{name}"
    if prefix not in {"ollama", "ollama_chat"} or entry in litellm.model_cost:
        return
    litellm.model_cost[entry] = {"litellm_provider": "ollama", "mode": "chat"}
    _entered.append(entry)
    if len(_entered) > MODELS_KEPT:
        litellm.model_cost.pop(_entered.popleft(), None)


def _timeout(request: CompletionRequest) -> Any:
    import httpx  # noqa: PLC0415 - it has come with LiteLLM

    return httpx.Timeout(request.timeout_s, connect=request.connect_timeout_s)


async def _fed(
    stream: Any, answer: StreamedAnswer, idle_s: float | None
) -> list[StreamEvent] | None:
    """Feed an answer with the next chunk of its stream and return what it brought.

    Raises:
        RequestTimeoutError: it did not come within `idle_s`.
        TypeError, AttributeError: a part of it is of another type than LiteLLM's chunks have.
    """
    limit = asyncio.timeout(idle_s)
    try:
        async with limit:
            chunk = await anext(stream, None)
    except TimeoutError:
        if not limit.expired():
            raise
        raise RequestTimeoutError(f"nothing came for {idle_s:g} s") from None
    return None if chunk is None else list(answer.feed(chunk))


async def _whole(answer: StreamedAnswer) -> LLMResponse:
    return answer.response()


async def _close(stream: Any, exchange: Exchange) -> None:
    """Close a stream and the connection below it.

    Where that is not ours: some of LiteLLM's iterators have no `aclose`, and keep what has one.
    """
    source = stream.completion_stream
    names = ("streaming_response", "response_iterator")
    below: list[Any] = [getattr(source, name, None) for name in names]
    with contextlib.suppress(Exception):  # it is over, whatever closing it raises
        await stream.aclose()
    exchange.close()
    for each in below if exchange.sent is None else ():
        if hasattr(each, "aclose"):
            with contextlib.suppress(Exception):
                await each.aclose()
