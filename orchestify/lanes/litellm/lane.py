"""The one door to LiteLLM: its import and its calls.

Nothing else imports it. The import takes seconds, so it is begun in a thread where calls are to be
expected; a call waits for it without holding up the event loop. The garbage collector is off
meanwhile, and what the import made is frozen (`gc.freeze`): both concern the whole process.

What LiteLLM and its clients log during our calls is dropped on every level, since it holds
prompts and may hold keys. A failure reaches the caller as an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable
from concurrent.futures import Future
from copy import deepcopy
from dataclasses import replace
from importlib import import_module
from typing import Any, TypeVar

from orchestify.core.addresses import AddressRule
from orchestify.core.providers import ProviderConfig
from orchestify.errors import (
    APIError,
    InvalidResponseError,
    MissingExtraError,
    OrchestifyError,
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
from orchestify.lanes.litellm.errors import bare, our_error
from orchestify.lanes.litellm.guard import LiteLLMGuard, refuse_to_fetch
from orchestify.lanes.litellm.hooks import CALL, Heard, hear, hush, listen, send_once, stay_home
from orchestify.lanes.litellm.idle import IdleWatch
from orchestify.lanes.litellm.request import completion_fields
from orchestify.lanes.litellm.stream import StreamedAnswer
from orchestify.lanes.openai import answer as openai_answer
from orchestify.lanes.redaction import secrets_of
from orchestify.resources.bounded import MODELS_KEPT, bounded_setdefault
from orchestify.values import CompletionRequest, LLMResponse, StreamEnd, StreamEvent

__all__ = ["LiteLLMLane", "begin_import", "door"]

# Read by LiteLLM while it is imported: no price map or beta headers from the network, no `.env`.
ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_MODE": "PRODUCTION",
}
IMPORT_TRIES = 5  # a host that imports a submodule of it at the same time makes both imports fail
IMPORT_PAUSE_S = 0.5

_T = TypeVar("_T")
_lock = threading.Lock()
_entered: deque[str] = deque()  # our own entries in LiteLLM's map, oldest first
_importing: Future[Any] | None = None


def begin_import() -> Future[Any]:
    """Begin to import LiteLLM in a thread, unless that was begun; return what will hold it."""
    global _importing  # noqa: PLW0603 - one import a process
    with _lock:
        if _importing is None or (_importing.done() and _importing.exception() is not None):
            _importing = Future()
            _importing.set_running_or_notify_cancel()  # who waits for it cannot cancel it
            threading.Thread(target=_import, args=(_importing,), daemon=True).start()
        return _importing


async def door() -> Any:
    """Return LiteLLM, once it is imported.

    Raises:
        MissingExtraError: it cannot be imported.
    """
    importing = begin_import()
    return importing.result() if importing.done() else await asyncio.wrap_future(importing)


class LiteLLMLane:
    """One configured provider, through LiteLLM; see `orchestify.lanes.lane.Lane`."""

    def __init__(
        self,
        provider_id: str,
        config: ProviderConfig,
        rule: AddressRule | None = None,
        *,
        fetches: bool = True,
    ) -> None:
        self._provider_id = provider_id
        self._config = config
        self._rule = rule
        self._fetches = fetches
        self._guard = None if rule is None else LiteLLMGuard.of(provider_id, config, rule)
        self._supported: dict[str, frozenset[str]] = {}

    async def send(self, request: CompletionRequest) -> LLMResponse:
        """Send one request and return the whole answer."""
        heard = Heard(self._guard)
        try:
            return await self._guarded(self._exchange(request, heard), request, heard)
        finally:
            heard.forget()

    async def open_stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent, None]:
        """Send one request and yield its events; the last is `StreamEnd`."""
        heard = Heard(self._guard)
        stream = await self._guarded(self._call(request, stream=True), request, heard)
        answer = StreamedAnswer(stream)
        watch = IdleWatch(stream, request.idle_timeout_s)
        try:
            while (chunk := await self._chunk(answer, watch, request, heard)) is not None:
                for event in answer.feed(chunk):
                    yield event
            for event in answer.end():
                yield event
            yield StreamEnd(await self._guarded(_whole(answer), request, heard))
        finally:
            watch.stop()
            await self._guarded(_close(stream), request, heard)

    async def list_models(self) -> list[str] | None:
        """Return the models the provider lists, by their LiteLLM names; None where none are."""
        return await list_models(self._provider_id, self._config, self._rule)

    async def aclose(self) -> None:
        """Do nothing: connections are LiteLLM's, which shares them with the whole process."""

    async def _exchange(self, request: CompletionRequest, heard: Heard) -> LLMResponse:
        try:
            answer = await self._call(request, stream=False)
        except Exception:
            # It was answered and will be billed; some answers LiteLLM cannot read (Groq's).
            if (heard.body or {}).get("choices"):
                return openai_answer.answer(heard.body, request)
            if (heard.body or {}).get("type") == "message":
                return anthropic_answer.answer(heard.body, request)
            raise
        return response_of(answer, heard.body, heard.headers)

    async def _call(self, request: CompletionRequest, *, stream: bool) -> Any:
        if self._guard is not None:
            self._guard.check(request)
        if not self._fetches:
            refuse_to_fetch(request, litellm_model(request.model, self._config))
        litellm = await door()
        asked = replace(request, model=litellm_model(request.model, self._config))
        supported = self._meet(litellm, asked.model)
        fields = completion_fields(asked, supported, stream=stream)
        # A copy: LiteLLM writes into what it is given, `metadata` above all.
        options = deepcopy({**self._config.options, **request.options})
        fields |= options
        fields["allowed_openai_params"] = [name for name in options if name not in supported]
        kept = {name: value for name, value in fields.items() if value is not None}
        return await litellm.acompletion(**kept | _terms(self._config, request, self._guard))

    def _meet(self, litellm: Any, model: str) -> frozenset[str]:
        """Return the fields that LiteLLM says a model takes; empty where it says nothing."""
        _enter_ollama(litellm, model)
        known = self._supported.get(model)
        if known is None:
            said = litellm.get_supported_openai_params(model=model)
            known = bounded_setdefault(self._supported, model, frozenset(said or ()))
        return known

    async def _chunk(
        self, answer: StreamedAnswer, watch: IdleWatch, request: CompletionRequest, heard: Heard
    ) -> Any:
        """Return the next chunk, None at the end.

        Raises:
            StreamInterruptedError: it broke off, after output.
            APIError: another subclass, before any output.
        """
        try:
            return await self._guarded(watch.next(limited=answer.has_output), request, heard)
        except APIError as error:
            broken = answer.broken(error)
        raise broken

    async def _guarded(self, work: Awaitable[_T], request: CompletionRequest, heard: Heard) -> _T:
        """Do a part of the call; what it raises holds no frame of LiteLLM's, which hold the key.

        Raises:
            OrchestifyError: what became of LiteLLM's exception.
        """
        token = CALL.set(heard)
        try:
            return await work
        except asyncio.CancelledError as cancelled:
            failure: BaseException = bare(cancelled)
        except Exception as error:
            failure = self._explained(error, request, heard)
        finally:
            CALL.reset(token)
        raise failure

    def _explained(
        self, error: Exception, request: CompletionRequest, heard: Heard
    ) -> OrchestifyError:
        keys = secrets_of(self._config)
        if isinstance(error, RefusedError):
            explained: OrchestifyError = build_error(error.failure, keys=keys, request=request)
        elif isinstance(error, MalformedError):
            explained = InvalidResponseError(str(error))
        else:
            explained = our_error(
                error, request=request, keys=keys, sent=heard.sent, body=heard.body
            )
        if isinstance(explained, APIError):
            explained.provider, explained.model = self._provider_id, request.model
        return explained


def _import(importing: Future[Any]) -> None:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    hush()
    try:
        litellm = _import_patiently()
    except BaseException as error:
        reason = f"{type(error).__name__}: {error}"
        importing.set_exception(
            MissingExtraError(f"litellm cannot be imported ({reason}); reinstall orchestify")
        )
        return
    litellm.suppress_debug_info = True
    litellm.disable_hf_tokenizer_download = True
    litellm.telemetry = False
    importing.set_result(litellm)


def _import_patiently() -> Any:
    collects = gc.isenabled()
    gc.disable()
    try:
        for left in reversed(range(IMPORT_TRIES)):
            try:
                import litellm  # noqa: PLC0415 - it takes seconds
                import openai.resources  # noqa: F401, PLC0415 - else at a call, on the loop
            except ImportError:
                if not left:
                    raise
                time.sleep(IMPORT_PAUSE_S)
            else:
                # by name: after a first import that failed, it is no attribute of its parent
                door = import_module("litellm.llms.custom_httpx.http_handler")
                send_once(door.AsyncHTTPHandler)
                listen(door.AsyncHTTPHandler)
                stay_home(door.httpx.AsyncClient)
                stay_home(door.httpx.Client)
                return litellm
    finally:
        gc.freeze()
        if collects:
            gc.enable()


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


def _terms(
    config: ProviderConfig, request: CompletionRequest, guard: LiteLLMGuard | None
) -> dict[str, Any]:
    """Return what is said to LiteLLM itself: where, as whom, how long; no retries, no cache."""
    import httpx  # noqa: PLC0415 - it has come with LiteLLM

    headers = {name: value.get_secret_value() for name, value in config.headers.items()}
    if guard is not None:
        headers |= guard.headers
    terms: dict[str, Any] = {
        "api_key": guard.key if guard else api_key_of(config),
        "api_base": guard.api_base if guard else api_base_of(config),
        "extra_headers": headers or None,
        "timeout": httpx.Timeout(request.timeout_s, connect=request.connect_timeout_s),
        "max_retries": 0,
        "caching": False,
        "no-log": True,
        "logger_fn": hear,
    }
    return {name: value for name, value in terms.items() if value is not None}


async def _whole(answer: StreamedAnswer) -> LLMResponse:
    return answer.response()


async def _close(stream: Any) -> None:
    """Close a stream and the connection below it.

    Some of LiteLLM's iterators have no `aclose`, and keep what has one in an attribute.
    """
    source = stream.completion_stream
    names = ("streaming_response", "response_iterator")
    below: list[Any] = [getattr(source, name, None) for name in names]
    with contextlib.suppress(Exception):  # it is over, whatever closing it raises
        await stream.aclose()
    for each in below:
        if hasattr(each, "aclose"):
            with contextlib.suppress(Exception):
                await each.aclose()
